"""`log export`: a node's log as files for any static host."""

from pathlib import Path

import click

from pyrsia.cli.log.common import Progress, belief_options, copied, reading, tell_wrong
from pyrsia.cli.tell import json_option, node_option
from pyrsia.log.checking import Wrong


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@node_option
@belief_options
@json_option
def export(
    folder: Path,
    target: str | None,
    vkeys: tuple[str, ...],
    origin: str | None,
    trust: Path | None,
    as_json: bool,
) -> int:
    """Write a node's log into DIR: the files that it serves below /log/, for any static host.

    The checkpoint is written last, so that DIR can be served meanwhile; what DIR has of an earlier export is used
    again. A node that is stopped is read from its data directory: --node DIR.
    """
    from pyrsia.audit.copying import Copy
    from pyrsia.audit.keeping import Keeper
    from pyrsia.audit.opening import Believed, open_node

    name = target or "the node"
    progress = Progress("exported")
    try:
        with reading(name, progress):
            source = open_node(target)
            try:
                name = source.name
                rule = Believed(vkeys, origin, trust).rule(source)
                keeper = Keeper(folder)
                try:
                    copied(Copy(source, rule, keeper, progress).round(), folder, as_json=as_json)
                finally:
                    keeper.close()
            finally:
                source.close()
    except Wrong as wrong:
        return tell_wrong(wrong, name, as_json=as_json)
    return 0
