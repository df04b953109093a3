"""Images of upstream's registries, unverified and marked so, where the mode of `oci` is `proxy`.

What the network holds of a name is never asked for: upstream adds tags that the log does not have, and what they lead
to. Every byte has the digest by which something above it named it; a tag is upstream's word and nobody else's. Which
registry is asked, how, and how often is the supply's business (`serve.desks.supply.Upstream`).
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from pyrsia.builds.oci import documents
from pyrsia.errors import Refusal
from pyrsia.serve.answers import send_arriving
from pyrsia.serve.desks.supply import Document, Upstream
from pyrsia.serve.desks.views import Catalog
from pyrsia.serve.http.waiting import while_there
from pyrsia.serve.oci import names, replies
from pyrsia.serve.oci.images import MANIFEST_BYTES
from pyrsia.serve.oci.names import Name
from pyrsia.serve.oci.replies import Request
from pyrsia.serve.oci.shelf import unknown_blob, unknown_manifest

_KINDS: Final = ", ".join(
    (documents.INDEX, documents.MANIFEST, documents.DOCKER_LIST, documents.DOCKER_MANIFEST)
)


class Proxied:
    """Upstream's images. `catalog`: what it refuses stays refused, under whatever name upstream has it."""

    def __init__(self, upstream: Upstream, catalog: Catalog) -> None:
        self._upstream = upstream
        self._catalog = catalog

    def takes(self, name: Name) -> bool:
        """Whoever denies one spelling of a name denies the image."""
        return all(self._upstream.takes(purl) for purl in name.spellings)

    async def send_manifest(self, request: Request, name: Name, reference: str) -> None:
        found = await self._document(request, name, f"manifests/{reference}", _KINDS)
        if found is None:
            raise unknown_manifest(reference, "neither the log nor upstream has it")
        sha256 = hashlib.sha256(found.data).hexdigest()
        self._catalog.file(sha256)
        digest = f"sha256:{sha256}"
        if ":" in reference:
            algorithm, announced = names.digest(reference)
            digest = reference
            if hashlib.new(algorithm, found.data).hexdigest() != announced:
                raise _lied(reference)
        kind = documents.media_type(found.data)
        if not kind:
            raise unknown_manifest(reference, "what upstream has there is no manifest")
        await request.manifest(found.data, kind, digest, reference, replies.PROXIED)

    async def send_blob(self, request: Request, name: Name, digest: str) -> None:
        algorithm, announced = names.digest(digest)
        if algorithm == "sha256":
            self._catalog.file(announced)
        package, path = name.package, f"v2/{_repository(name)}/blobs/{digest}"
        wanted = {algorithm: announced}
        arriving = await while_there(request.receive, lambda: self._upstream.file(package, path, **wanted))
        if arriving is None:
            raise unknown_blob(digest, "neither the log nor upstream has it")
        try:
            request.check_range(arriving.size)
        except BaseException:
            arriving.close()
            raise
        send = replies.with_headers(request.send, (replies.content(digest), replies.VERSION, replies.PROXIED))
        await send_arriving(
            request.scope, request.receive, send, arriving, kind=replies.BYTES, etag=replies.etag(digest)
        )

    async def tags(self, request: Request, name: Name) -> Sequence[str] | None:
        """Upstream's tags; None if it has no such image."""
        found = await self._document(request, name, "tags/list", "application/json")
        if found is None:
            return None
        try:
            value = msgspec.json.decode(found.data)
        except (msgspec.DecodeError, RecursionError):
            return []
        listed = value.get("tags") if isinstance(value, dict) else None
        return [one for one in listed or () if isinstance(one, str) and names.is_tag(one)]

    async def _document(self, request: Request, name: Name, place: str, accept: str) -> Document | None:
        package, path = name.package, f"v2/{_repository(name)}/{place}"

        async def ask() -> Document | None:
            return await self._upstream.document(package, path, accept=accept, most=MANIFEST_BYTES.value)

        return await while_there(request.receive, ask)


def _repository(name: Name) -> str:
    """The name as the registry itself knows it; `library/` is put in front by who asks."""
    return names.at_registry(name.package)


def _lied(reference: str) -> Refusal:
    return Refusal(
        "index-unreachable",
        what=f"upstream gave other bytes than {reference[:80]}",
        who="the registries of builds.registries",
        do="do not use this image from there; ask another registry",
    )
