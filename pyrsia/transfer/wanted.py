"""Blobs as the log names them, what of them lacks, and those that did not come.

Source: docs/replication.md, "Repair".
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from pyrsia.units import FAILED_BLOBS

RETRY_S: Final = 30.0
RETRY_MOST_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob as the log names it."""

    sha256: bytes
    manifest: bytes
    size: int

    @property
    def key(self) -> bytes:
        """Its place in the index: of two that name the same bytes with another manifest or size, one is wrong."""
        return self.sha256 + self.manifest + self.size.to_bytes(8, "big")


class Stock(Protocol):
    """What the log names, and what of it is here."""

    def lacks(self, shard: int, after: bytes, most: int) -> Sequence[tuple[Blob, bool]]:
        """At most `most` blobs of a shard that the log names, with a key above `after`; and whether each lacks here."""
        ...


class Outcome(Enum):
    """How bringing a blob ended."""

    HERE = "here"
    FAILED = "failed"  # nobody gave it
    FULL = "full"  # there is no room for it
    VOID = "void"  # there are no such bytes: what names it is wrong


class Failed:
    """Blobs that did not come: how often, and when they are tried again."""

    def __init__(self) -> None:
        self._rows: OrderedDict[bytes, tuple[Blob, int]] = OrderedDict()
        self._due: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def add(self, now: float, blob: Blob) -> None:
        _, tries = self._rows.pop(blob.key, (blob, 0))
        self._rows[blob.key] = (blob, min(tries + 1, 16))
        heapq.heappush(self._due, (now + min(RETRY_MOST_S, RETRY_S * 2.0**tries), blob.key))
        if len(self._rows) > FAILED_BLOBS.value:
            self._rows.popitem(last=False)
        if len(self._due) > 4 * FAILED_BLOBS.value:  # of those that were forgotten
            self._due = [row for row in self._due if row[1] in self._rows]
            heapq.heapify(self._due)

    def forget(self, blob: Blob) -> None:
        self._rows.pop(blob.key, None)

    def due(self, now: float, most: int) -> list[Blob]:
        """Those whose time has come, each once until it fails again."""
        found: list[Blob] = []
        while self._due and self._due[0][0] <= now and len(found) < most:
            _, key = heapq.heappop(self._due)
            if key in self._rows:
                found.append(self._rows[key][0])
        return found

    @property
    def next_s(self) -> float:
        return self._due[0][0] if self._due else math.inf
