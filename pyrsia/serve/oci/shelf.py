"""Images that were pushed to this node: how their parts are keyed on its shelf, and how they are read.

    blobs/<digest>                  manifests/<digest>: kind, subject, artifact
    tags/<tag>: digest, kind        referrers/<subject>/<digest>: kind, artifact

A digest is the one it was pushed by, so that content under SHA-512 is told by SHA-512; bytes are the shelf's business.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from pyrsia.serve.answers import send_file
from pyrsia.serve.desks.supply import Local, LocalRow
from pyrsia.serve.oci import replies
from pyrsia.serve.oci.errors import Problem
from pyrsia.serve.oci.images import Documents
from pyrsia.serve.oci.names import Name
from pyrsia.serve.oci.replies import Request
from pyrsia.units import Limit

DOCKER: Final = "pkg:docker/"
BLOB: Final = "blobs/"
MANIFEST: Final = "manifests/"
TAG: Final = "tags/"
REFERRER: Final = "referrers/"
MAX_NAMES = Limit(64, "names whose tags are kept by digest between two pushes; a thousand tags are 200 kB")


class Shelf:
    """The local images of a node, for reading."""

    def __init__(self, local: Local, documents: Documents) -> None:
        self.local = local
        self.documents = documents
        self._leading: OrderedDict[str, tuple[int, Mapping[str, Sequence[str]]]] = OrderedDict()

    def owns(self, name: Name) -> bool:
        return self.local.owns(name.package)

    def blob(self, name: Name, digest: str) -> LocalRow | None:
        return self.local.row(name.package, BLOB + digest)

    def tags(self, name: Name) -> list[str]:
        return [row.key.removeprefix(TAG) for row in self.local.rows(name.package, TAG)]

    def found(self, name: Name, reference: str) -> tuple[str, LocalRow] | None:
        """(digest, row) of a manifest, by tag or digest."""
        if ":" in reference:
            row = self.local.row(name.package, MANIFEST + reference)
            return None if row is None else (reference, row)
        row = self.local.row(name.package, TAG + reference)
        return None if row is None else (row.more["digest"], row)

    def leading_to(self, name: Name, digest: str) -> Sequence[str]:
        """The tags that lead to a manifest."""
        revision, known = self._leading.get(name.package, (-1, {}))
        if revision != self.local.revision():
            found: dict[str, list[str]] = {}
            for row in self.local.rows(name.package, TAG):
                found.setdefault(row.more["digest"], []).append(row.key.removeprefix(TAG))
            known = found
            self._leading[name.package] = (self.local.revision(), known)
            if len(self._leading) > MAX_NAMES.value:
                self._leading.popitem(last=False)
        return known.get(digest, ())

    def judge(self, name: Name, digest: str, row: LocalRow) -> None:
        """
        Raises:
            Refusal: policy is against these bytes, under their digest or any tag that leads to them, in any spelling of
                the name. A layer has no tags: it is kept back with its name or by its own digest.
        """
        for version in (f"sha256:{row.sha256}", *self.leading_to(name, digest)):
            for purl in name.spellings:
                refusal = self.local.refusal(purl, version)
                if refusal is not None:
                    raise refusal

    async def document(self, row: LocalRow) -> bytes | None:
        data = self.documents.get(row.sha256)
        if data is not None:
            return data
        path = self.local.path(row.sha256)
        return None if path is None else await self.documents.read(row.sha256, path, row.size)

    async def send_manifest(self, request: Request, name: Name, reference: str) -> None:
        found = self.found(name, reference)
        data = await self.document(found[1]) if found else None
        if found is None or data is None:
            raise unknown_manifest(reference)
        digest, row = found
        self.judge(name, digest, row)
        await request.manifest(data, row.more["kind"], digest, reference, replies.LOCAL)

    async def send_blob(self, request: Request, name: Name, digest: str) -> None:
        # Manifests are blobs too: a client that lost a type asks for them so.
        row = self.blob(name, digest) or self.local.row(name.package, MANIFEST + digest)
        path = self.local.path(row.sha256) if row is not None else None
        if row is None or path is None:
            raise unknown_blob(digest)
        self.judge(name, digest, row)
        request.check_range(row.size)
        more = (replies.content(digest), replies.VERSION, replies.LOCAL)
        send = replies.with_headers(request.send, more)
        await send_file(request.scope, send, path, row.size, kind=replies.BYTES, etag=replies.etag(digest))


def unknown_manifest(reference: str, do: str = "") -> Problem:
    return Problem(404, "MANIFEST_UNKNOWN", f"no manifest {reference[:140]} is here under this name", do)


def unknown_blob(digest: str, do: str = "") -> Problem:
    return Problem(404, "BLOB_UNKNOWN", f"no blob {digest[:140]} is here under this name", do)
