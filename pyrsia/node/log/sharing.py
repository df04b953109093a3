"""The shell around `ledger.sharing`: entries in, messages out, one timer. Nothing is decided here."""

import logging
from collections.abc import Callable, Iterable

import trio

from pyrsia.errors import PeerFault
from pyrsia.ledger.sharing import Blame, Effect, Now, Sharing, Tell, WakeAt, Work
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.kinds import Kind
from pyrsia.units import NodeId
from pyrsia.wire.text import b32

_log = logging.getLogger("pyrsia.sharing")


class Sharer:
    """Runs one `Sharing` over the node's links."""

    def __init__(
        self,
        core: Sharing,
        *,
        send: Callable[[NodeId, int, bytes], bool],
        work: Callable[[], None],
        now_ms: NowMs = wall_ms,
    ) -> None:
        """
        Args:
            send: hands a one-way message to a link (`Links.send`).
            work: tells agreement that there is something to order (`Agreement.work`).
            now_ms: Unix time.
        """
        self._core = core
        self._send = send
        self._work = work
        self._now_ms = now_ms
        self._timer = trio.CancelScope()  # around waiting; its end is the core's timer

    def offer(self, raw: bytes, peer: NodeId | None = None) -> str:
        """Take in an entry that came here first, from our own node or from `peer`, and pass it on.

        Returns:
            `ACCEPTED` or `DUPLICATE` (`ledger.sharing`).

        Raises:
            Refusal: why not.
        """
        outcome, effects = self._core.on_entry(self._now(), raw, peer or b"")
        self._do(effects)
        return outcome

    def receive(self, peer: NodeId, data: bytes) -> None:
        """A `Kind.SHARE` message of a peer.

        Raises:
            PeerFault: it holds what no honest validator sends; all that is good in it was taken.
        """
        self._do(self._core.on_message(self._now(), peer, data))

    def linked(self, peer: NodeId, up: bool) -> None:
        """A link came up, or went down."""
        self._do(self._core.on_link(self._now(), peer, up))

    async def run(self) -> None:
        """Keep the core's timer until cancelled."""
        self._do(self._core.on_start(self._now()))
        while True:
            with self._timer:
                await trio.sleep_forever()
            self._timer = trio.CancelScope()  # before the core is asked: it says when the next one ends
            self._do(self._core.on_timer(self._now()))

    def _now(self) -> Now:
        return Now(trio.current_time(), self._now_ms())

    def _do(self, effects: Iterable[Effect]) -> None:
        blamed: Blame | None = None
        for effect in effects:
            match effect:
                case Tell(to, data):
                    for node in to:
                        self._send(NodeId(node), Kind.SHARE, data)
                case WakeAt(at_s):
                    self._timer.deadline = at_s  # moved without waking the task that waits
                case Work():
                    self._work()
                case Blame():
                    blamed = effect
        if blamed is not None:
            _log.warning("%s: %s", b32(blamed.node)[:8], blamed.what)
            raise PeerFault(blamed.what, peer=blamed.node, evidence=blamed.evidence)
