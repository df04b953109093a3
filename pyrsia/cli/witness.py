"""`witness`: which logs of others this node cosigns, which witnesses of others it asks, and what it found."""

from collections.abc import Callable
from pathlib import Path
from time import gmtime, strftime
from typing import Any

import click
import msgspec

from pyrsia import config as settings
from pyrsia.cli.answers import shaped
from pyrsia.cli.config import RESTART, data_folder
from pyrsia.cli.groups import Group
from pyrsia.cli.tell import json_option, node_option, table, tell
from pyrsia.client import Client, foreign
from pyrsia.errors import Malformed, Refusal, usage
from pyrsia.log.feed import Asked, parse_asked
from pyrsia.log.note import VerifierKey
from pyrsia.log.witness import WatchedLog, origin_hash, parse_logs
from pyrsia.status import EvidenceAnswer, WitnessStatus

_dir_option = click.option("--node", "target", metavar="DIR", help="The node's data directory.")


@click.group(cls=Group)
def witness() -> None:
    """Cosign other people's logs, and have other people's witnesses cosign ours (C2SP tlog-witness).

    What add and remove change is the node's configuration, read at its next start.
    """


# -- the configuration --


@witness.command("add-log", short_help="Cosign the log that signs with VKEY from now on.")
@click.argument("vkeys", metavar="VKEY...", nargs=-1, required=True)
@click.option("--origin", help="First line of its checkpoints, if it is not the name of its key.")
@click.option(
    "--need", type=click.IntRange(1), default=1, show_default=True, help="Keys that must have signed."
)
@_dir_option
@json_option
def add_log(vkeys: tuple[str, ...], origin: str | None, need: int, target: str | None, as_json: bool) -> None:
    """Cosign the log that signs with VKEY from now on, and keep what contradicts its own past.

    Several keys are keys of one log. Of a Pyrsia network name all validators' (`pyrsia log policy` shows them),
    with a --need above the number that may lie: whoever signs as the log leads this witness.
    """
    words = ([str(need)] if need != 1 else []) + list(vkeys) + ([f"origin={origin}"] if origin else [])
    try:
        log = WatchedLog.parse(" ".join(words))
    except Malformed as error:
        raise usage(
            f"this is no log to watch: {error}", "give its verifier key, `<name>+<8 hex digits>+<base64>`"
        ) from None

    def change(logs: list[str]) -> list[str]:
        others = [line for line in logs if _origin(line) != log.origin]
        return [*others, str(log)]

    path = _change(target, "logs", change, parse_logs)
    told = {"origin": log.origin, "hash": log.hash, "saved": str(path)}
    tell(told, as_json=as_json, text=lambda: [f"watching {log.origin}", RESTART])


@witness.command("remove-log", short_help="Cosign the log ORIGIN no more.")
@click.argument("origin")
@_dir_option
@json_option
def remove_log(origin: str, target: str | None, as_json: bool) -> None:
    """Cosign the log ORIGIN no more. What was cosigned stays remembered, should it come back."""

    def change(logs: list[str]) -> list[str]:
        kept = [line for line in logs if _origin(line) != origin]
        if len(kept) == len(logs):
            raise _unknown(f"this node watches no log {origin}")
        return kept

    path = _change(target, "logs", change, parse_logs)
    told = {"origin": origin, "saved": str(path)}
    tell(told, as_json=as_json, text=lambda: [f"{origin} is not watched any more", RESTART])


@witness.command("add-witness", short_help="Send our checkpoints to the witness at URL.")
@click.argument("vkey")
@click.argument("url")
@_dir_option
@json_option
def add_witness(vkey: str, url: str, target: str | None, as_json: bool) -> None:
    """Send our own checkpoints to the witness with the key VKEY at the submission prefix URL."""
    try:
        asked = Asked.parse(f"{vkey} {url}")
    except Malformed as error:
        raise usage(f"this is no witness to ask: {error}", "give its verifier key and its address") from None

    def change(outside: list[str]) -> list[str]:
        return [*(line for line in outside if _public(line) != asked.key.public), str(asked)]

    path = _change(target, "outside", change, parse_asked)
    told = {"witness": asked.key.name, "url": asked.url, "saved": str(path)}
    tell(told, as_json=as_json, text=lambda: [f"asking {asked.key.name}", RESTART])


@witness.command("remove-witness", short_help="Ask the witness with this key no more.")
@click.argument("vkey")
@_dir_option
@json_option
def remove_witness(vkey: str, target: str | None, as_json: bool) -> None:
    """Ask the witness with the key VKEY no more."""

    def change(outside: list[str]) -> list[str]:
        kept = [line for line in outside if line.partition(" ")[0] != vkey]
        if len(kept) == len(outside):
            raise _unknown("this node asks no witness with this key")
        return kept

    path = _change(target, "outside", change, parse_asked)
    tell({"vkey": vkey, "saved": str(path)}, as_json=as_json, text=lambda: ["not asked any more", RESTART])


