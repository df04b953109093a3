"""Simplex for one epoch: what a validator votes, proposes, relays, and hands on as final.

Pure: events and the time go in, effects come out, in the order in which they must happen. One handler runs
to its end; certificates found on the way wait in a queue, so that no handler nests in another.
Left out: membership changes (one epoch only), the mempool, and every byte of I/O.

Source: docs/agreement.md; it defines the rules P1 to P6 and V1 to V4.
"""

from collections import deque
from collections.abc import Callable

from pyrsia.errors import Malformed
from pyrsia.units import MAX_GAP_VIEWS, MAX_STATUS_CERTS, MAX_SYNC_BLOCKS, VIEW_WINDOW
from pyrsia.wire.blocks import (
    FIN,
    NORMAL,
    NOT,
    NUL,
    Block,
    Blocks,
    Body,
    Cert,
    FinalityProof,
    GetBlock,
    GetBlocks,
    GetCerts,
    Header,
    Justification,
    Message,
    OneBlock,
    Proposal,
    Statement,
    Status,
    Vote,
    entries_root,
    finalize,
    notarize,
    nullify,
)

from . import catchup
from .application import Application, BlockRef, Slot
from .committee import Checker, Committee, Verify
from .effects import Accuse, Broadcast, Deliver, Effect, Halt, Mute, Now, Persist, Send, Serve, WakeAt
from .recovery import Recovered, recall, record
from .timing import Timing, asleep
from .tree import BlockTree, ref
from .views import ViewState

_NEVER = float("inf")
_FETCH_AT_ONCE = 8  # blocks asked for in one round: as many views as may be in flight


