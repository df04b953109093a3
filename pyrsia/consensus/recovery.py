"""What a member remembers over a restart, and what it may do with it.

Records of votes.wal are read here; the file is the store's business. A vote that peers hold and the file
lacks means that the file is not this key's whole memory: then the key never votes again.

Source: docs/agreement.md, "The durable record", "Mute and Halt".
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.wire.blocks import Block, Cert, FinalityProof, Statement, Vote, decode_cert, decode_vote

_VOTE: Final = 1
_BLOCK: Final = 2
_CERT: Final = 3


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the shell found on disk.

    Attributes:
        records: records of votes.wal, oldest first.
        proof: finality proof of the head, None for a fresh log.
    """

    records: tuple[bytes, ...] = ()
    proof: FinalityProof | None = None


@dataclass(slots=True)
class Memory:
    """Records of one epoch above the last final view, sorted by what they are."""

    votes: list[Vote] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    certs: list[Cert] = field(default_factory=list)


def record(thing: Vote | Block | Cert) -> bytes:
    """The bytes for votes.wal."""
    tag = _VOTE if isinstance(thing, Vote) else _BLOCK if isinstance(thing, Block) else _CERT
    return bytes((tag,)) + thing.encode()


def read(data: bytes) -> Vote | Block | Cert:
    """One record.

    Raises:
        Malformed: the file holds something that this program never wrote.
    """
    tag, rest = data[:1], data[1:]
    if tag == bytes((_VOTE,)):
        return decode_vote(rest)
    if tag == bytes((_BLOCK,)):
        return Block.decode(rest)
    if tag == bytes((_CERT,)):
        return decode_cert(rest)
    raise Malformed("votes.wal holds a record of an unknown kind")


def place(data: bytes) -> tuple[int, int]:
    """(epoch, view) of a record."""
    thing = read(data)
    return (thing.header.epoch, thing.header.view) if isinstance(thing, Block) else thing.said[1:3]


def keep(data: bytes, epoch: int, final_view: int) -> bool:
    """Whether trimming must leave this record; call only once the batch of `final_view` is synced."""
    return place(data) > (epoch, final_view)


def statements(records: Iterable[bytes]) -> list[Statement]:
    """What the votes of votes.wal say, of whatever epoch."""
    return [decode_vote(data[1:]).said for data in records if data[:1] == bytes((_VOTE,))]


def later(recovered: Recovered, epoch: int) -> Recovered:
    """What is still of use in `epoch`: its own records and those of later ones. The proof is of an epoch before."""
    return replace(recovered, records=tuple(r for r in recovered.records if place(r)[0] >= epoch), proof=None)


def recall(records: Iterable[bytes], epoch: int, final_view: int) -> Memory:
    """The records that still matter: keyed by (epoch, view), so those of an old epoch do not (ava-labs/Simplex 551)."""
    memory = Memory()
    for data in records:
        thing = read(data)
        at = (thing.header.epoch, thing.header.view) if isinstance(thing, Block) else thing.said[1:3]
        if at[0] != epoch or at[1] <= final_view:
            continue
        if isinstance(thing, Vote):
            memory.votes.append(thing)
        elif isinstance(thing, Block):
            memory.blocks.append(thing)
        else:
            memory.certs.append(thing)
    return memory
