"""Makes the chunks of a new file from files that are here, before the swarm brings the rest.

Decided here: whether it is worth trying, of whom the recipe is asked, when it is given up. Whatever goes wrong costs
time that is bounded (`patience_s`, and twice what the swarm would take for each chunk that was made), and whoever
wasted it is not asked again soon: what was not made is brought like any other chunk. A chunk that does not fit is its
giver's fault only where what was copied is what its recipe says: our own old file may have rotted.

Source: docs/delta.md, "Fetching".
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from pyrsia.errors import Malformed, Unavailable
from pyrsia.mapping import MappedFile
from pyrsia.mesh.scores import FAULT, LIE
from pyrsia.net.datalinks import DataLinks
from pyrsia.net.stretches import Meter, Stretches, open_stretches
from pyrsia.node.storage.recipes import Recipes
from pyrsia.store.partials import Partial
from pyrsia.transfer import delta
from pyrsia.transfer.delta import Again, Chunk, Copy, Recipe
from pyrsia.units import AT_HAND, MAX_PEERS, Limit, NodeId

ASKED = Limit(3, "sources asked for a recipe, one second each at most")
ASSUMED_BYTES_S: Final = 10e6  # of files that come, before the first one has
RATE_WEIGHT: Final = 0.3
SLOW_S: Final = 0.5  # what a file may take the usual way before it is worth the trouble
PATIENCE: Final = 2.0  # times what the swarm would take
LEAST_S, MOST_S = (
    3.0,
    15.0,
)  # a recipe may have to be cut first; who reads the file waits for two minutes at most
SHUNNED_S = Limit(600, "a source that wasted our time; the swarm may still ask it for chunks")
WRONG = Limit(
    4, "chunks that did not fit, and more than those that did: an old file that rotted spoils one or two"
)
NAMED_AGAIN = Limit(64 << 20, "bytes of old files that are named again to see whose fault it was: some 50 ms")

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
        doubt: told of a file at hand that is not what its recipe says.

    Attributes:
        saved: bytes that did not travel.
        meter: what lets bytes of others in, and counts them.
    """

    def __init__(
        self,
        recipes: Recipes,
        lines: DataLinks,
        similar: Similar,
        *,
        mode: str,
        blame: Blame,
        doubt: Callable[[bytes], object] = lambda _: None,
    ) -> None:
        self._recipes = recipes
        self._lines = lines
        self._similar = similar
        self._mode = mode
        self._rate = ASSUMED_BYTES_S
        self._blame = blame
        self._doubt = doubt
        self._shunned: dict[NodeId, float] = {}  # until when they are not asked
        self.saved = 0
        self.meter: Meter | None = None

    async def fill(self, partial: Partial, sources: Sequence[NodeId]) -> None:
        """Write those chunks of `partial` that can be made. Raises nothing.

        A disk that says no ends it as well: the swarm writes to the same file, and says so.
        """
        manifest = partial.manifest
        if self._mode == "never" or partial.held or manifest.size < delta.LEAST_FILE.value:
            return
        at_hand = self._similar(manifest.sha256)[: AT_HAND.value]
        if not at_hand or not self._slow(manifest.size):
            return
        name, asked = manifest.sha256.hex()[:16], [node for node in sources if not self._shuns(node)]
        try:
            with trio.move_on_after(self.patience_s(manifest.size)) as patience:
                for node in asked[: ASKED.value]:
                    if await self._from(node, partial, at_hand, patience):
                        return
            if patience.cancelled_caught:
                _log.info("%s is made of older files in part: it took too long", name)
        except (Unavailable, OSError) as error:
            _log.info("%s is not made of older files: %s", name, error)
        except Exception:  # noqa: BLE001 - the border: a download never ends by what would make it shorter
            _log.exception("%s is not made of older files: a fault of ours", name)

    def patience_s(self, size: int) -> float:
        """How long it may take until something of a file of `size` bytes is made."""
        return min(max(PATIENCE * size / self._rate, LEAST_S), MOST_S)

    def _shuns(self, node: NodeId) -> bool:
        now_s = trio.current_time()
        self._shunned = {one: until_s for one, until_s in self._shunned.items() if until_s > now_s}
        return node in self._shunned

    def _shun(self, node: NodeId) -> None:
        if len(self._shunned) < MAX_PEERS.value:
            self._shunned[node] = trio.current_time() + SHUNNED_S.value

    def measured(self, size: int, took_s: float) -> None:
        """The swarm brought `size` bytes of a file in so long."""
        if size >= delta.LEAST_FILE.value and took_s > 0:
            self._rate += RATE_WEIGHT * (size / took_s - self._rate)

    def _slow(self, size: int) -> bool:
        return self._mode == "always" or size > SLOW_S * self._rate

    async def _from(
        self, node: NodeId, partial: Partial, at_hand: Sequence[AtHand], patience: trio.CancelScope
    ) -> bool:
        """Whether `node` had a recipe, good or bad."""
        manifest = partial.manifest
        try:
            with open_stretches(await self._lines.line(node), manifest.id, self.meter) as stretches:
                raw = await stretches.recipe()
                if raw is None:
                    return False
                recipe = Recipe.decode(raw, manifest.size)
                await self._make(node, recipe, partial, at_hand, stretches, patience)
        except Malformed as error:
            self._shun(node)
            self._blame(node, FAULT, f"sent a false recipe ({error})")
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
        patience: trio.CancelScope,
    ) -> None:
        known = [await self._recipes.soon(one.sha256, one.path, one.size) for one in at_hand]
        pairs = [(one, found) for one, found in zip(at_hand, known, strict=True) if found is not None]
        plan = delta.plan(recipe, delta.places([found for _, found in pairs]))
        if not plan.worthwhile:
            return
        chunks = delta.chunks(plan)

        def earned(size: int) -> None:
            patience.deadline += PATIENCE * size / self._rate

        files = [_AtHand(one.path, one.size) for one, _ in pairs]
        maker = _Maker(partial, files, earned)
        try:
            await maker.run(stretches, chunks)
        finally:
            self.saved += maker.saved
            if maker.late or patience.cancel_called:
                self._shun(node)
            if maker.wrong:
                again = [Again(found, file) for (_, found), file in zip(pairs, files, strict=True)]
                with trio.CancelScope(shield=True):
                    await self._judge(node, maker, [one for one, _ in pairs], again)

    async def _judge(
        self, node: NodeId, maker: "_Maker", at_hand: Sequence[AtHand], again: Sequence[Again]
    ) -> None:
        """Say whose fault the chunks were that did not fit."""
        false, rotten = await trio.to_thread.run_sync(_at_fault, maker.wrong, again)
        for number in sorted(rotten):
            _log.warning("%s is not what it was when it was cut", at_hand[number].sha256.hex()[:16])
            self._recipes.forget(at_hand[number].sha256)
            self._doubt(at_hand[number].sha256)
        if false > maker.right:
            self._shun(node)
            self._blame(node, LIE, "gave a recipe, or bytes by it, that make another file")


