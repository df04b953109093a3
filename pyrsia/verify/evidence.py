"""Reading a proof file: every leaf it carries stands in the log that a quorum of the pinned network cosigned.

The file is a C2SP tlog-proof of the `artifact.add` leaf. Its `extra` line carries, as canonical JSON, the
leaves that led to it, each with its own way to the same root:

    {"epochs": <steps, epochs.py>, "leaves": [<row>, ...], "now": <the present state, standing.py>, "v": 1}

Nothing in `extra` is believed before it is proven: the steps to later epochs by those before them, the leaves by
their inclusion under a checkpoint that its epoch's validators signed. What the leaves mean is `artifact.py`'s.

Source: docs/log.md, "Proof file"; C2SP tlog-proof.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pyrsia.consensus.light import Contradiction
from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.log import tree
from pyrsia.log.checkpoint import Checkpoint, Trusted
from pyrsia.log.note import SignedNote
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import MAX_PROOF_EXTRA_BYTES, MAX_PROOF_LEAVES
from pyrsia.verify import epochs, leaves, standing
from pyrsia.verify.epochs import Gap, Line
from pyrsia.verify.leaves import Proven, Verify
from pyrsia.verify.pins import Pin
from pyrsia.verify.standing import Standing
from pyrsia.wire import canonical

_EPOCHS_FRAME: Final = 64  # of canonical JSON around the steps
_STEPS_BYTES: Final = 192 << 10  # in the proof of a leaf alone: some sixty steps of a network of four
_NO_STEPS: Final[canonical.Json] = {"first": 0, "steps": []}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a proof file proves. `leaves` are in log order, the artifact's own leaf among them; `note` is the
    signed checkpoint that says `head`; `now` is what the state says at that head; `line` is the epochs that are
    known with those of the file."""

    pin: Pin
    line: Line
    note: bytes
    head: Trusted
    index: int
    leaves: tuple[Proven, ...]
    now: Standing

    def of(self, kind: str) -> list[Proven]:
        return [leaf for leaf in self.leaves if leaf.entry.kind == kind]


def pack(
    rows: Sequence[tuple[int, bytes, Sequence[bytes]]],
    now: canonical.Json,
    steps: Sequence[bytes] = (),
    first: int = 0,
) -> bytes:
    """The `extra` bytes for leaves of (index, leaf, hashes), what `standing.pack` made, and steps to later epochs.

    Of the steps, which end epoch `first` and those behind it, only as many of the newest as there is room for.
    """
    made: dict[str, canonical.Json] = {"leaves": [leaves.row(*one) for one in rows], "now": now, "v": 1}
    room = MAX_PROOF_EXTRA_BYTES.value - len(canonical.encode(made)) - _EPOCHS_FRAME
    return canonical.encode({**made, "epochs": epochs.pack(steps, room, first)})


def pack_steps(steps: Sequence[bytes], first: int = 0) -> bytes | None:
    """The `extra` bytes of a proof that carries nothing but steps to later epochs; None where there are none."""
    if not steps:
        return None
    return canonical.encode({"epochs": epochs.pack(steps, _STEPS_BYTES - _EPOCHS_FRAME, first), "v": 1})


def read(proof: bytes, pins: Sequence[Pin], verify: Verify) -> Evidence:
    """Check a proof file against the pinned networks.

    Raises:
        Refusal: `not-pinned` when no pin has its log's name; `no-proof` when it has no room for epochs that are not
            known here; `proof-invalid` for everything that does not hold.
    """
    with refusing():
        parsed = TlogProof.parse(proof)
        note = SignedNote.parse(parsed.note)
        pin = pinned(note, pins)
        document = _document(parsed)
        line, head = trusted(note, pin, document["epochs"], verify)
        proven = _leaves(document["leaves"], parsed, head)
        now = standing.read(document["now"], head)
    return Evidence(pin, line, parsed.note, head, parsed.index, proven, now)


def pin_of_proof(proof: bytes, pins: Sequence[Pin]) -> Pin:
    """The pinned network that a proof file is of, nothing verified.

    Raises:
        Refusal: `not-pinned`, or `proof-invalid` for what is no proof file.
    """
    with refusing():
        pin = pinned(SignedNote.parse(TlogProof.parse(proof).note), pins)
    return pin


def trusted(note: SignedNote, pin: Pin, steps: object, verify: Verify) -> tuple[Line, Trusted]:
    """The head that a note of a pinned network is trusted for, with the epochs that are known then.

    Args:
        steps: what `epochs.pack` made, from whoever handed the note out.

    Raises:
        Malformed: it is not signed and cosigned by validators of its epoch, or the steps prove nothing.
        Contradiction: a quorum signed what excludes what is known.
    """
    line = pin.line(verify)
    epochs.unpack(steps, line, note)
    return line, line.trusted(note)


