"""A builder's way to receipts: which storage members it asks to keep what it will reveal, and for how long it tries.

Decides the order (its own desk first if it is a storage member, then those who built the same and so have most of it,
then the others; each in the order that rendezvous hashing gives the request, so that requests spread), how many are
asked at once (as many failure domains as are needed; one more whenever one refuses or is slow), and when another round
begins. What one round brought counts in the next, for members are up in turns. It never gives up by itself: the time
for the reveal ends it. What a receipt says, and how many are needed, is `ledger.receipts`' business.

Source: docs/builds-how.md, "Receipts"; docs/ledger.md, "Receipts".
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.ledger import receipts, views
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.receipts import Kept
from pyrsia.ledger.state import View
from pyrsia.mesh.scores import LIE, Scores
from pyrsia.node.mesh.owning import storage_members
from pyrsia.node.storage.shelf import Shelf
from pyrsia.transfer.placement import Placement, StorageMember, shard_of
from pyrsia.units import Limit, NodeId
from pyrsia.wire.receipts import Ask, Wanted, check_answer
from pyrsia.wire.text import b32, safe

ASK_S = Limit(
    20, "for an answer, beside the time of the bytes: they go on coming when it is over, so we ask again"
)
SLOW_BYTES: Final = 2 << 20  # a second, that a member on a line of 16 Mbit/s takes
HEDGE_S = Limit(2, "before one more is asked; a member that has the bytes already answers in milliseconds")
FAST_BYTES: Final = 16 << 20  # a second, that most members take
AGAIN_S = Limit(3, "between two rounds: a member that was away may be back, and a reveal has minutes")
SELDOM_S = Limit(
    12, "between two rounds in the end, while nobody signs: members that are behind need time, not asks"
)

REMEMBERED = Limit(64, "reveals whose receipts are remembered: more than a builder has at once")

_log = logging.getLogger("pyrsia.receipts")

AskOf = Callable[[NodeId, bytes, float], Awaitable[bytes]]  # (member, ask, seconds) -> its answer
Say = Callable[[str], None]


class Receipts:
    """Gets receipts for the reveals of one builder."""

    def __init__(
        self,
        node: NodeId,
        genesis: Genesis,
        *,
        reads: Callable[[bytes], bytes | None],
        shelf: Shelf,
        ask: AskOf,
        verify: Callable[[bytes, bytes, bytes], bool],
        scores: Scores,
    ) -> None:
        """
        Args:
            reads: the final state.
            ask: of a storage member, which may be this node itself (may raise `PyrsiaError`).
            verify: (public key, text, signature).
        """
        self._node = node
        self._genesis = genesis
        self._reads = reads
        self._shelf = shelf
        self._ask = ask
        self._verify = verify
        self._scores = scores
        self._signed: dict[bytes, dict[NodeId, bytes]] = {}  # by what was signed, the newest last

    @property
    def needed(self) -> int:
        """How many receipts a reveal needs now."""
        f = views.current(self._reads, self._genesis).f
        return receipts.needed(receipts.domains(View(self._reads)), f)

    async def gather(
        self, request_id: str, reveal: Mapping[str, Any], request: Mapping[str, Any], say: Say
    ) -> list[dict[str, str]]:
        """As many receipts as the log wants, as a reveal carries them. Tries until cancelled.

        Args:
            reveal, request: bodies of the reveal to come and of its request.
            say: is told how far this is, for people.
        """
        if not self.needed:
            return []
        kept = receipts.blobs(reveal, request)
        manifests = frozenset(bytes.fromhex(manifest) for manifest, _, _ in kept)
        told, pause_s, signed = "", float(AGAIN_S.value), 0
        with ExitStack() as stack:
            loans = _Loans(self._shelf, manifests, stack)
            while True:
                asking = self._round(request_id, kept, loans)
                found = await asking.run(say)
                if found is not None:
                    return [{"node": node, "sig": found[node].hex()} for node in sorted(found)]
                if asking.said != told:
                    told = asking.said
                    _log.warning("reveal of %s waits for receipts: %s", request_id[:16], told)
                say(f"waiting for receipts: {told}")
                if len(asking.found) > signed:
                    signed, pause_s = len(asking.found), AGAIN_S.value
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, SELDOM_S.value)

    def _round(self, request_id: str, kept: Sequence[Kept], loans: "_Loans") -> "_Round":
        members = storage_members(self._reads)
        order = Placement.of(members).order(shard_of(bytes.fromhex(request_id)))
        wanted = [Wanted(bytes.fromhex(one), bytes.fromhex(sha256), size) for one, sha256, size in kept]
        ask = Ask.of(bytes.fromhex(request_id), wanted).encode()
        text = receipts.signed_text(self._genesis.net, request_id, b32(self._node), kept)
        total = sum(size for _, _, size in kept)
        found = self._remembered(text, members)

        async def one(node: NodeId) -> bytes:
            loans.to(node)
            answer = await self._ask(node, ask, ASK_S.value + total / SLOW_BYTES)
            try:
                if self._verify(node, text, check_answer(answer)):
                    return answer
                raise Malformed("its signature does not hold")
            except Malformed:
                self._scores.note(trio.current_time(), node, LIE, "gave a receipt that does not hold")
                raise

        view = views.request(self._reads, request_id)
        built = view.draw.body["builders"] if view is not None and view.draw is not None else []
        return _Round(
            sorted(order, key=lambda node: (node != self._node, b32(node) not in built)),
            {one.node: one.domain for one in members},
            self.needed,
            one,
            HEDGE_S.value + total / FAST_BYTES,
            found,
        )

    def _remembered(self, text: bytes, members: Sequence[StorageMember]) -> dict[NodeId, bytes]:
        """Signatures of this text by those who are storage members still; what is added to it is remembered too."""
        nodes, known = {one.node for one in members}, self._signed.pop(text, {})
        found = self._signed[text] = {node: one for node, one in known.items() if node in nodes}
        while len(self._signed) > REMEMBERED.value:
            del self._signed[next(iter(self._signed))]
        return found


@dataclass(slots=True)
class _Loans:
    """Blobs that members may fetch until the reveal is done: who did not answer in time goes on fetching."""

    shelf: Shelf
    manifests: frozenset[bytes]
    stack: ExitStack
    borrowers: set[NodeId] = field(default_factory=set)

    def to(self, node: NodeId) -> None:
        if node not in self.borrowers:
            self.borrowers.add(node)
            self.stack.enter_context(self.shelf.lent(node, self.manifests))


@dataclass(slots=True)
class _Round:
    """Every member asked at most once.

    Attributes:
        waiting: members in the order in which they are asked.
        least: failure domains that must sign.
        said: who did not sign and why, in words.
    """

    waiting: list[NodeId]
    domain_of: Mapping[NodeId, str]
    least: int
    one: Callable[[NodeId], Awaitable[bytes]]
    hedge_s: float
    found: dict[NodeId, bytes] = field(default_factory=dict)
    reasons: dict[NodeId, str] = field(default_factory=dict)
    asked: set[NodeId] = field(default_factory=set)
    _news: trio.Event = field(default_factory=trio.Event)

    async def run(self, say: Say) -> dict[str, bytes] | None:
        """Signatures by node id text; None if everybody was asked and too few signed."""
        spare = 0
        async with trio.open_nursery() as nursery:
            while not self._enough():
                wanted = self.least - len(self._signed()) + spare
                while len(self.asked) < wanted and self._next(nursery):
                    pass
                if not self.asked:
                    break
                say(f"{len(self._signed())} of {self.least} storage members have signed")
                with trio.move_on_after(self.hedge_s) as waited:
                    await self._news.wait()
                spare += waited.cancelled_caught
            nursery.cancel_scope.cancel()
        return {b32(node): signature for node, signature in self._chosen()} if self._enough() else None

    @property
    def said(self) -> str:
        reasons = sorted((b32(node)[:8], why) for node, why in self.reasons.items())
        told = "; ".join(f"{who} {why}" for who, why in reasons)
        return (
            f"{len(self._signed())} of {self.least} failure domains of storage members have signed ({told})"
        )

    def _enough(self) -> bool:
        return len(self._signed()) >= self.least

    def _signed(self) -> set[str]:
        return {self.domain_of[node] for node in self.found}

    def _chosen(self) -> list[tuple[NodeId, bytes]]:
        """One of each domain, no more than are needed: the log checks each signature."""
        by_domain = {self.domain_of[node]: (node, signature) for node, signature in self.found.items()}
        return list(by_domain.values())[: self.least]

    def _next(self, nursery: trio.Nursery) -> bool:
        """Ask one more: of a domain that nobody is asked in, else of one that has not signed. False: nobody is left."""
        busy = {self.domain_of[node] for node in self.asked}
        left = [node for node in self.waiting if self.domain_of[node] not in self._signed()]
        fresh = [node for node in left if self.domain_of[node] not in busy]
        if not left:
            return False
        node = (fresh or left)[0]
        self.waiting.remove(node)
        self.asked.add(node)
        nursery.start_soon(self._try, node)
        return True

    async def _try(self, node: NodeId) -> None:
        try:
            self.found[node] = await self.one(node)
        except PyrsiaError as error:
            self.reasons[node] = safe(str(error))[:160]
        finally:
            self.asked.discard(node)
            self._news.set()
            self._news = trio.Event()
