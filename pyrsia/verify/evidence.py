"""Reading a proof file: every leaf it carries stands in the log that a quorum of the pinned network cosigned.

The file is a C2SP tlog-proof of the `artifact.add` leaf. Its `extra` line carries, as canonical JSON, the
leaves that led to it, each with its own way to the same root:

    {"leaves": [<row>, ...], "now": <the present state, standing.py>, "v": 1}

Nothing in `extra` is believed before its inclusion is proven. What the leaves mean is `artifact.py`'s.

Source: docs/log.md, "Proof file"; C2SP tlog-proof.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.ledger.genesis import Genesis
from pyrsia.log import checkpoint, tree
from pyrsia.log.checkpoint import Trusted
from pyrsia.log.note import SignedNote, VerifierKey
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import MAX_PROOF_EXTRA_BYTES, MAX_PROOF_LEAVES
from pyrsia.verify import leaves, standing
from pyrsia.verify.leaves import Proven, Verify
from pyrsia.verify.pins import Pin
from pyrsia.verify.standing import Standing
from pyrsia.wire import canonical


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a proof file proves. `leaves` are in log order, the artifact's own leaf among them; `note` is the
    signed checkpoint that says `head`; `now` is what the state says at that head."""

    pin: Pin
    note: bytes
    head: Trusted
    index: int
    leaves: tuple[Proven, ...]
    now: Standing

    def of(self, kind: str) -> list[Proven]:
        return [leaf for leaf in self.leaves if leaf.entry.kind == kind]


def pack(rows: Sequence[tuple[int, bytes, Sequence[bytes]]], now: canonical.Json) -> bytes:
    """The `extra` bytes for leaves of (index, leaf, hashes) and what `standing.pack` made."""
    return canonical.encode({"leaves": [leaves.row(*one) for one in rows], "now": now, "v": 1})


def validator_keys(genesis: Genesis) -> tuple[VerifierKey, ...]:
    """The keys that may sign checkpoints of a network: each validator's as the log, and as a cosigner."""
    return checkpoint.validator_keys(genesis.origin, [(one.log, one.cosign) for one in genesis.validators])


def read(proof: bytes, pins: Sequence[Pin], verify: Verify) -> Evidence:
    """Check a proof file against the pinned networks.

    Raises:
        Refusal: `not-pinned` when no pin has its log's name; `proof-invalid` for everything that does not hold.
    """
    try:
        parsed = TlogProof.parse(proof)
        note = SignedNote.parse(parsed.note)
        pin, head = trusted(note, pins, verify)
        document = _document(parsed)
        proven = _leaves(document["leaves"], parsed, head)
        now = standing.read(document["now"], head)
    except Malformed as error:
        raise invalid(str(error)) from None
    return Evidence(pin, parsed.note, head, parsed.index, proven, now)


def trusted(note: SignedNote, pins: Sequence[Pin], verify: Verify) -> tuple[Pin, Trusted]:
    """The pinned network whose log a note is a head of, and that head.

    Raises:
        Refusal: `not-pinned`.
        Malformed: it is not signed and cosigned as the network's genesis wants it.
    """
    pin = _pin(note, pins)
    return pin, checkpoint.quorum(note, validator_keys(pin.genesis), pin.genesis.q, verify)


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
    try:
        parsed = TlogProof.parse(fields["proof"].encode())
        note = SignedNote.parse(parsed.note)
        pin, head = trusted(note, pins, verify)
        if type(fields.get("index")) is not int or fields["index"] != parsed.index:
            raise ProofInvalid("the proof is of another leaf")
        leaf = tree.leaf_hash(fields["entry"].encode())
        leaves.included(leaf, parsed.index, head, parsed.hashes)
    except (Malformed, UnicodeEncodeError) as error:
        raise invalid(str(error)) from None
    size, root = head.checkpoint.size, head.checkpoint.root
    return {"ok": True, "index": parsed.index, "size": size, "root": root.hex(), "network": pin.name}


def invalid(why: str) -> Refusal:
    return Refusal(
        "proof-invalid",
        what=why,
        who="the file, its proof, or whoever handed them out",
        do="do not use the file; fetch both again, from another node",
    )


def _pin(note: SignedNote, pins: Sequence[Pin]) -> Pin:
    origin = checkpoint.Checkpoint.parse(note.text).origin
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
    document = canonical.decode(parsed.extra, MAX_PROOF_EXTRA_BYTES.value)
    if not isinstance(document, dict) or set(document) != {"leaves", "now", "v"}:
        raise Malformed("the proof's leaves are in an unknown form")
    if type(document["v"]) is not int or document["v"] != 1:
        raise Malformed("the proof's leaves are of another version")
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
