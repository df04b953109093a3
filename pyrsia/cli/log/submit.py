"""`log submit`: a signed entry into the log, and the proof that it is there."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from pyrsia.cli.answers import shaped
from pyrsia.cli.tell import json_option, node_option, tell, trust_option
from pyrsia.client import Client
from pyrsia.errors import Malformed, Refusal
from pyrsia.files import write_whole
from pyrsia.units import MAX_ENTRY_BYTES
from pyrsia.verify.acknowledged import Acknowledgement

PATIENCE_S: Final = 700.0  # an entry's own ten minutes, and the answer's way


class Submitted(msgspec.Struct):
    """What a node answers."""

    entry: str
    state: str
    index: int
    acknowledgement: Acknowledgement


@click.command()
@click.argument("entry", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the acknowledgement to this file."
)
@click.option(
    "--patience", type=click.IntRange(0, 86_400), default=0, show_default=True, metavar="SECONDS",
    help="Wait so long, in all, for room when the node is busy.",
)  # fmt: skip
@node_option
@trust_option
@json_option
def submit(
    entry: Path, out: Path | None, patience: int, target: str | None, trust: Path | None, as_json: bool
) -> None:
    """Submit a signed ENTRY (a file, or - for standard input) and wait until it is in the log for good.

    The same bytes may be submitted again, to any node and after any failure: they are in the log once. The
    acknowledgement is checked if the network is pinned; `log verify` checks it later, offline.
    """
    raw = _read(entry)
    with Client(target, patience_s=PATIENCE_S) as node:
        told = shaped(_posted(node, raw, patience, quiet=as_json), Submitted)
    said = {"leaf": raw.decode("utf-8", "replace"), "acknowledgement": told["acknowledgement"]}
    checked = _checked(said, raw, trust)
    if out is not None:
        write_whole(out, json.dumps(said, sort_keys=True).encode() + b"\n")
    value = {**told, "leaf": said["leaf"], "checked": checked}
    tell(value, as_json=as_json, text=lambda: _lines(told, checked, out))


def _read(path: Path) -> bytes:
    """The entry's bytes; a line end that an editor put behind them is not part of them."""
    if str(path) == "-":
        raw = sys.stdin.buffer.read(MAX_ENTRY_BYTES.value + 2)
    else:
        with path.open("rb") as file:
            raw = file.read(MAX_ENTRY_BYTES.value + 2)
    return raw.removesuffix(b"\n")


def _posted(node: Client, raw: bytes, patience_s: float, *, quiet: bool) -> Any:
    """The node's answer; one that is busy is asked again when it says so, as long as there is patience."""
    end_s = time.monotonic() + patience_s
    while True:
        try:
            return node.post_bytes("/api/v1/entries", raw)
        except Refusal as refusal:
            wait_s = max(1, refusal.retry_s)
            if refusal.code != "busy" or time.monotonic() + wait_s > end_s:
                raise
        if not quiet:
            click.echo(f"  the node is busy; again in {wait_s} s", err=True)
        time.sleep(wait_s)


def _checked(said: dict[str, Any], raw: bytes, trust: Path | None) -> str:
    """Name of the pinned network that the acknowledgement was checked against, "" for none.

    Raises:
        Refusal: the network is pinned, and the acknowledgement does not hold.
    """
    from pyrsia.keys import verify
    from pyrsia.verify.acknowledged import judge
    from pyrsia.verify.pins import Pins, read_genesis

    pins = [read_genesis(trust)] if trust else Pins.of_user().all()
    try:
        return judge(said["acknowledgement"], raw, pins, verify).network
    except Refusal as refusal:
        if refusal.code != "not-pinned" or trust is not None:
            raise
    except Malformed as error:
        raise Refusal(
            "entry-refused", what=f"this is no entry: {error}", who="the file", do="correct it"
        ) from None
    return ""


def _lines(told: dict[str, Any], checked: str, out: Path | None) -> Iterator[str]:
    said = told["acknowledgement"]
    block = said["block"]
    again = " (it was there already)" if told["state"] == "duplicate" else ""
    yield f"entry:      {told['entry']}"
    yield f"log:        leaf {told['index']}{again}"
    if block["finality"]:
        yield f"block:      {block['height']}, final: the log has {block['size']} leaves, root {block['root'][:16]}"
    covered = (
        "a cosigned one covers it" if said["checkpoint"] else "none covers it yet; one is due in a second"
    )
    yield f"checkpoint: {covered}"
    yield f"checked:    {f'against the pinned network {checked}' if checked else 'no; the network is not pinned here'}"
    if out is not None:
        yield f"written to {out}; check it with `pyrsia log verify {out}`"
