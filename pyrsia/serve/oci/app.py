"""The registry API for docker, containerd, podman, skopeo and oras: who owns a name answers for it.

A name that was pushed here is this node's own; another one is the log's, if the log holds it; the rest is upstream's,
where the mode is `proxy`. A local name has nothing of the others. To a name of the log upstream may add tags that it
does not have, marked unverified, never what this node refuses. Everything is read without a token, unless the guard
says otherwise; pushes and deletions need one.

Left out: who may do what (guard, grants), which of the log's files may be given (policy, behind the catalogue).

Source: OCI distribution-spec 1.1; docs/consumers-oci.md.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

from pyrsia.builds.oci import documents
from pyrsia.builds.oci import names as files
from pyrsia.errors import Refusal
from pyrsia.serve.bringing import brought, send_published
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.desks.views import ProjectFile
from pyrsia.serve.http.connection import Message, Receive, Scope, Send
from pyrsia.serve.http.waiting import while_there
from pyrsia.serve.oci import login, names, replies
from pyrsia.serve.oci.attested import Attested, digest_of
from pyrsia.serve.oci.errors import Problem, problem_of, say
from pyrsia.serve.oci.images import MANIFEST_BYTES, Documents, Image, Images
from pyrsia.serve.oci.listing import Lists, how_to_get
from pyrsia.serve.oci.manifests import Manifests
from pyrsia.serve.oci.names import Name
from pyrsia.serve.oci.proxying import Proxied
from pyrsia.serve.oci.pushing import Uploads
from pyrsia.serve.oci.replies import Request
from pyrsia.serve.oci.shelf import Shelf, unknown_blob, unknown_manifest

PREFIX: Final = "/v2/"
_ROUTE: Final = re.compile(r"(?P<name>.+)/(?P<what>manifests|blobs|tags|referrers)/(?P<ref>[^/]+)")
_UPLOAD: Final = re.compile(r"(?P<name>.+)/blobs/uploads/(?P<id>[^/]*)")
_MAX_PARAMETERS: Final = 80  # a push may name 64 tags


class OciApp:
    """`/v2/`."""

    def __init__(self, supply: Supply) -> None:
        self._catalog = supply.network
        self._documents = Documents()
        self._images = Images(supply.network)
        self._shelf = Shelf(supply.local, self._documents)
        self._attested = Attested(supply.network, self._documents)
        self._proxied = Proxied(supply.upstream, supply.network)
        self._lists = Lists(supply, self._shelf, self._images, self._attested, self._proxied)
        self._uploads = Uploads(self._shelf, self._images)
        self._manifests = Manifests(self._shelf, self._uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(event: Message) -> None:
            nonlocal begun
            begun = True
            await send(event)

        try:
            await self._answer(Request(scope, receive, sending, _query(scope)))
        except Problem as problem:
            if begun:
                raise RuntimeError("an answer of /v2/ was begun and then refused") from problem
            await say(send, problem)
        except Refusal as refusal:
            if begun:  # too late to say no; an unfinished answer makes the server cut it short
                raise
            await say(send, problem_of(refusal))

    async def _answer(self, request: Request) -> None:
        path = request.scope["path"].removeprefix(PREFIX)
        space = request.query.get("ns", "")
        match path:
            case "":
                await login.greet(request)
                return
            case login.PLACE:
                await login.give_token(request)
                return
            case "_catalog":
                request.only("GET", "HEAD")
                await self._lists.catalogue(request)
                return
        if upload := _UPLOAD.fullmatch(path):
            name = names.read(upload["name"], space)
            if upload["id"]:
                await self._uploads.go_on(request, name, upload["id"])
            else:
                request.only("POST")
                await self._uploads.begin(request, name)
            return
        if path.endswith("/blobs/uploads"):  # some clients forget the last slash
            request.only("POST")
            await self._uploads.begin(request, names.read(path.removesuffix("/blobs/uploads"), space))
            return
        route = _ROUTE.fullmatch(path)
        if route is None:
            raise Problem(404, "NAME_UNKNOWN", "there is no such address", "ask /v2/<name>/manifests/<tag>")
        name = names.read(route["name"], space)
        if space:
            told = (b"oci-namespace", space.encode("latin-1", "replace"))
            request.send = replies.with_headers(request.send, (told,))
        await self._below(request, name, route["what"], route["ref"])

    async def _below(self, request: Request, name: Name, what: str, reference: str) -> None:
        match what, request.method:
            case "manifests", "PUT":
                await self._manifests.put(request, name, reference)
            case "manifests", "DELETE":
                await self._manifests.delete(request, name, reference)
            case "manifests", _:
                request.only("GET", "HEAD", "PUT", "DELETE")
                await self._manifest(request, name, reference)
            case "blobs", "DELETE":
                names.digest(reference)
                await self._manifests.delete_blob(request, name, reference)
            case "blobs", _:
                request.only("GET", "HEAD", "DELETE")
                await self._blob(request, name, reference)
            case "referrers", _:
                request.only("GET", "HEAD")
                await self._lists.referrers(request, name, reference)
            case _ if reference == "list":
                request.only("GET", "HEAD")
                await self._lists.tags(request, name)
            case _:
                raise Problem(404, "NAME_UNKNOWN", "there is no such address", "ask tags/list")

    # -- reading, by owner --

    async def _manifest(self, request: Request, name: Name, reference: str) -> None:
        if ":" in reference:
            names.digest(reference)
        elif not names.is_tag(reference):
            raise unknown_manifest(reference, "it is neither a tag nor a digest")
        if self._shelf.owns(name):
            await self._shelf.send_manifest(request, name, reference)
            return
        image = await self._images.look(name)
        key = reference.removeprefix("sha256:")
        file = image.manifest(key)
        if file is not None:
            await self._published(request, file, reference)
        elif (data := await self._made(request, name, image, reference)) is not None:
            kind = documents.media_type(data)
            await request.manifest(data, kind, digest_of(data), reference, replies.NETWORK)
        elif self._proxied.takes(name):
            await self._proxied.send_manifest(request, name, reference)
        elif image.known:
            raise unknown_manifest(reference, how_to_get(name))
        else:
            raise replies.name_unknown(name, how_to_get(name))

    async def _published(self, request: Request, file: ProjectFile, reference: str) -> None:
        """A manifest of the log: read whole, since its type stands in it."""
        data = self._documents.get(file.sha256)
        if data is None and file.size <= MANIFEST_BYTES.value:
            path = await brought(self._catalog, request.receive, file)
            data = await self._documents.read(file.sha256, path, file.size)
        kind = self._documents.kind(file.sha256, data) if data is not None else ""
        if data is None or not kind:
            raise unknown_manifest(reference, "what is published there is no manifest")
        await request.manifest(data, kind, f"sha256:{file.sha256}", reference, replies.NETWORK)

    async def _made(self, request: Request, name: Name, image: Image, reference: str) -> bytes | None:
        """A manifest that is made of an image's attestations."""
        if not image.known:
            return None
        if ":" not in reference:
            ask = partial(self._attested.for_cosign, name.package, image, reference)
            return await while_there(request.receive, ask) if reference.endswith(".att") else None
        data = await self._attested.find(name.package, image, reference)
        return data if data is not None and documents.media_type(data) else None

    async def _blob(self, request: Request, name: Name, reference: str) -> None:
        algorithm, found = names.digest(reference)
        if self._shelf.owns(name):
            await self._shelf.send_blob(request, name, reference)
            return
        image = await self._images.look(name)
        file = self._layer(image, found) if algorithm == "sha256" else None
        if file is not None:
            request.check_range(file.size)
            more = (replies.content(reference), replies.VERSION, replies.NETWORK)
            send = replies.with_headers(request.send, more)
            etag = replies.etag(reference)
            await send_published(
                self._catalog, request.scope, request.receive, send, file, kind=replies.BYTES, etag=etag
            )
        elif image.known and (data := await self._attested.find(name.package, image, reference)) is not None:
            await request.small_blob(data, reference, replies.NETWORK)
        elif self._proxied.takes(name):
            await self._proxied.send_blob(request, name, reference)
        elif image.known:
            raise unknown_blob(reference)
        else:
            raise replies.name_unknown(name, how_to_get(name))

    def _layer(self, image: Image, sha256: str) -> ProjectFile | None:
        """A blob of the log. A layer that several images share is published under the first of them.

        Raises:
            Refusal: this node does not give it.
        """
        file = image.blobs.get(sha256) or image.by_digest.get(sha256)
        if file is None and sha256 in image.refused:
            raise image.refused[sha256]
        if file is None and image.known:
            file = self._catalog.by_digest(sha256)
        if file is None or not file.filename.startswith((files.BLOB, files.MANIFEST)):
            return None
        return file


def _query(scope: Scope) -> Sequence[tuple[str, str]]:
    if not scope["query_string"]:
        return ()
    try:
        return parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise Problem(
            400, "UNSUPPORTED", "the address has too many parameters", "leave some of them out"
        ) from None
