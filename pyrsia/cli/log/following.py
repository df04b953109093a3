"""What `log tail` and `log monitor` share: the log to follow, whom to believe, and the user's own memory of it."""

from pathlib import Path

import click

from pyrsia.audit.following import Keep
from pyrsia.audit.heads import Quorum, Rule, pinned
from pyrsia.audit.opening import OwnNode, open_log, open_node, own_network
from pyrsia.audit.sources import Source
from pyrsia.client import resolve
from pyrsia.config import CONTROL_SOCKET
from pyrsia.errors import Refusal
from pyrsia.node.house import GENESIS
from pyrsia.verify.pins import Pins, read_genesis
from pyrsia.wire.text import safe


def opened(place: str | None, target: str | None, *, follow: bool) -> Source:
    """The log to read.

    A node that is followed is asked through its socket alone: while it is down its files are left alone, for
    whoever reads those keeps it from starting.

    Raises:
        Refusal, Unavailable, Malformed: as `audit.opening`.
    """
    if place and target:
        raise click.UsageError("DIR or URL and --node are two places; name one of them")
    named = place or resolve(target)
    folder = Path(named)
    if follow and not named.startswith(("http://", "https://")):
        if not place or (folder / GENESIS).exists() or (folder / CONTROL_SOCKET).exists():
            return OwnNode(folder)
    return open_log(place) if place else open_node(target)


def believed(source: Source, note: bytes, trust: Path | None) -> Rule:
    """The rule of the trust file, of one's own node, or of the pinned network that the note names.

    Raises:
        Refusal: `not-pinned`, or what a trust file is refused for.
    """
    if trust is not None:
        return Quorum(read_genesis(trust).genesis)
    try:
        return own_network(source) or pinned(note, Pins.of_user().all())
    except Refusal as refusal:
        if refusal.code != "not-pinned":
            raise
        do = "pin it: pyrsia trust add URL --digest sha256:..., or name its trust file with --trust"
        raise Refusal(refusal.code, what=refusal.what, who=refusal.who, do=do) from None


def saw(effect: Keep, rule: Rule, trust: Path | None) -> None:
    """Compare a proved head with the newest one that any command saw of a pinned network, and remember it, with the
    epochs that led to it.

    Raises:
        Refusal: `proof-invalid` for a fork.
    """
    genesis, line = rule.genesis, rule.line
    if genesis is None or line is None or trust is not None:
        return  # what is believed for one call leaves nothing behind
    pins = Pins.of_user()
    pin = next((one for one in pins.all() if one.genesis.raw == genesis.raw), None)
    if pin is None:
        return
    try:
        pins.learn(pin, line)
        pins.saw(pin, effect.head.note, effect.head.checkpoint)
    except OSError as error:
        warn(f"the newest head is not remembered: {error.strerror}: {pins.folder}")


def warn(text: str) -> None:
    click.echo(safe(f"pyrsia: {text}"), err=True)
