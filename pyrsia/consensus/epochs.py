"""One node across epochs: who votes now, who only follows, and which node an index means.

Owns the core of the current epoch: a `Simplex` if this node has a seat and its vote key, else a `Follower`. Speaks
to the shell in node ids, since an index means nothing beyond its epoch.

Source: docs/agreement.md, "Epochs".
"""

from collections.abc import Callable, Iterable

from pyrsia.wire.blocks import FIN, Cert, Message
from pyrsia.wire.epochs import Validator

from .application import Application, BlockRef
from .committee import Committee, Verify
from .core import Simplex
from .effects import (
    Accuse,
    Act,
    Answer,
    Blame,
    Broadcast,
    Effect,
    Fault,
    Lie,
    Now,
    Post,
    Send,
    Serve,
)
from .follower import Follower
from .recovery import Recovered
from .timing import Timing

Sign = Callable[[bytes], bytes]


class Epochs:
    """A node's part in agreement, from one epoch to the next."""

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
            sign: the signer of a vote key, None for a key that this node does not have.
            reveal: a validator's (this node's) link for a position, and the end of the chain to come, ZERO while
                none is due; None once no link is left.
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
        self.seat: Simplex | None = None
        self._core = self._open(app.head().hash)

    # -- what a shell reads --

    @property
    def committee(self) -> Committee:
        """Who decides in the current epoch."""
        return self._committee

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
        return self._acts(self._core.on_start(now))

    def on_message(self, now: Now, node: bytes, message: Message) -> list[Act]:
        """What `node`, a peer known by its link, said."""
        sender = self._committee.places.get(node, self._committee.n)
        return self._acts(self._core.on_message(now, sender, message), node)

    def on_timer(self, now: Now) -> list[Act]:
        return self._acts(self._core.on_timer(now))

    def on_work(self, now: Now) -> list[Act]:
        return self._acts(self.seat.on_work(now)) if self.seat is not None else []

    def on_peer(self, now: Now, node: bytes) -> list[Act]:
        """A link to `node` came up."""
        place = self._committee.places.get(node)
        if self.seat is None or place is None:
            return []
        return self._acts(self.seat.on_peer(now, place))

    # -- inside --

    def _open(self, block_hash: bytes) -> Simplex | Follower:
        seats = self._app.seats(block_hash)
        self._committee = committee = Committee(seats, self._chain_id, self._origin)
        me = committee.places.get(self._node)
        sign = self._sign(committee.keys[me]) if me is not None else None
        if me is None or sign is None:
            self.seat = None
            return Follower(committee, self._app, verify=self._verify)
        validator = committee.validators[me]
        self.seat = self._voter(
            committee,
            me,
            self._app,
            sign=sign,
            verify=self._verify,
            reveal=lambda position: self._reveal(validator, position),
            timing=self._timing,
            recovered=self._recovered,
        )
        return self.seat

    def _acts(self, effects: Iterable[Effect], asker: bytes | None = None) -> list[Act]:
        return [act for effect in effects for act in self._act(effect, asker)]

    def _act(self, effect: Effect, asker: bytes | None) -> list[Act]:
        match effect:
            case Broadcast(message):
                news = isinstance(message, Cert) and message.kind == FIN
                others = tuple(one.node for one in self._committee.validators if one.node != self._node)
                return [Post(None if news else others, message)]
            case Send(to, message):
                node = self._named(to, asker)
                return [Post((node,), message)] if node is not None else []
            case Serve(to, first, last):
                node = self._named(to, asker)
                return [Answer(node, first, last)] if node is not None else []
            case Accuse(signer, first, second, header, justification):
                node = self._committee.validators[signer].node
                return [Blame(node, self._committee.epoch, first, second, header, justification)]
            case Lie(sender, why):
                node = self._named(sender, asker)
                return [Fault(node, why)] if node is not None else []
            case _:
                return [effect]

    def _named(self, index: int, asker: bytes | None) -> bytes | None:
        """The node that a member's index means; who is no member can only be the one that is being answered."""
        return self._committee.validators[index].node if index < self._committee.n else asker
