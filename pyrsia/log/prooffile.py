"""The proof file beside an artifact: a C2SP tlog-proof. Shape only; believing it is the verifier's job.

Lines: the header, optionally `extra` (base64, not authenticated by itself), the index, the inclusion
hashes leaf side first, an empty line, and the checkpoint note byte for byte. Any C2SP log's file is read; who
must have signed its checkpoint is a policy's business (`log.policy.check_proof`).

Source: C2SP tlog-proof.md; docs/log.md, "Proof file".
"""

import base64
import re
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.log.note import SignedNote, unb64
from pyrsia.units import HASH_BYTES, MAX_PROOF_HASHES, MAX_PROOFFILE_BYTES, MAX_TREE_SIZE, LeafIndex

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,15})", re.ASCII)
_EXTRA: Final = "extra "


@dataclass(frozen=True, slots=True)
class TlogProof:
    """An inclusion proof with the checkpoint that it leads to.

    Attributes:
        extra: whatever else the verifier needs, or None.
        index: of the leaf that is proved.
        hashes: 32 bytes each, leaf side first.
        note: the signed checkpoint, exact bytes.
    """

    extra: bytes | None
    index: LeafIndex
    hashes: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The file.

        Raises:
            ValueError: it would be larger than `MAX_PROOFFILE_BYTES`, or `parse` would refuse it.
        """
        if self.extra == b"" or len(self.hashes) > MAX_PROOF_HASHES.value:
            raise ValueError("an extra line without content, or more hashes than a tree has levels")
        if any(len(one) != HASH_BYTES for one in self.hashes) or not 0 <= self.index <= MAX_TREE_SIZE.value:
            raise ValueError("a hash that is not 32 bytes, or an index out of range")
        lines = [_HEADER]
        if self.extra is not None:
            lines.append(_EXTRA + base64.b64encode(self.extra).decode())
        lines.append(f"index {self.index}")
        lines += [base64.b64encode(one).decode() for one in self.hashes]
        data = "\n".join(lines).encode() + b"\n\n" + self.note
        if len(data) > MAX_PROOFFILE_BYTES.value:
            raise ValueError(f"a proof file of {len(data)} bytes")
        return data

    @classmethod
    def parse(cls, data: bytes) -> "TlogProof":
        """The inverse of `encode`; `parse(data).encode() == data`.

        Raises:
            Malformed: anything else.
        """
        if len(data) > MAX_PROOFFILE_BYTES.value:
            raise Malformed(f"a proof file of more than {MAX_PROOFFILE_BYTES.value} bytes")
        head, empty, note = data.partition(b"\n\n")
        if not empty:
            raise Malformed("a proof file without a checkpoint")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Malformed("a proof file's own lines are ASCII") from error
        if lines.pop(0) != _HEADER:
            raise Malformed("not a proof file of version 1")
        extra = None
        if lines and lines[0].startswith(_EXTRA):
            extra = unb64(lines.pop(0)[len(_EXTRA) :])
            if not extra:
                raise Malformed("a proof file whose extra line is empty")
        index = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if index is None or int(index[1]) > MAX_TREE_SIZE.value:
            raise Malformed("a proof file's index is one decimal number without leading zeros, below 2^53")
        if len(lines) > MAX_PROOF_HASHES.value:
            raise Malformed("a proof file with more hashes than a tree has levels")
        hashes = tuple(unb64(line) for line in lines)
        if any(len(one) != HASH_BYTES for one in hashes):
            raise Malformed("a proof file with a hash that is not 32 bytes")
        SignedNote.parse(note)
        return cls(extra, LeafIndex(int(index[1])), hashes, note)
