"""Broadcasts and direct messages as the API tells them, and what the node's desk for them can do. No decisions.

Texts are as their authors wrote them: whoever shows one neutralises it first (`wire.text.safe`).
"""

from typing import Annotated, Final, Protocol

import msgspec

from pyrsia.mesh import mail

MAX_WAIT_S: Final = 25  # for something new, in one request; clients wait 30 s for an answer
HOUR_S: Final = 3_600

Text = Annotated[
    str, msgspec.Meta(min_length=1)
]  # how long it may be is counted in bytes, and refused in words
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class BroadcastOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all nodes are to hear. `topic`: a word and a slash."""

    topic: Short
    text: Text


class HeardStatus(msgspec.Struct, frozen=True):
    """One broadcast that this node heard.

    Attributes:
        number: grows with each that is heard here; it means nothing elsewhere.
        origin, name: who said it: its node id, and what the log calls it, "" where it is no member.
    """

    number: int
    topic: str
    origin: str
    name: str
    text: str
    heard_ms: int
    expires_ms: int


class SaidStatus(HeardStatus, frozen=True):
    """One broadcast of this node. `linked`: how many nodes it has a link with, which hear it at once or ask for it."""

    linked: int


class HeardPage(msgspec.Struct, frozen=True):
    """Broadcasts in the order in which they came.

    Attributes:
        next: `after` of the next question.
        lost: how many came since `after` and are not kept any more: the reader was too slow.
    """

    messages: tuple[HeardStatus, ...]
    next: int
    lost: int


class MessageOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message to one node.

    Attributes:
        to: name of a member, node id, or the beginning of one.
        seal: only the recipient can read it, also where another node carries it.
        keep: this node tries again until it has expired.
    """

    to: Short
    text: Text
    seal: bool = False
    keep: bool = False
    expires_s: Annotated[int, msgspec.Meta(ge=1, le=mail.MAX_LIFE_MS.value // 1000)] = HOUR_S


class LetterStatus(msgspec.Struct, frozen=True):
    """A message in the inbox. `via`: who carried it here, "" where its author did."""

    number: int
    origin: str
    name: str
    text: str
    sealed: bool
    via: str
    received_ms: int


class InboxPage(msgspec.Struct, frozen=True):
    """Messages in the order in which they came; `next` is `after` of the next question."""

    messages: tuple[LetterStatus, ...]
    next: int
    count: int
    bytes: int


class SentStatus(msgspec.Struct, frozen=True):
    """A message of this node, and what became of it.

    Attributes:
        state: waiting, delivered, refused (by its recipient), not delivered, expired.
        why: what kept it from its recipient last.
    """

    number: int
    to: str
    name: str
    text: str
    sealed: bool
    state: str
    why: str
    via: str
    tries: int
    sent_ms: int
    expires_ms: int
    delivered_ms: int


class SentPage(msgspec.Struct, frozen=True):
    """Newest last."""

    messages: tuple[SentStatus, ...]


class Deleted(msgspec.Struct, frozen=True):
    number: int


class MessageDesk(Protocol):
    """What a node's people say and hear."""

    async def broadcast(self, topic: str, text: str) -> SaidStatus:
        """Say it to everybody.

        Raises:
            Refusal: `bad-request`, `too-large`, `busy`.
        """
        ...

    async def heard(self, topic: str, after: int, count: int, wait_s: float) -> HeardPage:
        """What was heard of `topic` (empty: of all) behind the number `after`; waits for the first one."""
        ...

    async def send(self, order: MessageOrder) -> SentStatus:
        """Write to a node: delivered, or waiting where it is kept.

        Raises:
            Refusal: `not-found`, `conflict`: whom it is for is not clear; others: it was not delivered, and why.
        """
        ...

    async def inbox(self, after: int, count: int, wait_s: float) -> InboxPage: ...

    def sent(self) -> SentPage: ...

    async def delete(self, number: int, *, sent: bool) -> Deleted:
        """Delete a message of the inbox, or of those that were sent.

        Raises:
            Refusal: `not-found`.
        """
        ...
