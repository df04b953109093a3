"""What is asked of a node's builds, and what it answers: plain data with one codec, no decisions.

The node implements `Desk` over its planner, queue and log; tests implement it over a dict. Digests and request ids
are lower-case hex, node ids base32, times POSIX milliseconds.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Protocol

import msgspec

from pyrsia.wire.purl import MAX_PURL_CHARS

Text = Annotated[str, msgspec.Meta(max_length=200)]
Hex32 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class GivenSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A source that was sent to this node before: a blob by its manifest, SHA-256 and size."""

    file: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    manifest: Hex32
    sha256: Hex32
    size: Annotated[int, msgspec.Meta(ge=0)]


class BuildOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ask the network for a package and everything it needs at run time.

    Attributes:
        ecosystem: the plug-in; may be left out with a `purl`, whose type tells it.
        name, version: in the ecosystem's own words; no version: the newest.
        purl: instead of them.
        source: given along; the result then stands under this node's own name only.
        parameters: of the recipe; only with a `source`.
        closure: with everything that it needs at run time.
        verified_only: refuse a build whose inputs this network has not all built; witnessed ones do not count.
        witness: where it has no source that can be built, have upstream's file witnessed instead.
        dry_run: plan, and ask for nothing.
    """

    ecosystem: Text = ""
    name: Text = ""
    version: Text = ""
    purl: Annotated[str, msgspec.Meta(max_length=MAX_PURL_CHARS)] = ""
    source: GivenSource | None = None
    parameters: dict[str, Text] = {}
    closure: bool = True
    verified_only: bool = False
    witness: bool = False
    dry_run: bool = False


class Requested(msgspec.Struct, frozen=True):
    """One build request that stands in the log.

    Attributes:
        known: it stood there already: published, or being built.
        note: what its asker should know, e.g. why it is witnessed and not built; "" for nothing.
    """

    request: str
    purl: str
    ecosystem: str = ""
    known: bool = False
    note: str = ""


class InputLine(msgspec.Struct, frozen=True):
    """One line of a lock. `entry`: leaf index of the `artifact.add` that says that they were built here, or -1."""

    name: str
    version: str
    file: str
    sha256: str
    size: int
    entry: int = -1


class PlanRow(msgspec.Struct, frozen=True):
    """One request as it would be authored. `request`: the one that stands already for it, "" where there is none."""

    purl: str
    ecosystem: str
    source: dict[str, Any]
    recipe: dict[str, Any]
    target: dict[str, str]
    lock_sha256: str
    inputs: tuple[InputLine, ...]
    request: str = ""
    note: str = ""


class Ordered(msgspec.Struct, frozen=True):
    """What came of an order: requests in the log, or for a dry run what they would be; dependencies first."""

    requests: tuple[Requested, ...] = ()
    plans: tuple[PlanRow, ...] = ()


class Cancelled(msgspec.Struct, frozen=True):
    """The request is ended; `leaf` is the entry that says so."""

    request: str
    leaf: int


class LogPart(msgspec.Struct, frozen=True):
    """Some bytes of a builder's log (base64 in JSON), from `offset`; `size` is that of the whole."""

    request: str
    builder: str
    offset: int
    size: int
    data: bytes


class Desk(Protocol):
    """Where builds are ordered and followed."""

    async def order(self, order: BuildOrder) -> Ordered:
        """Plan, and ask the network for what it lacks unless it is a dry run.

        Raises:
            Refusal: the order makes no sense, the plan's, the log's; `no-sandbox` where nothing can be planned.
        """
        ...

    async def take(self, file: str, chunks: AsyncIterator[bytes]) -> GivenSource:
        """Keep an archive that a later order names.

        Raises:
            Refusal: `bad-request` for its name, `too-large`.
        """
        ...

    async def cancel(self, request: str) -> Cancelled:
        """End one of this node's own requests before it is drawn.

        Raises:
            Refusal: `not-found`, `entry-refused` after the draw.
        """
        ...

    async def log(self, request: str, builder: str, offset: int) -> LogPart:
        """A part of a builder's log; `builder`: "" for this node's own, or else the first that has one.

        Raises:
            Refusal: `not-found`; `not-yet` before that builder's commitment stands in the log; `unavailable`.
        """
        ...

    def prefer(self, request: str) -> None:
        """Build this one before all others that wait here."""
        ...

    def queue(self) -> Sequence[str]:
        """What waits here to be built, in its order, in words."""
        ...
