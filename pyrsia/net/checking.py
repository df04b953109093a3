"""Whether a node gives a chunk that it says it keeps: yes, no, or no word of it.

Only what it says itself counts: that it has not the chunk, or a wrong one. A full queue, a line that breaks and a
deadline say nothing of what it keeps. What follows from the word is the caller's.

Source: docs/replication.md, "How many copies there are".
"""

import trio

from pyrsia.errors import Unavailable
from pyrsia.net.datalinks import DataLinks
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import NodeId
from pyrsia.wire.chunks import Message, Type


class _Check:
    """One chunk asked of one node (`lines.Listener`)."""

    def __init__(self, manifest: Manifest, chunk: int) -> None:
        self.said: bool | None = None
        self.over = trio.Event()
        self._manifest = manifest
        self._chunk = chunk

    def take_chunk(self, node: NodeId, number: int, payload: memoryview) -> None:
        self.said = self._manifest.holds(self._chunk, payload)
        self.over.set()

    def take(self, node: NodeId, message: Message, payload: memoryview) -> None:
        if message.type is Type.NAK:
            self.said = False
        self.over.set()

    def lost(self, node: NodeId, why: str, *, guilty: bool) -> None:
        self.said = False if guilty else None
        self.over.set()


async def gives(lines: DataLinks, manifest: Manifest, node: NodeId, chunk: int, wait_s: float) -> bool | None:
    """True or False as `node` says within `wait_s`; None where it says nothing."""
    check = _Check(manifest, chunk)
    with trio.move_on_after(wait_s):
        try:
            talk = (await lines.line(node)).talk(manifest.id, check)
        except Unavailable:
            return None
        try:
            talk.get((chunk,))
            await check.over.wait()
        finally:
            talk.close()
    return check.said
