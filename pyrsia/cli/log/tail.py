"""`log tail`: the newest entries, and on request those to come."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from pyrsia.cli.log.following import believed, opened, saw, warn
from pyrsia.cli.log.when import told
from pyrsia.cli.tell import json_option, node_option, trust_option
from pyrsia.status import EntryStatus
from pyrsia.wire.text import safe

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.audit.heads import Rule


@click.command()
@click.argument("place", required=False, metavar="[DIR|URL]")
@click.option("-f", "--follow", is_flag=True, help="Stay, and print entries as checkpoints cover them.")
@click.option(
    "-n",
    "--newest",
    default=10,
    show_default=True,
    type=click.IntRange(0, 100_000),
    help="Entries to begin with.",
)
@click.option(
    "--every",
    "every_s",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0.1, 3_600),
    metavar="SECONDS",
    help="Between two looks at a log that is followed.",
)
@trust_option
@node_option
@json_option
def tail(
    place: str | None,
    follow: bool,
    newest: int,
    every_s: float,
    trust: Path | None,
    target: str | None,
    as_json: bool,
) -> None:
    """The newest entries of a log, each proved to be in it; with --follow those to come.

    An entry is printed when a checkpoint covers it that goes on from all that were seen before. Signatures are
    checked where the network is pinned. --follow outlives nodes that restart and logs that rest; a fork ends it
    with exit code 1. With --json each entry is a line.
    """
    from pyrsia.audit.follow import Follow
    from pyrsia.audit.tail import Tail, begin

    def hands(names: Mapping[str, str], rule: "Rule") -> Tail:
        return Tail(
            lambda row: _show(row, as_json=as_json),
            names=names,
            saw=lambda effect: saw(effect, rule, trust),
            warn=warn,
        )

    loop = Follow(
        lambda: opened(place, target, follow=follow),
        lambda source, note: begin(
            source,
            note,
            lambda source, note: believed(source, note, trust),
            hands,
            newest=newest,
            warn=warn,
            every_s=every_s,
        ),
        warn=warn,
    )
    if follow:
        loop.run()
    else:
        loop.once()


def _show(row: EntryStatus, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(row), sort_keys=True))
    else:
        click.echo(safe(f"{row.index:>8}  {told(row.time_ms)}  {row.kind:<16} {row.summary}"))
