"""`log history` and `log verify-history`: all that ever happened to a package or a file, and that it is all."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.log.when import as_of_option, moment
from pyrsia.cli.tell import json_option, node_option, table, tell, trust_option
from pyrsia.client import Client
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_HISTORY_BYTES

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.verify.history import History
    from pyrsia.verify.pins import Pin


@click.command()
@click.argument("of", metavar="PURL|SHA256")
@click.option(
    "--prove",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the history with its proof to this file; anybody can check it offline.",
)
@as_of_option
@trust_option
@node_option
@json_option
def history(
    of: str, out: Path | None, as_of: str | None, trust: Path | None, target: str | None, as_json: bool
) -> None:
    """All leaves about a package (any version) or a file's digest, checked to be all there are.

    PURL is like pkg:pypi/idna, SHA256 the digest of a file or a source. The node's answer counts only if a pinned
    network cosigned it, or the network of the node itself where that is a data directory of this machine. With
    --as-of nothing is left out of what the log held then either; how long it was at a time is the node's word.
    """
    from pyrsia.audit.opening import own_names, own_pin
    from pyrsia.verify.history import Subject

    try:
        subject = Subject.parse(of)
    except Malformed as error:
        raise click.UsageError(f"{of}: {error}") from None
    with Client(target) as node:
        query = urlencode({"of": of if subject.kind == "purl" else subject.text})
        data = node.get_bytes(f"/api/v1/log/history?{query}", most=MAX_HISTORY_BYTES.value)
        size = _size_at(node, as_of)
    own = own_pin(target) if trust is None else None
    found = _checked(data, trust, own)
    if found.subject != subject:
        raise Refusal(
            "proof-invalid",
            what=f"the node told the history of {found.subject.text}",
            who="the node",
            do="ask another node",
        )
    _reached(found, size)
    if out is not None:
        out.write_bytes(data)
    _tell(found, size, out, own_names(target), as_json=as_json)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--as-of",
    "size",
    type=click.IntRange(min=1),
    metavar="SIZE",
    help="Only what the log held when it was so long; a file does not tell how long it was at a time.",
)
@trust_option
@json_option
def verify_history(file: Path, size: int | None, trust: Path | None, as_json: bool) -> None:
    """Check a file written by `log history --prove`, offline: every leaf is there, and no other."""
    with file.open("rb") as opened:
        data = opened.read(MAX_HISTORY_BYTES.value + 1)  # one more, so that what is too long shows
    found = _checked(data, trust)
    _reached(found, size)
    _tell(found, size, None, {}, as_json=as_json)


def _size_at(node: Client, as_of: str | None) -> int | None:
    """The size that is meant: a number is one, of a time the node is asked."""
    at = moment(as_of)
    if at == {"as_of": 0}:
        raise click.BadParameter("no log has size 0: write 1 or more, or a time")
    if "as_of_time" not in at:
        return at.get("as_of")
    return int(shaped(node.get("/api/v1/log/entries", **at, count=1), answers.Page)["size"])


def _reached(found: "History", size: int | None) -> None:
    """
    Raises:
        Refusal: `usage`: the proof speaks of a shorter log.
    """
    proven = found.head.checkpoint.size
    if size is not None and size > proven:
        raise Refusal(
            "usage",
            what=f"this history is proven up to size {proven:,}, not to {size:,}",
            who="your command",
            do=f"write --as-of {proven} or less; or leave it out",
        )


def _checked(data: bytes, trust: Path | None, own: "Pin | None" = None) -> "History":
    from pyrsia.keys import verify
    from pyrsia.verify import history
    from pyrsia.verify.pins import Pins, read_genesis

    pin = read_genesis(trust) if trust else own
    return history.read(data, Pins.of_user().all() if pin is None else [pin], verify)


def _tell(
    found: "History", size: int | None, out: Path | None, others: dict[str, str], *, as_json: bool
) -> None:
    """What of it lies below `size`, all of which is there, since of the whole nothing is missing.

    `others`: names of members who came after genesis, by node id.
    """
    from pyrsia.node.log.summary import summary

    names = {member.text: member.name for member in found.pin.genesis.members} | others
    proven = found.head.checkpoint.size
    end = proven if size is None else size
    leaves = [(index, leaf) for index, leaf in found.leaves if index < end]
    told = [summary(index, leaf, names) for index, leaf in leaves]
    rows = [(one.index, one.kind, one.summary) for one in told]
    value: dict[str, Any] = {
        "ok": True,
        "of": found.subject.text,
        "network": found.pin.name,
        "size": proven,
        "as_of": end,
        "as_of_ms": found.time_ms,
        "complete": True,
        "leaves": [{"index": index, "leaf": leaf.decode(errors="replace")} for index, leaf in leaves],
    }

    def lines() -> Iterator[str]:
        yield from table(rows, ("index", "type", "what")) if rows else ()
        known = f"all {len(rows)} leaves" if rows else "nothing: no leaf"
        by = "" if size is None else f" by the log of size {proven}"
        yield f"{known} about {found.subject.text} in {found.pin.name} up to {end}, proven{by}"
        if out is not None:
            yield f"written to {out}"

    tell(value, as_json=as_json, text=lines)
