"""Evidence on its way to the log: what agreement proves against a validator is put on record, by whoever sees it.

Every honest node that saw the fault tries; the ledger takes the first. Nothing happens to the accused here: its
operator and everybody else read it in the log, and from the next epoch on it leads no view.

Source: docs/agreement.md, "Evidence"; docs/ledger.md, "Evidence".
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from pyrsia.consensus.effects import Blame
from pyrsia.errors import PyrsiaError, Refusal
from pyrsia.ledger import views
from pyrsia.ledger.state import Reads
from pyrsia.node.log.summary import FAULTS
from pyrsia.units import Limit
from pyrsia.wire.text import b32

PENDING = Limit(64, "faults that wait for the log; a liar repeats itself, and one record a kind convicts it")
TRIES = Limit(5, "of one fault; a network that does not take it for that long has other worries")
SEEN = Limit(1_024, "faults of this life: both kinds of a hundred validators in five epochs")
PAUSE_S = Limit(5, "between tries, so that evidence is never the load")

_log = logging.getLogger("pyrsia.evidence")

Submit = Callable[[str, dict[str, Any]], Awaitable[tuple[bytes, int]]]


class Accusing:
    """Submits evidence, once for each validator, epoch and kind."""

    def __init__(
        self, *, reads: Reads, submit: Submit, name_of: Callable[[bytes], str], notice: Callable[[str], None]
    ) -> None:
        """`notice` tells this node's operator."""
        self._reads = reads
        self._submit = submit
        self._name_of = name_of
        self._notice = notice
        self._seen: dict[tuple[bytes, int, str], None] = {}
        self._inbox, self._blames = trio.open_memory_channel[Blame](PENDING.value)

    def blame(self, effect: Blame) -> None:
        """Agreement has proof of a fault."""
        kind = "block" if effect.second is None else "votes"
        fault = (effect.node, effect.epoch, kind)
        if fault in self._seen:
            return
        try:
            self._inbox.send_nowait(effect)
        except trio.WouldBlock:  # the next proof of the same fault is taken when there is room
            return
        self._seen[fault] = None
        if len(self._seen) > SEEN.value:
            del self._seen[next(iter(self._seen))]
        self._notice(f"ALARM: {self._name_of(effect.node)} signed {FAULTS[kind]} in epoch {effect.epoch}")
        _log.error("evidence against %s: %r", b32(effect.node)[:8], effect)

    async def run(self) -> None:
        """One after the other, until cancelled."""
        async for effect in self._blames:
            await self._put_on_record(effect)

    async def _put_on_record(self, effect: Blame) -> None:
        body = effect.body()
        for _ in range(TRIES.value):
            there = views.fault(self._reads, b32(effect.node), effect.epoch, str(body["kind"]))
            if there is not None:
                self._recorded(effect.node, there["leaf"])
                return
            try:
                _, leaf = await self._submit("fault.evidence", body)
            except Refusal as refusal:
                if (
                    refusal.code == "entry-refused"
                ):  # too large, of a member that has gone, or on record by now
                    _log.warning("the log does not take the evidence: %s", refusal)
                    return
                _log.warning("the evidence waits: %s", refusal)
            except PyrsiaError as error:
                _log.warning("the evidence waits: %s", error)
            else:
                self._recorded(effect.node, leaf)
                return
            await trio.sleep(PAUSE_S.value)

    def _recorded(self, node: bytes, leaf: int) -> None:
        self._notice(f"evidence against {self._name_of(node)} is leaf {leaf} of the log")
