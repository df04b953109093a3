"""Where a node's knowledge is asked and told (`serve.knowing.KnowledgeDesk`): its parts behind one face."""

from collections.abc import AsyncIterator

from pyrsia.node.knowledge.auditing import Auditing
from pyrsia.node.knowledge.documents import Documents
from pyrsia.node.knowledge.saying import Saying
from pyrsia.node.knowledge.telling import Telling
from pyrsia.serve.knowing import (
    AsOf,
    AuditAnswer,
    AuditOrder,
    FactRow,
    FactsOrder,
    FactsOutcome,
    FactsTold,
)


class KnowledgeDesk:
    """One node's."""

    def __init__(
        self, telling: Telling, auditing: Auditing, saying: Saying, documents: Documents | None = None
    ) -> None:
        """`documents`: None where no bytes are to be had."""
        self._telling, self._auditing, self._saying = telling, auditing, saying
        self._documents = documents

    async def facts(self, subject: str, at: AsOf, *, kind: str, first: int, count: int) -> FactsTold:
        return await self._telling.facts(subject, at, kind=kind, first=first, count=count)

    async def newest(
        self, at: AsOf, *, kind: str, first: int | None, count: int, order: str = ""
    ) -> FactsTold:
        return await self._telling.newest(at, kind=kind, first=first, count=count, order=order)

    def follow(self, after: int | None, kind: str, glob: str) -> AsyncIterator[FactRow]:
        return self._telling.follow(after, kind, glob)

    async def audit(self, order: AuditOrder) -> AuditAnswer:
        return await self._auditing.audit(order)

    async def document(self, leaf: int) -> bytes | None:
        return None if self._documents is None else await self._documents.document(leaf)

    async def say(self, order: FactsOrder) -> FactsOutcome:
        return await self._saying.say(order)
