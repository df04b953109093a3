"""The epochs of a pinned network as far as a verifier knows them: who may sign a checkpoint of which size.

Genesis names the validators of epoch 0; each step (`wire.epochs.EpochEnd`) proves, by a quorum of the epoch that it
ends, who validates next and at which size and root of the log. Steps come from a pin's memory, from a proof file, or
from whoever gives the log: all of them are strangers, so nothing is taken that is not proven here.

What this cannot know is what it was not told: somebody who has only heard of the first epochs believes a quorum of the
last of them, whatever size they sign. So steps that were once seen are remembered beside the pin.

Source: docs/log.md, "Epochs"; docs/agreement.md, "Followers and light clients".
"""

import base64
from collections.abc import Callable, Sequence
from typing import Final

from pyrsia.consensus.light import Contradiction, Followed
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.ledger.genesis import Genesis
from pyrsia.log import checkpoint as checkpoints
from pyrsia.log.checkpoint import Checkpoint, Pair, Trusted
from pyrsia.log.note import SignedNote, unb64
from pyrsia.units import MAX_STEP_BYTES, Limit, TreeSize
from pyrsia.verify.leaves import Verify
from pyrsia.wire import canonical
from pyrsia.wire.blocks import FinalityProof, Header
from pyrsia.wire.epochs import EpochEnd, Validator

MAX_EPOCHS = Limit(4_096, "a validator set that changes every week, for eighty years")
_QUOTES: Final = 3  # around and between texts in a list of canonical JSON
FOLDER: Final = "epochs"  # of the steps below a log's address, and in its copies

Steps = Callable[[int], bytes | None]
"""The encoded step from an epoch to the next one, from a stranger; None where there is none."""


class Line:
    """The epochs of one network, in order, each proven by the one before it.

    Attributes:
        steps: the encoded step that ends epoch i, for each epoch i that is known to have ended.
    """

    def __init__(self, genesis: Genesis, verify: Verify) -> None:
        self.genesis = genesis
        self.steps: list[bytes] = []
        self._ends: list[Checkpoint] = []
        self._verify = verify
        self._followed = Followed(
            genesis.founders, chain_id=genesis.chain_id, origin=genesis.origin, verify=verify
        )

    @classmethod
    def of(cls, genesis: Genesis, steps: Sequence[bytes], verify: Verify) -> "Line":
        """The line that these steps lead along; the first one that proves nothing ends it."""
        line = cls(genesis, verify)
        for step in steps:
            try:
                line.take(step)
            except (Malformed, Contradiction):
                break
        return line

    @property
    def epoch(self) -> int:
        """Number of the newest epoch that is known."""
        return len(self.steps)

    def validators(self, epoch: int | None = None) -> tuple[Validator, ...]:
        """Those of an epoch that is known, sorted by vote key; of the newest one."""
        return self._followed.validators(self.epoch if epoch is None else epoch)

    def end(self, epoch: int) -> Checkpoint:
        """The tree head at which a known epoch ended."""
        return self._ends[epoch]

    def epoch_of(self, head: Trusted) -> int:
        """The epoch whose quorum made a head trusted: where an epoch ends that may be the next one."""
        number = self._followed.epoch_of_size(head.checkpoint.size)
        return number if set(head.of) == set(_pairs(self.validators(number))) else number + 1

    def up_to(self, size: int) -> list[bytes]:
        """The steps that were taken by the time the log had `size` leaves."""
        return [step for step, end in zip(self.steps, self._ends, strict=True) if end.size <= size]

    def take(self, data: bytes, epoch: int | None = None) -> None:
        """Take the step from the newest known epoch to the next one.

        Args:
            epoch: which epoch the step is said to end; one that is known to have ended must have ended so.

        Raises:
            Malformed: it is no step, or proves nothing (`ProofInvalid`).
            Contradiction: a quorum signed it, and it excludes what is known.
        """
        if len(data) > MAX_STEP_BYTES.value:
            raise Malformed(f"a step to the next epoch has at most {MAX_STEP_BYTES.value} bytes")
        if epoch is not None and epoch < self.epoch and self.steps[epoch] == data:
            return
        step = EpochEnd.decode(data)
        header = step.proof.headers[-1]
        if epoch is not None and header.epoch != epoch:
            raise ProofInvalid(f"the step ends epoch {header.epoch}, not {epoch}")
        if self.epoch >= MAX_EPOCHS.value:
            raise ProofInvalid(f"more than {MAX_EPOCHS.value} epochs")
        self._followed.step(step)
        if header.epoch == self.epoch:
            self.steps.append(data)
            end = Checkpoint(self.genesis.origin, TreeSize(header.tree_size), header.tree_root)
            self._ends.append(end)

    def follow(self, steps: Steps) -> int:
        """Take every further step that `steps` gives; how many those are.

        Raises:
            Malformed, Contradiction: as `take`.
        """
        taken = 0
        while self.epoch < MAX_EPOCHS.value and (data := steps(self.epoch)) is not None:
            self.take(data, self.epoch)
            taken += 1
        return taken

    def final(self, proof: FinalityProof) -> Header:
        """The header of the block that `proof` proves final.

        Raises:
            ProofInvalid, Contradiction: as `consensus.light.Followed.final`.
        """
        return self._followed.final(proof)

    def trusted(self, note: SignedNote) -> Trusted:
        """The head that `note` is trusted for: its log, and a quorum of the epoch in which its size lies, signed it.

        Raises:
            Malformed: it is no checkpoint, or not signed like this (`ProofInvalid`).
            Contradiction: it is, and an epoch ended at this size with another root.
        """
        said = Checkpoint.parse(note.text)
        if said.origin != self.genesis.origin:
            raise ProofInvalid(f"the checkpoint is of another log: {said.origin}")
        epochs = [_pairs(validators) for validators in self._followed.signers(said.size)]
        found = checkpoints.quorum_of(note, said.origin, epochs, self._verify)
        for step, end in zip(self.steps, self._ends, strict=True):
            if end.size == said.size and end.root != said.root:
                raise Contradiction(
                    f"a checkpoint of size {said.size} has another root than the block that ended an epoch there",
                    step,
                    note.encode(),
                )
        return found


