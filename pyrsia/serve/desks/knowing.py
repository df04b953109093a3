"""What is asked of a node's knowledge, and what it answers: plain data, no decisions.

The node implements `KnowledgeDesk` over its log. Leaf indexes count from 0; times are POSIX milliseconds; ids and
digests lower-case hex, nodes base32.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import msgspec

from pyrsia.knowledge.known import Known
from pyrsia.policy.facts import Reason
from pyrsia.units import MAX_ADVISORIES_TOLD, MAX_AFFECTED, MAX_AUDITED, MAX_FACTS_TOLD, MAX_TIME_MS
from pyrsia.wire.purl import MAX_PURL_CHARS

if TYPE_CHECKING:  # views knows this module
    from pyrsia.serve.desks.views import Arriving

OLDEST, NEWEST = "oldest", "newest"  # orders of a page

PurlText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PURL_CHARS)]


class AsOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A moment: the log as it was with so many leaves, or at a time. Neither: now. Both: refused."""

    size: Annotated[int, msgspec.Meta(ge=0)] | None = None
    time_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None


NOW: Final = AsOf()


class FactRow(msgspec.Struct, frozen=True):
    """One fact, with what became of it (`knowledge.standing`) by the moment asked about; or a word that takes one back.

    Attributes:
        state: stands, to-come, superseded or withdrawn; `by`: leaf that ended it, -1 for none; `by_ms`: its block time.
            A word that takes another back is withdrawn, or to-come until it does so; its body has `withdrawn`.
        author_name: as its members call it; "" for who is none.
        ends: leaf of the fact that it replaces or takes back; -1 for none, or one that is not here.
        ended: the body of the fact that it takes back; None for every other row.
    """

    leaf: int
    time_ms: int
    id: str
    author: str
    author_name: str
    kind: str
    subject: str
    text: str
    state: str
    by: int
    body: dict[str, Any]
    ends: int = -1
    ended: dict[str, Any] | None = None
    by_ms: int = 0


class FactsTold(msgspec.Struct, frozen=True):
    """Facts in log order. `size`, `time_ms`: the moment; `whole`: none below it is missing here; `next`: -1: none."""

    subject: str
    size: int
    time_ms: int
    whole: bool
    facts: tuple[FactRow, ...]
    next: int


class FactTold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fact to say in a batch. `fields`: those that its kind has; `withdraw`: take back what this node said."""

    kind: Annotated[str, msgspec.Meta(max_length=32)]
    subject: PurlText
    text: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    valid_from: Annotated[int, msgspec.Meta(ge=0)] = 0
    fields: dict[str, Any] = {}
    withdraw: bool = False


class WholeAdvisory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every subject that an advisory has now; what this node said under its id of any other is taken back.

    `modified_ms`: of the record that says so; one that is older than what was said takes nothing back. 0: now.
    """

    advisory: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    subjects: Annotated[tuple[PurlText, ...], msgspec.Meta(max_length=MAX_AFFECTED.value)] = ()
    modified_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS.value)] = 0


class FactsOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Facts that this node shall say, each at most once: what it says already in the same words is no new entry.

    A fact replaces the one that this node said before of the same kind, subject and `advisory`. `whole`: beside that.
    An advisory with `modified_ms` (of the record that it comes from; one to take back, too) counts only where no newer
    record was said before.
    """

    facts: Annotated[tuple[FactTold, ...], msgspec.Meta(max_length=MAX_FACTS_TOLD.value)] = ()
    dry_run: bool = False
    whole: Annotated[tuple[WholeAdvisory, ...], msgspec.Meta(max_length=MAX_ADVISORIES_TOLD.value)] = ()


class FactOutcome(msgspec.Struct, frozen=True):
    """What became of one: added, changed, same, older, withdrawn or refused. `leaf`: of what stands by it, or -1."""

    outcome: str
    leaf: int = -1
    error: dict[str, Any] | None = None


class WholeOutcome(msgspec.Struct, frozen=True):
    """How many facts of subjects that an advisory has no more were taken back; why not all of them, in `error`."""

    withdrawn: int
    error: dict[str, Any] | None = None


class FactsOutcome(msgspec.Struct, frozen=True):
    """Of `facts` and of `whole`, each in the order of what was asked.

    `beside`: entries beyond those, that end earlier words which stood beside the latest.
    """

    outcomes: tuple[FactOutcome, ...]
    whole: tuple[WholeOutcome, ...] = ()
    beside: int = 0


class BlobTold(msgspec.Struct, frozen=True):
    """A document that is here: the `blob` of a fact that will name it."""

    manifest: str
    sha256: str
    size: int


class AuditOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known about these versions, at a moment, and what this node's policy says of them now."""

    purls: Annotated[tuple[PurlText, ...], msgspec.Meta(min_length=1, max_length=MAX_AUDITED.value)]
    at: AsOf = AsOf()


