"""Votes and certificates by view: what counts, what is kept, and what is held against whom.

Nothing is kept before its signature is checked; what is past a quorum is not worth a check unless it contradicts.
Certificates that are new wait in `queue` until the core takes them, one by one. Which votes this member casts itself
is the core's business.

Source: docs/agreement.md, "Counting" (rules C1 to C7), "Evidence".
"""

from collections import deque

from pyrsia.units import VIEW_WINDOW
from pyrsia.wire.blocks import FIN, NOT, NUL, Block, Cert, Vote

from .committee import Checker, Committee
from .effects import Accuse, Effect, Lie
from .views import ViewState

_PAST_VIEWS = 8  # views at and below the final one in which a second vote is still noticed


class Counting:
    """What is known of the views of one epoch.

    Attributes:
        views: those above the last final one; `past`: some below, for evidence only.
        good: newest view known to have a block certificate.
        decided: newest view known to have a FIN certificate.
        reached: for each member the newest view that it has shown to have left.
        queue: certificates that are good and new.
        broken: why agreement is broken, if certificates prove that more than f members lied.
    """

    __slots__ = (
        "_accused",
        "_checker",
        "_committee",
        "_forgotten",
        "_out",
        "broken",
        "decided",
        "good",
        "past",
        "queue",
        "reached",
        "views",
    )

    def __init__(self, committee: Committee, checker: Checker, floor: int, out: list[Effect]) -> None:
        """`floor`: the last final view; `out`: where accusations go."""
        self._committee = committee
        self._checker = checker
        self._out = out
        self.views: dict[int, ViewState] = {}
        self.past: dict[int, ViewState] = {}
        self.good = self.decided = floor
        self.reached = [0] * committee.n
        self.queue: deque[Cert] = deque()
        self.broken = ""
        self._accused: set[tuple[int, bool]] = set()
        self._forgotten = floor  # views up to here have no tallies any more

    def at(self, view: int) -> ViewState:
        state = self.views.get(view)
        if state is None:
            state = self.views[view] = ViewState(view)
        return state

    def block_cert(self, view: int) -> Cert | None:
        """A certificate of a block of this view."""
        state = self.views.get(view)
        return state.block_cert() if state is not None else None

    def left(self, member: int, view: int) -> None:
        """`member` showed that it left this view, or never needs its certificate."""
        if view > self.reached[member]:
            self.reached[member] = view

    # -- votes --

    def vote(self, vote: Vote, *, checked: bool = False) -> bool:
        """Count a vote of a view above the final one; True if it is good and new."""
        state = self.at(vote.view)
        known = state.votes[vote.kind].get(vote.signer)
        if known is not None and known.said == vote.said:
            return False
        before = known or state.said_before(vote)
        cert = state.certs.get(vote.kind)
        if cert is not None and cert.said == vote.said and before is None:
            return False  # past the quorum: not worth a check
        if not checked and not self._checker.vote(vote):
            self._out.append(Lie(vote.signer, "a vote with a forged signature"))
            return False
        if before is not None:
            self._accuse(before, vote)
        bad = state.bad_block
        if bad is not None and vote.kind == NOT and vote.said.block_hash == bad.hash:
            self._accuse_of_block(bad, vote)
        self.count(state, vote)
        return True

    def late_vote(self, vote: Vote) -> None:
        """A vote in a view that is over counts for nothing, but it may contradict an earlier one."""
        state = self.past.get(vote.view)
        before = state.said_before(vote) if state is not None else None
        if before is not None and self._checker.vote(vote):
            self._accuse(before, vote)

    def count(self, state: ViewState, vote: Vote) -> None:
        """Count a checked vote, or our own."""
        cert = state.add(vote, self._committee.q, self._committee.n)
        if cert is not None:
            self._checker.trust(cert)
            self.queue.append(cert)

    # -- evidence --

    def forbid(self, state: ViewState, block: Block) -> None:
        """P2 or P3 forbids to vote for this proposal: whoever did, before its body came or later, is at fault."""
        state.bad_block = block
        for vote in state.votes[NOT].values():
            if vote.said.block_hash == block.hash:
                self._accuse_of_block(block, vote)

    def _accuse(self, first: Vote, second: Vote) -> None:
        if (second.signer, True) not in self._accused:
            self._accused.add((second.signer, True))
            self._out.append(Accuse(second.signer, first, second))

    def _accuse_of_block(self, block: Block, vote: Vote) -> None:
        """Every honest member checks P2 and P3 before this very vote."""
        if (vote.signer, False) not in self._accused:
            self._accused.add((vote.signer, False))
            self._out.append(Accuse(vote.signer, vote, None, block.header, block.body.justification))

    # -- certificates --

    def offer(self, cert: Cert) -> bool:
        """A certificate from outside; False if it is not a good one of this epoch. Checked before it is kept."""
        if cert.said.epoch != self._committee.epoch:
            return False
        state = self.views.get(cert.view) or self.past.get(cert.view)
        if state is not None and state.certs.get(cert.kind) == cert:
            return True
        if not self._checker.cert(cert, state.votes[cert.kind] if state is not None else None):
            return False
        self.queue.append(cert)
        return True

    def keep(self, cert: Cert) -> bool:
        """Keep a good certificate; False if it was held, or if it proves that more than f lied (`broken`)."""
        state = self.at(cert.view)
        held = state.certs.get(cert.kind)
        if held is not None:
            if held.said != cert.said:
                self.broken = f"two certificates of one kind in view {cert.view}"
            return False
        state.certs[cert.kind] = cert
        fin, nul, block = state.certs.get(FIN), state.certs.get(NUL), state.certs.get(NOT)
        if fin is not None and (nul is not None or (block and block.said.block_hash != fin.said.block_hash)):
            self.broken = f"view {cert.view} was both finalized and given up, or finalized twice"
            return False
        if cert.kind != NUL:
            self.good = max(self.good, cert.view)
        if cert.kind == FIN:
            self.decided = max(self.decided, cert.view)
        return True

    # -- bounds --

    def enter(self, view: int) -> None:
        """Tallies of at most W views behind and W ahead, also when a certificate leads over many views at once."""
        bound = view - VIEW_WINDOW.value
        for at, state in self.views.items():
            if self._forgotten < at <= bound:
                state.forget_votes()
        self._forgotten = max(self._forgotten, bound)

    def finalize(self, floor: int) -> None:
        """Everything at or below the final view is over."""
        for view in [v for v in self.views if v <= floor]:
            self.past[view] = self.views.pop(view)
        for view in [v for v in self.past if v <= floor - _PAST_VIEWS]:
            del self.past[view]
        self.good, self.decided = max(self.good, floor), max(self.decided, floor)
