"""What a submitter is told once an entry is final, and its check with the trust root alone.

    {"entry": "<id>", "index": 7, "inclusion": ["<hex>", ...],
     "block": {"height": 3, "size": 9, "root": "<hex>", "finality": "<base64>"}, "checkpoint": "<tlog-proof>"}

`block` is the final block that holds the entry: q validators of its epoch signed FIN over it, or over a block that
stands on it, and `finality` carries their signatures and the headers between. `inclusion` leads from the leaf to
that block's root. `checkpoint` is the same leaf under the newest checkpoint that a quorum cosigned, empty while none
covers it; an entry is acknowledged a second or so before that. Either of the two proves the rest of the log's
promise: the leaf stands where it is said to, and nothing that q - f honest validators agreed to later can move it.

Source: docs/submission.md, "The acknowledgement".
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.ledger import entries
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.genesis import Genesis
from pyrsia.log import tree
from pyrsia.log.checkpoint import Trusted
from pyrsia.log.note import SignedNote
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import HASH_BYTES, MAX_PROOF_HASHES, MAX_PROOFFILE_BYTES, Limit
from pyrsia.verify import epochs, evidence
from pyrsia.verify.leaves import Verify
from pyrsia.verify.pins import Pin
from pyrsia.wire.blocks import FinalityProof, Header

MAX_FINALITY_BYTES = Limit(
    262_144, "a certificate of 67 signatures and 512 headers of 375 bytes, with room for base64"
)


class FinalBlock(msgspec.Struct, frozen=True):
    """A final block, and what proves it. `finality` is an encoded `FinalityProof` in base64; empty where a node
    that took over a snapshot never saw it."""

    height: int
    size: int
    root: str
    finality: str


class Acknowledgement(msgspec.Struct, frozen=True):
    """A node's word that an entry is in the log, and the proof of it."""

    entry: str
    index: int
    inclusion: tuple[str, ...]
    block: FinalBlock
    checkpoint: str = ""


