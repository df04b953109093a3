"""`log monitor`: tell a command or an address of every entry about some packages."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyrsia.cli.log.common import CatchingUp
from pyrsia.cli.log.following import believed, opened, saw, warn
from pyrsia.cli.log.when import told
from pyrsia.cli.tell import json_option, node_option, trust_option
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.matching import Filter, PurlGlob
from pyrsia.wire.text import safe

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.audit.events import Event
    from pyrsia.audit.follow import Begun
    from pyrsia.audit.outlets import Outlet
    from pyrsia.audit.sources import Source


@click.command()
@click.argument("place", required=False, metavar="[DIR|URL]")
@click.option(
    "--purl", "purls", multiple=True, metavar="GLOB", help="Packages: * and ? are wildcards. Repeatable."
)
@click.option("--digest", "digests", multiple=True, metavar="SHA256", help="Files, by digest. Repeatable.")
@click.option("--exec", "commands", multiple=True, metavar="CMD", help="Run this for each entry. Repeatable.")
@click.option(
    "--webhook", "webhooks", multiple=True, metavar="URL", help="POST each entry there. Repeatable."
)
@click.option(
    "--state", "path", type=click.Path(dir_okay=False, path_type=Path), help="State file [one of your own]."
)
@click.option(
    "--from",
    "first",
    type=click.IntRange(0),
    metavar="INDEX",
    help="Where the first start begins [the end].",
)
@click.option("--once", is_flag=True, help="One round, then end; for cron.")
@click.option(
    "--every",
    "every_s",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0.1, 86_400),
    metavar="SECONDS",
    help="Between two looks at the log.",
)
@trust_option
@node_option
@json_option
def monitor(
    place: str | None,
    purls: tuple[str, ...],
    digests: tuple[str, ...],
    commands: tuple[str, ...],
    webhooks: tuple[str, ...],
    path: Path | None,
    first: int | None,
    once: bool,
    every_s: float,
    trust: Path | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Watch a log for packages, and run a command or call an address for every entry about them.

    The event is JSON on the command's standard input, and in PYRSIA_EVENT, PYRSIA_TYPE, PYRSIA_PURLS,
    PYRSIA_SUMMARY and others; no shell sees it. Each entry is delivered at least once, also across restarts.
    Every checkpoint must go on from the last one. A log that forks or shrinks is delivered as an alarm, kept as
    evidence, and ends the monitor. Exit codes: 1 alarm, or with --once whatever went wrong; 2 usage; 3 not pinned.
    """
    from pyrsia.audit.follow import Begun, Follow
    from pyrsia.audit.following import Following
    from pyrsia.audit.monitor import Monitor, State
    from pyrsia.audit.opening import names_of

    watched = _watched(purls, digests)
    outlets = _outlets(commands, webhooks, as_json=as_json)
    held: list[State] = []

    def begin(source: "Source", note: bytes) -> "Begun":
        rule = believed(source, note, trust)
        genesis = rule.genesis
        assert genesis is not None  # noqa: S101 (a trust file, a node or a pin: each has one)
        rule.read(note, source.epoch)  # what nobody signed makes no state file
        state = State.open(path, genesis, watched)
        held.append(state)
        last, position = state.last(rule), state.begin(first)
        names = names_of(source, genesis)
        hands = Monitor(
            state,
            outlets,
            names=names,
            saw=lambda effect: saw(effect, rule, trust),
            warn=warn,
            progress=CatchingUp(),
        )
        return Begun(rule, Following(last=last, position=position, every_s=every_s), hands)

    loop = Follow(lambda: opened(place, target, follow=not once), begin, warn=warn)
    try:
        if once:
            loop.once()
        else:
            loop.run()
    finally:
        for state in held:
            state.close()


def _watched(purls: Sequence[str], digests: Sequence[str]) -> Filter:
    from pyrsia.audit.monitor import MAX_WATCHED

    if not (purls or digests):
        raise click.UsageError(
            "name what to watch: --purl GLOB or --digest SHA256; --purl '*' is every package"
        )
    if len(purls) + len(digests) > MAX_WATCHED.value:
        raise click.UsageError(f"one monitor watches at most {MAX_WATCHED.value} patterns and digests")
    for digest in digests:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise click.UsageError(f"{digest} is no SHA-256: 64 hexadecimal digits in lower case")
    try:
        globs = tuple(PurlGlob.parse(one) for one in sorted(set(purls)))
    except Malformed as error:
        raise Refusal("usage", what=str(error), who="--purl", do="write --purl pkg:pypi/idna") from None
    return Filter(purls=globs, digests=tuple(sorted(set(digests))))


def _outlets(commands: Sequence[str], webhooks: Sequence[str], *, as_json: bool) -> "list[Outlet]":
    from pyrsia.audit.outlets import Command, Webhook

    return [_Print(as_json), *map(Command, commands), *map(Webhook, webhooks)]


class _Print:
    """The event as a line on standard output."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def send(self, event: "Event") -> None:
        if self._as_json:
            click.echo(json.dumps(event, sort_keys=True))
        elif event["event"] == "alarm":
            click.echo(safe(f"ALARM: {event['summary']}"))
        else:
            when = told(event["time_ms"])
            click.echo(safe(f"{event['index']:>8}  {when}  {event['type']:<16} {event['summary']}"))
