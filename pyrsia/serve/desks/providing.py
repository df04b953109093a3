"""What a provider asks about a package, and what a node answers: plain data, no decisions.

The node implements `Provider` over its log and its count of downloads. Leaf indexes count from 0; times are POSIX
milliseconds; digests lower-case hex; people are named as the members call them.

Source: docs/providers.md.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Protocol

import msgspec

from pyrsia.serve.desks.knowing import AsOf
from pyrsia.units import MAX_FACT_BYTES, MAX_OVERVIEW_VERSIONS
from pyrsia.wire.purl import MAX_PURL_CHARS

SEVERITIES: Final = (
    "none",
    "low",
    "medium",
    "high",
    "unknown",
    "critical",
)  # upwards: unknown may be anything
_HEX32: Final = r"^[0-9a-f]{64}\Z"
_HEX64: Final = r"^[0-9a-f]{128}\Z"


class FileView(msgspec.Struct, frozen=True):
    """One published file.

    Attributes:
        status: the verdict, WITHDRAWN or DISPUTED; `reason`: why, where the log says why.
        agreeing, dissenting: names of builders.
        downloads: whole copies that this node gave to clients; None where it does not count.
    """

    file: str
    sha256: str
    size: int
    verdict: str
    status: str
    reason: str
    agreeing: tuple[str, ...]
    dissenting: tuple[str, ...]
    published_ms: int
    leaf: int
    request: str
    downloads: int | None = None


class AdvisoryView(msgspec.Struct, frozen=True):
    """An issuer's word against a version (`knowledge.known.Advisory`), for people.

    Attributes:
        first_known_ms: block time of the first fact about it, also of one that was replaced; 0 where that is not here.
        vex: (issuer, outcome, leaf) of what issuers say of it for this very version.
    """

    id: str
    aliases: tuple[str, ...]
    severity: str
    cvss: str
    why: str
    sure: bool
    fixed: str
    issuer: str
    leaf: int
    first_known_ms: int
    text: str = ""
    vex: tuple[tuple[str, str, int], ...] = ()


class LicenceView(msgspec.Struct, frozen=True):
    """An SPDX expression, and whose word it is."""

    expression: str
    issuer: str
    leaf: int


class SbomView(msgspec.Struct, frozen=True):
    """A list of what is inside: its format, whose it is, the digest of its document ("" for none)."""

    format: str
    issuer: str
    leaf: int
    sha256: str = ""


class RecheckView(msgspec.Struct, frozen=True):
    """Somebody built it again. `outcome`: agrees, contradicts, failed; stable or unstable by a builder of its own."""

    outcome: str
    by: str
    time_ms: int
    leaf: int
    request: str


class DescriptionView(msgspec.Struct, frozen=True):
    """What somebody says a package is."""

    subject: str
    by: str
    time_ms: int
    leaf: int
    text: str = ""
    tags: tuple[str, ...] = ()
    homepage: str = ""
    namespace: str = ""
    json: str = ""


class MappingView(msgspec.Struct, frozen=True):
    """Where the log's members agreed that the source is. `keys`: public keys of its maintainers, hex."""

    repository: str
    tag: str
    keys: tuple[str, ...]
    leaf: int


class VersionView(msgspec.Struct, frozen=True):
    """One version.

    Attributes:
        verdict, status: of its files, the worst status of them.
        worst: highest severity among `advisories`; "" for none.
        downloads: of a version of pip the sum of its files, else of the file that was given most often: the files of
            other versions are given together.
    """

    purl: str
    version: str
    verdict: str
    status: str
    reason: str
    published_ms: int
    files: tuple[FileView, ...]
    advisories: tuple[AdvisoryView, ...] = ()
    licences: tuple[LicenceView, ...] = ()
    sboms: tuple[SbomView, ...] = ()
    rechecks: tuple[RecheckView, ...] = ()
    worst: str = ""
    downloads: int | None = None


class Overview(msgspec.Struct, frozen=True):
    """A package at a moment.

    Attributes:
        purl: as it was asked for; with a version only that one is in `versions`.
        size, time_ms: the moment that it speaks of.
        whole: False where facts may be missing here, so that less stands here than is known.
        versions: newest first.
        more: there are more versions than these.
        downloads: of all its versions, or of the one asked for; now, whatever moment was asked about.
    """

    purl: str
    package: str
    size: int
    time_ms: int
    whole: bool
    versions: tuple[VersionView, ...]
    descriptions: tuple[DescriptionView, ...] = ()
    mapping: MappingView | None = None
    more: bool = False
    downloads: int | None = None


class WithdrawalOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An `artifact.withdraw` to carry to the log. `key`, `sig`: a maintainer's (`ledger.withdrawing.signed_text`)."""

    purl: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PURL_CHARS)]
    sha256: Annotated[str, msgspec.Meta(pattern=_HEX32)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_FACT_BYTES.value)]
    key: Annotated[str, msgspec.Meta(pattern=_HEX32)]
    sig: Annotated[str, msgspec.Meta(pattern=_HEX64)]


class Stood(msgspec.Struct, frozen=True):
    """The versions of a package at a moment, as far as the log says: no policy decides about the past.

    Attributes:
        offered: newest first, those of which a file was neither withdrawn nor disputed; `fallen`: the others.
        verdict: of the newest file that was offered; "" for none.
        whole: False where the history of the package is too long to tell what became of each file.
    """

    offered: tuple[str, ...] = ()
    fallen: tuple[str, ...] = ()
    verdict: str = ""
    whole: bool = True


class Then(Protocol):
    """The log's packages at one moment, for one answer.

    Attributes:
        size, time_ms: the moment.
        spent: the work of one answer is used up; asked for more, it goes on all the same.
    """

    @property
    def size(self) -> int: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def spent(self) -> bool: ...

    def holds(self, package: str) -> bool:
        """Whether a file of it was published by then; a versionless purl."""
        ...

    async def stood(self, package: str) -> Stood:
        """What there was of it."""
        ...


class Provider(Protocol):
    """A node's face for who provides packages."""

    async def then(self, at: AsOf) -> Then:
        """The packages of a moment.

        Raises:
            Refusal: `bad-request`: there was no such moment.
        """
        ...

    async def overview(self, purl: str, at: AsOf, most: int = MAX_OVERVIEW_VERSIONS.value) -> Overview:
        """All that is known about a package, with or without a version.

        Args:
            most: so many of its newest versions.

        Raises:
            Refusal: `bad-request`: no purl, or a moment that the log has not reached; `package-unknown`.
        """
        ...


def worst(severities: Iterable[str]) -> str:
    """The highest of some severities, "" of none; a word that is no severity counts as unknown."""
    known = (one if one in SEVERITIES else "unknown" for one in severities)
    return max(known, key=SEVERITIES.index, default="")
