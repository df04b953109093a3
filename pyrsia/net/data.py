"""Data links: files to and from peers, chunk by chunk, on sockets of their own so that no vote waits.

`DataPlane` is the face. Connections are kept in datalinks.py, one for each pair of nodes and for both directions
(lines.py); what is given is in serving.py, one transfer in downloading.py, which chunk to ask of whom in
`transfer/swarm.py`. Decided here: who is asked at all, and how many files come in at once.

Who lied is named, and not asked again for ten minutes. It is not banned: a validator with a bad
disk still has its vote.

Source: docs/network.md, "Data links".
"""

import logging
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import trio

from pyrsia.errors import Unavailable
from pyrsia.mesh import scores
from pyrsia.net.checking import gives
from pyrsia.net.counting import Counters
from pyrsia.net.datalinks import DataLinks
from pyrsia.net.downloading import Download, Early, Find, Finder, Write, told
from pyrsia.net.links import Links
from pyrsia.net.serving import Offered, RecipeOf, Served, Server
from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.manifest import Manifest
from pyrsia.transfer.picking import Places
from pyrsia.transfer.sharing import Askers
from pyrsia.transfer.swarm import Swarm
from pyrsia.units import MAX_EARLY, MAX_FETCHES, MAX_PEERS, NodeId
from pyrsia.wire.text import b32

__all__ = ["Blame", "Counters", "DataPlane", "Served"]

LIAR_S: Final = 600.0  # long enough to make lying pointless, short enough for a repaired disk
ODD_POINTS: Final = -1.0  # `mesh.scores.RATE`

_log = logging.getLogger("pyrsia.data")

Blame = Callable[[NodeId, float, str], None]


