"""What a core asks of its shell. Run in order; `Persist` is durable before any later `Send` or `Broadcast`."""

from dataclasses import dataclass
from typing import NamedTuple

from pyrsia.wire.blocks import Block, FinalityProof, Message, Vote


class Now(NamedTuple):
    """The moment of an event.

    Attributes:
        mono_s: a clock that never goes back; timers count on it.
        wall_ms: Unix time, for block times only.
    """

    mono_s: float
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Send:
    """To one member (its index)."""

    to: int
    message: Message


@dataclass(frozen=True, slots=True)
class Broadcast:
    """To every other member."""

    message: Message


@dataclass(frozen=True, slots=True)
class Persist:
    """Append to votes.wal.

    Attributes:
        lazy: needs no sync of its own, but lies in the file before any later record.
    """

    record: bytes
    lazy: bool = False


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Call `on_timer` at this moment; replaces the moment asked for before."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """These blocks, in order, are final. Write each in one batch, in order, and the proof with the last.

    Attributes:
        proof: proves the last block, and so all of them.
    """

    blocks: tuple[Block, ...]
    proof: FinalityProof


@dataclass(frozen=True, slots=True)
class Serve:
    """Answer a member's `GetBlocks` from the store (`catchup.serve` packs the answer)."""

    to: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Accuse:
    """Two signatures of one member that no honest member makes (docs/consensus.md, "Evidence")."""

    signer: int
    first: Vote
    second: Vote


@dataclass(frozen=True, slots=True)
class Halt:
    """Agreement must not go on here. The shell stops voting, keeps serving, and tells the operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class Mute:
    """This member's key must not vote again, and casts no vote any more; the core goes on following. The shell
    tells the operator."""

    reason: str


Effect = Send | Broadcast | Persist | WakeAt | Deliver | Serve | Accuse | Halt | Mute
