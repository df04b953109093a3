"""`log fsck`: check a whole log, wherever it lies, and name the first wrong byte."""

from pathlib import Path
from typing import Any

import click

from pyrsia.cli.log.common import Progress, belief_options, reading, tell_wrong
from pyrsia.cli.tell import json_option, node_option, tell
from pyrsia.log.checking import Wrong


@click.command()
@click.argument("place", required=False, metavar="[DIR|URL]")
@node_option
@belief_options
@click.option("--full", is_flag=True, help="Check signatures of entries too, and execute the whole ledger.")
@click.option("--tiles", is_flag=True, help="Check the tiles alone: for logs whose entries are no bundles.")
@json_option
def fsck(
    place: str | None,
    target: str | None,
    vkeys: tuple[str, ...],
    origin: str | None,
    trust: Path | None,
    full: bool,
    tiles: bool,
    as_json: bool,
) -> int:
    """Check that a log is whole: signatures of its checkpoint, every tile, every entry.

    The log lies in the folder DIR, at the address URL, or with a node: DIR may be the data directory of one that
    is stopped; without DIR and URL it is the node of --node. Exit codes: 0 whole, 1 something is wrong, and named.
    """
    from pyrsia.audit.fsck import check
    from pyrsia.audit.opening import Believed, open_log, open_node

    if place and target:
        raise click.UsageError("DIR or URL and --node are two places; name one of them")
    if full and tiles:
        raise click.UsageError("--full reads entries, and --tiles leaves them out")
    name = place or target or "the node"
    progress = Progress("checked")
    try:
        with reading(name, progress):
            source = open_log(place) if place else open_node(target)
            try:
                name = source.name
                rule = Believed(vkeys, origin, trust).rule(source)
                report = check(source, rule, progress, read_entries=not tiles, full=full)
            finally:
                source.close()
    except Wrong as wrong:
        return tell_wrong(wrong, name, as_json=as_json)
    found = report.as_dict()
    tell(found, as_json=as_json, text=lambda: _lines(found))
    return 0


def _lines(found: dict[str, Any]) -> list[str]:
    read = f"{found['size']:,} entries" if found["entries"] else f"the tiles of {found['size']:,} entries"
    lines = [f"{read} are whole: {found['source']}"]
    lines.append(f"  log {found['origin']}, root {found['root']}")
    lines.append(f"  signed by {', '.join(found['signers'])}")
    if found["beyond"]:
        lines.append(f"  and {found['beyond']:,} entries beyond its checkpoint")
    if "blocks" in found:
        lines.append(f"  executed: {found['blocks']:,} blocks, {found['signatures']:,} signatures of entries")
    return [*lines, *(f"  note: {note}" for note in found["notes"])]