def _pairs(validators: Sequence[Validator]) -> list[Pair]:
    return [(one.log, one.cosign) for one in validators]


# -- in proofs ------------------------------------------------------------------------------------


def pack(steps: Sequence[bytes], room: int, first: int = 0) -> canonical.Json:
    """What a proof carries of the steps up to its checkpoint's epoch: as many of the newest as `room` bytes hold.

    Args:
        steps: that end epoch `first` and those behind it.
    """
    texts = [base64.b64encode(step).decode() for step in steps]
    at = len(texts)
    while at and len(texts[at - 1]) + _QUOTES <= room:
        room -= len(texts[at - 1]) + _QUOTES
        at -= 1
    return {"first": first + at, "steps": list(texts[at:])}


def unpack(document: object, line: Line, note: SignedNote) -> None:
    """Take the steps that a proof carries beside the checkpoint `note`.

    Raises:
        Malformed: they are in another form, prove nothing, or go beyond the checkpoint.
        Gap: they begin behind the newest epoch that `line` knows.
        Contradiction: as `Line.take`.
    """
    if not isinstance(document, dict) or set(document) != {"first", "steps"}:
        raise Malformed("the epochs of a proof have first and steps")
    first, steps = document["first"], document["steps"]
    if type(first) is not int or not 0 <= first <= MAX_EPOCHS.value or not isinstance(steps, list):
        raise Malformed("the epochs of a proof are in another form")
    if first > line.epoch:
        raise Gap(first, line.epoch)
    for number, text in enumerate(steps, first):
        line.take(_bytes(text), number)
    size = Checkpoint.parse(note.text).size
    if steps and line.end(first + len(steps) - 1).size > size:
        raise Malformed("the proof carries steps to epochs behind its checkpoint")


class Gap(ProofInvalid):
    """A proof that is too small for all epochs begins with one that the verifier does not know.

    Attributes:
        first: where it begins; `known` is the newest epoch that the verifier knows.
    """

    def __init__(self, first: int, known: int) -> None:
        super().__init__(
            f"the proof has room for the epochs from {first} on, and those up to {known} are known here"
        )
        self.first = first
        self.known = known


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise Malformed("a step of a proof is base64")
    return unb64(text)
