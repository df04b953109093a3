"""`storage`: what takes the node's disk, what stays there, and putting it in order."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.groups import Group
from pyrsia.cli.tell import examples, json_option, node_option, table, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.serve.desks.storage import PinAnswer, StorageStatus
from pyrsia.status import Swept

POLL_S: Final = 0.5
NOTHING: Final = "nothing to do"
PATIENCE_S: Final = 3_600.0  # a sweep hashes what a crash left, some GB at most in one turn

# Why artifacts stay, in the words of who ordered it; another reason is shown as it is.
_REASONS: Final = {
    "operator": "the operator (pyrsia storage pin)",
    "build": "builds of this node",
    "lock": "build requests of this node",
    "source": "sources that were sent to this node",
    "receipt": "receipts that this node signed",
    "shard": "this node's shards (replication)",
    "salvaged": "salvaged from a lost database",
}


@click.group(
    cls=Group,
    epilog=examples(
        "pyrsia storage status",
        "pyrsia storage pin 'pkg:pypi/flask@3.*' --fetch",
        "pyrsia storage gc --dry-run",
        "pyrsia storage scrub --all",
    ),
)
def storage() -> None:
    """What takes the node's disk, what stays there, and putting it in order."""


@storage.command()
@node_option
@json_option
def status(target: str | None, as_json: bool) -> None:
    """What takes the disk, what may go, and what is damaged."""
    with Client(target) as node:
        answer = shaped(node.get("/api/v1/storage"), StorageStatus)
    tell(answer, as_json=as_json, text=lambda: _status_lines(answer))


@storage.command()
@click.argument("pattern", metavar="PURL|SHA256|GLOB")
@click.option("--fetch", is_flag=True, help="Bring what is not here.")
@node_option
@json_option
def pin(pattern: str, fetch: bool, target: str | None, as_json: bool) -> None:
    """Keep artifacts here, whatever room others want.

    A purl or a pattern of purls holds for versions to come as well: they stay once they are here.
    """
    with Client(target) as node:
        answer = shaped(node.post("/api/v1/storage/pins", {"pattern": pattern, "fetch": fetch}), PinAnswer)
    tell(answer, as_json=as_json, text=lambda: _pinned(answer))


@storage.command()
@click.argument("pattern", metavar="PURL|SHA256|GLOB")
@node_option
@json_option
def unpin(pattern: str, target: str | None, as_json: bool) -> None:
    """Keep them no more, as they were pinned.

    Only for the operator's sake: what others pinned stays.
    """
    with Client(target) as node:
        answer = shaped(node.post("/api/v1/storage/unpin", {"pattern": pattern}), PinAnswer)
    told = f"unpinned: {answer['pattern']}; {answer['blobs']} files here may go now, unless others want them"
    tell(answer, as_json=as_json, text=lambda: [told])


@storage.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@node_option
@json_option
def gc(dry_run: bool, target: str | None, as_json: bool) -> None:
    """Remove what nobody knows, and know what a crash left.

    The node does so by itself every hour.
    """
    with Client(target, patience_s=PATIENCE_S) as node:
        answer = shaped(node.post("/api/v1/storage/gc", {"dry": dry_run}), Swept)
    tell(answer, as_json=as_json, text=lambda: _swept(answer))


