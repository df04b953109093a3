"""One node across epochs: who votes now, who only follows, what comes from which epoch, and which node an index means.

Owns the core of the current epoch: a `Simplex` if this node has a seat and its vote key, else a `Follower`. When the
block that ends the epoch is handed on, the next epoch's core starts in the same turn. Speaks to the shell in node ids,
since an index means nothing beyond its epoch.

Source: docs/agreement.md, "Epochs", rules E1 to E8.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from pyrsia.units import MAX_SYNC_BLOCKS, Limit
from pyrsia.wire.blocks import (
    FIN,
    Blocks,
    Cert,
    GetBlock,
    GetBlocks,
    GetCerts,
    Message,
    OneBlock,
    Proposal,
    Status,
    Vote,
)
from pyrsia.wire.epochs import Validator

from .application import Application, BlockRef, Executed
from .committee import Checker, Committee, Verify
from .core import Simplex
from .effects import (
    Accuse,
    Act,
    Answer,
    Blame,
    Broadcast,
    Deliver,
    Effect,
    Fault,
    Halt,
    Lie,
    Mute,
    Now,
    Persist,
    Post,
    Send,
    WakeAt,
)
from .follower import Follower
from .recovery import Recovered, later
from .serving import RANGE_COST, Allowance
from .sync import Sync
from .timing import Timing

Sign = Callable[[bytes], bytes]

EARLY_SENDERS = Limit(128, "nodes that may be validators of the next epoch: all of the largest, and some")
EARLY_MESSAGES = Limit(16, "votes and certificates of the next epoch kept of one sender: its first views")
EARLY_BLOCKS = Limit(8, "proposals of the next epoch kept: 4 MB; repetition brings what was dropped")
LINKED = Limit(256, "nodes that are told what is final: as many as may be linked")

_NEVER = float("inf")
STUCK_POLLS: Final = 8  # polls' time without a block although blocks are asked for


class Early:
    """Messages of the next epoch, until it begins: few, and by sender, so that nobody crowds out another."""

    def __init__(self) -> None:
        self._small: dict[bytes, list[Message]] = {}
        self._proposals: dict[bytes, Proposal] = {}

    def put(self, node: bytes, message: Message) -> None:
        """Keep it if there is room; what is dropped is sent again by whoever needs it."""
        if isinstance(message, Proposal):
            if node in self._proposals or len(self._proposals) < EARLY_BLOCKS.value:
                self._proposals.setdefault(node, message)
        elif node in self._small or len(self._small) < EARLY_SENDERS.value:
            kept = self._small.setdefault(node, [])
            if len(kept) < EARLY_MESSAGES.value and message not in kept:
                kept.append(message)

    def take(self) -> list[tuple[bytes, Message]]:
        """All of it, proposals first; nothing is kept."""
        found: list[tuple[bytes, Message]] = [*self._proposals.items()]
        found += [(node, message) for node, kept in self._small.items() for message in kept]
        self._small, self._proposals = {}, {}
        return found


class Epochs:
    """A node's part in agreement, from one epoch to the next.

    Attributes:
        committee: who decides in the current epoch.
        seat: the voting core, None while this node only follows.
    """

    def __init__(
        self,
        app: Application,
        chain_id: bytes,
        origin: str,
        *,
        node: bytes,
        sign: Callable[[bytes], Sign | None],
        verify: Verify,
        reveal: Callable[[Validator, int], tuple[bytes, bytes] | None],
        timing: Timing | None = None,
        recovered: Recovered | None = None,
        voter: type[Simplex] = Simplex,
    ) -> None:
        """
        Args:
            node: this node's id.
            sign: the signer of a vote key; None for a key that this node does not have, or that must not vote.
            reveal: this node's link for a position of the validator's chains, and the end of the chain to come,
                ZERO while none is due; None once no link is left.
            voter: the core of a seat; a test puts one here that breaks a rule.
        """
        self._app = app
        self._chain_id = chain_id
        self._origin = origin
        self._node = node
        self._sign = sign
        self._verify = verify
        self._reveal = reveal
        self._timing = timing or Timing()
        self._recovered = recovered or Recovered()
        self._voter = voter
        self._muted: set[bytes] = set()  # vote keys that must not vote again
        self._early = Early()
        self._allowance = Allowance()
        self._linked: dict[bytes, None] = {}
        self._told_at: dict[
            bytes, float
        ] = {}  # peers of other epochs -> when they were last told where we stand
        delay_s = self._timing.delay_s
        self._sync = Sync(patience_s=max(8 * delay_s, 0.2), grace_s=delay_s / 4)
        self._poll_at = 0.0
        self._asked_at = -1  # the height at which blocks are asked for
        self._stuck_at = _NEVER  # when nothing came of it for too long
        self._height = app.head().height  # of the last final block when it last grew
        self._core_at = _NEVER
        self._work_at = _NEVER
        self._woken = _NEVER
        self.seat: Simplex | None = None
        head = app.head()
        self.committee = self._committee_above(head)
        if head.epoch != self.committee.epoch:
            self._recovered = later(self._recovered, self.committee.epoch)
        self._core = self._open(head, voting=False)

    # -- what a shell reads --

    @property
    def voting(self) -> bool:
        """Whether this node votes now."""
        return self.seat is not None and self.seat.voting

    @property
    def final(self) -> BlockRef:
        """The last final block that was handed on."""
        return self._core.final

    @property
    def halted(self) -> str:
        """Why agreement goes no further here; empty while it does."""
        return self._core.halted

    # -- events --

    def on_start(self, now: Now) -> list[Act]:
        return self._done(now, self._begin(now))

    def on_message(self, now: Now, node: bytes, message: Message) -> list[Act]:
        """What `node`, a peer known by its link, said."""
        if isinstance(message, GetBlocks):  # a node whose agreement has halted still serves
            return self._on_get_blocks(now, node, message)
        if isinstance(message, GetBlock | GetCerts):
            cost = RANGE_COST if isinstance(message, GetCerts) else 1
            if not self._allowance.take(node, now.mono_s, cost):
                return []
        elif isinstance(message, Status) and message.ask and not self._allowance.take(node, now.mono_s):
            message = replace(message, ask=0)  # what else it says is worth hearing all the same
        if self.halted or node == self._node:
            return []
        acts: list[Act] = []
        if isinstance(message, Blocks):
            lie = self._sync.take(now.mono_s, node, message, self._checker, self.final.height)
            if lie:
                acts.append(Fault(node, lie))
        elif isinstance(message, Status):
            acts += self._on_status(now, node, message)
        elif isinstance(message, GetBlock | OneBlock):
            acts += self._hear(now, node, message)
        else:
            acts += self._sorted(now, node, message)
        return self._done(now, acts)

    def on_timer(self, now: Now) -> list[Act]:
        """Whatever is due."""
        if self.halted:
            return []
        self._woken = _NEVER
        acts: list[Act] = []
        if self.seat is not None and self._core_at <= now.mono_s:
            self._core_at = _NEVER
            acts += self._acts(self.seat.on_timer(now))
        if self._work_at <= now.mono_s:
            self._work_at = _NEVER
            acts += self._acts(self.seat.on_work(now)) if self.seat is not None else []
        return self._done(now, acts)

    def on_work(self, now: Now) -> list[Act]:
        """The application may have work."""
        return self._done(now, self._acts(self.seat.on_work(now))) if self.seat is not None else []

    def on_peer(self, now: Now, node: bytes) -> list[Act]:
        """A link to `node` came up."""
        if node == self._node or self.halted:
            return []
        self._linked.pop(node, None)
        while len(self._linked) >= LINKED.value:
            del self._linked[next(iter(self._linked))]
        self._linked[node] = None
        place = self.committee.places.get(node)
        if self.seat is not None and place is not None:
            return self._done(now, self._acts(self.seat.on_peer(now, place)))
        return self._done(now, self._tell(now, node))

    # -- messages by epoch --

    def _sorted(self, now: Now, node: bytes, message: Message) -> list[Act]:
        """Votes, certificates, proposals, and questions for certificates: each has its epoch."""
        epoch = _epoch_of(message)
        if epoch == self.committee.epoch:
            return self._hint(node, message) + self._hear(now, node, message)
        if epoch > self.committee.epoch:
            self._owe(node, message)
        if epoch == self.committee.epoch + 1:
            self._early.put(node, message)
            return self._hint(node, message)
        if epoch < self.committee.epoch:
            return self._tell(
                now, node
            )  # its epoch is over: it learns that there is more, and asks by height
        return self._hint(node, message)

    def _owe(self, node: bytes, message: Message) -> None:
        """A vote of an epoch that this node has not begun: its signer may restart without it, and ask in this one."""
        vote = message.vote if isinstance(message, Proposal) else message
        place = self.committee.places.get(node)
        if self.seat is not None and place is not None and isinstance(vote, Vote):
            self.seat.hear_ahead(place, vote)

    def _hint(self, node: bytes, message: Message) -> list[Act]:
        """A FIN certificate says that its sender has a block; to a voter of this epoch the core says what it lacks."""
        if isinstance(message, Cert) and message.kind == FIN:
            other = message.said.epoch != self.committee.epoch
            if (self.seat is None or other) and message.said.height > self.final.height:
                self._sync.claim(node, message.said.height)
        return []

    def _hear(self, now: Now, node: bytes, message: Message) -> list[Act]:
        """Something for the core of this epoch."""
        if self.seat is None:
            if isinstance(message, GetBlock):
                block = self._core.tree.find(message.block_hash)
                return [Post((node,), OneBlock(block))] if block is not None else []
            return []
        sender = self.committee.places.get(node, self.committee.n)
        return self._acts(self.seat.on_message(now, sender, message), node)

    def _on_status(self, now: Now, node: bytes, status: Status) -> list[Act]:
        if status.final_height > self.final.height:
            self._sync.claim(node, status.final_height)
        if self.seat is not None and node in self.committee.places:
            return self._hear(now, node, status)
        # A question has its answer from members of its own epoch alone; here it says that its asker starts.
        if (status.epoch, status.final_height) < (self.committee.epoch, self.final.height) or status.ask:
            return self._tell(now, node)
        return []

    def _tell(self, now: Now, node: bytes) -> list[Act]:
        """Our Status to a peer that is behind or starts, but not for everything that it says."""
        if now.mono_s < self._told_at.get(node, -_NEVER) + self._timing.delay_s:
            return []
        self._told_at.pop(node, None)
        while len(self._told_at) >= LINKED.value:
            del self._told_at[next(iter(self._told_at))]
        self._told_at[node] = now.mono_s
        place = self.committee.places.get(node, self.committee.n)
        core = self._core
        status = core.telling.status(place) if isinstance(core, Simplex) else core.status()
        return [Post((node,), status)]

    def _on_get_blocks(self, now: Now, node: bytes, ask: GetBlocks) -> list[Act]:
        last = min(ask.last, self.final.height, ask.first + MAX_SYNC_BLOCKS.value - 1)
        if not 0 < ask.first <= last or not self._allowance.take(node, now.mono_s, RANGE_COST):
            return []
        return [Answer(node, ask.first, last)]

    # -- the turn --

    def _done(self, now: Now, acts: list[Act]) -> list[Act]:
        """What follows from what has happened: blocks that wait, the next epoch, questions, the next alarm."""
        while not self._core.halted:
            if self._core.ended:
                acts += self._switch(now)
                continue
            ready = self._sync.next(self._core.tree.final.height)
            if ready is None:
                self._ask(now, acts)
                self._alarm(now, acts)
                break
            acts += self._acts(self._core.adopt(now, ready))
        return acts

    def _ask(self, now: Now, acts: list[Act]) -> None:
        """Questions for blocks by height."""
        height, seat = self._core.tree.final.height, self.seat
        if height != self._height:
            self._height = height
            self._poll_at = now.mono_s + self._poll_s
        if seat is not None and seat.needs > height:
            for one in self.committee.validators:
                if one.node != self._node:
                    self._sync.guess(one.node, seat.needs)
            seat.needs = 0
        asks = self._sync.ask(now.mono_s, height)
        if height > self._asked_at or not asks:
            self._asked_at, self._stuck_at = height, now.mono_s + STUCK_POLLS * self._poll_s
        # Claims that lead nowhere, however many, must not keep a node from asking those who know.
        stuck = now.mono_s >= self._stuck_at
        if asks and not stuck:
            self._poll_at = now.mono_s + self._poll_s
        elif now.mono_s >= self._poll_at:
            self._poll_at = now.mono_s + self._poll_s
            asks = [*asks, *self._sync.poll(self._sources(), now.mono_s, height)]
        acts += [Post((node,), ask) for node, ask in asks]

    @property
    def _poll_s(self) -> float:
        """A follower looks again once a second; a voter, whom agreement itself brings forward, hardly ever."""
        return 1.0 if self.seat is None else 3 * self._timing.heartbeat_s + 8 * self._timing.delay_s

    def _sources(self) -> list[bytes]:
        """Who may have blocks: validators of this epoch, and whoever is linked, since they may all be gone."""
        named = dict.fromkeys((*(one.node for one in self.committee.validators), *self._linked))
        return [node for node in named if node != self._node]

    def _alarm(self, now: Now, acts: list[Act]) -> None:
        at = min(self._core_at, self._work_at, self._poll_at, self._sync.wake_s(now.mono_s, self._height))
        if at != self._woken and at < _NEVER:
            self._woken = at
            acts.append(WakeAt(at))

    # -- from one epoch to the next --

    def _switch(self, now: Now) -> list[Act]:
        """The epoch is over: the next one's core starts on the block that ended it.

        It votes at once only if this node saw the end by certificates while it voted with the same key. Whoever was
        brought here by others' blocks asks first what they hold of its key.
        """
        old = self._core
        acts: list[Act] = []
        level, key = False, b""
        heard: dict[bytes, Vote] = {}
        if isinstance(old, Simplex):
            level, key = old.level, self.committee.keys[old.me]
            heard = {self.committee.keys[i]: vote for i, vote in old.gate.newest.items()}
            if old.gate.stopped:
                self._muted.add(key)
            if (
                old.telling.proof is not None
            ):  # whoever has the block and lacks its certificate can follow at once
                acts.append(Post(None, old.telling.proof.cert))
        end = old.tree.final
        self.committee = self._committee_above(end)
        self._recovered = later(self._recovered, self.committee.epoch)
        self._sync.new_epoch()
        self._core_at = _NEVER
        self._core = self._open(end, voting=level, key=key)
        if self.seat is not None:
            for index, vote_key in enumerate(self.committee.keys):
                if vote_key in heard:
                    self.seat.gate.newest[index] = heard[vote_key]
        self._core.tree.recent.update(old.tree.recent)
        acts += self._begin(now)
        # Only once the end is written can the application say what there is to do behind it: look again next turn.
        self._work_at = now.mono_s
        for node, message in self._early.take():
            if not self.halted and not self._core.ended:
                acts += self._hear(now, node, message)
        return acts

    def _committee_above(self, block: Executed) -> Committee:
        committee = Committee(self._app.seats(block.hash), self._chain_id, self._origin)
        self._checker = Checker(committee, self._verify)
        self._others = tuple(one.node for one in committee.validators if one.node != self._node)
        return committee

    def _open(self, start: Executed, *, voting: bool, key: bytes = b"") -> Simplex | Follower:
        """The core of the current epoch. `voting`: this node votes, with `key`."""
        committee = self.committee
        me = committee.places.get(self._node)
        sign = self._sign(committee.keys[me]) if me is not None else None
        self.seat = None
        # A voter hears of most blocks from agreement itself, a moment later; a follower has nothing to wait for.
        self._sync.grace_s = self._timing.delay_s / 4
        self._sync.trusted = frozenset(one.node for one in committee.validators)
        if me is None or sign is None:
            self._sync.grace_s = 0.0
            return Follower(committee, self._app, start)
        validator, mine = committee.validators[me], committee.keys[me]
        self.seat = self._voter(
            committee,
            me,
            self._app,
            sign=sign,
            verify=self._verify,
            reveal=lambda position: self._reveal(validator, position),
            timing=self._timing,
            recovered=self._recovered,
            start=start,
            voting=voting and mine == key,
            stopped=mine in self._muted,
        )
        return self.seat

    def _begin(self, now: Now) -> list[Act]:
        self._poll_at = now.mono_s + (0.0 if self.seat is None else self._poll_s)
        if self.seat is not None:
            acts = self._acts(self.seat.on_start(now))
            self._recovered = later(self._recovered, self.committee.epoch + 1)
            return acts
        if self._node in self.committee.places:
            return [
                Mute("this node does not vote with the key of its seat: it lacks that key, or may not use it")
            ]
        return []

    # -- effects in node ids --

    def _acts(self, effects: Iterable[Effect], asker: bytes | None = None) -> list[Act]:
        acts: list[Act] = []
        for effect in effects:
            self._act(acts, effect, asker)
        return acts

    def _act(self, acts: list[Act], effect: Effect, asker: bytes | None) -> None:
        match effect:
            case Broadcast(message):
                acts.append(Post(self._others, message))
            case Send(to, message):
                self._to(acts, to, asker, lambda node: Post((node,), message))
            case WakeAt(at_s):
                self._core_at = at_s
            case Deliver(_, proof):
                acts.append(effect)
                followers = tuple(node for node in self._linked if node not in self.committee.places)
                if followers and self.seat is not None:
                    acts.append(Post(followers, proof.cert))
            case Accuse(signer, first, second, header, justification):
                node = self.committee.validators[signer].node
                acts.append(Blame(node, self.committee.epoch, first, second, header, justification))
            case Lie(sender, why):
                self._to(acts, sender, asker, lambda node: Fault(node, why))
            case Persist() | Halt() | Mute():
                acts.append(effect)

    def _to(self, acts: list[Act], index: int, asker: bytes | None, act: Callable[[bytes], Act]) -> None:
        """Who is no member can only be the one that is being answered."""
        node = self.committee.validators[index].node if index < self.committee.n else asker
        if node is not None:
            acts.append(act(node))


def _epoch_of(message: Message) -> int:
    match message:
        case Vote(said) | Cert(said):
            return said.epoch
        case Proposal(block):
            return block.header.epoch
        case GetCerts(epoch):
            return epoch
        case _:
            raise ValueError(f"{type(message).__name__} belongs to no epoch")
