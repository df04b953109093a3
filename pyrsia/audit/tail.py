"""`pyrsia log tail`: entries as they come, each only once a checkpoint that goes on from the last covers it.

With a pinned network the checkpoint's signatures are checked; without one only that nothing is taken back.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import platformdirs

from pyrsia.audit.events import row, timed
from pyrsia.audit.evidence import keep
from pyrsia.audit.follow import Begun
from pyrsia.audit.following import EVERY_S, Alarm, Following, Keep
from pyrsia.audit.heads import Head, Rule, Unsigned
from pyrsia.audit.monitor import alarmed, pair_of
from pyrsia.audit.opening import names_of
from pyrsia.audit.proven import ProvenLog
from pyrsia.audit.sources import Source
from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.genesis import Genesis
from pyrsia.log.tree import leaf_hash
from pyrsia.status import EntryStatus


class Tail:
    """The hands of a log that is read along."""

    def __init__(
        self,
        show: Callable[[EntryStatus], None],
        *,
        names: Mapping[str, str],
        saw: Callable[[Keep], None],
        warn: Callable[[str], None],
    ) -> None:
        self._show = show
        self._names = names
        self._saw = saw
        self._warn = warn

    def keep(self, effect: Keep) -> None:
        self._saw(effect)

    def deliver(self, log: ProvenLog, first: int) -> Iterator[int]:
        for index, leaf, time_ms in timed(log.entries(first, log.checkpoint.size)):
            self._show(row(index, leaf, time_ms, self._names))
            yield index + 1

    def alarm(self, effect: Alarm, source: str) -> None:
        folder = Path(platformdirs.user_state_dir("pyrsia", appauthor=False)) / "alarms"
        try:
            path = keep(folder, pair_of(effect, source))
        except OSError as error:
            self._warn(f"the evidence cannot be kept: {error.strerror}: {folder}")
            raise alarmed(effect, "") from None
        raise alarmed(effect, str(path))

    def warn(self, text: str) -> None:
        self._warn(text)


def begin(
    source: Source,
    note: bytes,
    rule: Callable[[Source, bytes], Rule],
    hands: Callable[[Mapping[str, str], Rule], Tail],
    *,
    newest: int,
    warn: Callable[[str], None],
    every_s: float = EVERY_S,
) -> Begun:
    """Begin with the `newest` entries.

    Raises:
        Malformed: no checkpoint that `rule` takes.
    """
    try:
        found = rule(source, note)
    except Refusal as refusal:
        if refusal.code != "not-pinned":
            raise
        warn(f"{refusal.what}; nobody's signatures are checked, only that nothing is taken back")
        found = Unsigned()
    head = found.read(note, source.epoch)
    position = max(0, head.checkpoint.size - newest)
    following = Following(position=position, every_s=every_s, patient=True)
    return Begun(found, following, hands(names_of(source, _genesis(source, found, head)), found))


def _genesis(source: Source, rule: Rule, head: Head) -> Genesis | None:
    """The network's: that of the pin, else that which is leaf 0 of this very log."""
    genesis = rule.genesis
    if genesis is None and head.checkpoint.size:
        try:
            raw = source.genesis() or b""
            ProvenLog(source, head.checkpoint).included(0, leaf_hash(raw))
            genesis = Genesis.parse(raw)
        except Malformed:
            return None  # another kind of log; its entries are told as they are
    return genesis
