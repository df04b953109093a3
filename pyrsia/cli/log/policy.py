"""`log policy`: the trust policy of a network for everybody's tools, and whether a note satisfies one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pyrsia.cli.tell import json_option, node_option, tell
from pyrsia.client import Client, resolve
from pyrsia.errors import Malformed, ProofInvalid, Refusal, usage
from pyrsia.log.note import SignedNote
from pyrsia.log.policy import Policy, Satisfied, of_network
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import MAX_GENESIS_BYTES, MAX_POLICY_BYTES, MAX_PROOFFILE_BYTES
from pyrsia.wire.text import b32

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.verify.epochs import Line
    from pyrsia.verify.pins import Pin

_PROOF: Final = b"c2sp.org/tlog-proof@"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--trust",
    type=_FILE,
    help="The network's trust file, believed for this call; no node is asked. Later epochs: epochs/ beside it.",
)
@click.option("--from", "source", type=_FILE, help="Read this policy instead of making the network's.")
@click.option("--witness", "outside", multiple=True, metavar="VKEY", help="Also want a witness of others.")
@click.option("--need", type=click.IntRange(1), help="How many of the --witness keys [all of them].")
@click.option("--url", default="", help="Where the log is read, for the `log` lines.")
@click.option("--check", "note", type=_FILE, help="Does this checkpoint or proof file satisfy it?")
@node_option
@json_option
def policy(
    trust: Path | None,
    source: Path | None,
    outside: tuple[str, ...],
    need: int | None,
    url: str,
    note: Path | None,
    target: str | None,
    as_json: bool,
) -> None:
    """A C2SP trust policy: a `log` line for each validator's note key, a `witness` line for each
    cosignature key, and the quorum of them that makes a checkpoint one to believe.

    The validators are those of the newest epoch that is known; a checkpoint of an earlier one has another policy. A
    node at an address is asked for the network's genesis only if that is pinned. With --check, exit code 0
    means that the checkpoint in the file satisfies the policy; of a proof file nothing else is checked.
    """
    if source is not None and (outside or need or url or trust):
        raise usage("a policy that is read is complete", "leave out --trust, --witness, --need and --url")
    if source is not None:
        made, about = _read_policy(source), {"from": str(source)}
    else:
        made, about = _of_network(target, trust, outside, need, url)
    if note is not None:
        found = _check(made, note)
        tell({**about, **found}, as_json=as_json, text=lambda: _satisfied_lines(found))
        return
    comment = "".join(f"{key} {value}\n" for key, value in about.items())
    text = made.text(comment).decode("utf-8", "surrogateescape")
    tell({**about, "policy": made.text().decode("utf-8", "replace")}, as_json=as_json, text=text.splitlines)


def _of_network(
    target: str | None, trust: Path | None, outside: tuple[str, ...], need: int | None, url: str
) -> tuple[Policy, dict[str, Any]]:
    from pyrsia.units import needed

    pin, line = _offline(trust) if trust is not None else _asked(target)
    genesis = pin.genesis
    if any(character <= " " or character == "\x7f" for character in url):
        raise usage("an address has no spaces", "write --url https://HOST/log")
    if need and not outside:
        raise usage("--need counts witnesses of others", "name them with --witness VKEY")
    validators = line.validators()
    named = {bytes(member.node): member.name for member in genesis.members}
    q = needed(len(validators))
    try:
        made = of_network(
            genesis.origin,
            [(named.get(one.node, b32(one.node)[:8]), one.log, one.cosign) for one in validators],
            q,
            outside=outside,
            need=need or len(outside),
            url=url,
        )
    except Malformed as error:
        raise usage(str(error), "give each witness's verifier key, `<name>+<id>+<key>`, once") from None
    about = {"network": genesis.name, "origin": genesis.origin, "genesis": f"sha256:{pin.digest}"}
    begins = "" if line.epoch == 0 else f", from size {line.end(line.epoch - 1).size} on"
    about["epoch"] = f"{line.epoch}{begins}"
    return made, {**about, "quorum": f"{q} of {len(validators)} validators"}


def _offline(trust: Path) -> "tuple[Pin, Line]":
    """The network of a trust file, with the epochs that lie beside it and those that are remembered of it."""
    from dataclasses import replace

    from pyrsia.audit.sources import DirectorySource
    from pyrsia.cli.epochs import followed
    from pyrsia.verify.pins import Pins, read_genesis

    pin = read_genesis(trust)
    known = next((one.steps for one in Pins.of_user().all() if one.digest == pin.digest), ())
    pin = replace(pin, steps=known)
    return pin, followed(pin, DirectorySource(trust.parent).epoch)


def _asked(target: str | None) -> "tuple[Pin, Line]":
    """The genesis of the node's network, if it is one to believe (the user's own node's, or a pinned one), and its
    epochs."""
    from dataclasses import replace

    from pyrsia.cli.epochs import followed, told_by
    from pyrsia.verify.pins import Pins, pin_of

    with Client(target) as node:
        raw = node.get_bytes("/log/genesis", most=MAX_GENESIS_BYTES.value)
        pin = pin_of(raw, Path(resolve(target)))
        known = next((one for one in Pins.of_user().all() if one.digest == pin.digest), None)
        if known is None and resolve(target).startswith(("http://", "https://")):
            raise Refusal(
                "not-pinned",
                what=f"the network of this node is not pinned; it says sha256:{pin.digest}",
                who=resolve(target),
                do="get the digest on another channel and pin it: pyrsia trust add URL --digest sha256:...",
            )
        pin = replace(pin, steps=() if known is None else known.steps)
        return pin, followed(pin, told_by(node))


def _read_policy(path: Path) -> Policy:
    try:
        return Policy.parse(_head_of(path, MAX_POLICY_BYTES.value))
    except Malformed as error:
        raise Refusal("bad-request", what=str(error), who=str(path), do="correct the file") from None


def _check(made: Policy, path: Path) -> dict[str, Any]:
    from pyrsia.keys import verify

    data = _head_of(path, MAX_PROOFFILE_BYTES.value)
    try:
        raw = TlogProof.parse(data).note if data.startswith(_PROOF) else data
        found = made.check(SignedNote.parse(raw), verify)
    except ProofInvalid as error:
        raise _refused(path, str(error)) from None
    except Malformed as error:
        raise _refused(path, f"not a checkpoint, or one that was changed: {error}") from None
    return _told(found)


def _told(found: Satisfied) -> dict[str, Any]:
    head = found.checkpoint
    cosigned = [{"witness": label, "time_s": time_s} for label, time_s in sorted(found.cosigned.items())]
    return {
        "satisfied": True,
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "logs": [str(key) for key in found.logs],
        "cosigned": cosigned,
    }


def _satisfied_lines(found: dict[str, Any]) -> list[str]:
    who = ", ".join(one["witness"] for one in found["cosigned"]) or "nobody"
    return [
        f"{found['origin']} at size {found['size']} satisfies the policy",
        f"signed by {len(found['logs'])} of its logs; cosigned by {who}",
    ]


def _head_of(path: Path, most: int) -> bytes:
    """The file, or one byte more than is allowed of it."""
    with path.open("rb") as opened:
        return opened.read(most + 1)


def _refused(path: Path, what: str) -> Refusal:
    return Refusal(
        "proof-invalid", what=what, who=str(path), do="do not rely on it; fetch a newer checkpoint"
    )
