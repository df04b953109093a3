"""A node's disk as the API tells it, and what its operator can order of it. No decisions."""

from typing import Annotated, Protocol

import msgspec

from pyrsia.status import ReplicationStatus, Swept

Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class PinOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to keep: a SHA-256 in hex, or a pattern of purls as in `pkg:pypi/flask@3.*`.

    Attributes:
        fetch: bring what is not here.
    """

    pattern: Pattern
    fetch: bool = False


class UnpinOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pattern: Pattern


class SweepOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dry`: only tell what would be done."""

    dry: bool = False


class ScrubOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to read again: as in `PinOrder`, or "" for everything that is here."""

    pattern: Annotated[str, msgspec.Meta(max_length=300)] = ""


class PinAnswer(msgspec.Struct, frozen=True):
    """What a pin concerns now.

    Attributes:
        blobs, bytes: that are here and match.
        missing, missing_bytes: that the log names, and that are not here; they stay once they come.
        fetching: of these, how many are on their way by this order.
    """

    pattern: str
    blobs: int = 0
    bytes: int = 0
    missing: int = 0
    missing_bytes: int = 0
    fetching: int = 0


class PinnedShare(msgspec.Struct, frozen=True):
    """What stays for one reason. A blob with several counts under each."""

    reason: str
    blobs: int
    bytes: int


class RottenBlob(msgspec.Struct, frozen=True):
    """A blob that was damaged or missing. `state` is `wanted` (nobody gave it yet), `mended`, or `lost` (no manifest
    of it is known, so nobody can be asked)."""

    sha256: str
    time_s: int
    state: str
    note: str = ""


class ScrubStatus(msgspec.Struct, frozen=True):
    """Of the slow walk: what it has seen, and when a whole one last ended (POSIX seconds, 0 for never).

    Attributes:
        order: the pattern of a walk that somebody ordered, which runs or ended last; "" for everything.
        ordered: whether there is one. done, of, found: blobs that it has read, has to read, and found rotten.
        ended: why it ended before it was through; "" where it did not.
    """

    mb_s: int = 0
    days: int = 0
    running: bool = False
    blobs: int = 0
    bytes: int = 0
    rotten: int = 0
    last_s: int = 0
    ordered: bool = False
    order: str = ""
    done: int = 0
    of: int = 0
    found: int = 0
    ended: str = ""


class ShelfShare(msgspec.Struct, frozen=True):
    """Bytes of a store with a quota of its own."""

    used: int = 0
    quota: int = 0


class StorageStatus(msgspec.Struct, frozen=True):
    """A node's disk. All in bytes.

    Attributes:
        allocated: for artifacts; used: by those that are here, of which `pinned` stay and `cache` may go.
        promised: of downloads that run. resting: of those that wait to be gone on with.
        high, low: above the first the cache shrinks to the second.
        free: on the disk, of which `spare` stay free.
        full: why nothing more is taken, "" while there is room.
        evicted: blobs that went to make room since the start.
        pins: by reason. patterns: what the operator ordered to keep.
        local, proxied: what was pushed here, and unverified copies.
        copies: how far what this node keeps for the network is kept elsewhere; `replication` says it in a line.
    """

    allocated: int
    used: int
    blobs: int
    pinned: int
    cache: int
    promised: int
    resting: int
    high: int
    low: int
    free: int
    spare: int
    full: str
    evicted: int
    pins: tuple[PinnedShare, ...] = ()
    patterns: tuple[str, ...] = ()
    sweep: Swept | None = None
    scrub: ScrubStatus = ScrubStatus()
    rotten: tuple[RottenBlob, ...] = ()
    local: ShelfShare = ShelfShare()
    proxied: ShelfShare = ShelfShare()
    replication: str = ""
    copies: ReplicationStatus = ReplicationStatus()


class StorageDesk(Protocol):
    """Where a node's disk is looked at and put in order."""

    async def status(self) -> StorageStatus: ...

    async def pin(self, order: PinOrder) -> PinAnswer:
        """Keep what matches, now and whenever it comes.

        Raises:
            Refusal: `bad-request` for a pattern that is none, `too-large` where there are enough of them,
                `storage-full` where what is to be fetched does not fit.
        """
        ...

    async def unpin(self, pattern: str) -> PinAnswer:
        """Keep it no more for the operator's sake.

        Raises:
            Refusal: `not-found`.
        """
        ...

    async def sweep(self, *, dry: bool) -> Swept:
        """Put right what disk and index say differently."""
        ...

    async def scrub(self, pattern: str) -> StorageStatus:
        """Begin to read what matches; `status` tells how far it is.

        Raises:
            Refusal: `bad-request`, `not-found` where nothing that matches is here, `conflict` while one runs.
        """
        ...
