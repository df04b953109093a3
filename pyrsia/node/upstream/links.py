"""Which URLs the pages of a project name: no other file of an index is fetched, whatever a client asks for."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import trio

from pyrsia.builds.pip import simple
from pyrsia.errors import Malformed
from pyrsia.node.upstream.pip import METADATA
from pyrsia.store.proxied import Copies, Copy
from pyrsia.units import Limit

MAX_READ = Limit(32, "pages whose links are remembered; a large one has 5,000 links, 1 MB")


class Links:
    """Reads the pages that are kept."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._read: OrderedDict[tuple[str, str], Mapping[str, int]] = OrderedDict()  # (digest, URL) -> links

    async def named(self, package: str, name: str, url: str) -> int | None:
        """When the file at `url` was uploaded, as a page of the project says it, in ms; 0: it does not say.

        None where no page that is kept names the file.
        """
        wanted = url.removesuffix(METADATA)
        for copy in self._copies.variants(package, f"{name}/"):
            found = await self._of(copy, name)
            if wanted in found:
                return found[wanted]
        return None

    async def _of(self, copy: Copy, name: str) -> Mapping[str, int]:
        key = copy.sha256, copy.url
        found = self._read.get(key)
        if found is None:
            path = self._copies.path(copy.sha256)
            found = await trio.to_thread.run_sync(_links, path, copy.kind, copy.url, name)
        self._read[key] = found
        self._read.move_to_end(key)
        while len(self._read) > MAX_READ.value:
            self._read.popitem(last=False)
        return found


def _links(path: Path, kind: str, url: str, name: str) -> Mapping[str, int]:
    try:
        page = simple.parse(path.read_bytes(), kind, url, name, "")
    except (Malformed, OSError, RecursionError):
        return {}
    return {file.url: file.upload_ms or 0 for file in page.files}
