"""What a core asks of its shell. Run in order; `Persist` is durable before any later message.

The cores of one epoch speak of members by their index (`Send, Broadcast, Accuse, Lie`). `epochs.Epochs` turns
that into node ids (`Post, Answer, Blame, Fault`), which is what a shell sees: an index means nothing beyond its epoch.
"""

from dataclasses import dataclass
from typing import NamedTuple

from pyrsia.wire.blocks import Block, FinalityProof, Header, Justification, Message, Vote
from pyrsia.wire.text import b32


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
class Accuse:
    """What no honest member signs (docs/agreement.md, "Evidence"): two votes, or one vote for a block that P2 or P3
    forbids.

    Attributes:
        second: the vote that contradicts `first`; None if the block is the proof.
        header, justification: the block's, then.
    """

    signer: int
    first: Vote
    second: Vote | None = None
    header: Header | None = None
    justification: Justification | None = None


@dataclass(frozen=True, slots=True)
class Halt:
    """Agreement must not go on here. The shell stops voting, keeps serving, and tells the operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class Mute:
    """This member casts no vote any more; the core goes on following. The shell tells the operator.

    Attributes:
        lost: the key's memory is known to be lost, so it must never vote again: that is worth writing down.
    """

    reason: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Lie:
    """A member (its index) sent what no honest member sends: a forged signature, a certificate that is none."""

    sender: int
    why: str


# -- what a shell sees --


@dataclass(frozen=True, slots=True)
class Post:
    """A message to these nodes, or to everybody who is linked (None). Losing it is allowed."""

    to: tuple[bytes, ...] | None
    message: Message


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a node's `GetBlocks` from the store (`catchup.serve` packs the answer)."""

    to: bytes
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Blame:
    """Evidence against a validator, whole: what `fault.evidence` of the log takes. Never against an honest one.

    Attributes:
        node: the validator's node id in `epoch`.
        first, second, header, justification: as in `Accuse`.
    """

    node: bytes
    epoch: int
    first: Vote
    second: Vote | None = None
    header: Header | None = None
    justification: Justification | None = None

    def body(self) -> dict[str, object]:
        """The body of the entry `fault.evidence` (docs/ledger.md, "Leaves")."""
        named = {"epoch": self.epoch, "validator": b32(self.node)}
        if self.second is not None:
            first, second = sorted((self.first.encode().hex(), self.second.encode().hex()))
            return {"kind": "votes", "first": first, "second": second, **named}
        if self.header is None or self.justification is None:
            raise ValueError("evidence is two votes, or a vote and a block's head")
        return {
            "kind": "block",
            "header": self.header.encode().hex(),
            "justification": self.justification.encode().hex(),
            "vote": self.first.encode().hex(),
            **named,
        }


@dataclass(frozen=True, slots=True)
class Fault:
    """A peer sent what no honest peer sends. Being behind, or slow, is none."""

    node: bytes
    why: str


Effect = Send | Broadcast | Persist | WakeAt | Deliver | Accuse | Halt | Mute | Lie  # of an epoch's core
Act = Post | Persist | WakeAt | Deliver | Answer | Blame | Fault | Halt | Mute  # what a shell sees