@storage.command()
@click.argument("pattern", metavar="[PURL|SHA256|GLOB]", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything that is here.")
@node_option
@json_option
def scrub(pattern: str | None, everything: bool, target: str | None, as_json: bool) -> None:
    """Read artifacts again to see whether they are whole.

    Damaged ones are let go and fetched again. The node does so by itself, slowly (storage.scrub_mb_s and
    storage.scrub_days).
    """
    if bool(pattern) == everything:
        raise click.UsageError("Name what to read: a purl, a pattern, a SHA-256, or --all.")
    with Client(target) as node:
        answer = shaped(node.post("/api/v1/storage/scrub", {"pattern": pattern or ""}), StorageStatus)
        while answer["scrub"]["ordered"]:
            if not as_json:
                _progress(answer["scrub"])
            time.sleep(POLL_S)
            answer = shaped(node.get("/api/v1/storage"), StorageStatus)
    walk = answer["scrub"]
    tell({"scrub": walk, "rotten": answer["rotten"]}, as_json=as_json, text=lambda: _scrubbed(answer))
    if walk["ended"]:
        raise Refusal(
            "unavailable",
            what=f"{walk['done']} of {walk['of']} artifacts were read, {walk['found']} damaged: {walk['ended']}",
            who="this machine's disk",
            do="look at the disk, then order it again",
        )
    if walk["found"]:
        raise Refusal(
            "data-damaged",
            what=f"{walk['found']} of {walk['done']} artifacts were damaged; they are let go and fetched again",
            who="this machine's disk or memory",
            do="see what is wanted still: pyrsia storage status; check the disk if it happens again",
        )


# -- words --


def size(count: int) -> str:
    """Bytes for a person."""
    for unit, of in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= of:
            return f"{count / of:,.1f} {unit}"
    return f"{count} B"


def _status_lines(told: dict[str, Any]) -> Iterator[str]:
    if told["full"]:
        yield f"FULL: {told['full']}; what is here is served, nothing more is taken"
    percent = 100 * told["used"] // max(1, told["allocated"])
    taken = f"{size(told['used'])} of {size(told['allocated'])} allocated ({percent} %)"
    yield f"artifacts:  {taken}, {told['blobs']} files"
    yield f"  pinned:   {size(told['pinned'])}, which stay"
    yield (
        f"  cache:    {size(told['cache'])}; above {size(told['high'])} it shrinks to {size(told['low'])},"
        f" the least recently used first ({told['evicted']} went since the start)"
    )
    yield f"  partial:  {size(told['promised'])} of downloads that run, {size(told['resting'])} of those that rest"
    yield f"disk:       {size(told['free'])} free, of which {size(told['spare'])} are kept for the log"
    yield f"pushed:     {_share(told['local'])}"
    yield f"unverified: {_share(told['proxied'])}"
    if told["replication"]:
        yield f"replicas:   {told['replication']}"
    yield f"gc:         {_last_sweep(told['sweep'])}"
    yield f"scrub:      {_last_scrub(told['scrub'])}"
    yield from _damaged(told["rotten"])
    if told["pins"]:
        rows = [
            (_REASONS.get(one["reason"], one["reason"]), one["blobs"], size(one["bytes"]))
            for one in told["pins"]
        ]
        yield ""
        yield from table(rows, ("pinned by", "files", "size"))
    if told["patterns"]:
        yield ""
        yield "pins of the operator:"
        yield from (f"  {pattern}" for pattern in told["patterns"])


def _share(told: dict[str, int]) -> str:
    return f"{size(told['used'])} of {size(told['quota'])}"


def _damaged(rows: list[dict[str, Any]]) -> Iterator[str]:
    wanted = [one for one in rows if one["state"] == "wanted"]
    yield f"damaged:    {len(wanted)} wanted again, {len(rows) - len(wanted)} mended lately"
    for one in wanted:
        yield f"  {one['sha256'][:16]} since {_time(one['time_s'])}: {one['note']}"


def _last_sweep(told: dict[str, Any] | None) -> str:
    return "not yet since the start" if told is None else f"{_time(told['at_s'])}, {_did(told)}"


def _did(told: dict[str, Any]) -> str:
    counts = (
        ("rows", "artifact whose file is gone", "artifacts whose file is gone"),
        ("known", "file known again", "files known again"),
        ("removed", "file removed", "files removed"),
        ("partials", "old download removed", "old downloads removed"),
        ("manifests_gone", "manifest dropped", "manifests dropped"),
        ("manifests_made", "manifest made", "manifests made"),
        ("strange", "strange name left alone", "strange names left alone"),
    )
    found = [f"{told[key]} {one if told[key] == 1 else more}" for key, one, more in counts if told[key]]
    return ", ".join(found) or NOTHING


def _swept(told: dict[str, Any]) -> Iterator[str]:
    did = _did(told)
    yield did if did == NOTHING else f"{'would do' if told['dry'] else 'done'}: {did}"
    freed = told["removed_bytes"] + told["partial_bytes"]
    if freed:
        yield f"  {size(freed)} {'would be' if told['dry'] else 'are'} free again"
    yield from (f"  not this node's: {name}" for name in told["strangers"])
    if len(told["strangers"]) < told["strange"]:
        yield f"  and {told['strange'] - len(told['strangers'])} more"
    if told["more"]:
        yield "  more is left for another turn: call it again"


def _last_scrub(told: dict[str, Any]) -> str:
    rate = (
        f"at {told['mb_s']} MB/s, all of it every {told['days']} days"
        if told["mb_s"]
        else "off (storage.scrub_mb_s)"
    )
    if told["ordered"]:
        return f"runs by order: {told['done']} of {told['of']} files; {rate}"
    if told["running"]:
        return f"runs: {told['blobs']} files, {size(told['bytes'])}, {told['rotten']} damaged; {rate}"
    return f"{'last ' + _time(told['last_s']) if told['last_s'] else 'never yet'}, {rate}"


def _scrubbed(told: dict[str, Any]) -> Iterator[str]:
    walk = told["scrub"]
    yield f"read: {walk['done']} of {walk['of']} files, {walk['found']} damaged"
    if walk["found"]:
        yield from _damaged(told["rotten"])


def _progress(walk: dict[str, Any]) -> None:
    click.echo(f"reading: {walk['done']} of {walk['of']} files, {walk['found']} damaged", err=True)


def _pinned(told: dict[str, Any]) -> Iterator[str]:
    if not told["blobs"] and not told["missing"]:
        yield f"pinned: {told['pattern']}; nothing that the log names matches it: it stands for what is to come"
        yield "  if it should match, see how the package is called: pyrsia package search"
        return
    yield f"pinned: {told['pattern']}; {told['blobs']} files are here ({size(told['bytes'])})"
    if told["fetching"]:
        yield f"  {told['fetching']} more are being brought ({size(told['missing_bytes'])}): pyrsia storage status"
    elif told["missing"]:
        stays = "stays once it comes" if told["missing"] == 1 else "stay once they come"
        yield f"  {told['missing']} more {stays} ({size(told['missing_bytes'])}); --fetch brings them now"


def _time(posix_s: int) -> str:
    try:
        return datetime.fromtimestamp(posix_s, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return "?"