def _at_fault(wrong: Sequence[Chunk], again: Sequence[Again]) -> tuple[int, set[int]]:
    """How many of these chunks are wrong though all that was copied is right, and which files at hand have rotted."""
    false, rotten = 0, set[int]()
    for chunk in wrong:
        bad = {copy.file for copy in chunk.copies if not again[copy.file].holds(copy.at, copy.size)}
        rotten |= bad
        false += not bad
        if sum(one.read for one in again) > NAMED_AGAIN.value:
            break
    return false, rotten


class _Maker:
    """Makes chunks of one file; each is checked before it is written.

    Args:
        earned: told of bytes that were right.

    Attributes:
        wrong: those that did not fit.
        late: what was asked for did not come.
    """

    def __init__(self, partial: Partial, files: "Sequence[_AtHand]", earned: Callable[[int], object]) -> None:
        self._partial = partial
        self._earned = earned
        self._files = files
        self.saved = self.right = 0
        self.wrong: list[Chunk] = []
        self.late = False
        self._no_disk: Unavailable | None = None

    async def run(self, stretches: Stretches, chunks: Sequence[Chunk]) -> None:
        """
        Raises:
            Unavailable: the disk said no.
        """
        for chunk in chunks:
            if not chunk.missing and not self._make(chunk, ()):
                return
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for group in delta.asks(chunks):
                nursery.start_soon(self._ask, stretches, group, nursery.cancel_scope)
        if self._no_disk is not None:  # as itself, and in no group
            raise self._no_disk

    async def _ask(self, stretches: Stretches, group: Sequence[Chunk], scope: trio.CancelScope) -> None:
        """Ask for what some chunks lack, and make them; the first failure ends all asks."""
        try:
            data = await stretches.get([one for chunk in group for one in chunk.missing])
        except Unavailable:
            data = None
        if data is None:
            self.late = True
            scope.cancel()
            return
        try:
            for chunk in group:
                if not self._make(chunk, data[: len(chunk.missing)]):
                    scope.cancel()
                    return
                data = data[len(chunk.missing) :]
        except Unavailable as error:
            self._no_disk = error
            scope.cancel()

    def _make(self, chunk: Chunk, asked: Sequence[bytes]) -> bool:
        """Whether it is worth going on."""
        made, manifest = chunk.made(self._copied, asked), self._partial.manifest
        if manifest.holds(chunk.index, made):
            self._partial.write_at(manifest.span(chunk.index)[0], made)
            self._earned(len(made))
            self.right += 1
            self.saved += chunk.shared
        else:
            self.wrong.append(chunk)
        wrong = len(self.wrong)
        return wrong < WRONG.value or wrong <= self.right

    def _copied(self, copy: Copy) -> memoryview:
        return self._files[copy.file][copy.at : copy.at + copy.size]


class _AtHand(MappedFile):
    """A file at hand. What the disk does not give of it reads as zeros: as wrong as what rotted, and found as that."""

    def __getitem__(self, part: slice) -> memoryview:
        try:
            return super().__getitem__(part)
        except Unavailable:
            start, stop, _ = part.indices(self.size)
            return memoryview(bytes(stop - start))
