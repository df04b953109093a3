"""The bytes of a build tool by its digest: kept here, else from peers where the network published it, else the index.

The digest is what this node's own index says; who gives the bytes makes no difference to them.

Source: docs/builds-pip.md, "Where the source comes from".
"""

from pathlib import Path

from pyrsia.builds.pip.simple import IndexFile
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal, Unavailable


class Bringer:
    """Brings files for one node."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    async def bring(self, file: IndexFile) -> Path:
        """
        Raises:
            Refusal: as `IndexClient.fetch`, where neither peers nor index give it.
        """
        if file.sha256 and not self._shop.index.holds(file) and self._shop.published(file.sha256) is not None:
            try:
                return await self._shop.bring(file.sha256)
            except (Refusal, Unavailable):
                pass  # whoever has it is away; the index has the same bytes
        return await self._shop.index.fetch(file)
