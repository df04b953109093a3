"""What is told of a leaf to whoever follows a log, and which leaves concern them.

Events are plain values of JSON: `entry` for a leaf that was asked for, `unreadable` for one that this version
cannot read, `alarm` for two heads that no honest log has both signed.
"""

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from pyrsia.audit.following import Alarm
from pyrsia.errors import Malformed
from pyrsia.ledger import entries, glance
from pyrsia.ledger.glance import MAX_BLOCK_LEAVES
from pyrsia.ledger.matching import Filter, packages_of
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.node.log.summary import summary
from pyrsia.status import EntryStatus
from pyrsia.units import Limit

KNOWN_REQUESTS = Limit(2_000, "requests and motions that are remembered: four times as many as can be open")

Event = dict[str, Any]

_NAMED_BY_OTHERS = ("build.request", "motion.propose")


def timed(leaves: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes, int]]:
    """(index, leaf, time of its block in ms). A block is held until its seal tells the time; 0 without one."""
    block: list[tuple[int, bytes]] = []
    for index, leaf in leaves:
        block.append((index, leaf))
        seal = glance.seal(leaf)
        if seal is not None or len(block) >= MAX_BLOCK_LEAVES:
            time_ms = 0 if seal is None else seal.time_ms
            yield from ((at, one, time_ms) for at, one in block)
            block.clear()
    yield from ((at, one, 0) for at, one in block)


def row(index: int, leaf: bytes, time_ms: int, names: Mapping[str, str]) -> EntryStatus:
    """The leaf in a line, at the time of its block."""
    return msgspec.structs.replace(summary(index, leaf, names), time_ms=time_ms)


class Watchlist:
    """Which leaves concern somebody. Learns from those it sees which package each request and motion is about."""

    def __init__(self, wanted: Filter, requests: Mapping[str, str] | None = None) -> None:
        self.wanted = wanted
        self.requests = dict(requests or {})

    def concerns(self, leaf: bytes) -> bool:
        """Whether `leaf` is asked for. Leaves must come in log order."""
        self.learn(leaf)
        return self.wanted.passes(leaf, self.package_of)

    def learn(self, leaf: bytes) -> None:
        """Remember the package of a request or motion that is asked for; what follows it names only its id."""
        if glance.kind(leaf) not in _NAMED_BY_OTHERS or not self.wanted.passes(leaf, self.package_of):
            return
        try:
            entry, named = entries.parse(leaf).id.hex(), glance.packages(leaf)
        except Malformed:
            return  # said of the leaf itself, as an event
        self.requests[entry] = named[0] if named else ""
        while len(self.requests) > KNOWN_REQUESTS.value:
            self.requests.pop(next(iter(self.requests)))

    def package_of(self, entry: str) -> str:
        return self.requests.get(entry, "")

    def event(self, told: EntryStatus, leaf: bytes, head: Checkpoint) -> Event:
        """What is told of a leaf that concerns somebody, or that cannot be read."""
        event: Event = {
            "event": "entry",
            "log": head.origin,
            "size": head.size,
            "root": head.root.hex(),
            "index": told.index,
            "type": told.kind,
            "author": told.author,
            "time_ms": told.time_ms,
            "summary": told.summary,
            "purls": list(packages_of(leaf, self.package_of)),
            "verdict": glance.verdict(leaf),
        }
        if told.kind == "unreadable":
            return event | {"event": "unreadable", "leaf_base64": base64.b64encode(leaf).decode("ascii")}
        return event | {"leaf": leaf.decode("utf-8")}


def alarm_event(alarm: Alarm, evidence: str) -> Event:
    """What is told when a log forked or shrank."""
    old, new = alarm.old.checkpoint, alarm.new.checkpoint
    return {
        "event": "alarm",
        "trouble": alarm.trouble,
        "log": old.origin,
        "summary": said(alarm),
        "first": alarm.old.note.decode("utf-8"),
        "second": alarm.new.note.decode("utf-8"),
        "sizes": [old.size, new.size],
        "evidence": evidence,
    }


def said(alarm: Alarm) -> str:
    """The alarm in a sentence, without a full stop."""
    old, new = alarm.old.checkpoint, alarm.new.checkpoint
    if alarm.trouble == "shrunk":
        return f"{old.origin} shrank: it was {old.size} leaves long and says now that it has {new.size}"
    if old.size == new.size:
        return f"{old.origin} has two histories: two roots are signed at size {old.size}"
    return f"{old.origin} has two histories: what is signed at {new.size} does not begin with what was at {old.size}"
