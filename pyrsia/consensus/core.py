"""Simplex for one epoch: what a validator votes, proposes, relays, and hands on as final.

Pure: events and the time go in, effects come out, in the order in which they must happen. One handler runs
to its end; certificates found on the way wait in a queue, so that no handler nests in another. Once the block that
ends the epoch is final the core is over (`ended`) and says nothing more.
Decided elsewhere: times (`clock`), permission to vote (`gate`), whom to ask for what is missing (`wanted`), what a
leader stands on (`proposing`), which blocks are good (`tree`), blocks by height (`sync`), and what comes after the
epoch (`epochs`).

Source: docs/agreement.md; it defines the rules P1 to P6, V1 to V4, N1 to N3, C1 to C6.
"""

from collections.abc import Callable
from typing import ClassVar

from pyrsia.units import VIEW_WINDOW
from pyrsia.wire.blocks import (
    EPOCH_END,
    FIN,
    NORMAL,
    NOT,
    NUL,
    ZERO,
    Block,
    Blocks,
    Cert,
    FinalityProof,
    GetBlock,
    GetCerts,
    Message,
    OneBlock,
    Proposal,
    Statement,
    Status,
    Vote,
    contradicts_itself,
    finalize,
    justified,
    notarize,
    nullify,
)

from . import catchup, proposing
from .application import Application, BlockRef, Executed, Slot
from .clock import NEVER, ViewClock
from .committee import Checker, Committee, Verify
from .counting import Counting
from .effects import Broadcast, Deliver, Effect, Halt, Lie, Mute, Now, Persist, Send, WakeAt
from .gate import Gate
from .recovery import Recovered, recall, record, statements
from .telling import Telling
from .timing import Timing, asleep
from .tree import BlockTree
from .views import ViewState
from .wanted import Wanted

_IN_FLIGHT = 3  # views that may be notarized and not final while all is well