class DataPlane:
    """What one node gives and takes over data links.

    Args:
        links: of the same node, before it runs; opened before `run`.
        offered: (asking node, manifest id) -> what that node may have, or None. Called for every ask.
        up, down: this node's own limits; none by default.
        blame: told of each fault of a node: points (negative) and why.
    """

    def __init__(
        self,
        links: Links,
        offered: Offered,
        *,
        up: Flow | None = None,
        down: Flow | None = None,
        blame: Blame | None = None,
    ) -> None:
        self.down = down
        self.counters = Counters()
        self._links = links
        self._blame = blame
        if blame is not None:
            self.counters.on_gave = lambda node: blame(node, scores.GAVE, "")
            self.counters.on_odd = lambda node, why: blame(node, ODD_POINTS, why)
        self._server = Server(links, offered, self.counters, up)
        self.lines = DataLinks(
            links, self._server.take, self._fault, self._server.serves, self._server.take_range
        )
        self._liars: dict[NodeId, float] = {}  # until when they are not asked
        self._early: dict[bytes, Early] = {}  # by manifest id
        self._slots = trio.CapacityLimiter(MAX_FETCHES.value)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Give, and keep what connections there are, until cancelled or until the links close. Fetching needs it too.

        Raises:
            ValueError: the links have no data socket, or are not open yet.
        """
        if self._links.data_router is None:
            raise ValueError("the links have no data socket, or are not open yet")
        async with trio.open_nursery() as nursery:
            await nursery.start(self._server.run)
            task_status.started()
            await self.lines.run()
            nursery.cancel_scope.cancel()

    async def manifest(self, manifest_id: bytes, sources: Sequence[NodeId]) -> Manifest:
        """The manifest with this id, from the first of `sources` that gives it.

        The first chunk is asked for with it, and kept for the `fetch` that follows.

        Raises:
            Unavailable: none of them does; the text names each with its reason.
        """
        async with self._slots:
            finder = Finder(self.lines, manifest_id, self._accuse)
            await finder.run(self._candidates(sources))
        for node in finder.without:
            self.counters.on_nothing(node, manifest_id)
        if finder.found is None:
            reasons = told(finder.reasons.items())
            raise Unavailable(f"nobody gives the manifest {manifest_id.hex()}: {reasons}")
        manifest, early = finder.found
        self._await(manifest_id, early)
        return manifest

    async def fetch(
        self,
        manifest: Manifest,
        sources: Sequence[NodeId],
        write: Write,
        *,
        held: int = 0,
        ordered: bool = False,
        places: Places | None = None,
        find: Find | None = None,
    ) -> None:
        """Bring the chunks of `manifest` from several of `sources` at once.

        Args:
            write: called with (offset, bytes) of each chunk, in any order, once, after it was verified.
                The bytes are not its to keep. What it raises ends the transfer and reaches the caller.
            held: bit i is set for each chunk that is here already (resume).
            ordered: somebody reads along: the earlier chunks first.
            places: the chunks at which readers wait now, in place of `ordered`.
            find: tells further sources; called at once, then every few seconds while the transfer runs.

        Raises:
            Unavailable: no source is left; the text names each with its reason.
        """
        async with self._slots:
            held = await self._begun(manifest, write, held)
            draw = random.Random(secrets.token_bytes(16))  # noqa: S311 - which chunk is next is no secret
            core = Swarm(
                manifest, self._candidates(sources), draw, held,
                ordered=ordered, places=places, down=self.down, seeking=find is not None, me=self._links.node,
            )  # fmt: skip
            run = Download(self.lines, manifest, core, write, self.counters, self._accuse)
            await run.run(find, lambda: self._may_help(self._server.askers, manifest.id), self._candidates)

    async def gives(self, manifest: Manifest, node: NodeId, chunk: int, wait_s: float) -> bool | None:
        """Whether `node` gives a chunk of `manifest` within `wait_s`; None where it says neither."""
        if self.down is not None:
            self.down.take(trio.current_time(), node, manifest.span(chunk)[1])
        return await gives(self.lines, manifest, node, chunk, wait_s)

    def forget(self, sha256: bytes) -> None:
        """The file with this digest is not here any more: to be told of each (`Shelf.on_gone`)."""
        self._server.forget(sha256)

    async def pay(self, node: NodeId, size: int) -> None:
        """Wait until so many bytes of `node` may come: this node's own limit (`stretches.Meter`)."""
        if self.down is None:
            return
        while (wait_s := self.down.wait_s(trio.current_time(), node, size)) > 0:  # noqa: ASYNC110 (it fills by time)
            await trio.sleep(max(0.001, wait_s))
        self.down.take(trio.current_time(), node, size)

    def came(self, node: NodeId, size: int) -> None:
        """They came."""
        self.counters.came(node, size)

    def recipe_of(self, made: RecipeOf) -> None:
        """From now on give the recipes that `made` has."""
        self._server.recipe = made

    def doubted_by(self, told: Callable[[bytes], object]) -> None:
        """From now on tell `told` the SHA-256 of whole files that could not be read as their manifest says."""
        self._server.doubt = told

    def _await(self, manifest_id: bytes, early: Early) -> None:
        """Keep a first chunk, here or on its way, until it is fetched; those that nobody came for go."""
        now_s = trio.current_time()
        old = [ident for ident, one in self._early.items() if one.until_s < now_s or ident == manifest_id]
        for ident in old or [*self._early][: len(self._early) + 1 - MAX_EARLY.value]:
            self._early.pop(ident).close()
        self._early[manifest_id] = early

    async def _begun(self, manifest: Manifest, write: Write, held: int) -> int:
        """Write the chunk that came with the manifest, if one did; what is held then."""
        early = self._early.pop(manifest.id, None)
        if early is None or not manifest.count or held & 1:
            if early is not None:
                early.close()
            return held
        data = await early.wait()
        if not data:
            return held
        if not manifest.holds(0, data):
            self._accuse(early.node, "sent a wrong chunk 0")
            return held
        write(0, data)
        if self.down is not None:
            self.down.take(trio.current_time(), early.node, len(data))
        self.counters.received(early.node, len(data))
        return held | 1

    def _may_help(self, askers: Askers, manifest_id: bytes) -> Sequence[NodeId]:
        """Who asked this node for the file lately: they fetch it too."""
        return self._candidates(askers.fetching(trio.current_time(), manifest_id))

    def _candidates(self, sources: Sequence[NodeId]) -> list[NodeId]:
        """Each source once, connected ones first, without ourselves and those that lied lately."""
        now_s = trio.current_time()
        self._liars = {node: until_s for node, until_s in self._liars.items() if until_s > now_s}
        nodes = [n for n in dict.fromkeys(sources) if n != self._links.node and n not in self._liars]
        return sorted(nodes, key=lambda node: not self._links.connected(node))[: MAX_PEERS.value]

    def _accuse(self, node: NodeId, why: str) -> None:
        _log.warning("%s %s; it is not asked for a while", b32(node)[:8], why)
        self.counters.lied(node, why)
        self._liars[node] = trio.current_time() + LIAR_S
        if self._blame is not None:
            self._blame(node, scores.LIE, why)

    def _fault(self, node: NodeId, why: str) -> None:
        if self._blame is not None:
            self._blame(node, scores.FAULT, why)
