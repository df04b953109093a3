"""Cores and ledgers with one rule missing. Each must be caught, by the invariant that it breaks, within its seeds."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from pyrsia.consensus import catchup, committee, core, epochs, gate, recovery, sync, wanted
from pyrsia.consensus.core import Simplex
from pyrsia.consensus.effects import Now
from pyrsia.consensus.recovery import Memory
from pyrsia.ledger import building, motions, receipts
from pyrsia.wire.blocks import EPOCH_END, NOT, Block, Cert, FinalityProof, Statement, Vote, finalize

from . import toy


class NoGap(Simplex):
    """Believes that the views between parent and block were given up (ava-labs/Simplex 281)."""

    def _absorb(self, block: Block) -> bool:
        parent = block.body.justification.parent_cert
        return parent is None or self.counting.offer(parent)


class BothVotes(Simplex):
    """Forgets that it gave a view up when it finalizes, and the other way round."""

    def _nullify(self, now: Now) -> None:
        state = self.counting.at(self.view)
        mine, state.my_fin = state.my_fin, None
        super()._nullify(now)
        state.my_fin = state.my_fin or mine

    def _finalize_open(self, now: Now) -> None:
        mine = {view: state.my_nul for view, state in self.counting.views.items()}
        for state in self.counting.views.values():
            state.my_nul = None
        super()._finalize_open(now)
        for view, vote in mine.items():
            if view in self.counting.views:
                self.counting.views[view].my_nul = vote


class Inventive(Simplex):
    """Makes a FIN vote while it only means to repeat what it said (ava-labs/Simplex 280)."""

    def _resend(self, now: Now) -> None:
        for view, state in list(self.counting.views.items()):
            cert = state.certs.get(NOT)
            if cert is not None and state.my_fin is None and cert.said.block_hash in self.tree.checked:
                self._cast(self.counting.at(view), finalize(self.tree.blocks[cert.said.block_hash].header))
        super()._resend(now)


class Hasty(Simplex):
    """Takes a notarized end of its epoch for a final one."""

    def _deliver(self, now: Now) -> None:
        for state in list(self.counting.views.values()):
            cert = state.certs.get(NOT)
            block = self.tree.blocks.get(cert.said.block_hash) if cert is not None else None
            if cert is None or block is None or block.header.kind != EPOCH_END:
                continue
            path, missing = self.tree.path(block.hash)
            if missing is None:
                self._hand_on(now, path, FinalityProof(cert, (block.header,)), level=True)
                return
        super()._deliver(now)


class Tailed(Simplex):
    """Hands on the tails of an epoch, too."""

    def _hand_on(self, now: Now, path: list[Block], proof: FinalityProof, *, level: bool) -> bool:
        if len(proof.headers) > 1:
            found, missing = self.tree.path(proof.headers[0].hash())
            if missing is None:
                path, proof = found, FinalityProof(proof.cert, proof.headers[:1])
        return super()._hand_on(now, path, proof, level=level)


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    whole = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, whole)


def _cert_of(distinct: bool, fewer: int) -> AbstractContextManager[None]:
    """Certificates are checked for less than they must be."""

    def cert(self: committee.Checker, cert: Cert, known: Any = None) -> bool:
        seats, signers = self.committee, cert.signers
        if cert.said.epoch != seats.epoch or not seats.q - fewer <= len(signers) <= seats.q:
            return False
        if distinct and any(a >= b for a, b in pairwise(signers)):
            return False
        if max(signers) >= seats.n:
            return False
        text = self.text(cert.said)
        pairs = zip(signers, cert.sigs, strict=True)
        return all(self._verify(seats.keys[signer], text, sig) for signer, sig in pairs)

    return patched(committee.Checker, "cert", cert)


def _old_records() -> AbstractContextManager[None]:
    """Records of an old epoch are taken up in a new one (ava-labs/Simplex 551)."""

    def recall(records: Any, epoch: int, final_view: int) -> Memory:
        memory = Memory()
        for data in records:
            thing = recovery.read(data)
            if data[0] == 1:
                memory.votes.append(thing)  # type: ignore[arg-type]
        return memory

    @contextmanager
    def both() -> Iterator[None]:
        with (
            patched(core, "recall", recall),
            patched(epochs, "later", lambda recovered, epoch: recovered),
        ):
            yield

    return both()


def _old_votes() -> AbstractContextManager[None]:
    """Votes of an epoch that is over are counted in the one that runs."""
    text, sorted_ = committee.Committee.text, epochs.Epochs._sorted

    def timeless(self: committee.Committee, said: Statement) -> bytes:
        return text(self, said._replace(epoch=0))

    def relabelled(self: epochs.Epochs, now: Now, node: bytes, message: Any) -> Any:
        if isinstance(message, Vote) and message.said.epoch < self.committee.epoch:
            message = replace(message, said=message.said._replace(epoch=self.committee.epoch))
        return sorted_(self, now, node, message)

    @contextmanager
    def both() -> Iterator[None]:
        with patched(committee.Committee, "text", timeless), patched(epochs.Epochs, "_sorted", relabelled):
            yield

    return both()


def _shy() -> AbstractContextManager[None]:
    """Nobody asks for what it lacks."""

    @contextmanager
    def both() -> Iterator[None]:
        asks = patched(sync.Sync, "ask", lambda *_: []), patched(sync.Sync, "poll", lambda *_: [])
        with patched(wanted.Wanted, "arm", lambda *_: None), asks[0], asks[1]:
            yield

    return both()


def _blind() -> AbstractContextManager[None]:
    """One node's rotation leaves nobody out."""
    whole = toy.Toy.seats

    def seats(app: toy.Toy, block_hash: bytes) -> Any:
        told = whole(app, block_hash)
        return replace(told, convicted=frozenset()) if app.me == 0 else told

    return patched(toy.Toy, "seats", seats)


