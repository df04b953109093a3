"""`trust`: pin networks by the digest of their genesis."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import click

from pyrsia.audit.sources import DirectorySource
from pyrsia.cli.epochs import followed, told_by
from pyrsia.cli.groups import Group
from pyrsia.cli.tell import json_option, table, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.log.checkpoint import Trusted
from pyrsia.log.note import SignedNote
from pyrsia.units import MAX_GENESIS_BYTES, MAX_NOTE_BYTES
from pyrsia.verify.epochs import Line
from pyrsia.verify.evidence import refusing
from pyrsia.verify.pins import Pin, Pins, pin_of, read_genesis


@click.group(cls=Group)
def trust() -> None:
    """Pin the networks that verify believes. A pin is the SHA-256 of a genesis document."""


@trust.command("add")
@click.argument("source", metavar="URL|FILE")
@click.option("--digest", metavar="sha256:HEX", help="The genesis's digest, as told on another channel.")
@click.option(
    "--checkpoint",
    "note",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint of its log, as told on another channel: no older head is believed, and no other one there.",
)
@json_option
def add(source: str, digest: str | None, note: Path | None, as_json: bool) -> None:
    """Pin the network of a node at URL, or of the trust file FILE.

    A URL needs --digest: whoever answers there is not believed. With --checkpoint the steps between epochs that lead to
    its signers are asked of the node, or read from epochs/ beside FILE, and proven. Without one, more than a third of
    the validators of any time past could show a new client a history of their own.
    """
    if source.startswith(("http://", "https://")):
        if not digest:
            raise Refusal(
                "usage",
                what="a network cannot be pinned by its address alone",
                who="your command",
                do="get the digest from its operators on another channel and add --digest sha256:...",
            )
        with Client(source) as node:
            genesis = node.get_bytes("/log/genesis", most=MAX_GENESIS_BYTES.value)
    else:
        genesis = read_genesis(Path(source)).genesis.raw
    found = hashlib.sha256(genesis).hexdigest()
    if digest and digest.removeprefix("sha256:").lower() != found:
        raise Refusal(
            "digest-mismatch",
            what=f"the genesis has the digest sha256:{found}, not {digest}",
            who=source,
            do="do not trust it; ask the operators which is right",
        )
    pins = Pins.of_user()
    pin = pin_of(genesis, Path(source))
    head = None if note is None else _head(pin, note, source)
    pin = pins.add(genesis)
    if head is not None:
        pins.learn(pin, head.line)
        pins.saw(pin, head.note, head.trusted.checkpoint)
    value: dict[str, str | int] = {"network": pin.name, "digest": f"sha256:{found}", "file": str(pin.path)}
    lines = [f"pinned {pin.name} (sha256:{found})"]
    if head is not None:
        value |= {"epoch": head.line.epoch, "size": head.trusted.checkpoint.size}
        lines.append(f"and its log of {head.trusted.checkpoint.size} leaves, in epoch {head.line.epoch}")
    tell(value, as_json=as_json, text=lambda: lines)


@dataclass(frozen=True)
class _Head:
    """A checkpoint that holds, and the epochs that it took."""

    note: bytes
    trusted: Trusted
    line: Line


def _head(pin: Pin, path: Path, source: str) -> _Head:
    """The checkpoint in a file, once a quorum of its epoch's validators is found to have signed it.

    Raises:
        Refusal: `proof-invalid`.
    """
    with path.open("rb") as opened:
        data = opened.read(MAX_NOTE_BYTES.value + 1)
    with refusing():
        note = SignedNote.parse(data)
        if source.startswith(("http://", "https://")):
            with Client(source) as node:
                line = followed(pin, told_by(node))
        else:
            line = followed(pin, DirectorySource(Path(source).parent).epoch)
        trusted = line.trusted(note)
    return _Head(data, trusted, line)


@trust.command("update")
@click.argument("url", metavar="URL|DIR", required=False)
@json_option
def update(url: str | None, as_json: bool) -> None:
    """Learn a pinned network's new epochs and newest checkpoint.

    Any node of it will do, since it is not believed: each step to a later epoch must be signed by a quorum of the one
    before it, and the checkpoint by one of the newest. A checkpoint older than the newest seen is refused.
    """
    pins = Pins.of_user()
    with Client(url) as node:
        genesis = node.get_bytes("/log/genesis", most=MAX_GENESIS_BYTES.value)
        digest = hashlib.sha256(genesis).hexdigest()
        pin = next((one for one in pins.all() if one.digest == digest), None)
        if pin is None:
            raise Refusal(
                "not-pinned",
                what=f"the network of this node is not pinned; it says sha256:{digest}",
                who=node.target,
                do="get the digest on another channel and pin it: pyrsia trust add URL --digest sha256:...",
            )
        line = followed(pin, told_by(node))
        data = node.get_bytes("/log/checkpoint", most=MAX_NOTE_BYTES.value)
    with refusing():
        head = line.trusted(SignedNote.parse(data)).checkpoint
    learned = line.epoch - len(pin.steps)
    pins.learn(pin, line)
    pins.saw(pin, data, head, current=True)
    value = {"network": pin.name, "epoch": line.epoch, "learned": max(learned, 0), "size": head.size}
    text = f"{pin.name}: epoch {line.epoch} ({max(learned, 0)} new), {head.size} leaves"
    tell(value, as_json=as_json, text=lambda: [text])


@trust.command("list")
@json_option
def show(as_json: bool) -> None:
    """Every pinned network."""
    pins = [
        {"network": pin.name, "digest": f"sha256:{pin.digest}", "epoch": len(pin.steps)}
        for pin in Pins.of_user().all()
    ]
    rows = [(pin["network"], pin["digest"], pin["epoch"]) for pin in pins]
    tell({"pins": pins}, as_json=as_json, text=lambda: table(rows, ("network", "digest", "epoch seen")))


@trust.command("remove")
@click.argument("digest", metavar="sha256:HEX")
@json_option
def remove(digest: str, as_json: bool) -> None:
    """Forget the network whose genesis has this digest."""
    pin = Pins.of_user().remove(digest.removeprefix("sha256:"))
    tell({"removed": pin.name}, as_json=as_json, text=lambda: [f"forgot {pin.name}"])