class Simplex:
    """One validator in one epoch.

    Attributes:
        ended: the block that ends the epoch was handed on.
        level: with `ended`: the end came from certificates while this core voted, so the next may vote at once.
        needs: height of a final block that this core cannot reach by asking for hashes; 0 if there is none.
    """

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
        start: Executed | None = None,
        voting: bool = False,
        stopped: bool = False,
    ) -> None:
        """
        Args:
            me: this member's index.
            sign: signs with its vote key.
            reveal: the beacon's link for a position, and the end of the chain to come (ZERO while none is due);
                None once no link is left.
            start: the last final block, if it is not the application's head yet.
            voting: this key voted until the epoch began, in this life: it need not ask what others hold of it.
            stopped: this key must not vote: others hold votes that its file lacked.
        """
        self.committee = committee
        self.me = me
        self.timing = timing or Timing()
        self.tree = BlockTree(app, committee, app.head() if start is None else start)
        self.halted = ""
        self.ended = False
        self.level = False
        self.needs = 0
        self._recovered = recovered or Recovered()
        self.gate = Gate(
            stopped=stopped,
            voting=voting,
            filed=statements(self._recovered.records),
        )
        self.clock = ViewClock(self.timing)
        self._app = app
        self._sign = sign
        self._reveal = reveal
        self._out: list[Effect] = []
        self._checker = Checker(committee, verify)
        self.counting = Counting(committee, self._checker, self.tree.final.view, self._out)
        self.counting.reached[me] = 1 << 63
        self._views = self.counting.views
        self.telling = Telling(
            committee,
            me,
            tree=self.tree,
            counting=self.counting,
            gate=self.gate,
            clock=self.clock,
            out=self._out,
        )
        self._dirty = False
        self._lacking = ""  # why this software cannot judge the next block
        self._looked_from = b""  # the block above which that was asked
        self._patient_for = 0  # failed views that the timers of this view were armed for
        self._seen = [0.0] * committee.n  # when each member last said anything
        self._wanted = Wanted(committee, me, tree=self.tree, pause_s=self.timing.delay_s, out=self._out)
        self._woken = NEVER

    @property
    def view(self) -> int:
        """The current view."""
        return self.clock.view

    @property
    def final(self) -> BlockRef:
        """The last final block that was handed on."""
        return self.tree.final

    @property
    def voting(self) -> bool:
        """Whether this member votes on what comes next: its key may, and its software knows the rules."""
        return self.gate.voting and not self._lacking

    # -- events ------------------------------------------------------------------------------------

    def on_start(self, now: Now) -> list[Effect]:
        """Take up what was recovered; ask the others what they hold of our votes."""
        self._seen = [now.mono_s] * self.committee.n
        start = self.tree.final.view
        memory = recall(self._recovered.records, self.committee.epoch, start)
        for block in memory.blocks:
            self.tree.add(block)
            if block.header.proposer == self.me:
                self.counting.at(block.header.view).proposal = block
        for vote in memory.votes:
            state = self.counting.at(vote.view)
            state.record_own(vote)
            state.votes[vote.kind].setdefault(self.me, vote)
        certs = list(memory.certs)
        proof = self._recovered.proof
        if proof is not None and proof.cert.said.epoch == self.committee.epoch:
            self.telling.proof = proof
            certs.append(proof.cert)
            if proof.cert.view == start:
                self.telling.floor = proof.cert
        for cert in certs:
            if cert.view > start and self._checker.cert(cert):
                self.counting.keep(cert)
        # The view follows from certificates, not from the last record (ava-labs/Simplex 328).
        top = max([start, *(s.view for s in self._views.values() if s.certs)])
        if self.counting.good > start:
            self.clock.unsettled = now.mono_s
        self._enter(now, top + 1)
        # A number that no question of an earlier life or epoch had.
        self.gate.open((max(1, now.wall_ms) << 10) | (self.committee.epoch & 1023))
        self._recovered = Recovered()
        if self.gate.ask:
            self.telling.tell_all(now)
        return self._finish(now)

    def on_message(self, now: Now, sender: int, message: Message) -> list[Effect]:
        """A decoded message; `sender` at or above n is a peer that is no member of this epoch."""
        if self.halted or self.ended:
            return []
        if 0 <= sender < self.committee.n and sender != self.me:
            self._seen[sender] = now.mono_s
            handler = self._HANDLERS.get(type(message))
            if handler is not None:
                handler(self, now, sender, message)
        if isinstance(message, OneBlock):
            self._dirty |= self._wanted.take(now, message.block)
        elif isinstance(message, GetBlock):
            block = self.tree.find(message.block_hash)
            if block is not None:
                self._out.append(Send(sender, OneBlock(block)))
        elif isinstance(message, GetCerts):
            self.telling.answer(message, sender)
        return self._finish(now)

    def on_timer(self, now: Now) -> list[Effect]:
        """Whatever is due."""
        if self.halted or self.ended:
            return []
        self._woken = NEVER
        at, clock = now.mono_s, self.clock
        if clock.leader_at <= at:
            clock.leader_at = NEVER
            self._nullify(now)
        if clock.view_at <= at:
            clock.view_at = NEVER
            self._nullify(now)
            self._resend(now)
        if clock.base > at and clock.late(at):
            self._rebase(now)
        if clock.relay_at <= at:
            clock.relay_at = NEVER
            self.telling.relay()
        if clock.resend_at <= at:
            self._resend(now)
        if self._wanted.at <= at:
            self._wanted.ask(now)
            if self._wanted.by_height:  # a hash that nobody kept is final for them by now
                self._need()
        if clock.retry_at <= at:
            clock.retry_at = NEVER
        self._dirty = True
        return self._finish(now)

    def on_work(self, now: Now) -> list[Effect]:
        """The application may have work: the first entry after idle starts the view's clock."""
        if self.halted or self.ended:
            return []
        if self.clock.base > now.mono_s and self._has_work():
            self._rebase(now)
            self._dirty = True
        return self._finish(now)

    def on_peer(self, now: Now, peer: int) -> list[Effect]:
        """A link to `peer` came up: tell it where we stand."""
        if self.halted or self.ended:
            return []
        self.telling.tell(now, peer)
        return self._finish(now)

    def adopt(self, now: Now, answer: Blocks) -> list[Effect]:
        """Final blocks that `catchup.proven` found good."""
        if self.halted or self.ended:
            return []
        final = self.tree.final
        try:
            rest = catchup.above(answer.blocks, final.height, final.hash)
        except catchup.Conflict as error:
            self._halt(str(error))
            return self._finish(now)
        if rest and self._hand_on(now, list(rest), answer.proof, level=False) and not self.ended:
            if answer.proof.cert.view > self.tree.final.view:
                self.counting.queue.append(answer.proof.cert)
            else:
                self._enter(now, self.tree.final.view + 1)
        return self._finish(now)

    # -- the turn ----------------------------------------------------------------------------------

    def _finish(self, now: Now) -> list[Effect]:
        while not self.halted and not self.ended:
            if self.counting.queue:
                self._take_cert(now, self.counting.queue.popleft())
            elif self._dirty:
                self._dirty = False
                self._advance(now)
            else:
                self._arm(now)
                break
        out = self._out.copy()
        self._out.clear()
        return out

    def _advance(self, now: Now) -> None:
        self._deliver(now)
        if self.halted or self.ended:
            return
        self._finalize_open(now)
        self._look_ahead()
        self._try_vote(now)
        self._try_propose(now)

    def _arm(self, now: Now) -> None:
        """One alarm for the earliest timer."""
        clock = self.clock
        if self._failed() < self._patient_for:  # it was this member that had not heard
            self._set_patience(now)
        waiting = clock.view_at == NEVER and clock.base < NEVER
        clock.arm_resend(now.mono_s, stuck=clock.unsettled is not None or bool(self.gate.ask) or waiting)
        self._wanted.arm(now)
        if clock.relay_at < NEVER and min(self.counting.reached) >= self.view - 1:
            clock.relay_at = NEVER
        leading = self.committee.leader(self.view) == self.me
        at = min(clock.next_at(now.mono_s, leading=leading), self._wanted.at)
        if at != self._woken and at < NEVER:
            self._woken = at
            self._out.append(WakeAt(at))

    def _halt(self, reason: str) -> None:
        self.halted = reason
        self._out.append(Halt(reason))

    def _lie(self, sender: int, why: str) -> None:
        self._out.append(Lie(sender, why))

    # -- views -------------------------------------------------------------------------------------

    def _enter(self, now: Now, view: int) -> None:
        if view <= self.view:
            return
        self.clock.enter(now.mono_s, view, busy=self._has_work())
        self._set_patience(now)
        self.counting.enter(view)
        self._dirty = True

    def _rebase(self, now: Now) -> None:
        """Work came: the lazy clock of this view starts now."""
        self.clock.base = now.mono_s
        self._set_patience(now)

    def _set_patience(self, now: Now) -> None:
        leader, state = self.committee.leader(self.view), self._views.get(self.view)
        quorum, asleep_s = self.committee.q, self.timing.asleep_s
        self._patient_for = self._failed()
        self.clock.set_patience(
            self._patient_for,
            asleep=asleep(self._seen, leader, self.me, quorum, now.mono_s, asleep_s),
            voted=state is not None and state.my_not is not None,
        )

    def _failed(self) -> int:
        """Views without a block since the newest certified one; or views that should be final by now and are not.

        The second: where delays are longer than D0 says, members may give up each view that the others notarize, and
        nothing would ever be final although every few views have a block. What is final and not here yet has not
        failed: only this member is behind.
        """
        return max(0, self.view - 1 - self.counting.good, self.view - 1 - self.counting.decided - _IN_FLIGHT)

    def _tip(self) -> bytes:
        """The newest checked block that has a certificate: where work would go."""
        for view in range(
            self.counting.good, max(self.tree.final.view, self.counting.good - VIEW_WINDOW.value), -1
        ):
            cert = self.counting.block_cert(view)
            if cert is not None and cert.said.block_hash in self.tree.checked:
                return cert.said.block_hash
        return self.tree.final.hash

    def _has_work(self) -> bool:
        """Whether a block would have something to say. Behind the end of an epoch nothing can be said any more."""
        tip = self._tip()
        return self.tree.ends_at(tip) is None and self._app.has_work(tip)

    def _look_ahead(self) -> None:
        """R7: who cannot judge what comes next says so and leaves it to the others, timers included."""
        tip = self._tip()
        if tip == self._looked_from:
            return
        self._looked_from = tip
        before = self._lacking
        self._lacking = self._app.lacks(tip) if self.tree.ends_at(tip) is None else ""
        if self._lacking and not before:
            self._out.append(Mute(self._lacking))

    # -- votes and certificates --------------------------------------------------------------------

    def _on_vote(self, now: Now, sender: int, vote: Vote) -> None:
        """Votes come from their signer's own link; others' votes travel in certificates and proposals."""
        if vote.said.epoch != self.committee.epoch:
            return
        if vote.signer != sender:
            self._lie(sender, "a vote of somebody else over its own link")
            return
        self.gate.heard(vote)
        self.counting.left(sender, vote.view if vote.kind == FIN else vote.view - 1)
        if vote.view <= self.tree.final.view:
            self.counting.late_vote(vote)
        elif self._near(vote.view):
            self._tally(now, vote)

    def _near(self, view: int) -> bool:
        """Whether votes and proposals of this view are kept: W views behind and W ahead."""
        return -VIEW_WINDOW.value < view - self.view <= VIEW_WINDOW.value

    def _tally(self, now: Now, vote: Vote, *, checked: bool = False) -> None:
        new = self.counting.vote(vote, checked=checked)
        if new and vote.said[:3] == (NUL, self.committee.epoch, self.view):
            if vote.signer == self.committee.leader(self.view):
                self._nullify(now)  # the leader gives its own view up

    def _on_cert(self, now: Now, sender: int, cert: Cert) -> None:
        if cert.said.epoch != self.committee.epoch:
            return
        self.counting.left(sender, cert.view)
        if not self._offer(cert):
            self._lie(sender, "a certificate that is none")

    def _offer(self, cert: Cert) -> bool:
        """A certificate from outside; False if it is known to be none. Of views that are over none is worth a check."""
        if cert.view < self.tree.final.view and cert.said.epoch == self.committee.epoch:
            return True
        return self.counting.offer(cert)

    def _take_cert(self, now: Now, cert: Cert) -> None:
        """A good certificate: keep it, pass it on, move on.

        A view that was given up is told to all at once. Of a block's certificate all members have seen the votes, and
        most show it by their own next vote; `Telling.relay` sends it to those who do not.
        """
        if cert.view <= self.tree.final.view:
            if self.telling.floor is None and cert.said.block_hash == self.tree.final.hash:
                self.telling.floor = cert
                self._dirty = True
            return
        if not self.counting.keep(cert):
            if self.counting.broken:
                self._halt(self.counting.broken)
            return
        self._out.append(Persist(record(cert), lazy=True))
        if cert.kind == NUL:
            self._out.append(Broadcast(cert))
        elif self.clock.unsettled is None:
            self.clock.unsettled = now.mono_s
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
        self.counting.count(state, vote)

    def _nullify(self, now: Now) -> None:
        """N: give the current view up: allowed after NOT, forbidden after FIN."""
        state = self.counting.at(self.view)
        if not self.voting or state.my_nul is not None or state.my_fin is not None:
            return
        self._cast(state, nullify(self.committee.epoch, self.view))

    def _give_up(self, now: Now) -> None:
        """This view will bring nothing: at once, unless leader after leader fails; then with the view's patience.

        A network in which nobody can lead would else burn thousands of views in a minute, and a block names a
        certificate for each of them.
        """
        if self._failed() <= 2 * self.committee.n:
            self._nullify(now)

    # -- proposals ---------------------------------------------------------------------------------

    def _on_proposal(self, now: Now, sender: int, proposal: Proposal) -> None:
        block, vote = proposal.block, proposal.vote
        view = block.header.view
        if block.header.epoch != self.committee.epoch:
            return
        if vote.signer != sender or sender != self.committee.leader(view):
            self._lie(sender, "a proposal in a view that is not its own")
            return
        self.counting.left(sender, view - 1)
        if view <= self.tree.final.view or not self._near(view):
            return
        state = self.counting.at(view)
        if state.proposal is not None and state.proposal.hash == block.hash:
            return
        if not catchup.body_fits(block) or not self._checker.vote(vote):
            self._lie(sender, "a proposal whose body or signature is not its header's")
            return
        self.gate.heard(vote)
        if state.proposal is None:
            state.proposal = block
            if not self._absorb(block):
                self.counting.forbid(state, block)
        self._tally(now, vote, checked=True)  # a second proposal is a second NOT: evidence
        cert = state.block_cert()
        if state.proposal is block or (cert is not None and cert.said.block_hash == block.hash):
            self.tree.add(block)
            self._wanted.got(block.hash)
        self._dirty = True

    def _absorb(self, block: Block) -> bool:
        """P2 and P3, as far as evidence rests on them; good certificates move us on."""
        header, just, committee = block.header, block.body.justification, self.committee
        told = header.chain_id, header.members_hash, header.proposer
        if told != (committee.chain_id, committee.members_hash, committee.leader(header.view)):
            return False
        if contradicts_itself(header) or not justified(header, just):
            return False
        certs = just.gap if just.parent_cert is None else (just.parent_cert, *just.gap)
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
        if state.bad_block is not None or header.parent_view < self.tree.final.view:  # P3
            self._give_up(now)  # (nothing may skip a final block)
            return
        missing = self.tree.settle(block.hash)  # P2, P4, P5, P6
        if missing is not None:
            self._wanted.want(missing, header.proposer)
            return
        if block.hash in self.tree.bad:
            self._give_up(now)  # refused for ever, and so by every honest member
            return
        ahead_ms = header.time_ms - now.wall_ms - self.timing.clock_ahead_ms
        if ahead_ms > 0:  # P4, soft: our clock may be the wrong one, so wait rather than refuse
            self.clock.retry_at = now.mono_s + ahead_ms / 1000
            return
        self.clock.leader_at = NEVER
        self._out.append(Persist(record(block), lazy=True))  # so that its body outlives us all
        self._cast(state, notarize(header))

    def _finalize_open(self, now: Now) -> None:
        """V1 to V4 for every view that has a notarization and not our FIN."""
        for view in range(self.tree.final.view + 1, self.counting.good + 1):
            state = self._views.get(view)
            cert = state.certs.get(NOT) if state is not None else None
            if state is None or cert is None:  # V1
                continue
            block_hash = cert.said.block_hash
            missing = self.tree.settle(block_hash)
            if missing is not None:
                self._wanted.want(missing, cert.signers[view % len(cert.signers)])
                continue
            if not self.gate.voting or block_hash not in self.tree.checked:  # V2
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
        state = self.counting.at(self.view)
        if state.my_not is not None or state.my_nul is not None or now.mono_s < self.clock.base:
            return
        ready_at = self.clock.entered + self.timing.fill_s
        if now.mono_s < ready_at:
            self.clock.retry_at = ready_at
            return
        at = proposing.stand(self.view, self._views, self.tree, self.telling.floor)
        if isinstance(at, proposing.Lacking):
            self._lack(at)
            return
        block = self._built(now, at) if at is not None else None
        if at is None:
            return
        if block is None or not self.tree.check(block):
            # No link is left, or our own rules refuse what we built: neither must cost the network its patience.
            self._give_up(now)
            return
        state.proposal = block
        self.clock.leader_at = NEVER
        self._out.append(Persist(record(block)))
        vote = self._vote(state, notarize(block.header))
        self._out.append(Broadcast(Proposal(block, vote)))
        self.counting.count(state, vote)

    def _lack(self, what: proposing.Lacking) -> None:
        if what.block_hash is None:
            self._wanted.certs = max(1, what.view)
        else:
            self._wanted.want(what.block_hash)

    def _built(self, now: Now, at: proposing.Stand) -> Block | None:
        """Our block for this view; None without a link to reveal."""
        link = (ZERO, ZERO) if at.tail else self._reveal(self.committee.position(self.me, self.view))
        if link is None:
            return None
        time_ms = max(now.wall_ms, at.parent.time_ms + 1)
        slot = Slot(self.committee.epoch, self.view, self.me, time_ms, *link)
        draft = proposing.tail_of(at.parent) if at.tail else self._app.build(at.parent.hash, slot)
        block = proposing.block(self.committee, at, slot, draft)
        self.tree.add(block)
        return block

    # -- finality ----------------------------------------------------------------------------------

    def _deliver(self, now: Now) -> None:
        """Hand on the newest final block whose chain is whole; never anything behind the end of the epoch."""
        for view in range(self.counting.good, self.tree.final.view, -1):
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
                self._wanted.want(missing, cert.signers[0])
                continue
            log = [block for block in path if block.header.kind in (NORMAL, EPOCH_END)]
            above = [block.header for block in path[len(log) - 1 :]]
            if log and self._hand_on(now, log, FinalityProof(cert, tuple(reversed(above))), level=True):
                return

    def _hand_on(self, now: Now, path: list[Block], proof: FinalityProof, *, level: bool) -> bool:
        for block in path:
            self.tree.add(block)
            if not self.tree.check(block):
                self._halt(self.tree.refusal(block))
                return False
        self._out.append(Deliver(tuple(path), proof))
        self.telling.proof = proof
        last = path[-1]
        self.ended = last.header.kind == EPOCH_END
        self.level = self.ended and level and self.gate.voting
        own = proof.cert if proof.cert.said.block_hash == last.hash else None
        self.telling.floor = own or self.counting.block_cert(last.header.view)
        self.tree.finalize(path)
        floor = self.tree.final.view
        self.counting.finalize(floor)
        self._wanted.clear()
        self.needs = 0
        self.clock.unsettled = now.mono_s if self.counting.good > floor else None
        self.clock.resends = 0
        self._dirty = True
        return True

    # -- what others tell --------------------------------------------------------------------------

    def _on_status(self, now: Now, sender: int, status: Status) -> None:
        """A member's, of whatever epoch it is in: what it holds of our key it holds."""
        mine = status.epoch == self.committee.epoch
        if mine:
            self.counting.left(sender, status.view - 1)
            for cert in status.certs:
                if not self._offer(cert):
                    self._lie(sender, "a certificate that is none")
                    return
        self._check_held(status)
        if mine and self.gate.answered(sender, status.answer, self.committee.q - 1):
            self.clock.base = max(self.clock.base, now.mono_s)
            self._set_patience(now)  # the timers may have run out while we were not allowed to vote
            self._dirty = True
        if status.ask:
            if status.epoch <= self.committee.epoch:  # (whoever is further asks again until we are there)
                self.telling.tell(now, sender, status.ask)
            return
        behind = (status.epoch, status.view) < (self.committee.epoch, self.view)
        if behind or status.final_height < self.tree.final.height:
            self.telling.tell_behind(now, sender)

    def _check_held(self, status: Status) -> None:
        """A vote of ours that our file lacks: the file is not our whole memory ("Mute and Halt")."""
        epoch, floor = self.committee.epoch, self.tree.final.view
        for vote in (status.held, *(cert.vote_of(self.me) for cert in status.certs)):
            if vote is None:
                continue
            state = self._views.get(vote.view) if vote.said.epoch == epoch else None
            own = [mine.said for mine in state.own()] if state is not None else []
            if self.gate.lacks(vote, epoch, floor, own) and self._checker.signed_by(self.me, vote):
                self.gate.stop()
                text = "others hold a vote of this key that votes.wal lacks: rotate the vote key"
                self._out.append(Mute(text, lost=True))

    def hear_ahead(self, member: int, vote: Vote) -> None:
        """A vote of a later epoch, which counts for nothing yet. Its signer is told of it should it have lost it."""
        if self.gate.newer(member, vote) and self._checker.signed_by(member, vote):
            self.gate.newest[member] = vote

    def _need(self) -> None:
        """What is known to be final here or elsewhere, and cannot be had by hash."""
        certs = [s.certs[FIN] for s in self._views.values() if FIN in s.certs]
        self.needs = max([self.tree.final.height + 1, *(cert.said.height for cert in certs)])

    def _resend(self, now: Now) -> None:
        """Repeat what is stored; never creates a vote (ava-labs/Simplex 280)."""
        self.telling.repeat(now)
        if any(FIN in state.certs for state in self._views.values()):
            self._need()
        self.clock.pause(now.mono_s)

    _HANDLERS: ClassVar[dict[type[object], Callable[..., None]]] = {
        Vote: _on_vote,
        Cert: _on_cert,
        Proposal: _on_proposal,
        Status: _on_status,
    }