def _rootless() -> AbstractContextManager[None]:
    """Nobody executes a block before it votes: the header's word is taken."""
    whole = toy.Toy._run

    def run(app: toy.Toy, at: Any, *rest: Any) -> Any:
        return Anything(whole(app, at, *rest))

    return patched(toy.Toy, "_run", run)


class Anything(tuple):  # type: ignore[type-arg]
    """Equal to whatever it is compared with."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = tuple.__hash__


@dataclass(frozen=True)
class Mutant:
    """A rule that is missing, how many seeds it may survive, and what must catch it.

    Attributes:
        caught: a pattern that the text of `Broken` matches: the invariant.
        plan: fields of the plan that give the mutant its chance.
        real: requests of a run over the real ledger; negative: over the toy.
        within: the patch, entered around each run.
    """

    seeds: int
    caught: str
    plan: dict[str, Any] = field(default_factory=dict)
    real: int = -1
    within: Any = nullcontext


LIARS: dict[str, Any] = {"byzantine": 1, "twins": False}
ALONE: dict[str, Any] = {"byzantine": 0}

MUTANTS: dict[str, Mutant] = {
    "views between parent and block need no proof": Mutant(
        60,
        r"I3|I5|two final chains|a branch below",
        {**LIARS, "core": NoGap, "habits": ("stale", "everything"), "entries": 150},
    ),
    "NUL and FIN of one view": Mutant(20, "I2|I5", {"core": BothVotes}),
    "sends before the sync": Mutant(5, "I8", {"lose_sync": True}),
    "a rule that is no function of the log": Mutant(5, "I6|L1|refuse", {"impure": True}),
    "repetition makes votes": Mutant(30, "I2", {"core": Inventive}),
    "a notarized end of an epoch ends it": Mutant(10, "I9", {"core": Hasty, "seats": 6}),
    "tails are delivered": Mutant(30, "I4", {"core": Tailed, "seats": 8, "drop": 0.2}),
    "records of an old epoch are taken up": Mutant(
        40, "I9|I1|I2|others hold|rotate", {"seats": 8, "crashes": 6}, within=_old_records
    ),
    "votes of an old epoch are counted in the new one": Mutant(
        30, "I10|I9|I5|I3", {"seats": 12, "spares": 2, "drop": 0.1}, within=_old_votes
    ),
    "what is missing is not asked for": Mutant(10, "L1", {"drop": 0.2, "crashes": 6, "partitions": 2}, within=_shy),
    "a certificate may name a signer twice": Mutant(
        40, "I9|both finalized|I3|halts", {**LIARS, "habits": ("certificates",)},
        within=lambda: _cert_of(distinct=False, fewer=0),
    ),
    "q - 1 signatures are a certificate": Mutant(
        40, "I9|both finalized|I3|halts", {**LIARS, "habits": ("certificates",)},
        within=lambda: _cert_of(distinct=True, fewer=1),
    ),
    "votes after a rollback": Mutant(
        60,
        "I8.*rollback",
        {**ALONE, "rollbacks": 1, "dead": 0, "crashes": 0, "failing_disk": 0.0, "drop": 0.2, "delay_s": 0.02},
        within=lambda: patched(gate.Gate, "lacks", lambda *_: False),
    ),
    "the vote is forgotten over a restart": Mutant(
        60, "I1", {"crashes": 8}, within=lambda: patched(core, "recall", lambda *_: Memory())
    ),
    "one node's rotation leaves nobody out": Mutant(
        60, "I10|L1|I9", {**LIARS, "habits": ("equivocate", "everything"), "seats": 10}, within=_blind
    ),
    "what blocks say of the root is believed": Mutant(
        40, "I6|I9", {**LIARS, "habits": ("wrong",)}, within=_rootless
    ),
    "blocks by height are believed": Mutant(
        60, "I9|I4|I3|halts", {**LIARS, "habits": ("claims",), "partitions": 2, "crashes": 4},
        within=lambda: patched(catchup, "proven", lambda *_: None),
    ),
    "a member has a seat before it follows": Mutant(
        30, "J1", {"seats": 6, "spares": 2, "partitions": 2, "byzantine": 0}, real=0,
        within=lambda: patched(motions, "accepted", lambda *_: True),
    ),
    "deadlines of builds pass unnoticed": Mutant(
        40, "G2", {"byzantine": 0, "seats": 0}, real=2, within=lambda: patched(building, "deadlines", lambda *_: None)
    ),
    "reveals count before their gate": Mutant(
        40, "G1", {"byzantine": 0, "seats": 0}, real=2, within=lambda: patched(building, "gate_open", lambda *_: True)
    ),
    "reveals stand without their receipts": Mutant(
        40, "G3", {"byzantine": 0, "seats": 0}, real=2, within=lambda: patched(receipts, "check", lambda *_: None)
    ),
}  # fmt: skip
