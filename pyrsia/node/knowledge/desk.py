"""Where a node's knowledge is asked and told (`serve.desks.knowing.KnowledgeDesk`): its parts behind one face."""

from collections.abc import AsyncIterator

from pyrsia.node.builds.sources import Sources
from pyrsia.node.knowledge.auditing import Auditing
from pyrsia.node.knowledge.documents import Documents
from pyrsia.node.knowledge.saying import Saying
from pyrsia.node.knowledge.telling import Telling
from pyrsia.node.knowledge.webhooks import Webhooks
from pyrsia.serve.desks.knowing import (
    AsOf,
    AuditAnswer,
    AuditOrder,
    BlobTold,
    FactRow,
    FactsOrder,
    FactsOutcome,
    FactsTold,
    WebhooksTold,
)
from pyrsia.serve.desks.views import Arriving
from pyrsia.units import MAX_DOCUMENT_BYTES


class KnowledgeDesk:
    """One node's."""

    def __init__(
        self,
        telling: Telling,
        auditing: Auditing,
        saying: Saying,
        documents: Documents,
        given: Sources,
        hooks: Webhooks,
    ) -> None:
        """`given`: takes in documents that facts will name; `hooks`: are told of facts."""
        self._telling, self._auditing, self._saying = telling, auditing, saying
        self._documents, self._given, self._hooks = documents, given, hooks

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

    async def document(self, leaf: int) -> Arriving | None:
        return await self._documents.document(leaf)

    def webhooks(self) -> WebhooksTold:
        return self._hooks.told()

    async def keep(self, chunks: AsyncIterator[bytes]) -> BlobTold:
        kept = await self._given.keep(chunks, MAX_DOCUMENT_BYTES, "a document")
        return BlobTold(kept.manifest.hex(), kept.sha256.hex(), kept.size)

    async def say(self, order: FactsOrder) -> FactsOutcome:
        return await self._saying.say(order)