class Simplex:
    """One validator in one epoch."""

    def __init__(
        self,
        committee: Committee,
        me: int,
        app: Application,
        *,
        sign: Callable[[bytes], bytes],
        verify: Verify,
        reveal: Callable[[int], tuple[bytes, bytes] | None],
        timing: Timing | None = None,
        recovered: Recovered | None = None,
    ) -> None:
        """`me` is the index among `committee.keys`; `sign` signs with that vote key; `reveal` gives the
        beacon's link for a position and the end of the chain to come (ZERO while none is due), None once no link is
        left."""
        self.committee = committee
        self.me = me
        self.timing = timing or Timing()
        self.view = 0
        self.tree = BlockTree(app, committee)
        self.proof: FinalityProof | None = None
        self.voting = False  # only after q-1 members told what they hold ("Mute and Halt")
        self.halted = ""
        self._app = app
        self._sign = sign
        self._reveal = reveal
        self._checker = Checker(committee, verify)
        self._views: dict[int, ViewState] = {}
        self._floor_cert: Cert | None = None  # certificate of the last final block
        self._good = self.tree.final.view  # newest view known to have a block certificate
        self._newest: dict[int, Vote] = {}  # by signer, as its own link brought them
        self._out: list[Effect] = []
        self._queue: deque[Cert] = deque()
        self._dirty = False
        self._recovered = recovered or Recovered()
        self._stopped = not self._recovered.may_vote
        self._ask = 0  # number of our question for held votes; 0 once answered
        self._told: set[int] = set()
        # timers, all in mono_s
        self._seen = [0.0] * committee.n
        self._entered = 0.0
        self._base = _NEVER  # when the view's clock starts (lazy: "Timers")
        self._leader_at = _NEVER
        self._view_at = _NEVER
        self._resend_at = _NEVER
        self._resends = 0
        self._fetch_at = _NEVER
        self._retry_at = _NEVER
        self._unsettled: float | None = None  # since when a notarized block waits to be final
        self._woken = _NEVER
        # what is known missing
        self._wanted: dict[bytes, int] = {}  # block hash -> times asked
        self._want_certs = False
        self._claims: dict[int, int] = {}  # member -> final height it claims
        self._turn = me

    # -- events ------------------------------------------------------------------------------------

    def on_start(self, now: Now) -> list[Effect]:
        """Take up what was recovered; ask the others what they hold of our votes."""
        self._seen = [now.mono_s] * self.committee.n
        start = self.tree.final.view
        memory = recall(self._recovered.records, self.committee.epoch, start)
        for block in memory.blocks:
            self.tree.add(block)
            if block.header.proposer == self.me:
                self._at(block.header.view).proposal = block
        for vote in memory.votes:
            state = self._at(vote.view)
            state.record_own(vote)
            state.votes[vote.kind].setdefault(self.me, vote)
        certs = list(memory.certs)
        if self._recovered.proof is not None:
            self.proof = self._recovered.proof
            certs.append(self.proof.cert)
            if self.proof.cert.view == start:
                self._floor_cert = self.proof.cert
        for cert in certs:
            if cert.view > start and self._checker.cert(cert):
                self._note(cert)
        # The view follows from certificates, not from the last record (ava-labs/Simplex 328).
        top = max([start, *(s.view for s in self._views.values() if s.certs)])
        if self._good > start:
            self._unsettled = now.mono_s
        self._enter(now, top + 1)
        self._ask = max(1, now.wall_ms)
        self._tell_all()
        self._gate(now)
        return self._finish(now)

    def on_message(self, now: Now, sender: int, message: Message) -> list[Effect]:
        """A decoded message; `sender` at or above n is a peer that is no member."""
        if self.halted:
            return []
        if 0 <= sender < self.committee.n:
            self._seen[sender] = now.mono_s
            self._member_message(now, sender, message)
        if isinstance(message, GetBlocks):
            self._on_get_blocks(sender, message)
        elif isinstance(message, GetBlock):
            block = self.tree.find(message.block_hash)
            if block is not None:
                self._out.append(Send(sender, OneBlock(block)))
        elif isinstance(message, GetCerts):
            self._on_get_certs(sender, message)
        return self._finish(now)

    def on_timer(self, now: Now) -> list[Effect]:
        """Whatever is due."""
        if self.halted:
            return []
        self._woken = _NEVER
        at = now.mono_s
        if self._leader_at <= at:
            self._leader_at = _NEVER
            self._nullify(now)
        if self._view_at <= at:
            self._view_at = _NEVER
            self._nullify(now)
            self._resend(now)
        if self._unsettled is not None and self._base > at >= self._unsettled + 4 * self.timing.delay_s:
            self._rebase(now)
        if self._resend_at <= at:
            self._resend(now)
        if self._fetch_at <= at:
            self._fetch(now)
        if self._retry_at <= at:
            self._retry_at = _NEVER
        self._dirty = True
        return self._finish(now)

    def on_work(self, now: Now) -> list[Effect]:
        """The application may have work: the first entry after idle starts the view's clock."""
        if self.halted:
            return []
        if self._base > now.mono_s and self._app.has_work(self._tip()):
            self._rebase(now)
            self._dirty = True
        return self._finish(now)

    def on_peer(self, now: Now, peer: int) -> list[Effect]:
        """A link to `peer` came up: tell it where we stand."""
        if self.halted:
            return []
        self._tell(peer)
        return self._finish(now)

    @property
    def final(self) -> BlockRef:
        """The last final block that was handed on."""
        return self.tree.final

    # -- the turn ----------------------------------------------------------------------------------

    def _finish(self, now: Now) -> list[Effect]:
        while not self.halted:
            if self._queue:
                self._take_cert(now, self._queue.popleft())
            elif self._dirty:
                self._dirty = False
                self._advance(now)
            else:
                break
        self._arm(now)
        out, self._out = self._out, []
        return out

    def _advance(self, now: Now) -> None:
        self._deliver(now)
        if self.halted:
            return
        self._finalize_open(now)
        self._try_vote(now)
        self._try_propose(now)

    def _arm(self, now: Now) -> None:
        """One alarm for the earliest timer."""
        if self.halted:
            return
        stuck = self._unsettled is not None or self._ask or (self._view_at == _NEVER and self._base < _NEVER)
        if not stuck:
            self._resend_at = _NEVER
            self._resends = 0
        elif self._resend_at == _NEVER:
            self._resend_at = now.mono_s + 2 * self.timing.delay_s
        if (self._wanted or self._want_certs or self._claims) and self._fetch_at == _NEVER:
            self._fetch_at = now.mono_s + self.timing.delay_s / 4
        at = min(self._leader_at, self._view_at, self._resend_at, self._fetch_at, self._retry_at)
        if self._base > now.mono_s:
            if self._unsettled is not None:
                at = min(at, max(now.mono_s, self._unsettled + 4 * self.timing.delay_s))
            if self.committee.leader(self.view) == self.me:
                at = min(at, self._base)
        if at != self._woken and at < _NEVER:
            self._woken = at
            self._out.append(WakeAt(at))

    def _halt(self, reason: str) -> None:
        self.halted = reason
        self._out.append(Halt(reason))

    def _at(self, view: int) -> ViewState:
        state = self._views.get(view)
        if state is None:
            state = self._views[view] = ViewState(view)
        return state

    # -- views -------------------------------------------------------------------------------------

    def _enter(self, now: Now, view: int) -> None:
        if view <= self.view:
            return
        self.view = view
        self._entered = now.mono_s
        self._resend_at = _NEVER
        self._resends = 0
        self._retry_at = _NEVER
        late = self._unsettled is not None and now.mono_s >= self._unsettled + 4 * self.timing.delay_s
        busy = late or self._app.has_work(self._tip())
        self._base = now.mono_s if busy else now.mono_s + self.timing.heartbeat_s
        self._set_view_timers(now)
        old = self._views.get(view - VIEW_WINDOW.value)
        if old is not None:
            old.forget_votes()  # tallies of at most W views behind and W ahead
        self._dirty = True

    def _rebase(self, now: Now) -> None:
        """Work came: the lazy clock of this view starts now."""
        self._base = now.mono_s
        self._set_view_timers(now)

    def _set_view_timers(self, now: Now) -> None:
        failed = max(0, self.view - 1 - self._good)
        patience = self.timing.patience_s(failed)
        leader = self.committee.leader(self.view)
        quorum, asleep_s = self.committee.q, self.timing.asleep_s
        gone = asleep(self._seen, leader, self.me, quorum, now.mono_s, asleep_s)
        self._leader_at = self._base + (0.0 if gone else 2 * patience)
        self._view_at = self._base + 3 * patience
        state = self._views.get(self.view)
        if state is not None and state.my_not is not None:
            self._leader_at = _NEVER

    def _tip(self) -> bytes:
        """The newest checked block that has a certificate: where work would go."""
        for view in range(self._good, self.tree.final.view, -1):
            state = self._views.get(view)
            cert = state.block_cert() if state is not None else None
            if cert is not None and cert.said.block_hash in self.tree.checked:
                return cert.said.block_hash
            if view <= self._good - VIEW_WINDOW.value:
                break
        return self.tree.final.hash

    # -- votes and certificates --------------------------------------------------------------------

    def _member_message(self, now: Now, sender: int, message: Message) -> None:
        if isinstance(message, Vote):
            self._on_vote(now, sender, message)
        elif isinstance(message, Cert):
            self._offer(message)
        elif isinstance(message, Proposal):
            self._on_proposal(now, message)
        elif isinstance(message, Status):
            self._on_status(now, sender, message)
        elif isinstance(message, Blocks):
            self._on_blocks(now, sender, message)
        elif isinstance(message, OneBlock):
            self._on_block(now, message.block)

    def _on_vote(self, now: Now, sender: int, vote: Vote) -> None:
        """Votes come from their signer's own link; others' votes travel in certificates and proposals."""
        if vote.signer != sender or vote.said.epoch != self.committee.epoch or sender == self.me:
            return
        newest = self._newest.get(sender)
        if newest is None or vote.view >= newest.view:
            self._newest[sender] = vote
        if self.tree.final.view < vote.view <= self.view + VIEW_WINDOW.value:
            self._tally(now, vote)

    def _tally(self, now: Now, vote: Vote) -> None:
        state = self._at(vote.view)
        known = state.votes[vote.kind].get(vote.signer)
        if known is not None and known.said == vote.said:
            return
        before = known or state.said_before(vote)
        cert = state.certs.get(vote.kind)
        if cert is not None and cert.said == vote.said and before is None:
            return  # past the quorum: not worth a check
        if not self._checker.vote(vote):
            return
        if before is not None:
            self._accuse(state, before, vote)
        self._count(state, vote)
        if vote.kind == NUL and vote.view == self.view and vote.signer == self.committee.leader(self.view):
            self._nullify(now)  # the leader gives its own view up

    def _count(self, state: ViewState, vote: Vote) -> None:
        cert = state.add(vote, self.committee.q, self.committee.n)
        if cert is not None:
            self._checker.trust(cert)
            self._queue.append(cert)

    def _accuse(self, state: ViewState, first: Vote, second: Vote) -> None:
        if second.signer not in state.accused:
            state.accused.add(second.signer)
            self._out.append(Accuse(second.signer, first, second))

    def _offer(self, cert: Cert) -> bool:
        """A certificate from outside; False if it is not a good one. Checked before anything is kept."""
        if cert.said.epoch != self.committee.epoch:
            return False
        state = self._views.get(cert.view)
        held = state.certs.get(cert.kind) if state is not None else None
        if cert.view <= self.tree.final.view or (held is not None and held == cert):
            return self._checker.cert(cert)
        if not self._checker.cert(cert):
            return False
        self._queue.append(cert)
        return True

    def _note(self, cert: Cert) -> bool:
        """Keep a good certificate; False if it was held, or if it proves that more than f lied."""
        state = self._at(cert.view)
        held = state.certs.get(cert.kind)
        if held is not None:
            if held.said != cert.said:
                self._halt(f"two certificates of one kind in view {cert.view}")
            return False
        state.certs[cert.kind] = cert
        fin, nul, block = state.certs.get(FIN), state.certs.get(NUL), state.certs.get(NOT)
        if fin is not None and (nul is not None or (block and block.said.block_hash != fin.said.block_hash)):
            self._halt(f"view {cert.view} was both finalized and given up, or finalized twice")
            return False
        if cert.kind != NUL:
            self._good = max(self._good, cert.view)
        return True

    def _take_cert(self, now: Now, cert: Cert) -> None:
        """A good certificate: keep it, relay it once, move on."""
        if cert.view <= self.tree.final.view or not self._note(cert):
            return
        self._out.append(Persist(record(cert), lazy=True))
        self._out.append(Broadcast(cert))
        if cert.kind != NUL and self._unsettled is None:
            self._unsettled = now.mono_s
        self._enter(now, cert.view + 1)
        self._dirty = True

    def _vote(self, state: ViewState, said: Statement) -> Vote:
        """Sign, log, count. The caller sends; the shell syncs before it does."""
        vote = Vote(said, self.me, self._sign(self._checker.text(said)))
        state.record_own(vote)
        self._out.append(Persist(record(vote)))
        return vote

    def _cast(self, state: ViewState, said: Statement) -> None:
        vote = self._vote(state, said)
        self._out.append(Broadcast(vote))
        self._count(state, vote)

    def _nullify(self, now: Now) -> None:
        """Give the current view up: allowed after NOT, forbidden after FIN."""
        state = self._at(self.view)
        if not self.voting or state.my_nul is not None or state.my_fin is not None:
            return
        self._cast(state, nullify(self.committee.epoch, self.view))

    # -- proposals ---------------------------------------------------------------------------------

    def _on_proposal(self, now: Now, proposal: Proposal) -> None:
        block, vote = proposal.block, proposal.vote
        header = block.header
        view = header.view
        if header.epoch != self.committee.epoch or vote.signer != self.committee.leader(view):
            return
        if not self.tree.final.view < view <= self.view + VIEW_WINDOW.value or vote.signer == self.me:
            return
        state = self._at(view)
        if state.proposal is not None and state.proposal.hash == block.hash:
            return
        if not catchup.body_fits(block) or not self._checker.vote(vote):
            return  # the leader signed the header only: anybody could have changed the body
        self._tally(now, vote)  # a second proposal is a second NOT: evidence
        if state.proposal is None:
            state.proposal = block
            state.bad = not self._absorb(block)
        cert = state.block_cert()
        if state.proposal is block or (cert is not None and cert.said.block_hash == block.hash):
            self.tree.add(block)
            self._wanted.pop(block.hash, None)
        self._dirty = True

    def _absorb(self, block: Block) -> bool:
        """P3: the justification holds exactly the certificates it must; good ones move us on."""
        header, just = block.header, block.body.justification
        parent = just.parent_cert
        if parent is None:
            if header.parent_view != 0:
                return False
        elif parent.kind == NUL or parent.said[1:4] != (header.epoch, header.parent_view, header.parent_hash):
            return False
        gap = range(header.parent_view + 1, header.view)
        if len(just.gap) != len(gap):
            return False
        for view, cert in zip(gap, just.gap, strict=True):
            if cert.kind != NUL or cert.view != view:
                return False
        certs = just.gap if parent is None else (parent, *just.gap)
        return all(self._offer(cert) for cert in certs)

    def _try_vote(self, now: Now) -> None:
        """P1 to P6 for the waiting proposal of the current view."""
        state = self._views.get(self.view)
        block = state.proposal if state is not None else None
        if block is None or state is None or not self.voting:
            return
        if state.my_not is not None or state.my_nul is not None:  # P1
            return
        header = block.header
        if state.bad or header.parent_view < self.tree.final.view:  # P3: nothing may skip a final block
            self._nullify(now)
            return
        missing = self.tree.settle(block.hash)  # P2, P4, P5, P6
        if missing is not None:
            self._want(missing)
            return
        if block.hash in self.tree.bad:
            self._nullify(now)  # refused for ever, and so by every honest member: at once
            return
        ahead_ms = header.time_ms - now.wall_ms - self.timing.clock_ahead_ms
        if ahead_ms > 0:  # P4, soft: our clock may be the wrong one, so wait rather than refuse
            self._retry_at = now.mono_s + ahead_ms / 1000
            return
        self._leader_at = _NEVER
        self._out.append(Persist(record(block), lazy=True))  # so that its body outlives us all
        self._cast(state, notarize(header))

    def _finalize_open(self, now: Now) -> None:
        """V1 to V4 for every view that has a notarization and not our FIN."""
        for view in range(self.tree.final.view + 1, self._good + 1):
            state = self._views.get(view)
            cert = state.certs.get(NOT) if state is not None else None
            if state is None or cert is None:
                continue
            block_hash = cert.said.block_hash
            missing = self.tree.settle(block_hash)
            if missing is not None:
                self._want(missing)
                continue
            if not self.voting or block_hash not in self.tree.checked:  # V2
                continue
            if state.my_nul is not None or state.my_fin is not None:  # V3, V4
                continue
            if state.my_not is not None and state.my_not.said.block_hash != block_hash:
                continue  # NOT(h) then FIN(h') is a fault ("Evidence")
            self._cast(state, finalize(self.tree.blocks[block_hash].header))

    def _try_propose(self, now: Now) -> None:
        """L: lead the current view once there is something to say."""
        if not self.voting or self.committee.leader(self.view) != self.me:
            return
        state = self._at(self.view)
        if state.my_not is not None or state.my_nul is not None or now.mono_s < self._base:
            return
        ready_at = self._entered + self.timing.fill_s
        if now.mono_s < ready_at:
            self._retry_at = ready_at
            return
        stand = self._stand()
        if stand is None:
            return
        parent, just = stand
        links = self._reveal(self.committee.position(self.me, self.view))
        if links is None:  # no link is left: another leader's turn, as if this one were asleep
            self._nullify(now)
            return
        block = self._build(now, parent, just, *links)
        self.tree.add(block)
        if not self.tree.check(block):
            self._nullify(now)  # our own rules refuse what we built: a bug of ours must not cost the network
            return
        state.proposal = block
        self._leader_at = _NEVER
        self._out.append(Persist(record(block)))
        vote = self._vote(state, notarize(block.header))
        self._out.append(Broadcast(Proposal(block, vote)))
        self._count(state, vote)

    def _stand(self) -> tuple[BlockRef, Justification] | None:
        """The newest certified block below the current view, and why one may stand on it; None if unknown."""
        gap: list[Cert] = []
        view = self.view - 1
        final = self.tree.final
        while view > final.view:
            state = self._views.get(view)
            cert = state.block_cert() if state is not None else None
            if cert is not None:
                return self._stand_on(cert, gap)
            skipped = state.certs.get(NUL) if state is not None else None
            if skipped is None or len(gap) >= MAX_GAP_VIEWS.value:
                self._want_certs = True
                return None
            gap.append(skipped)
            view -= 1
        if final.view > 0 and self._floor_cert is None:
            self._want_certs = True
            return None
        return final, Justification(self._floor_cert, tuple(reversed(gap)))

    def _stand_on(self, cert: Cert, gap: list[Cert]) -> tuple[BlockRef, Justification] | None:
        block_hash = cert.said.block_hash
        missing = self.tree.settle(block_hash)
        if missing is not None:
            self._want(missing)
        if block_hash not in self.tree.checked:
            return None
        return ref(self.tree.blocks[block_hash].header), Justification(cert, tuple(reversed(gap)))

    def _build(
        self, now: Now, parent: BlockRef, just: Justification, reveal: bytes, next_chain: bytes
    ) -> Block:
        committee = self.committee
        time_ms = max(now.wall_ms, parent.time_ms + 1)
        draft = self._app.build(
            parent.hash, Slot(committee.epoch, self.view, self.me, time_ms, reveal, next_chain)
        )
        header = Header(
            chain_id=committee.chain_id,
            epoch=committee.epoch,
            view=self.view,
            height=draft.height,
            parent_hash=parent.hash,
            parent_view=parent.view,
            proposer=self.me,
            time_ms=time_ms,
            kind=NORMAL,
            n_entries=len(draft.entries),
            entries_root=entries_root(draft.entries),
            tree_size=draft.tree_size,
            tree_root=draft.tree_root,
            members_hash=committee.members_hash,
            next_members_hash=committee.members_hash,
            just_hash=just.hash(),
            reveal=reveal,
            beacon=draft.beacon,
            next_chain=next_chain,
        )
        return Block(header, Body(draft.entries, just))

    # -- finality ----------------------------------------------------------------------------------

    def _deliver(self, now: Now) -> None:
        """Hand on the newest final block whose chain is whole."""
        for view in range(self._good, self.tree.final.view, -1):
            state = self._views.get(view)
            cert = state.certs.get(FIN) if state is not None else None
            if cert is None:
                continue
            try:
                path, missing = self.tree.path(cert.said.block_hash)
            except catchup.Conflict as error:
                self._halt(f"two final chains: {error}")
                return
            if missing is not None:
                self._want(missing)
                continue
            if self._hand_on(now, path, FinalityProof(cert, (path[-1].header,))):
                return

    def _hand_on(self, now: Now, path: list[Block], proof: FinalityProof) -> bool:
        for block in path:
            self.tree.add(block)
            if not self.tree.check(block):
                self._halt(f"a final block that our rules refuse: {self.tree.bad.get(block.hash)}")
                return False
        self._out.append(Deliver(tuple(path), proof))
        self.proof = proof
        last = path[-1]
        state = self._views.get(last.header.view)
        own = proof.cert if proof.cert.said.block_hash == last.hash else None
        self._floor_cert = own or (state.block_cert() if state is not None else None)
        self.tree.finalize(path)
        floor = self.tree.final.view
        for view in [v for v in self._views if v <= floor]:
            del self._views[view]
        self._good = max(self._good, floor)
        self._wanted.clear()  # what is still missing is asked for anew; the rest is on no branch any more
        self._claims = {m: h for m, h in self._claims.items() if h > self.tree.final.height}
        self._unsettled = now.mono_s if self._good > floor else None
        self._resends = 0
        self._dirty = True
        return True

    # -- what is missing ---------------------------------------------------------------------------

    def _want(self, block_hash: bytes) -> None:
        if len(self._wanted) < VIEW_WINDOW.value:
            self._wanted.setdefault(block_hash, 0)

    def _fetch(self, now: Now) -> None:
        """Ask on, with a timer of its own: certificates may push us through views for ever."""
        self._fetch_at = _NEVER
        self._wanted = {
            h: n
            for h, n in self._wanted.items()
            if h not in self.tree.blocks and h not in self.tree.bad and h != self.tree.final.hash
        }
        if not self._wanted and not self._want_certs and not self._claims:
            return
        peer = self._next_peer()
        for block_hash in list(self._wanted)[:_FETCH_AT_ONCE]:
            self._wanted[block_hash] += 1
            self._out.append(Send(peer, GetBlock(block_hash)))
        if self._want_certs:
            self._want_certs = False
            first = self.tree.final.view + 1
            self._out.append(Send(peer, GetCerts(self.committee.epoch, first, max(first, self.view - 1))))
        if self._claims or any(n > 1 for n in self._wanted.values()):
            # a hash that nobody kept is final for them by now: ask by height
            source = next(iter(self._claims), peer)
            self._claims.pop(source, None)
            self._ask_blocks(source)
        self._fetch_at = now.mono_s + self.timing.delay_s

    def _ask_blocks(self, peer: int) -> None:
        first = self.tree.final.height + 1
        self._out.append(Send(peer, GetBlocks(first, first + MAX_SYNC_BLOCKS.value - 1)))

    def _next_peer(self) -> int:
        self._turn = (self._turn + 1) % self.committee.n
        if self._turn == self.me:
            self._turn = (self._turn + 1) % self.committee.n
        return self._turn

    def _on_block(self, now: Now, block: Block) -> None:
        if block.hash in self._wanted and catchup.body_fits(block):
            self.tree.add(block)
            del self._wanted[block.hash]
            if block.header.parent_hash not in self.tree.blocks:
                self._fetch_at = min(self._fetch_at, now.mono_s)
            self._dirty = True

    def _on_blocks(self, now: Now, sender: int, answer: Blocks) -> None:
        final = self.tree.final
        if answer.blocks[-1].header.height <= final.height:
            return
        try:
            above = catchup.checked(answer, self._checker, final.height, final.hash)
        except Malformed:
            return
        except catchup.Conflict as error:
            self._halt(str(error))
            return
        if not above or not self._hand_on(now, list(above), answer.proof):
            return
        if answer.proof.cert.view > self.tree.final.view:
            self._queue.append(answer.proof.cert)
        else:
            self._enter(now, self.tree.final.view + 1)
        if len(answer.blocks) > 1:
            self._ask_blocks(sender)  # it may have more; the timer is only for when it has not

    def _on_get_blocks(self, sender: int, ask: GetBlocks) -> None:
        last = min(ask.last, self.tree.final.height, ask.first + MAX_SYNC_BLOCKS.value - 1)
        if 0 < ask.first <= last:
            self._out.append(Serve(sender, ask.first, last))

    def _on_get_certs(self, sender: int, ask: GetCerts) -> None:
        if ask.epoch != self.committee.epoch:
            return
        certs: list[Cert] = [self.proof.cert] if self.proof and ask.first <= self.tree.final.view else []
        for view in range(max(ask.first, self.tree.final.view), min(ask.last, self._top()) + 1):
            state = self._views.get(view)
            if state is not None:
                certs += state.certs.values()
        self._out.append(Send(sender, self._status(sender, tuple(certs[: MAX_STATUS_CERTS.value]))))

    # -- status and repetition ---------------------------------------------------------------------

    def _top(self) -> int:
        return max(self._views, default=self.view)

    def _entry_certs(self) -> tuple[Cert, ...]:
        """What lets a member that is behind enter our view."""
        certs = [self.proof.cert] if self.proof is not None else []
        for view in (self._good, self.view - 1):
            state = self._views.get(view)
            if state is not None:
                certs += [c for c in state.certs.values() if c not in certs]
        return tuple(certs)

    def _status(self, to: int, certs: tuple[Cert, ...] = (), answer: int = 0) -> Status:
        final = self.tree.final
        held = self._newest.get(to)
        ask = 0 if answer else self._ask  # an answer asks nothing, or two starting members would never stop
        epoch = self.committee.epoch
        return Status(epoch, self.view, final.height, final.hash, certs, held, ask, answer)

    def _tell(self, to: int, answer: int = 0) -> None:
        self._out.append(Send(to, self._status(to, self._entry_certs(), answer)))

    def _tell_all(self) -> None:
        for member in range(self.committee.n):
            if member != self.me:
                self._tell(member)

    def _on_status(self, now: Now, sender: int, status: Status) -> None:
        if status.epoch != self.committee.epoch:
            return
        for cert in status.certs:
            if cert.view > self.tree.final.view:
                self._offer(cert)
        self._check_held(status.held, status.certs)
        if self._ask and status.answer == self._ask:
            self._told.add(sender)
            self._gate(now)
        final = self.tree.final
        if status.final_height > final.height:
            self._claims[sender] = status.final_height
        if status.ask:
            self._tell(sender, status.ask)
        elif status.view < self.view or status.final_height < final.height:
            self._tell(sender)

    def _check_held(self, held: Vote | None, certs: tuple[Cert, ...]) -> None:
        """A vote of ours that our file lacks: the file is not our whole memory ("Mute and Halt")."""
        if self._stopped or self.voting:
            return
        votes = [held, *(cert.vote_of(self.me) for cert in certs)]
        for vote in votes:
            if vote is None or vote.signer != self.me or vote.view <= self.tree.final.view:
                continue
            if vote.said in [own.said for own in self._at(vote.view).own()] or not self._checker.vote(vote):
                continue
            self._stopped = True
            text = "others hold a vote of this key that votes.wal lacks: rotate the vote key"
            self._out.append(Mute(text))

    def _gate(self, now: Now) -> None:
        """After a start: vote only when q-1 members told the newest vote of our key that they hold."""
        if len(self._told) < self.committee.q - 1:
            return
        self._ask = 0
        if not self._stopped and not self.voting:
            self.voting = True
            self._base = max(self._base, now.mono_s)
            self._set_view_timers(now)  # they may have run out while we were not allowed to vote
            self._dirty = True

    def _resend(self, now: Now) -> None:
        """Repeat what is stored; never creates a vote (ava-labs/Simplex 280)."""
        state = self._views.get(self.view)
        if state is not None:
            for vote in state.own():
                proposal = state.proposal
                if vote.kind == NOT and proposal is not None and proposal.header.proposer == self.me:
                    self._out.append(Broadcast(Proposal(proposal, vote)))
                else:
                    self._out.append(Broadcast(vote))
        for view in range(max(self.tree.final.view + 1, self.view - VIEW_WINDOW.value), self.view):
            older = self._views.get(view)
            if older is not None and FIN not in older.certs and older.my_fin is not None:
                self._out.append(Broadcast(older.my_fin))
        self._tell_all()
        if self._behind():
            self._claims.setdefault(self._next_peer(), self.tree.final.height + 1)
        self._resends += 1
        pause_s = min(8.0, 2.0 * float(1.5 ** min(self._resends, 4))) * self.timing.delay_s
        self._resend_at = now.mono_s + pause_s

    def _behind(self) -> bool:
        return any(FIN in state.certs for state in self._views.values())
