"""What the operator ordered to keep: digests, and patterns of purls, which hold for versions to come as well.

A pattern is an order that stands: what it matches stays once it is here, with its metadata and its list of members.
What is pinned for another reason (a build's, an owner's) is left alone. Left out: when a pattern is looked through
again (`storing`), and how what lacks is brought (`storage_desk`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger import state, views
from pyrsia.ledger.matching import PurlGlob
from pyrsia.ledger.state import Reads
from pyrsia.node.storage.salvage import PIN as SALVAGED
from pyrsia.node.storage.shelf import BlobRef
from pyrsia.store import layout
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import HASH_BYTES, Limit

OPERATOR: Final = "operator"
PATTERNS = Limit(200, "orders of one operator; a pattern with a star takes the place of many")
NAMES = Limit(500, "names of packages read before others have a turn, 5 ms")

_OWN: Final = re.compile(r"own:(?P<owner>[a-z2-7]{8,52})/(?P<rest>.+)")
_KEY: Final = b"storage/pin/"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an order speaks of: one digest, or what a pattern matches."""

    text: str
    sha256: bytes = b""
    glob: PurlGlob | None = None

    @classmethod
    def parse(cls, text: str) -> "Wanted":
        """
        `own:h3ehcmyl/pypi/greeter`, as commands call what stands under a node's own name, is a pattern of its purls.

        Raises:
            Refusal: `bad-request`.
        """
        plain = text.strip().removeprefix("sha256:")
        if own := _OWN.fullmatch(plain):
            plain = f"pkg:generic/{own['owner']}*/{own['rest']}"
        if len(plain) == 2 * HASH_BYTES and set(plain) <= set("0123456789abcdef"):
            return cls(plain, bytes.fromhex(plain))
        try:
            return cls(plain, glob=PurlGlob.parse(plain))
        except Malformed as error:
            raise Refusal(
                "bad-request",
                what=f"this is neither a SHA-256 in hex nor a purl: {error}",
                who="your command",
                do="write one like pkg:pypi/flask@3.0.3 or 'pkg:pypi/flask*'",
            ) from None


class Pins:
    """The orders of one node, in the database.

    Args:
        reads: the final state of the log.
    """

    def __init__(self, database: Database, blobs: Blobs, reads: Reads) -> None:
        self._database = database
        self._blobs = blobs
        self._reads = reads
        self._turn = trio.Lock()  # an order that is taken back waits for one that is being carried out
        self._orders: dict[str, Wanted] = {}
        self._names: dict[str, tuple[int, list[str]]] = {}  # pattern -> names looked at, and those that match
        for key, _ in database.scan(layout.MISC, _KEY, 2 * PATTERNS.value, before=_KEY + b"\xff"):
            wanted = Wanted.parse(key.removeprefix(_KEY).decode())
            self._orders[wanted.text] = wanted

    @property
    def patterns(self) -> tuple[str, ...]:
        return tuple(sorted(self._orders))

    def stands(self, text: str) -> bool:
        """Whether there is an order with these words."""
        return text in self._orders

    async def add(self, wanted: Wanted) -> None:
        """Keep what matches, now and later. Durable when this returns.

        Raises:
            Refusal: `too-large`.
        """
        if wanted.text not in self._orders and len(self._orders) >= PATTERNS.value:
            raise Refusal(
                "too-large",
                what=f"there are {PATTERNS.value} pins already",
                who="your command",
                do="write one pattern for several of them, and unpin those",
            )
        self._orders[wanted.text] = wanted
        await self._database.commit(Batch().put(layout.MISC, _KEY + wanted.text.encode(), b"\x01"))
        await self.apply()

    async def remove(self, wanted: Wanted) -> None:
        """Keep it no more for the operator's sake; nor what a lost database had pinned.

        Raises:
            Refusal: `not-found`: there is no such order, and nothing that matches was salvaged.
        """
        async with self._turn:
            known = self._orders.pop(wanted.text, None) is not None
            self._names.pop(wanted.text, None)
            await self._database.commit(Batch().delete(layout.MISC, _KEY + wanted.text.encode()))
            found = await self.matching(wanted)
            salvaged = [one.sha256 for one in found if SALVAGED in self._blobs.pins(one.sha256)]
            for sha256 in salvaged:
                await self._blobs.unpin(sha256, SALVAGED)
            await self._apply()
        if not known and not salvaged:
            raise Refusal(
                "not-found",
                what=f"nothing is pinned by {wanted.text}",
                who="your command",
                do="see what is: pyrsia storage status",
            )

    async def apply(self) -> None:
        """Pin what is here and matches, and unpin what matches no more."""
        async with self._turn:
            await self._apply()

    async def _apply(self) -> None:
        wanted: set[bytes] = set()
        for order in tuple(self._orders.values()):
            wanted |= {one.sha256 for one in await self.matching(order)}
        stale = [
            sha256
            async for sha256, record in self._blobs.rows()
            if OPERATOR in record.pins and sha256 not in wanted
        ]
        for sha256 in wanted:
            await self._blobs.pin(sha256, OPERATOR, sync=False)
        await self._database.sync()  # once for all
        for sha256 in stale:
            await self._blobs.unpin(sha256, OPERATOR)

    async def matching(self, wanted: Wanted) -> list[BlobRef]:
        """Every blob that an order speaks of, as the log names them; a digest that only this node has, too."""
        if wanted.glob is None:
            return list(self._of_digest(wanted.sha256))
        found: list[BlobRef] = []
        for name in await self._packages(wanted.text, wanted.glob):
            for placed in views.project_files(self._reads, name):
                if wanted.glob.matches(placed.body["purl"]):
                    found.extend(_blobs_of(placed.body))
            await trio.lowlevel.checkpoint()
        return found

    def _of_digest(self, sha256: bytes) -> Iterator[BlobRef]:
        placed = views.artifact(self._reads, sha256.hex())
        if placed is not None:
            yield from _blobs_of(placed.body)
        elif (size := self._blobs.size(sha256)) is not None:
            yield BlobRef(b"", sha256, size)

    async def _packages(self, text: str, glob: PurlGlob) -> list[str]:
        """Names of packages that match; only those that are new since the last time are looked at."""
        if glob.package:
            return [glob.package]
        seen, found = self._names.get(text, (0, []))
        count = int(state.load(self._reads(state.PROJECTS.encode()), 0))
        for at in range(seen, count):
            name = str(state.load(self._reads(f"projects/{at:016}".encode())))
            if glob.matches(name):
                found.append(name)
            if at % NAMES.value == 0:
                await trio.lowlevel.checkpoint()
        self._names[text] = (count, found)
        return list(found)


def _blobs_of(body: dict[str, Any]) -> Iterator[BlobRef]:
    """A published file, and what clients ask for beside it."""
    for blob in (body, body.get("metadata"), body.get("members")):
        if blob is not None:
            yield BlobRef(bytes.fromhex(blob["manifest"]), bytes.fromhex(blob["sha256"]), blob["size"])
