"""Makes the chunks of a new file from files that are here, before the swarm brings the rest.

Decided here: whether it is worth trying, of whom the recipe is asked, when it is given up. Whatever goes wrong costs
time that is bounded: what was not made is brought like any other chunk.

Source: docs/delta.md, "Fetching".
"""

import logging
import mmap
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import Malformed, PyrsiaError, Unavailable
from pyrsia.net.datalinks import DataLinks
from pyrsia.net.stretches import Stretches, open_stretches
from pyrsia.node.recipes import Recipes
from pyrsia.store.partials import Partial
from pyrsia.transfer import delta
from pyrsia.transfer.delta import Chunk, Copy, Recipe
from pyrsia.units import AT_HAND, Limit, NodeId

ASKED = Limit(3, "sources asked for a recipe, one second each at most")
ASSUMED_BYTES_S: Final = 10e6  # of files that come, before the first one has
RATE_WEIGHT: Final = 0.3
SLOW_S: Final = 0.5  # what a file may take the usual way before it is worth the trouble

_log = logging.getLogger("pyrsia.data")


@dataclass(frozen=True, slots=True)
class AtHand:
    """A file of the same package that is here."""

    sha256: bytes
    path: Path
    size: int


Similar = Callable[[bytes], Sequence[AtHand]]
Blame = Callable[[NodeId, float, str], None]


class Deltas:
    """Of one node.

    Args:
        similar: SHA-256 of a file -> files at hand that may share pieces with it, the likeliest first; none where it is
            not worth looking.
        mode: `auto`, `always` or `never`.
        blame: told of a recipe that was a lie: points and why.

    Attributes:
        saved: bytes that did not travel.
    """

    def __init__(
        self, recipes: Recipes, lines: DataLinks, similar: Similar, *, mode: str, blame: Blame
    ) -> None:
        self._recipes = recipes
        self._lines = lines
        self._similar = similar
        self._mode = mode
        self._rate = ASSUMED_BYTES_S
        self._blame = blame
        self.saved = 0

    async def fill(self, partial: Partial, sources: Sequence[NodeId]) -> None:
        """Write those chunks of `partial` that can be made. Raises nothing that concerns the making."""
        manifest = partial.manifest
        if self._mode == "never" or partial.held or manifest.size < delta.LEAST_FILE.value:
            return
        at_hand = self._similar(manifest.sha256)[: AT_HAND.value]
        if not at_hand or not self._slow(manifest.size):
            return
        try:
            for node in sources[: ASKED.value]:
                if await self._from(node, partial, at_hand):
                    return
        except (PyrsiaError, OSError) as error:
            _log.info("%s is not made of older files: %s", manifest.sha256.hex()[:16], error)

    def measured(self, size: int, took_s: float) -> None:
        """The swarm brought `size` bytes of a file in so long."""
        if size >= delta.LEAST_FILE.value and took_s > 0:
            self._rate += RATE_WEIGHT * (size / took_s - self._rate)

    def _slow(self, size: int) -> bool:
        return self._mode == "always" or size > SLOW_S * self._rate

    async def _from(self, node: NodeId, partial: Partial, at_hand: Sequence[AtHand]) -> bool:
        """Whether `node` had a recipe, good or bad."""
        manifest = partial.manifest
        try:
            with open_stretches(await self._lines.line(node), manifest.id) as stretches:
                raw = await stretches.recipe()
                if raw is None:
                    return False
                recipe = Recipe.decode(raw, manifest.size)
                await self._make(node, recipe, partial, at_hand, stretches)
        except Malformed as error:
            self._blame(node, -20.0, f"sent a false recipe ({error})")
        except Unavailable as error:
            _log.info("no recipe, or no more by it: %s", error)
            return False
        return True

    async def _make(
        self,
        node: NodeId,
        recipe: Recipe,
        partial: Partial,
        at_hand: Sequence[AtHand],
        stretches: Stretches,
    ) -> None:
        known = [await self._recipes.of(one.sha256, one.path, one.size) for one in at_hand]
        pairs = [(one, found) for one, found in zip(at_hand, known, strict=True) if found is not None]
        plan = delta.plan(recipe, delta.places([found for _, found in pairs]))
        if not plan.worthwhile:
            return
        chunks = delta.chunks(plan)
        with ExitStack() as stack:
            views = [stack.enter_context(_Mapped(one.path)) for one, _ in pairs]
            maker = _Maker(partial, views)
            for chunk in chunks:
                if not chunk.missing:
                    maker.make(chunk, ())
                    await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as nursery:
                for group in delta.asks(chunks):
                    nursery.start_soon(maker.ask, stretches, group, nursery.cancel_scope)
        self.saved += maker.saved
        if maker.wrong > maker.right:
            self._blame(node, -60.0, "gave a recipe, or bytes by it, that make another file")


class _Maker:
    """Makes chunks of one file; each is checked before it is written."""

    def __init__(self, partial: Partial, views: "Sequence[_Mapped]") -> None:
        self._partial = partial
        self._views = views
        self.saved = self.right = self.wrong = 0

    async def ask(self, stretches: Stretches, group: Sequence[Chunk], scope: trio.CancelScope) -> None:
        """Ask for what some chunks lack, and make them; the first failure ends all asks."""
        try:
            data = await stretches.get([one for chunk in group for one in chunk.missing])
        except Unavailable:
            data = None
        if data is None:
            scope.cancel()
            return
        for chunk in group:
            self.make(chunk, data[: len(chunk.missing)])
            data = data[len(chunk.missing) :]

    def make(self, chunk: Chunk, asked: Sequence[bytes]) -> None:
        made, manifest = chunk.made(self._copied, asked), self._partial.manifest
        if not manifest.holds(chunk.index, made):
            self.wrong += 1
            return
        self._partial.write_at(manifest.span(chunk.index)[0], made)
        self.right += 1
        self.saved += chunk.shared

    def _copied(self, copy: Copy) -> memoryview:
        return self._views[copy.file].view[copy.at : copy.at + copy.size]


class _Mapped:
    """The bytes of a file, for as long as the block lasts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "_Mapped":
        with self._path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.view = memoryview(self._map)
        return self

    def __exit__(self, *_: object) -> None:
        self.view.release()
        self._map.close()
