"""`facts add` and `facts withdraw`: one fact, said or taken back by this node.

What is written is held against the ledger's own form first, so that a slip is told beside the command and not by the
network. A fact replaces the one that this node said before of the same kind, subject and advisory.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pyrsia.cli.answers import Status, shaped
from pyrsia.cli.facts.words import subject_of, takes_back, what
from pyrsia.cli.log.when import Time
from pyrsia.cli.naming import by
from pyrsia.cli.tell import examples, json_option, node_option, tell
from pyrsia.client import Client, typed
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_FACT_BYTES, Limit

if TYPE_CHECKING:  # imported when a command runs, not for --help
    from pyrsia.serve.desks.knowing import FactOutcome, FactTold

KINDS: Final = (
    "advisory", "commit-signature", "description", "licence", "recheck", "review", "sbom", "vex",
)  # fmt: skip
SAID_BY_HAND: Final = tuple(
    kind for kind in KINDS if kind != "recheck"
)  # builders say those, of what they built
PATIENCE_S: Final = 120.0  # a block of a young network, and a leader that is slow
MAX_JSON_BYTES = Limit(65_536, "of a file that shall fit into a fact of 1,024 bytes once its spaces are gone")
_NAMED_BY: Final = (
    "advisory",
    "commit",
    "request",
    "format",
)  # which of a subject's facts of one kind is meant
_OF_EVERY: Final = frozenset(
    ("kind", "modified_ms", "subject", "supersedes", "text", "valid_from")
)  # not said again
_SETS: Final = ("aliases", "tags", "versions")
_NUMBERS: Final = ("components", "modified_ms")
_FLAGS: Final = ("good",)


@click.command(
    epilog=examples(
        "pyrsia facts add review pkg:pypi/idna@3.10 --field rating=positive --field thoroughness=high",
        "pyrsia facts add advisory pkg:pypi/idna --field advisory=CVE-2024-3651 --field severity=high --range ..3.7",
        "pyrsia facts add licence pkg:pypi/idna --field expression=BSD-3-Clause",
        "pyrsia facts add description pkg:pypi/idna --tag dns --json-file about.json",
    )
)
@click.argument("kind", type=click.Choice(SAID_BY_HAND))
@click.argument("subject", metavar="PURL|sha256:HEX")
@click.option("--text", default="", help="A sentence for people, 1,024 bytes at most.")
@click.option(
    "--field", "fields", multiple=True, metavar="NAME=VALUE", help="A field of its kind; lists with commas."
)
@click.option(
    "--range", "ranges", multiple=True, metavar="FROM..TO",
    help="Versions meant: 1.0..1.3 ends before 1.3, 1.0..=1.2 with 1.2, ..1.3 begins at the first, 1.0.. never ends.",
)  # fmt: skip
@click.option("--tag", "tags", multiple=True, help="Of a description; several times for several.")
@click.option(
    "--json-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of a description: any JSON.",
)
@click.option("--from", "valid_from", type=Time(), metavar="TIME", help="When it begins to stand [at once].")
@click.option("--dry-run", is_flag=True, help="Say nothing; tell whether it would be said.")
@node_option
@json_option
def add(
    kind: str,
    subject: str,
    text: str,
    fields: tuple[str, ...],
    ranges: tuple[str, ...],
    tags: tuple[str, ...],
    json_file: Path | None,
    valid_from: int | None,
    dry_run: bool,
    target: str | None,
    as_json: bool,
) -> None:
    """Say something of a package, a version or a file, in this node's name.

    Advisories and VEX are for members with the role `issuer`; `pyrsia member propose roles` asks the validators for
    it. What this node said before of the same kind and subject is replaced. docs/knowledge.md lists the fields of each
    kind.
    """
    from pyrsia.serve.desks.knowing import FactTold

    said = dict(map(_field, fields))
    if ranges:
        said["range"] = [_range(one) for one in ranges]
    if tags:
        said["tags"] = sorted({*said.get("tags", ()), *tags})
    if json_file is not None:
        said["json"] = _compact(json_file)
    fact = FactTold(kind, subject_of(subject), text, valid_from or 0, said)
    _check(fact)
    _check_meaning(fact)
    with Client(target, patience_s=PATIENCE_S) as node:
        outcome, _ = _say(node, fact, dry_run=dry_run)
    told = {"kind": kind, "subject": fact.subject, "outcome": outcome.outcome, "leaf": outcome.leaf}
    tell({**told, "dry_run": dry_run}, as_json=as_json, text=lambda: _lines(told, dry_run=dry_run))


@click.command(epilog=examples("pyrsia facts withdraw 1234", "pyrsia facts withdraw 1234 --dry-run"))
@click.argument("which", metavar="LEAF|ID")
@click.option("--dry-run", is_flag=True, help="Take nothing back; tell whether it would be.")
@node_option
@json_option
def withdraw(which: str, dry_run: bool, target: str | None, as_json: bool) -> None:
    """Take back a fact that this node said, by its leaf or its entry id. It stays in the log, and counts no more.

    Of a fact that is still to come, and was to replace another, only the announcement is taken back: what it was to
    replace is said again. Where this node said several of one kind about one subject beside each other (of advisories:
    under one id), all of these go.
    """
    from pyrsia.serve.desks.knowing import FactTold

    with Client(target, patience_s=PATIENCE_S) as node:
        row = _found(node, which)
        fields = {name: row["body"][name] for name in _NAMED_BY if name in row["body"]}
        fact = _as_before(node, row) or FactTold(row["kind"], row["subject"], fields=fields, withdraw=True)
        outcome, beside = _say(node, fact, dry_run=dry_run)
    told = {
        "kind": row["kind"], "subject": row["subject"], "of": row["leaf"], "what": what(row),
        "outcome": outcome.outcome, "leaf": outcome.leaf, "beside": beside,
    }  # fmt: skip
    tell({**told, "dry_run": dry_run}, as_json=as_json, text=lambda: _lines(told, dry_run=dry_run, gone=True))


def _lines(told: dict[str, Any], *, dry_run: bool, gone: bool = False) -> Iterator[str]:
    leaf = f", leaf {told['leaf']}" if told["leaf"] >= 0 else ""
    words = {
        "same": "is gone already" if gone else "stands already",
        "older": "not said: its modified_ms is older than that of what this node said, or took back, since",
        "withdrawn": "taken back",
        "changed": "the announcement is taken back, and what it was to replace said again"
        if gone
        else "changed",
    }
    outcome = words.get(told["outcome"], told["outcome"])
    yield f"{told['kind']} about {told['subject']}: {'would be: ' if dry_run else ''}{outcome}{leaf}"
    if gone and told["beside"]:
        others = "1 other" if told["beside"] == 1 else f"{told['beside']:,} others"
        yield f"  and {others} that this node said beside it, of the same kind and subject"


# -- asking --


def _say(node: Client, fact: "FactTold", *, dry_run: bool) -> "tuple[FactOutcome, int]":
    """What became of it, and how many earlier words that stood beside it are ended with it.

    Raises:
        Refusal: the node's, for the order or for the fact.
    """
    from pyrsia.cli.facts.saying import BATCH
    from pyrsia.consumers.documents.intake import order, telling
    from pyrsia.serve.desks.knowing import FactsOutcome

    told = typed(node.post_bytes(BATCH, order([telling(fact, "")], dry_run=dry_run)), FactsOutcome)
    (outcome, *_) = told.outcomes
    if outcome.error is not None:
        raise Refusal.from_dict(outcome.error)
    return outcome, told.beside


def _found(node: Client, which: str) -> dict[str, Any]:
    """The fact at a leaf, or with an entry id.

    Raises:
        Refusal: `not-found`, `forbidden` for what another said.
    """
    from pyrsia.cli.facts.pages import pages
    from pyrsia.serve.desks.knowing import FactsTold

    if which.isascii() and which.isdigit():
        page = shaped(node.get("/api/v1/facts", first=int(which), count=1, order="oldest"), FactsTold)
        rows = [row for row in page["facts"] if row["leaf"] == int(which)]
    else:
        newest = (row for row in pages(node, {"order": "newest"}) if row["id"] == which.lower())
        rows = [row for row in [next(newest, None)] if row is not None]
    if not rows:
        raise Refusal(
            "not-found",
            what=f"{which} is no fact of this log",
            who="your command",
            do="see `pyrsia facts list`",
        )
    row: dict[str, Any] = rows[0]
    _mine(node, row)
    return row


def _as_before(node: Client, row: dict[str, Any]) -> "FactTold | None":
    """What an announced fact was to replace, if that stands, to be said again; None for every other fact."""
    from pyrsia.serve.desks.knowing import FactsTold, FactTold

    if row["state"] != "to-come" or row["ends"] < 0:
        return None
    page = shaped(node.get("/api/v1/facts", first=row["ends"], count=1, order="oldest"), FactsTold)
    before = next((one for one in page["facts"] if one["leaf"] == row["ends"]), None)
    if before is None or before["state"] != "stands" or before["subject"] != row["subject"]:
        return None
    fields = {name: value for name, value in before["body"].items() if name not in _OF_EVERY}
    return FactTold(before["kind"], before["subject"], before["text"], fields=fields)


def _mine(node: Client, row: dict[str, Any]) -> None:
    """
    Raises:
        Refusal: `forbidden` for what another said, `conflict` for what counts no more.
    """
    if row["author"] != shaped(node.get("/api/v1/status"), Status)["node_id"]:
        raise Refusal(
            "forbidden",
            what=f"{by(row)} said it, and only who said a fact can take it back",
            who="your command",
            do="say otherwise with `pyrsia facts add`, or leave its author out in your policy",
        )
    if takes_back(row):
        raise Refusal(
            "conflict",
            what=f"it takes leaf {row['ends']} back itself, and nothing brings that back",
            who="your command",
            do="say it again with `pyrsia facts add`",
        )
    if row["state"] in ("superseded", "withdrawn"):
        raise Refusal(
            "conflict",
            what=f"it is {row['state']} already, by leaf {row['by']}",
            who="your command",
            do=f"see `pyrsia facts show {row['subject']} --all`",
        )


# -- what people write --


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not name:
        raise click.BadParameter(f"{text} is no field; write NAME=VALUE")
    if name in _SETS:
        return name, sorted({part.strip() for part in value.split(",")} - {""})
    if name in _NUMBERS:
        if not (value.isascii() and value.isdigit()):
            raise click.BadParameter(f"{name} is a whole number")
        return name, int(value)
    if name in _FLAGS:
        if value not in ("true", "false"):
            raise click.BadParameter(f"{name} is true or false")
        return name, value == "true"
    return name, value


def _range(text: str) -> dict[str, str]:
    begin, dots, end = text.partition("..")
    if not dots:
        raise click.BadParameter(f"{text} is no range; write FROM..TO")
    found = {"introduced": begin or "0"}
    if end.startswith("="):
        return {**found, "last": end[1:]}
    return {**found, "fixed": end} if end else found


def _compact(file: Path) -> str:
    """
    Raises:
        click.BadParameter: no JSON, or more than a fact has room for.
    """
    with file.open("rb") as opened:
        data = opened.read(MAX_JSON_BYTES.value + 1)
    try:
        if len(data) > MAX_JSON_BYTES.value:
            raise ValueError("it is too long")
        value = json.loads(data)
        text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{file} is no JSON: {error}") from None
    if len(text) > MAX_FACT_BYTES.value:
        raise click.BadParameter(
            f"{file} has {len(text):,} bytes, a fact has room for {MAX_FACT_BYTES.value:,}"
        )
    return text


def _check(fact: "FactTold") -> None:
    """Hold it against the ledger's form.

    Raises:
        click.UsageError: the log would not take it.
    """
    from pyrsia.ledger.bodies.facts import AUTHORED

    body = {
        "kind": fact.kind,
        "subject": fact.subject,
        "text": fact.text,
        "valid_from": fact.valid_from,
        **fact.fields,
    }
    try:
        AUTHORED["fact.add"](body)
    except Malformed as error:
        raise click.UsageError(f"the log takes no such {fact.kind}: {error}") from None


def _check_meaning(fact: "FactTold") -> None:
    """
    Raises:
        click.BadParameter: the log would take it for ever, and nobody could read it.
        click.UsageError: it says nothing.
    """
    from pyrsia.cli.facts import slips

    slips.nothing(fact.kind, fact.subject, fact.text, fact.fields)
    if fact.kind == "licence" and "expression" in fact.fields:
        slips.spdx(fact.fields["expression"])
    if isinstance(page := fact.fields.get("homepage"), str):
        slips.homepage(page)
    slips.ranges(fact.subject, fact.fields.get("range", ()))
