"""A node's knowledge out of a list: facts that a test names, and what it was asked."""

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from pyrsia.errors import Refusal
from pyrsia.knowledge.known import Advisory, Known
from pyrsia.serve.desks.knowing import (
    AsOf,
    AuditAnswer,
    AuditOrder,
    AuditRow,
    BlobTold,
    FactOutcome,
    FactRow,
    FactsOrder,
    FactsOutcome,
    FactsTold,
    WebhookRow,
    WebhooksTold,
)

SIZE = 40
TIME_MS = 1_800_000_000_000


def row(leaf: int, kind: str = "advisory", subject: str = "pkg:pypi/idna", **body: Any) -> FactRow:
    fields = {"kind": kind, "subject": subject, "text": "a word", "valid_from": 1, **body}
    return FactRow(
        leaf, TIME_MS + leaf, f"{leaf:064x}", "a" * 52, "toy", kind, subject, "a word", "stands", -1, fields
    )


WEAK = Advisory("CVE-1", (), "high", "", "1.0 lies in [0, 2.0)", True, "2.0", "a" * 52, 3, "it breaks")


class Memory:
    """`serve.desks.views.Arriving` of a file that is gone when it is closed."""

    def __init__(self, data: bytes) -> None:
        self._fd = os.memfd_create("document")
        os.write(self._fd, data)
        self.path, self.size = Path(f"/proc/self/fd/{self._fd}"), len(data)
        self.sha256 = hashlib.sha256(data).hexdigest()

    async def ready(self, offset: int) -> int:
        return self.size

    def close(self) -> None:
        os.close(self._fd)
        self._fd = -1  # a second time is a fault


@dataclass
class ToyKnowledge:
    """`serve.desks.knowing.KnowledgeDesk` over rows; what it was asked is in `asked`."""

    rows: list[FactRow] = field(default_factory=lambda: [row(3, advisory="CVE-1", severity="high")])
    known: dict[str, Known] = field(default_factory=dict)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    outcomes: list[FactOutcome] = field(default_factory=list)
    hooks: tuple[WebhookRow, ...] = ()
    slow: bool = False  # an audit is never answered
    under_way: int = 0  # of those
    silent: bool = False  # a follower hears nothing more, for ever

    async def facts(self, subject: str, at: AsOf, *, kind: str, first: int, count: int) -> FactsTold:
        self.asked.append(("facts", subject, at, kind, first, count))
        if subject == "no purl":
            raise Refusal("bad-request", what="this names no package", who="you", do="send one")
        of = subject.partition("@")[0]
        rows = [one for one in self.rows if one.subject.partition("@")[0] == of]
        return FactsTold(subject, at.size or SIZE, TIME_MS, True, tuple(rows[:count]), -1)

    async def newest(
        self, at: AsOf, *, kind: str, first: int | None, count: int, order: str = ""
    ) -> FactsTold:
        self.asked.append(("newest", at, kind, first, count, order))
        return FactsTold("", at.size or SIZE, TIME_MS, True, tuple(self.rows[:count]), -1)

    async def document(self, leaf: int) -> "Memory | None":
        self.asked.append(("document", leaf))
        return Memory(b"a document") if leaf == 7 else None

    def follow(self, after: int | None, kind: str, glob: str) -> AsyncIterator[FactRow]:
        self.asked.append(("follow", after, kind, glob))
        if kind == "nonsense":
            raise Refusal("bad-request", what="no kind", who="you", do="send one")
        return self._following()

    async def _following(self) -> AsyncIterator[FactRow]:
        for one in self.rows:
            yield one
        if self.silent:
            await trio.sleep_forever()

    async def audit(self, order: AuditOrder) -> AuditAnswer:
        self.asked.append(("audit", order))
        if self.slow:
            self.under_way += 1
            try:
                await trio.sleep_forever()
            finally:
                self.under_way -= 1
        default = Known(SIZE, True, (WEAK,))
        rows = tuple(
            AuditRow(one, "network", "REPRODUCED", self.known.get(one, default)) for one in order.purls
        )
        return AuditAnswer(SIZE, TIME_MS, True, rows)

    def webhooks(self) -> WebhooksTold:
        self.asked.append(("webhooks",))
        return WebhooksTold(self.hooks)

    async def keep(self, chunks: AsyncIterator[bytes]) -> BlobTold:
        data = b"".join([one async for one in chunks])
        self.asked.append(("keep", len(data)))
        return BlobTold("a" * 64, "b" * 64, len(data))

    async def say(self, order: FactsOrder) -> FactsOutcome:
        self.asked.append(("say", order))
        return FactsOutcome(tuple(self.outcomes or [FactOutcome("added", SIZE)] * len(order.facts)))
