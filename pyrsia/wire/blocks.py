"""What validators say to each other: blocks, votes, certificates, and the messages that carry them.

Fixed big-endian structs, one byte string for each value: whatever decodes, encodes to the same bytes again.
This module decides shapes and the texts that are signed; whether a signature or a block is *right* is the
business of `pyrsia.consensus` and the ledger.

Source: docs/agreement.md, "Objects and bytes", "What is signed".
"""

import base64
import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from blake3 import blake3

from pyrsia.errors import Malformed
from pyrsia.units import (
    HASH_BYTES,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_GAP_VIEWS,
    MAX_PROOF_HEADERS,
    MAX_STATUS_CERTS,
    MAX_SYNC_BLOCKS,
    MAX_VALIDATORS,
    tolerated,
)

ZERO: Final = bytes(HASH_BYTES)
SIG_BYTES: Final = 64

NOT: Final = 1  # notarize: this block may follow
NUL: Final = 2  # nullify: give this view up
FIN: Final = 3  # finalize: this block is the log

NORMAL: Final = 0
EPOCH_END: Final = 1  # its last entry changed the validators
TAIL: Final = 2  # stands on the end of its epoch, adds nothing, and is no block of the log

_HEADER = struct.Struct(">32sQQQ32sQHQBI32sQ32s32s32s32s32s32s32s")
HEADER_BYTES: Final = _HEADER.size
_BLOCK_PREFIX: Final = b"pyrsia/block/v1\x00"
_NOT_PREFIX: Final = b"pyrsia/simplex/notarize/v1\x00"
_NUL_PREFIX: Final = b"pyrsia/simplex/nullify/v1\x00"
_FIN_PREFIX: Final = b"pyrsia/simplex/finalize/v1\n"
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_VIEW_KEY = struct.Struct(">BQQ")  # kind, epoch, view
_FIN_KEY = struct.Struct(">QQQ32s")  # height, time_ms, tree_size, tree_root
_VOTES = {  # whole votes, the most frequent message: statement, signer, signature
    NOT: struct.Struct(">BQQ32sH64s"),
    NUL: struct.Struct(">BQQH64s"),
    FIN: struct.Struct(">BQQ32sQQQ32sH64s"),
}


@dataclass(frozen=True, slots=True)
class Header:
    """A block's head, fields in byte order. `tree_size`, `tree_root` and `beacon` speak of the log AFTER the block."""

    chain_id: bytes
    epoch: int
    view: int
    height: int
    parent_hash: bytes
    parent_view: int
    proposer: int
    time_ms: int
    kind: int
    n_entries: int
    entries_root: bytes
    tree_size: int
    tree_root: bytes
    members_hash: bytes
    next_members_hash: bytes
    just_hash: bytes
    reveal: bytes
    beacon: bytes
    next_chain: bytes
    _hash: bytes = field(default=b"", init=False, repr=False, compare=False)

    def encode(self) -> bytes:
        return _HEADER.pack(
            self.chain_id,
            self.epoch,
            self.view,
            self.height,
            self.parent_hash,
            self.parent_view,
            self.proposer,
            self.time_ms,
            self.kind,
            self.n_entries,
            self.entries_root,
            self.tree_size,
            self.tree_root,
            self.members_hash,
            self.next_members_hash,
            self.just_hash,
            self.reveal,
            self.beacon,
            self.next_chain,
        )

    def hash(self) -> bytes:
        """The block hash, computed once."""
        if not self._hash:
            object.__setattr__(self, "_hash", blake3(_BLOCK_PREFIX + self.encode()).digest())
        return self._hash

    @classmethod
    def decode(cls, data: bytes) -> "Header":
        reader = _Reader(data)
        header = reader.header()
        reader.end()
        return header


class Statement(NamedTuple):
    """What a vote says. NUL has no block; only FIN carries the four fields that its text repeats."""

    kind: int
    epoch: int
    view: int
    block_hash: bytes = b""
    height: int = 0
    time_ms: int = 0
    tree_size: int = 0
    tree_root: bytes = b""

    def encode(self) -> bytes:
        head = _VIEW_KEY.pack(self.kind, self.epoch, self.view)
        if self.kind == NUL:
            return head
        if self.kind == NOT:
            return head + self.block_hash
        rest = _FIN_KEY.pack(self.height, self.time_ms, self.tree_size, self.tree_root)
        return head + self.block_hash + rest


