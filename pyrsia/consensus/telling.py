"""What a member tells the others of where it stands, and what it says again. It never creates a vote.

Source: docs/agreement.md, "Timers", "Catch-up", rules T1 to T3.
"""

from pyrsia.units import MAX_STATUS_CERTS, VIEW_WINDOW
from pyrsia.wire.blocks import FIN, NOT, Cert, FinalityProof, GetCerts, Proposal, Status

from .clock import ViewClock
from .committee import Committee
from .counting import Counting
from .effects import Broadcast, Effect, Now, Send
from .gate import Gate
from .tree import BlockTree

_NEVER = float("inf")
_STRANGER = 1 << 16  # no member has this index


class Telling:
    """Status, relay and repetition of one core.

    Attributes:
        proof: of the last final block, if it is one of this epoch.
        floor: a certificate of the last final block itself, if one is known.
    """

    __slots__ = (
        "_clock",
        "_committee",
        "_counting",
        "_gate",
        "_me",
        "_out",
        "_told_at",
        "_tree",
        "floor",
        "proof",
    )

    def __init__(
        self,
        committee: Committee,
        me: int,
        *,
        tree: BlockTree,
        counting: Counting,
        gate: Gate,
        clock: ViewClock,
        out: list[Effect],
    ) -> None:
        self._committee = committee
        self._me = me
        self._tree = tree
        self._counting = counting
        self._gate = gate
        self._clock = clock
        self._out = out
        self._told_at = [-_NEVER] * committee.n  # when each member was last sent our Status
        self.proof: FinalityProof | None = None
        self.floor: Cert | None = None

    def status(self, to: int = _STRANGER, certs: tuple[Cert, ...] = (), answer: int = 0) -> Status:
        """Where we stand, for one peer; `to` at or above n is no member."""
        final = self._tree.final
        held = self._gate.newest.get(to)
        # An answer asks nothing, or two starting members would never stop; and a stranger holds nothing of ours.
        ask = 0 if answer or to >= self._committee.n else self._gate.ask
        view = self._clock.view
        return Status(self._committee.epoch, view, final.height, final.hash, certs, held, ask, answer)

    def tell(self, now: Now, to: int, answer: int = 0) -> None:
        """Our Status, with what lets a member that is behind enter our view."""
        self._told_at[to] = now.mono_s
        self._out.append(Send(to, self.status(to, self._entry_certs(), answer)))

    def tell_all(self, now: Now) -> None:
        for member in range(self._committee.n):
            if member != self._me:
                self.tell(now, member)

    def tell_behind(self, now: Now, member: int) -> None:
        """Tell a member that is behind, but not for everything that it says."""
        if now.mono_s >= self._told_at[member] + self._clock.timing.delay_s / 4:
            self.tell(now, member)

    def answer(self, ask: GetCerts, to: int) -> None:
        """The certificates of the views that a peer asks for, as far as they are held."""
        if ask.epoch != self._committee.epoch:
            return
        final, views = self._tree.final.view, self._counting.views
        certs: list[Cert] = []
        if ask.first <= final:
            certs += [self.proof.cert] if self.proof is not None else []
            certs += [self.floor] if self.floor is not None and self.floor not in certs else []
        for view in sorted(view for view in views if ask.first <= view <= ask.last):
            certs += views[view].certs.values()
        self._out.append(Send(to, self.status(to, tuple(certs[: MAX_STATUS_CERTS.value]))))

    def relay(self) -> None:
        """Send the certificate that ended the view before to each member that has not shown that it left that view."""
        cert = self._counting.block_cert(self._clock.view - 1)
        if cert is None:
            return
        for member, left in enumerate(self._counting.reached):
            if member != self._me and left < cert.view:
                self._out.append(Send(member, cert))

    def repeat(self, now: Now) -> None:
        """Say again what is stored: own votes of this view, own FIN votes that made no certificate yet, and Status."""
        views, view = self._counting.views, self._clock.view
        state = views.get(view)
        if state is not None:
            for vote in state.own():
                proposal = state.proposal
                if vote.kind == NOT and proposal is not None and proposal.header.proposer == self._me:
                    self._out.append(Broadcast(Proposal(proposal, vote)))
                else:
                    self._out.append(Broadcast(vote))
        for before in range(max(self._tree.final.view + 1, view - VIEW_WINDOW.value), view):
            older = views.get(before)
            if older is not None and FIN not in older.certs and older.my_fin is not None:
                self._out.append(Broadcast(older.my_fin))
        self.tell_all(now)

    def _entry_certs(self) -> tuple[Cert, ...]:
        certs = [self.proof.cert] if self.proof is not None else []
        for view in (self._counting.good, self._clock.view - 1):
            state = self._counting.views.get(view)
            if state is not None:
                certs += [c for c in state.certs.values() if c not in certs]
        return tuple(certs)
