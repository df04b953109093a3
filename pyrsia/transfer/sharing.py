"""Who else fetches a file now, as far as this node was asked for it. No I/O.

Whoever asks what is held here of a file (WANT_HAVE) is named to the next one that asks, for some seconds: those who
download serve what they have, and this is how they hear of each other. An asker that still downloads asks again and
so stays named. It is hearsay to whoever is told, and decides nothing but who is tried.

Time comes as `now` in seconds of any steady clock.

Source: docs/network.md, "The swarm"; docs/adr/0064.
"""

from collections import OrderedDict
from typing import Final

from pyrsia.units import MAX_ALSO, Limit, NodeId

NAMED_S: Final = 6.0  # three of the rounds in which an asker asks again
MAX_FILES = Limit(256, "files asked for within six seconds; the one asked for longest ago is forgotten first")
MAX_ASKERS = Limit(64, "askers remembered of one file: eight times as many as one of them uses")


class Askers:
    """Of one node: by file, who asked and when."""

    def __init__(self) -> None:
        self._files: OrderedDict[bytes, OrderedDict[NodeId, float]] = OrderedDict()

    def asked(self, now: float, node: NodeId, manifest_id: bytes) -> tuple[NodeId, ...]:
        """`node` asks what is held of this file; who else did lately, at most eight, others at each call."""
        askers = self._files.setdefault(manifest_id, OrderedDict())
        self._files.move_to_end(manifest_id)
        while len(self._files) > MAX_FILES.value:
            self._files.popitem(last=False)
        for gone in [other for other, at_s in askers.items() if now - at_s > NAMED_S]:
            del askers[gone]
        told = tuple(other for other in askers if other != node)[: MAX_ALSO.value]
        for other in told:  # the next one hears of the others first
            askers.move_to_end(other)
        askers[node] = now
        while len(askers) > MAX_ASKERS.value:
            askers.popitem(last=False)
        return told

    def fetching(self, now: float, manifest_id: bytes) -> tuple[NodeId, ...]:
        """Who asked for this file lately: sources for whoever fetches it here."""
        askers = self._files.get(manifest_id)
        return tuple(node for node, at_s in askers.items() if now - at_s <= NAMED_S) if askers else ()

    def forget(self, manifest_id: bytes) -> None:
        self._files.pop(manifest_id, None)