def _change(
    target: str | None,
    key: str,
    change: Callable[[list[str]], list[str]],
    parse: Callable[[list[str]], object],
) -> Path:
    """Apply `change` to the list `witness.<key>` of the configuration, if the result is one that a node takes."""
    folder = data_folder(target)
    if not folder.is_dir():
        raise _unknown(f"there is no data directory {folder}")
    raw = msgspec.to_builtins(settings.load(folder, environ={}))
    lines = change(list(raw["witness"][key]))
    try:
        parse(lines)
    except Malformed as error:
        raise usage(f"the configuration would not be valid: {error}", "see `pyrsia config`") from None
    raw["witness"][key] = lines
    return settings.save(settings.parse(raw, folder / settings.CONFIG_NAME), folder)


def _origin(line: str) -> str:
    try:
        return WatchedLog.parse(line).origin
    except Malformed:  # whoever wrote it by hand is told when the whole list is read
        return ""


def _public(line: str) -> bytes:
    try:
        return Asked.parse(line).key.public
    except Malformed:
        return b""


# -- asking the node --


@witness.command("list", short_help="The logs that the node cosigns, the witnesses it asks.")
@node_option
@json_option
def show(target: str | None, as_json: bool) -> None:
    """The logs that the node cosigns, and the witnesses that it asks."""
    status = _status(target)
    logs = [
        (one["origin"], _size(one["size"]), _when(one["time_s"]), one["evidence"] or "-", one["hash"][:16])
        for one in status["logs"]
    ]
    outside = [
        (VerifierKey.parse(one["vkey"]).name, one["url"], _size(one["size"]), one["trouble"] or "-")
        for one in status["outside"]
    ]

    def lines() -> list[str]:
        told = [f"this witness is stopped: {status['stopped']}"] if status["stopped"] else []
        told += [one["stopped"] for one in status["logs"] if one["stopped"]]
        told += table(logs, ("log", "cosigned at", "when", "evidence", "hash")) if logs else []
        told += table(outside, ("witness", "address", "cosigned at", "trouble")) if outside else []
        return told or ["no log is watched, and no witness asked: see `pyrsia witness --help`"]

    tell(status, as_json=as_json, text=lines)


@witness.command(short_help="The verifier key of this witness.")
@node_option
@json_option
def key(target: str | None, as_json: bool) -> None:
    """The verifier key of this witness, for the logs and for policies."""
    status = _status(target)
    if not status["vkey"]:
        raise _unknown("this node is no witness yet: it has no key before it watches a log")
    tell({"vkey": status["vkey"]}, as_json=as_json, text=lambda: [status["vkey"]])


@witness.command(short_help="What logs signed against their own past.")
@click.argument("origin", required=False)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write each note to this folder."
)
@node_option
@json_option
def evidence(origin: str | None, out: Path | None, target: str | None, as_json: bool) -> None:
    """What our own log and the watched ones (or ORIGIN alone) signed against their own past.

    Exit code 1 if one of them forked. Each piece is two notes, the one that was cosigned here and the one that
    came. `fork`: two roots at one size; whoever has the log's key can check that it signed both. `shrink` and
    `proof` may be a stranger's doing, with notes of the log's.
    """
    if origin:
        origins = [origin]
    else:
        status = _status(target)
        origins = list(dict.fromkeys([status["origin"], *(one["origin"] for one in status["logs"])]))
    with Client(target) as node:
        found = [_evidence(node, one) for one in origins]
    rows = [{"origin": one["origin"], **row} for one in found for row in one["evidence"]]
    files = _write(rows, out) if out is not None else []

    def lines() -> list[str]:
        if not rows:
            return ["no evidence against any log"]
        told = []
        for row in rows:
            told += [f"{row['kind']} of {row['origin']}, {_when(row['time_s'])}"]
            told += [f"  cosigned  {line}" for line in row["kept"].splitlines()]
            told += [f"  came      {line}" for line in row["told"].splitlines()]
        return told + [f"written to {path}" for path in files]

    tell({"evidence": rows, "files": files}, as_json=as_json, text=lines)
    if any(row["kind"] == "fork" for row in rows):
        click.get_current_context().exit(1)


def _evidence(node: Client, origin: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = shaped(node.get(f"/witness/{origin_hash(origin)}/evidence"), EvidenceAnswer)
    except Refusal as refusal:
        if refusal.code != "not-found":
            raise
        raise _unknown(f"this node watches no log {origin}") from None
    return found


def _write(rows: list[dict[str, Any]], out: Path) -> list[str]:
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for number, row in enumerate(rows):
        for which in ("kept", "told"):
            path = out / f"{origin_hash(row['origin'])[:16]}-{number}-{row['kind']}-{which}.note"
            path.write_text(row[which], encoding="utf-8")
            files.append(str(path))
    return files


def _status(target: str | None) -> dict[str, Any]:
    with Client(target) as node:
        answer: dict[str, Any] = shaped(node.get("/witness/"), WitnessStatus)
    try:
        for one in answer["outside"]:
            VerifierKey.parse(one["vkey"])
    except Malformed:
        raise foreign("a key that is none") from None
    return answer


def _size(size: int) -> str:
    return "-" if size < 0 else str(size)


def _when(time_s: int) -> str:
    # A hostile answer may hold any number; what no calendar has is shown as it is.
    return strftime("%Y-%m-%d %H:%M:%SZ", gmtime(time_s)) if 0 < time_s < 1 << 36 else "-"


def _unknown(what: str) -> Refusal:
    return Refusal("not-found", what=what, who="your command", do="see `pyrsia witness list`")