def notarize(header: Header) -> Statement:
    return Statement(NOT, header.epoch, header.view, header.hash())


def nullify(epoch: int, view: int) -> Statement:
    return Statement(NUL, epoch, view)


def finalize(header: Header) -> Statement:
    return Statement(
        FIN,
        header.epoch,
        header.view,
        header.hash(),
        header.height,
        header.time_ms,
        header.tree_size,
        header.tree_root,
    )


def conflicting(a: Statement, b: Statement) -> bool:
    """Whether one honest member never says both (same epoch and view). NOT then NUL is legal."""
    if a.epoch != b.epoch or a.view != b.view:
        return False
    kinds = {a.kind, b.kind}
    if kinds == {NUL, FIN}:
        return True
    if NUL in kinds:
        return False
    return a != b if len(kinds) == 1 else a.block_hash != b.block_hash


def checkpoint_text(origin: str, said: Statement) -> bytes:
    """The text that q FIN signatures make final; never served as a C2SP checkpoint."""
    root, block = base64.b64encode(said.tree_root), base64.b64encode(said.block_hash)
    return b"%s\n%d\n%s\npyrsia %d %d %d %d %s\n" % (
        origin.encode(),
        said.tree_size,
        root,
        said.epoch,
        said.view,
        said.height,
        said.time_ms,
        block,
    )


def signed_text(chain_id: bytes, origin: str, said: Statement) -> bytes:
    """The bytes that a vote's signature covers; each kind has a prefix of its own."""
    if said.kind == FIN:
        return _FIN_PREFIX + checkpoint_text(origin, said)
    place = chain_id + _U64.pack(said.epoch) + _U64.pack(said.view)
    return _NUL_PREFIX + place if said.kind == NUL else _NOT_PREFIX + place + said.block_hash


@dataclass(frozen=True, slots=True)
class Vote:
    """One member's signature under one statement."""

    said: Statement
    signer: int
    sig: bytes

    @property
    def kind(self) -> int:
        return self.said.kind

    @property
    def view(self) -> int:
        return self.said.view

    def encode(self) -> bytes:
        return self.said.encode() + _U16.pack(self.signer) + self.sig


