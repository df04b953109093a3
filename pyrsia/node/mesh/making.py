"""Delta transfers as a part of the mesh: which files here resemble one that is wanted, and whose recipes are given.

What resembles: published files of the same package, the newest first, that are here and are archives. The log tells.

Source: docs/delta.md.
"""

from collections.abc import Callable, Mapping, Sequence

from pyrsia.ledger import views
from pyrsia.ledger.state import Reads
from pyrsia.net.data import DataPlane, Served
from pyrsia.net.links import Handler
from pyrsia.node.mesh.parts import OnKind
from pyrsia.node.storage.deltas import AtHand, Blame, Deltas
from pyrsia.node.storage.recipes import Recipes
from pyrsia.node.storage.shelf import Shelf
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import AT_HAND, NodeId
from pyrsia.wire import purl as purls


class Making:
    """One node's delta transfers (`parts.Part`)."""

    methods: Mapping[int, Handler] = {}
    messages: Mapping[int, OnKind] = {}

    def __init__(
        self,
        recipes: Recipes,
        shelf: Shelf,
        plane: DataPlane,
        reads: Reads,
        *,
        mode: str,
        blame: Blame,
        doubt: Callable[[bytes], object],
    ) -> None:
        """
        Args:
            mode: `net.delta`.
            doubt: told of a blob that is here and not what it was.
        """
        self.recipes = recipes
        self._shelf = shelf
        self._reads = reads
        shelf.on_gone(recipes.forget)
        self.deltas = Deltas(recipes, plane.lines, self.similar, mode=mode, blame=blame, doubt=doubt)
        self.deltas.meter = plane
        plane.recipe_of(self._give)
        shelf.bringing.before = self.deltas.fill
        shelf.bringing.measured = self.deltas.measured

    def _give(self, sha256: bytes, served: Served, manifest: Manifest) -> bytes:
        return self.recipes.give(sha256, served.path, manifest.size)

    def similar(self, sha256: bytes) -> Sequence[AtHand]:
        """Files that may share pieces with the published file `sha256`; none where it is not worth looking."""
        wanted = sha256.hex()
        found = views.artifact(self._reads, wanted)
        if found is None or not self.recipes.worth(found.body["file"], found.body["size"]):
            return ()
        package = str(purls.parse(found.body["purl"]).versionless)
        here: list[AtHand] = []
        for one in reversed(views.project_files(self._reads, package, every=True)):
            body = one.body
            if body["sha256"] == wanted or not self.recipes.worth(body["file"], body["size"]):
                continue
            path = self._shelf.local(bytes.fromhex(body["sha256"]))
            if path is not None:
                here.append(AtHand(bytes.fromhex(body["sha256"]), path, body["size"]))
            if len(here) == AT_HAND.value:
                break
        return here

    def linked(self, node: NodeId, up: bool) -> None:
        """Nothing depends on it."""

    async def run(self) -> None:
        await self.recipes.run()
