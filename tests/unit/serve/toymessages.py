"""A desk of broadcasts and messages that is a list: what was asked of it, and rows that a test puts in."""

from dataclasses import dataclass, field
from typing import Any

from pyrsia.errors import Refusal
from pyrsia.serve.desks.messages import (
    Deleted,
    HeardPage,
    HeardStatus,
    InboxPage,
    LetterStatus,
    MessageOrder,
    SaidStatus,
    SentPage,
    SentStatus,
)

WHO = "b" * 52
HEARD = HeardStatus(1, "news/", WHO, "v1", "hello", 5, 6)
SAID = SaidStatus(1, "news/", WHO, "v1", "hello", 5, 6, linked=3)
LETTER = LetterStatus(1, WHO, "v1", "for you", False, "", 5)
SENT = SentStatus(1, WHO, "v1", "for them", False, "delivered", "", "", 1, 4, 6, 5)


@dataclass
class ToyMessages:
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def broadcast(self, topic: str, text: str) -> SaidStatus:
        self.asked.append(("broadcast", topic, text))
        return SAID

    async def heard(self, topic: str, after: int, count: int, wait_s: float) -> HeardPage:
        self.asked.append(("heard", topic, after, count, wait_s))
        return HeardPage((HEARD,), 1, 0)

    async def send(self, order: MessageOrder) -> SentStatus:
        self.asked.append(("send", order))
        if order.to == "away":
            raise Refusal("unavailable", what="away cannot be reached", who="the recipient", do="keep it")
        return SENT

    async def inbox(self, after: int, count: int, wait_s: float) -> InboxPage:
        self.asked.append(("inbox", after, count, wait_s))
        return InboxPage((LETTER,), 1, 1, 7)

    def sent(self) -> SentPage:
        self.asked.append(("sent",))
        return SentPage((SENT,))

    async def delete(self, number: int, *, sent: bool) -> Deleted:
        self.asked.append(("delete", number, sent))
        return Deleted(number)
