"""What the log holds of an image, looked up once for each revision; and manifests in memory while they are asked for.

A tag leads to the first manifest that was published for it, for ever. Left out: what was pushed here (`shelf`), and
upstream (`proxying`).
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from pyrsia.builds.oci import documents
from pyrsia.builds.oci import names as files
from pyrsia.errors import Refusal
from pyrsia.serve.desks.views import Catalog, ProjectFile
from pyrsia.serve.oci.names import Name
from pyrsia.units import MAX_IMAGE_DOCUMENT_BYTES, Limit

MAX_IMAGES = Limit(
    256, "images whose rows are kept between two revisions of the log; a few hundred kB each at most"
)
MAX_KEPT_BYTES = Limit(32 << 20, "manifests in memory: thousands of usual ones, eight of the largest")
MANIFEST_BYTES: Final = MAX_IMAGE_DOCUMENT_BYTES  # what is taken here is what a witness can take elsewhere


@dataclass(frozen=True, slots=True)
class Image:
    """An image's files of the log.

    Attributes:
        tags, manifests, blobs: tag, or lower-case hex of a SHA-256 -> file.
        refused: the same for what this node does not give: tag or hex -> why.
        by_digest: hex -> file, of what is refused to all who do not name its digest.
    """

    tags: Mapping[str, ProjectFile]
    manifests: Mapping[str, ProjectFile]
    blobs: Mapping[str, ProjectFile]
    refused: Mapping[str, Refusal]
    by_digest: Mapping[str, ProjectFile]

    @property
    def known(self) -> bool:
        return bool(self.manifests or self.blobs or self.refused)

    def manifest(self, reference: str) -> ProjectFile | None:
        """What a tag, or the hex of a digest, leads to.

        Raises:
            Refusal: the log has it and this node does not give it.
        """
        found = self.tags.get(reference) or self.manifests.get(reference) or self.withdrawn(reference)
        if found is None and reference in self.refused:
            raise self.refused[reference]
        return found

    def withdrawn(self, sha256: str) -> ProjectFile | None:
        """A manifest that no tag leads to any more, and that is given to who names its digest."""
        found = self.by_digest.get(sha256)
        return found if found is not None and found.filename.startswith(files.MANIFEST) else None


class Images:
    """The log's images, by name."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._revision = -1
        self._found: OrderedDict[str, Image] = OrderedDict()

    async def look(self, name: Name) -> Image:
        """`image`; one that has many files is looked at in turns with others."""
        for purl in name.spellings:
            await self._catalog.prepare(purl)
        return self.image(name)

    def image(self, name: Name) -> Image:
        """What the log holds under a name; nothing for one it does not know."""
        if (revision := self._catalog.revision()) != self._revision:
            self._found.clear()
            self._revision = revision
        found = self._found.get(name.package)
        if found is not None:
            return found
        found = self._look_up(name)
        if found.known:  # names that strangers make up take no room
            self._found[name.package] = found
            if len(self._found) > MAX_IMAGES.value:
                self._found.popitem(last=False)
        return found

    def holds(self, name: Name) -> bool:
        """Whether the log has anything under a name; `image` may ask the network for one that it lacks."""
        return any(self._catalog.holds(purl) for purl in name.spellings)

    def _look_up(self, name: Name) -> Image:
        rows = [row for purl in name.spellings for row in self._catalog.files(purl)]
        tags: dict[str, ProjectFile] = {}
        manifests: dict[str, ProjectFile] = {}
        blobs: dict[str, ProjectFile] = {}
        for row in sorted(rows, key=lambda row: row.log_index):
            blobs.setdefault(row.sha256, row)
            if row.filename.startswith(files.MANIFEST):
                manifests.setdefault(row.sha256, row)
                if row.filename == files.MANIFEST + row.version:
                    tags.setdefault(row.version, row)
        refused: dict[str, Refusal] = {}
        by_digest: dict[str, ProjectFile] = {}
        for one in (one for purl in name.spellings for one in self._catalog.refused(purl)):
            refused.setdefault(one.file.sha256, one.refusal)
            if one.by_digest:
                by_digest.setdefault(one.file.sha256, one.file)
            if one.file.filename == files.MANIFEST + one.file.version:
                refused.setdefault(one.file.version, one.refusal)
        return Image(tags, manifests, blobs, refused, by_digest)


class Documents:
    """Manifests by the SHA-256 of their bytes; the least recently asked for go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._kinds: dict[
            str, str
        ] = {}  # of those that are kept: telling the type of 4 MiB takes as long as sending it
        self._bytes = 0

    def get(self, sha256: str) -> bytes | None:
        data = self._kept.get(sha256)
        if data is not None:
            self._kept.move_to_end(sha256)
        return data

    def put(self, sha256: str, data: bytes) -> None:
        if sha256 in self._kept:
            return
        self._kept[sha256] = data
        self._bytes += len(data)
        while self._bytes > MAX_KEPT_BYTES.value:
            left, gone = self._kept.popitem(last=False)
            self._bytes -= len(gone)
            self._kinds.pop(left, None)

    def kind(self, sha256: str, data: bytes) -> str:
        """The media type of a manifest; "" for what is none."""
        kind = self._kinds.get(sha256)
        if kind is None:
            kind = documents.media_type(data)
            if sha256 in self._kept:
                self._kinds[sha256] = kind
        return kind

    async def read(self, sha256: str, path: Path, size: int) -> bytes | None:
        """A manifest of `size` bytes; None where the file is none of that size."""
        data = self.get(sha256)
        if data is None and size <= MANIFEST_BYTES.value:
            try:
                data = await trio.Path(path).read_bytes()
            except FileNotFoundError:  # deleted while somebody asked
                return None
            if len(data) != size:
                return None
            self.put(sha256, data)
        return data


EMPTY: Final = b"{}"  # the configuration of what has none (image-spec, "Guidance for an Empty Descriptor")