@dataclass(frozen=True, slots=True)
class Cert:
    """Signatures of several members under one statement, sorted by signer.

    Decoding does not count them: exactly q of the right members is checked with the members in hand.

    Attributes:
        members: how many validators the bitmap speaks of.
    """

    said: Statement
    members: int
    signers: tuple[int, ...]
    sigs: tuple[bytes, ...]

    @property
    def kind(self) -> int:
        return self.said.kind

    @property
    def view(self) -> int:
        return self.said.view

    def encode(self) -> bytes:
        bits = 0
        for signer in self.signers:
            bits |= 1 << signer
        bitmap = bits.to_bytes((self.members + 7) // 8, "little")
        return b"".join((self.said.encode(), _U16.pack(self.members), bitmap, *self.sigs))

    def vote_of(self, signer: int) -> Vote | None:
        """The vote of `signer` inside this certificate."""
        if signer not in self.signers:
            return None
        return Vote(self.said, signer, self.sigs[self.signers.index(signer)])


@dataclass(frozen=True, slots=True)
class Justification:
    """Why a block may stand on its parent (P3): the parent's certificate, and the views given up between.

    Attributes:
        parent_cert: None only where the parent starts the epoch.
        gap: one NUL certificate for every view between parent and block, in order.
    """

    parent_cert: Cert | None
    gap: tuple[Cert, ...] = ()

    def encode(self) -> bytes:
        parent = b"\x00" if self.parent_cert is None else b"\x01" + self.parent_cert.encode()
        return b"".join((parent, _U16.pack(len(self.gap)), *(c.encode() for c in self.gap)))

    def hash(self) -> bytes:
        return blake3(self.encode()).digest()


def contradicts_itself(header: Header) -> bool:
    """What a header's kind forbids, whatever its parent is: other next members exactly at the end of an epoch, and
    nothing in a tail."""
    if (header.next_members_hash != header.members_hash) != (header.kind == EPOCH_END):
        return True
    nothing = header.n_entries, header.reveal, header.next_chain
    return header.kind == TAIL and nothing != (0, ZERO, ZERO)


def justified(header: Header, told: Justification) -> bool:
    """Whether a justification is of the form that P3 asks for; its signatures are the caller's business.

    The parent's certificate (none where the parent starts the epoch) and one NUL certificate for every view between.
    A tail's parent is the block that ends the epoch, and its certificate that block's or the newest tail's.
    """
    parent = told.parent_cert
    if (parent is None) != (header.parent_view == 0) or (parent is None and header.kind == TAIL):
        return False
    if parent is not None:
        if parent.kind == NUL or parent.said[1:3] != (header.epoch, header.parent_view):
            return False
        if header.kind != TAIL and parent.said.block_hash != header.parent_hash:
            return False
    if len(told.gap) != header.view - header.parent_view - 1:  # (counted first: a view may be any number)
        return False
    return all(
        (cert.kind, cert.said.epoch, cert.view) == (NUL, header.epoch, view)
        for view, cert in enumerate(told.gap, header.parent_view + 1)
    )


@dataclass(frozen=True, slots=True)
class Body:
    """What a header commits to: authored entries and the justification."""

    entries: tuple[bytes, ...]
    justification: Justification

    def encode(self) -> bytes:
        parts = [self.justification.encode(), _U32.pack(len(self.entries))]
        for entry in self.entries:
            parts += (_U32.pack(len(entry)), entry)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Block:
    header: Header
    body: Body

    @property
    def hash(self) -> bytes:
        return self.header.hash()

    def encode(self) -> bytes:
        return self.header.encode() + self.body.encode()

    @classmethod
    def decode(cls, data: bytes) -> "Block":
        reader = _Reader(data)
        block = reader.block()
        reader.end()
        return block


@dataclass(frozen=True, slots=True)
class FinalityProof:
    """FIN certificate over `headers[0]`, and the headers down to the block that it proves final.

    Attributes:
        headers: newest first, each the child of the next; one header if the certificate is the block's own.
    """

    cert: Cert
    headers: tuple[Header, ...]

    def encode(self) -> bytes:
        return b"".join(
            (self.cert.encode(), _U16.pack(len(self.headers)), *(h.encode() for h in self.headers))
        )

    @classmethod
    def decode(cls, data: bytes) -> "FinalityProof":
        reader = _Reader(data)
        proof = reader.proof()
        reader.end()
        return proof


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block and its leader's NOT vote: the vote is the signature of the proposal."""

    block: Block
    vote: Vote

    def encode(self) -> bytes:
        return self.vote.encode() + self.block.encode()


@dataclass(frozen=True, slots=True)
class Status:
    """Where a member stands.

    Attributes:
        certs: what the sender believes the receiver may lack.
        held: newest vote of the receiver's key that the sender holds.
        ask: if not 0, the receiver is asked for a Status whose `answer` is this number.
        answer: the number that this Status answers, 0 for none.
    """

    epoch: int
    view: int
    final_height: int
    final_hash: bytes
    certs: tuple[Cert, ...] = ()
    held: Vote | None = None
    ask: int = 0
    answer: int = 0

    def encode(self) -> bytes:
        head = struct.pack(
            ">QQQ32sQQ",
            self.epoch,
            self.view,
            self.final_height,
            self.final_hash,
            self.ask,
            self.answer,
        )
        held = b"\x00" if self.held is None else b"\x01" + self.held.encode()
        return b"".join((head, held, _U16.pack(len(self.certs)), *(c.encode() for c in self.certs)))


@dataclass(frozen=True, slots=True)
class GetBlocks:
    """Ask for final blocks by height, both ends included."""

    first: int
    last: int

    def encode(self) -> bytes:
        return struct.pack(">QQ", self.first, self.last)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Final blocks in rising height; `proof` proves the last of them."""

    blocks: tuple[Block, ...]
    proof: FinalityProof

    def encode(self) -> bytes:
        return b"".join(
            (self.proof.encode(), _U16.pack(len(self.blocks)), *(b.encode() for b in self.blocks))
        )


@dataclass(frozen=True, slots=True)
class StoredBlocks:
    """`Blocks` of blocks as a node stores them: the same bytes, and none is decoded to be sent."""

    blocks: tuple[bytes, ...]
    proof: FinalityProof

    def encode(self) -> bytes:
        return b"".join((self.proof.encode(), _U16.pack(len(self.blocks)), *self.blocks))


@dataclass(frozen=True, slots=True)
class GetBlock:
    """Ask for one block that need not be final, by hash."""

    block_hash: bytes

    def encode(self) -> bytes:
        return self.block_hash


@dataclass(frozen=True, slots=True)
class OneBlock:
    """Answer to `GetBlock`; the hash says whether it is the one."""

    block: Block

    def encode(self) -> bytes:
        return self.block.encode()


@dataclass(frozen=True, slots=True)
class GetCerts:
    """Ask for the certificates of the views `first`..`last`."""

    epoch: int
    first: int
    last: int

    def encode(self) -> bytes:
        return struct.pack(">QQQ", self.epoch, self.first, self.last)


Message = Proposal | Vote | Cert | Status | GetBlocks | Blocks | GetBlock | OneBlock | GetCerts

_TAGS: Final[dict[type[object], int]] = {
    Proposal: 1,
    Vote: 2,
    Cert: 3,
    Status: 4,
    GetBlocks: 5,
    Blocks: 6,
    StoredBlocks: 6,
    GetBlock: 7,
    OneBlock: 8,
    GetCerts: 9,
}


def rotation(
    chain_id: bytes, epoch: int, keys: Sequence[bytes], skipped: Collection[int] = ()
) -> tuple[int, ...]:
    """Whose turn comes when: the leader of view v is member `rotation[v % len(rotation)]`.

    Source: docs/agreement.md, "Members and quorum".

    Args:
        keys: vote keys of the epoch's members, sorted; the result holds their positions.
        skipped: positions of the convicted, who lead nothing; if they are more than f, nobody is left out.
    """
    salt = chain_id + epoch.to_bytes(8, "big")
    leading: Sequence[int] = range(len(keys))
    if 0 < len(skipped) <= tolerated(len(keys)):
        leading = [at for at in leading if at not in skipped]
    return tuple(sorted(leading, key=lambda at: blake3(salt + keys[at]).digest()))


def entries_root(entries: Iterable[bytes]) -> bytes:
    """BLAKE3 of the concatenated BLAKE3 of each raw entry, so that the wire needs no ledger."""
    return blake3(b"".join(blake3(entry).digest() for entry in entries)).digest()


def header_of(block: bytes) -> Header:
    """The header of an encoded block, whose body is not looked at.

    Raises:
        Malformed: it has none.
    """
    return _Reader(block[:HEADER_BYTES]).header()


def encode_message(message: Message | StoredBlocks) -> bytes:
    """One tag byte, then the struct."""
    return bytes((_TAGS[type(message)],)) + message.encode()


def decode_message(data: bytes) -> Message:
    """The message in `data`, all of it.

    Raises:
        Malformed: any other byte string.
    """
    if not data:
        raise Malformed("an empty message")
    reader = _Reader(data, 1)
    read = _READERS.get(data[0])
    if read is None:
        raise Malformed(f"no message has the tag {data[0]}")
    message = read(reader)
    reader.end()
    return message


class _Reader:
    """A cursor over strangers' bytes: every count is bounded before anything is allocated for it."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = bytes(data)
        self.at = at

    def take(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise Malformed("the bytes end inside a field")
        return self.data[start : self.at]

    def end(self) -> None:
        if self.at != len(self.data):
            raise Malformed(f"{len(self.data) - self.at} bytes too many")

    def u16(self, most: int, what: str) -> int:
        count: int = _U16.unpack(self.take(2))[0]
        if count > most:
            raise Malformed(f"{count} {what}; at most {most}")
        return count

    def flag(self) -> bool:
        byte = self.take(1)[0]
        if byte > 1:
            raise Malformed(f"a flag of {byte}")
        return byte == 1

    def header(self) -> Header:
        header = Header(*_HEADER.unpack(self.take(_HEADER.size)))
        if header.kind > TAIL:
            raise Malformed(f"no block has the kind {header.kind}")
        if header.n_entries > MAX_BLOCK_ENTRIES.value:
            raise Malformed(f"{header.n_entries} entries; at most {MAX_BLOCK_ENTRIES.value}")
        if header.parent_view >= header.view:
            raise Malformed("a block's parent lies in an earlier view")
        return header

    def statement(self) -> Statement:
        kind, epoch, view = _VIEW_KEY.unpack(self.take(_VIEW_KEY.size))
        if not NOT <= kind <= FIN:
            raise Malformed(f"no vote has the kind {kind}")
        if view == 0:
            raise Malformed("views count from 1")
        if kind == NUL:
            return Statement(kind, epoch, view)
        block_hash = self.take(HASH_BYTES)
        if kind == NOT:
            return Statement(kind, epoch, view, block_hash)
        return Statement(kind, epoch, view, block_hash, *_FIN_KEY.unpack(self.take(_FIN_KEY.size)))

    def vote(self) -> Vote:
        layout = _VOTES.get(self.data[self.at]) if self.at < len(self.data) else None
        if layout is None:
            raise Malformed("a vote of no kind")
        kind, epoch, view, *said, signer, sig = layout.unpack(self.take(layout.size))
        if view == 0:
            raise Malformed("views count from 1")
        if signer >= MAX_VALIDATORS.value:
            raise Malformed(f"signer {signer}; at most {MAX_VALIDATORS.value} validate")
        return Vote(Statement(kind, epoch, view, *said), signer, sig)

    def cert(self) -> Cert:
        said = self.statement()
        members = self.u16(MAX_VALIDATORS.value, "members")
        bits = int.from_bytes(self.take((members + 7) // 8), "little")
        if bits >> members:
            raise Malformed("a certificate names a member beyond the last")
        signers = tuple(i for i in range(members) if bits >> i & 1)
        if not signers:
            raise Malformed("a certificate without signatures")
        return Cert(said, members, signers, tuple(self.take(SIG_BYTES) for _ in signers))

    def justification(self) -> Justification:
        parent = self.cert() if self.flag() else None
        gap = self.u16(MAX_GAP_VIEWS.value, "views given up")
        return Justification(parent, tuple(self.cert() for _ in range(gap)))

    def block(self) -> Block:
        header, justification = self.header(), self.justification()
        count: int = _U32.unpack(self.take(4))[0]
        if count != header.n_entries:
            raise Malformed(f"the header counts {header.n_entries} entries, the body {count}")
        entries, total = [], 0
        for _ in range(count):
            size: int = _U32.unpack(self.take(4))[0]
            total += size
            if size > MAX_ENTRY_BYTES.value or total > MAX_BLOCK_BYTES.value:
                raise Malformed("an entry or a block is larger than its limit")
            entries.append(self.take(size))
        return Block(header, Body(tuple(entries), justification))

    def proof(self) -> FinalityProof:
        cert = self.cert()
        if cert.kind != FIN:
            raise Malformed("a finality proof holds a FIN certificate")
        count = self.u16(MAX_PROOF_HEADERS.value, "headers")
        if not count:
            raise Malformed("a finality proof without a header")
        return FinalityProof(cert, tuple(self.header() for _ in range(count)))

    def proposal(self) -> Proposal:
        vote, block = self.vote(), self.block()
        if vote.said != notarize(block.header):
            raise Malformed("a proposal's vote speaks of another block")
        return Proposal(block, vote)

    def status(self) -> Status:
        epoch, view, height, block_hash, ask, answer = struct.unpack(">QQQ32sQQ", self.take(72))
        held = self.vote() if self.flag() else None
        count = self.u16(MAX_STATUS_CERTS.value, "certificates")
        certs = tuple(self.cert() for _ in range(count))
        return Status(epoch, view, height, block_hash, certs, held, ask, answer)

    def blocks(self) -> Blocks:
        proof = self.proof()
        count = self.u16(MAX_SYNC_BLOCKS.value, "blocks")
        if not count:
            raise Malformed("an answer without a block")
        return Blocks(tuple(self.block() for _ in range(count)), proof)


_READERS: Final[dict[int, Callable[[_Reader], Message]]] = {
    1: _Reader.proposal,
    2: _Reader.vote,
    3: _Reader.cert,
    4: _Reader.status,
    5: lambda r: GetBlocks(*struct.unpack(">QQ", r.take(16))),
    6: _Reader.blocks,
    7: lambda r: GetBlock(r.take(HASH_BYTES)),
    8: lambda r: OneBlock(r.block()),
    9: lambda r: GetCerts(*struct.unpack(">QQQ", r.take(24))),
}


def decode_vote(data: bytes) -> Vote:
    reader = _Reader(data)
    vote = reader.vote()
    reader.end()
    return vote


def decode_cert(data: bytes) -> Cert:
    reader = _Reader(data)
    cert = reader.cert()
    reader.end()
    return cert


def decode_justification(data: bytes) -> Justification:
    reader = _Reader(data)
    justification = reader.justification()
    reader.end()
    return justification