class AuditRow(msgspec.Struct, frozen=True):
    """One version.

    Attributes:
        origin: network, local or proxied; "" for what this node has not.
        status: of its files in the log (the worst of them) at the moment; "" for none.
        known: what stands about it; None with `error`, where the purl cannot be read.
        allowed: policy's answer now; None where a past moment is asked about, or nothing is here to decide on.
    """

    purl: str
    origin: str
    status: str
    known: Known | None
    allowed: bool | None = None
    reasons: tuple[Reason, ...] = ()
    error: str = ""


class AuditAnswer(msgspec.Struct, frozen=True):
    """In the order of what was asked. `size`, `time_ms`: the moment that it speaks of."""

    size: int
    time_ms: int
    whole: bool
    rows: tuple[AuditRow, ...]


class WebhookRow(msgspec.Struct, frozen=True):
    """One server that this node tells of facts.

    Attributes:
        url: without its query. signed: whether its calls are.
        state: told (nothing waits), sending, failing, waiting (for leaves that are not here yet) or stopped.
        next: first leaf that it may not know yet. behind: leaves of the log from there on.
        failures: calls in a row that it did not take since this node started; `trouble`: the last one.
        since_ms: since when it takes none, over restarts of this node too; 0 for one that does.
        delivered: facts that it took since this node started; `last_ms`: when, 0 for never.
    """

    url: str
    kinds: tuple[str, ...]
    packages: tuple[str, ...]
    severity: str
    signed: bool
    state: str
    next: int
    behind: int
    failures: int
    since_ms: int
    trouble: str
    delivered: int
    last_ms: int


class WebhooksTold(msgspec.Struct, frozen=True):
    """In the order of config.toml."""

    webhooks: tuple[WebhookRow, ...]


class KnowledgeDesk(Protocol):
    """A node's knowledge, for those who ask about it."""

    async def facts(self, subject: str, at: AsOf, *, kind: str, first: int, count: int) -> FactsTold:
        """Every fact about a package (of a purl with a version: those that speak of it or of one of its files in the
        log) or `sha256:` digest.

        Raises:
            Refusal: `bad-request`: a moment that the log has not reached, no purl.
        """
        ...

    async def newest(
        self, at: AsOf, *, kind: str, first: int | None, count: int, order: str = ""
    ) -> FactsTold:
        """Facts about anything, and what takes some back, newest first (or from leaf `first` on, oldest first).

        One answer looks at a bounded part of the log: it may have no fact and yet say where to go on (`next`).

        Args:
            order: `oldest` (from `first` up) or `newest` (from `first` down); "" as said above.
        """
        ...

    def follow(self, after: int | None, kind: str, glob: str) -> AsyncIterator[FactRow]:
        """Facts behind leaf `after` (None: those to come), and what takes some back, as the log gets them: no end.

        Raises:
            Refusal: `bad-request`, at once: no kind of fact, no pattern, a leaf beyond the log's end.
        """
        ...

    async def audit(self, order: AuditOrder) -> AuditAnswer: ...

    async def document(self, leaf: int) -> "Arriving | None":
        """The document that the fact at a leaf names, whole; None where there is none. Close it.

        Raises:
            Refusal: `too-large`; `denied`; `busy`; `unavailable` where nobody who has it is there; `storage-full`.
        """
        ...

    def webhooks(self) -> WebhooksTold:
        """Whom this node tells of facts."""
        ...

    async def keep(self, chunks: AsyncIterator[bytes]) -> BlobTold:
        """Keep a document that a fact will name, for a day: until the log names it.

        Raises:
            Refusal: `too-large`, `storage-full`.
        """
        ...

    async def say(self, order: FactsOrder) -> FactsOutcome:
        """See facts into the log, within this node's quota.

        Raises:
            Refusal: `forbidden`: this node is no member.
        """
        ...