@contextmanager
def refusing() -> Iterator[None]:
    """What does not hold is refused in words that people can act on."""
    try:
        yield
    except Gap as error:
        raise Refusal(
            "no-proof",
            what=str(error),
            who="the number of epochs that lie between this machine's memory and the proof",
            do="learn them from any node of the network, which need not be believed: pyrsia trust update URL",
        ) from None
    except Malformed as error:
        raise invalid(str(error)) from None
    except Contradiction as error:
        raise forked(error) from None


def forked(error: Contradiction) -> Refusal:
    """A quorum of validators signed what excludes what a quorum signed."""
    return Refusal(
        "proof-invalid",
        what=f"ALARM: two histories of one network, each signed by a quorum: {error}",
        who="more than f of the validators of an epoch, or whoever has their old keys",
        do="believe neither; keep what you were given, and show it to the network's operators",
    )


def check_leaf(fields: Any, pins: Sequence[Pin], *, verify: Verify) -> dict[str, Any]:
    """Check what `pyrsia log prove` wrote: one leaf and its tlog-proof.

    Raises:
        Refusal: `bad-request`, `not-pinned` or `proof-invalid`.
    """
    known = isinstance(fields, Mapping)
    if (
        not known
        or not isinstance(fields.get("entry"), str)
        or not isinstance(fields.get("proof"), str)
        or not fields["proof"]
    ):
        raise Refusal(
            "bad-request",
            what="this is no proof of a leaf, or none that a cosigned checkpoint covers yet",
            who="the file",
            do="write it again with `pyrsia log prove INDEX --out FILE`",
        )
    with refusing():
        parsed = TlogProof.parse(fields["proof"].encode("utf-8", "surrogatepass"))
        note = SignedNote.parse(parsed.note)
        pin = pinned(note, pins)
        _, head = trusted(note, pin, steps_of(parsed), verify)
        if type(fields.get("index")) is not int or fields["index"] != parsed.index:
            raise ProofInvalid("the proof is of another leaf")
        leaf = tree.leaf_hash(fields["entry"].encode("utf-8", "surrogatepass"))
        leaves.included(leaf, parsed.index, head, parsed.hashes)
    size, root = head.checkpoint.size, head.checkpoint.root
    return {"ok": True, "index": parsed.index, "size": size, "root": root.hex(), "network": pin.name}


def invalid(why: str) -> Refusal:
    return Refusal(
        "proof-invalid",
        what=why,
        who="the file, its proof, or whoever handed them out",
        do="do not use the file; fetch both again, from another node",
    )


def pinned(note: SignedNote, pins: Sequence[Pin]) -> Pin:
    """The pinned network whose log a note is of, nothing verified.

    Raises:
        Refusal: `not-pinned`.
        Malformed: no checkpoint.
    """
    origin = Checkpoint.parse(note.text).origin
    for pin in pins:
        if pin.genesis.origin == origin:
            return pin
    raise Refusal(
        "not-pinned",
        what=f"not pinned: no pinned network keeps the log {origin}",
        who="this machine's trust",
        do="pin the network: pyrsia trust add URL --digest sha256:... , or name its trust file with --trust",
    )


def _document(parsed: TlogProof) -> dict[str, canonical.Json]:
    if parsed.extra is None:
        raise ProofInvalid("the proof carries no leaves")
    return _extra(parsed.extra, {"epochs", "leaves", "now", "v"})


def steps_of(parsed: TlogProof) -> object:
    """The steps in the proof of a leaf, which carries nothing else."""
    return _NO_STEPS if parsed.extra is None else _extra(parsed.extra, {"epochs", "v"})["epochs"]


def _extra(raw: bytes, names: set[str]) -> dict[str, canonical.Json]:
    document = canonical.decode(raw, MAX_PROOF_EXTRA_BYTES.value)
    if not isinstance(document, dict) or set(document) != names:
        raise Malformed("what the proof carries is in an unknown form")
    if type(document["v"]) is not int or document["v"] != 1:
        raise Malformed("what the proof carries is of another version")
    return document


def _leaves(rows: object, parsed: TlogProof, head: Trusted) -> tuple[Proven, ...]:
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_PROOF_LEAVES.value:
        raise Malformed("the proof carries no leaves, or too many")
    found = tuple(leaves.proven(row, head) for row in rows)
    if [leaf.index for leaf in found] != sorted({leaf.index for leaf in found}):
        raise Malformed("the proof's leaves are not in log order")
    own = [leaf for leaf in found if leaf.index == parsed.index]
    if not own:
        raise ProofInvalid("the proof does not carry the leaf that it is about")
    leaves.included(tree.leaf_hash(own[0].entry.raw), parsed.index, head, parsed.hashes)
    return found