class Epochs(Protocol):
    """What is known of a network's validators (`verify.epochs.Line`)."""

    @property
    def genesis(self) -> Genesis: ...

    def final(self, proof: FinalityProof) -> Header:
        """The header that `proof` proves final; raises `ProofInvalid`."""
        ...

    def trusted(self, note: SignedNote) -> Trusted:
        """The head that a note is trusted for; raises `Malformed`."""
        ...


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An acknowledgement that holds.

    Attributes:
        height: of a final block whose log holds the leaf; None where only a checkpoint proves it.
        checkpoint: size of the cosigned checkpoint that holds it; None without one.
    """

    entry: Entry
    index: int
    network: str
    height: int | None
    checkpoint: int | None

    def line(self) -> str:
        """In one line, for people."""
        proven = []
        if self.height is not None:
            proven.append(f"final in block {self.height}")
        if self.checkpoint is not None:
            proven.append(f"below the cosigned checkpoint of {self.checkpoint}")
        return f"leaf {self.index} is in {self.network}, {' and '.join(proven)}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": True,
            "entry": self.entry.id.hex(),
            "index": self.index,
            "network": self.network,
            "height": self.height,
            "checkpoint": self.checkpoint,
        }


def read(fields: Any) -> Acknowledgement:
    """The acknowledgement that decoded JSON is.

    Raises:
        Malformed: it is none.
    """
    try:
        return msgspec.convert(fields, Acknowledgement)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Malformed(f"this is no acknowledgement: {str(error)[:200]}") from None


def check(said: Acknowledgement, leaf: bytes, line: Epochs, verify: Verify) -> Acknowledged:
    """Whether the log of a trusted network holds `leaf` where `said` says.

    Args:
        leaf: the entry, byte for byte as it was submitted.

    Raises:
        Malformed: something is in another form, or does not hold (`ProofInvalid`).
        Contradiction: a quorum signed it, and it excludes what is known (`consensus.light`).
    """
    entry = entries.parse(leaf)
    if entry.id.hex() != said.entry:
        raise ProofInvalid("the acknowledgement is of another entry")
    if entry.net != line.genesis.net or not entry.signature_holds(verify):
        raise ProofInvalid("the entry is not signed by its author, or is of another network")
    height = _in_block(said, leaf, line) if said.block.finality else None
    covered = _in_checkpoint(said, leaf, line) if said.checkpoint else None
    if height is None and covered is None:
        raise ProofInvalid("it carries neither a finality proof nor a cosigned checkpoint")
    return Acknowledged(entry, said.index, line.genesis.name, height, covered)


def judge(fields: Any, leaf: bytes, pins: Sequence[Pin], verify: Verify) -> Acknowledged:
    """The same, from decoded JSON and with the networks that a user has pinned.

    Raises:
        Refusal: `not-pinned`; `no-proof` where epochs lie between that are not known here; `proof-invalid` for
            everything that does not hold.
    """
    with evidence.refusing():
        said, entry = read(fields), entries.parse(leaf)
        pin = next((one for one in pins if one.genesis.net == entry.net), None)
        if pin is None:
            raise Refusal(
                "not-pinned",
                what="not pinned: the entry is of no pinned network",
                who="this machine's trust",
                do="pin the network: pyrsia trust add URL --digest sha256:... , or name its trust file with --trust",
            )
        line = pin.line(verify)
        if said.checkpoint:
            proof = _proof(said)
            epochs.unpack(evidence.steps_of(proof), line, SignedNote.parse(proof.note))
        _known(said, line)
        return check(said, leaf, line, verify)


def _known(said: Acknowledgement, line: epochs.Line) -> None:
    """Raises `Refusal` `no-proof` where the certificate is of an epoch that is not known here yet."""
    if not said.block.finality:
        return
    epoch = FinalityProof.decode(_unpacked(said.block.finality)).cert.said.epoch
    if epoch > line.epoch:
        raise Refusal(
            "no-proof",
            what=f"it is signed by the validators of epoch {epoch}, and those up to {line.epoch} are known here",
            who="this machine's memory of the network",
            do="learn them from any node of the network, which need not be believed: pyrsia trust update URL",
        )


def _in_block(said: Acknowledgement, leaf: bytes, line: Epochs) -> int:
    """Height of the final block whose log has the leaf."""
    block = said.block
    header = line.final(FinalityProof.decode(_unpacked(block.finality)))
    if (header.height, header.tree_size, header.tree_root.hex()) != (block.height, block.size, block.root):
        raise ProofInvalid("the finality proof is of another block")
    if len(said.inclusion) > MAX_PROOF_HASHES.value:
        raise ProofInvalid("more hashes than a tree has levels")
    hashes = [_hash(text) for text in said.inclusion]
    tree.verify_inclusion(tree.leaf_hash(leaf), said.index, block.size, hashes, header.tree_root)
    return header.height


def _in_checkpoint(said: Acknowledgement, leaf: bytes, line: Epochs) -> int:
    """Size of the cosigned checkpoint whose log has the leaf."""
    proof = _proof(said)
    if proof.index != said.index:
        raise ProofInvalid("the checkpoint's proof is of another leaf")
    head = line.trusted(SignedNote.parse(proof.note)).checkpoint
    tree.verify_inclusion(tree.leaf_hash(leaf), said.index, head.size, proof.hashes, head.root)
    return head.size


def _proof(said: Acknowledgement) -> TlogProof:
    if len(said.checkpoint) > MAX_PROOFFILE_BYTES.value:
        raise Malformed("a proof longer than a proof file may be")
    return TlogProof.parse(said.checkpoint.encode("utf-8", "surrogatepass"))


def _hash(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != HASH_BYTES or found.hex() != text:
        raise Malformed("a hash of the acknowledgement is not plain hexadecimal")
    return found


def _unpacked(text: str) -> bytes:
    if len(text) > MAX_FINALITY_BYTES.value:
        raise Malformed(f"a finality proof has at most {MAX_FINALITY_BYTES.value} characters")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("the finality proof is not base64") from None
