"""`log mirror`: a verified copy of any C2SP log, kept up to date."""

from pathlib import Path

import click

from pyrsia.cli.log.common import Progress, belief_options, copied, reading, tell_wrong
from pyrsia.cli.tell import json_option
from pyrsia.log.checking import Wrong
from pyrsia.wire.text import safe


@click.command()
@click.argument("url")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@belief_options
@click.option("--follow", is_flag=True, help="Go on with what comes, until stopped or alarmed.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.1, 86_400),
    default=10.0,
    show_default=True,
    help="Seconds between two looks with --follow; more after failures.",
)
@json_option
def mirror(
    url: str,
    folder: Path,
    vkeys: tuple[str, ...],
    origin: str | None,
    trust: Path | None,
    follow: bool,
    every_s: float,
    as_json: bool,
) -> int:
    """Copy the log at URL into DIR, every hash verified before it is written.

    URL is the prefix of any C2SP tlog-tiles log, or the address of a node. DIR may hold an earlier copy: only what
    is new is fetched, and a log that shrank or forked is refused, with both checkpoints kept in DIR/evidence.
    """
    from pyrsia.audit.copying import Copy, Round
    from pyrsia.audit.keeping import Keeper
    from pyrsia.audit.mirror import Follow
    from pyrsia.audit.opening import Believed
    from pyrsia.audit.sources import at_address

    believed = Believed(vkeys, origin, trust)
    keeper = Keeper(folder)
    progress = Progress("copied")

    def once() -> Round:
        source = at_address(url)
        try:
            return Copy(source, believed.rule(source), keeper, progress).round()
        finally:
            source.close()
            progress.end()

    try:
        with reading(url, progress):
            if follow:
                Follow(
                    once,
                    every_s,
                    told=lambda done: copied(done, folder, as_json=as_json),
                    warned=lambda why: click.echo(f"pyrsia: {safe(why)}; asking again", err=True),
                ).run()
            copied(once(), folder, as_json=as_json)
    except Wrong as wrong:
        return tell_wrong(wrong, url, as_json=as_json)
    finally:
        keeper.close()
    return 0
