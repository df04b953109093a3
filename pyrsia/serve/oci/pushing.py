"""Blobs on their way in: every form of upload that clients use, one protocol of pieces beneath.

An upload belongs to one name, is gone on with in order, and becomes a blob when the digest that the client announces is
that of its bytes; with another one it is dropped. A piece in the wrong place is refused with the place that is right,
and nothing of it is kept. What is open at once, and for how long, the shelf bounds.

Source: OCI distribution-spec 1.1, "Pushing Blobs"; Docker's clients send a PATCH without Content-Range.
"""

import re
from typing import Final

from pyrsia.serve.answers import header
from pyrsia.serve.desks.supply import LocalRow, Upload
from pyrsia.serve.grants import require_push
from pyrsia.serve.http.reading import Header
from pyrsia.serve.oci import names
from pyrsia.serve.oci.errors import Problem
from pyrsia.serve.oci.images import Images
from pyrsia.serve.oci.names import Name
from pyrsia.serve.oci.replies import Request, content
from pyrsia.serve.oci.shelf import BLOB, DOCKER, Shelf

_RANGE: Final = re.compile(rb"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/[0-9*]+)?")
_ALGORITHMS: Final = ("sha256", "sha512")


class Uploads:
    """`/v2/<name>/blobs/uploads/`."""

    def __init__(self, shelf: Shelf, images: Images) -> None:
        self._shelf = shelf
        self._images = images

    def permitted(self, request: Request, name: Name) -> str:
        """The name of the token that pushes.

        Raises:
            Refusal: no token, or one that does not reach this name.
            Problem: the name is not this node's own.
        """
        grant = require_push(request.scope, name.package)
        if not self._shelf.owns(name) and (
            name.package.startswith("pkg:generic/") or self._images.holds(name)
        ):
            raise Problem(
                403,
                "DENIED",
                f"{name.asked} is the network's: nobody pushes to it, push to another name of your own",
                "tag the image with a name that the network does not hold, such as your team's in front; "
                "pyrsia build request publishes under the network's names",
            )
        return grant.name

    async def begin(self, request: Request, name: Name) -> None:
        """POST: mount what is here, take the whole blob, or begin an upload."""
        by = self.permitted(request, name)
        algorithm = request.query.get("digest-algorithm", "sha256")
        if algorithm not in _ALGORITHMS:
            raise Problem(400, "UNSUPPORTED", f"digest-algorithm is one of {', '.join(_ALGORITHMS)}")
        if mount := request.query.get("mount"):
            digest = _digest(mount)
            if await self._mount(name, digest, request.query.get("from", ""), by):
                await self._made(request, name, digest)
                return
        whole = request.query.get("digest", "") if not mount else ""
        if whole:
            _digest(whole)
        if not whole:
            await _drained(request)
            upload = await self._shelf.local.open(name.package, by=by)
            await request.nothing(202, *_standing(name, upload))
            return
        upload = await self._shelf.local.open(name.package, by=by)
        try:
            await self._write(request, upload, None)
        except BaseException:  # nobody knows its address, so nobody could go on with it
            upload.drop()
            raise
        await self._keep(request, name, upload, whole, by)

    async def go_on(self, request: Request, name: Name, upload_id: str) -> None:
        """GET, PATCH, PUT, DELETE of an upload."""
        request.only("GET", "HEAD", "PATCH", "PUT", "DELETE")
        by = self.permitted(request, name)
        upload = self._shelf.local.upload(upload_id)
        if upload is None or upload.package != name.package:
            raise Problem(
                404,
                "BLOB_UPLOAD_UNKNOWN",
                "there is no such upload: it has ended, or nobody went on with it for an hour",
                "begin another one",
            )
        if request.reads:
            await request.nothing(204, *_standing(name, upload))
        elif request.method == "DELETE":
            upload.drop()
            await request.nothing(204)
        elif request.method == "PATCH":
            await self._write(request, upload, _span(request, name, upload))
            await request.nothing(202, *_standing(name, upload))
        else:
            announced = request.query.get("digest", "")
            _digest(announced)
            await self._write(request, upload, _span(request, name, upload))
            await self._keep(request, name, upload, announced, by)

    async def _write(self, request: Request, upload: Upload, span: tuple[int, int] | None) -> None:
        """Append the body, which is as long as its Content-Range says."""
        came = 0
        while (piece := await request.piece()) is not None:
            came += len(piece)
            if span is not None and came > span[1] - span[0] + 1:
                break
            await upload.write(piece)
        if span is not None and came != span[1] - span[0] + 1:
            upload.drop()  # what came of it is in there, and nobody could say where it ended
            raise Problem(
                400, "SIZE_INVALID", "the body is not as long as its Content-Range", "begin another upload"
            )

    async def _keep(self, request: Request, name: Name, upload: Upload, digest: str, by: str) -> None:
        algorithm, announced = names.digest(digest)
        found = upload.digest(algorithm)
        if found != announced:
            upload.drop()
            raise Problem(
                400,
                "DIGEST_INVALID",
                f"the bytes that came have the digest {algorithm}:{found}, not {digest}",
                "begin another upload; something changed the bytes on the way",
            )
        await upload.keep(BLOB + digest, by=by)
        await self._made(request, name, digest)

    async def _mount(self, name: Name, digest: str, source: str, by: str) -> bool:
        """Whether the blob is under this name now, without a byte sent."""
        if self._shelf.blob(name, digest) is not None:
            return True
        row = self._elsewhere(digest, source)
        if row is None:
            return False
        made = await self._shelf.local.link(name.package, BLOB + digest, row.sha256, by=by, more=row.more)
        return made is not None

    def _elsewhere(self, digest: str, source: str) -> LocalRow | None:
        """The blob under another local name: the one that is named, or any."""
        local = self._shelf.local
        if source:
            try:
                return self._shelf.blob(names.read(source), digest)
            except Problem:
                return None
        found = (local.row(package, BLOB + digest) for package in local.packages(DOCKER))
        return next((row for row in found if row is not None), None)

    async def _made(self, request: Request, name: Name, digest: str) -> None:
        await request.nothing(
            201, (b"location", name.address(f"blobs/{digest}").encode("ascii")), content(digest)
        )


async def _drained(request: Request) -> None:
    """A POST that announces no digest has no body; one that has some all the same is not waited for."""
    piece = await request.piece()
    if piece:
        raise Problem(
            400, "DIGEST_INVALID", f"{len(piece)} bytes came without a digest", "add digest= to the address"
        )


def _digest(text: str) -> str:
    names.digest(text)
    return text


def _standing(name: Name, upload: Upload) -> tuple[Header, ...]:
    """Where an upload is, and how far."""
    return (
        (b"location", name.address(f"blobs/uploads/{upload.id}").encode("ascii")),
        (b"range", b"0-%d" % max(0, upload.size - 1)),
        (b"docker-upload-uuid", upload.id.encode("ascii")),
    )


def _span(request: Request, name: Name, upload: Upload) -> tuple[int, int] | None:
    """(first, last) byte of the piece that comes; None where the client does not say.

    Raises:
        Problem: 416 for a piece that is not the next one.
    """
    told = header(request.scope, b"content-range")
    if not told:
        return None
    found = _RANGE.fullmatch(told.strip())
    if found is None:
        raise Problem(400, "BLOB_UPLOAD_INVALID", "Content-Range is FIRST-LAST", "count bytes from 0")
    first, last = int(found[1]), int(found[2])
    if first != upload.size or last < first:
        raise Problem(
            416,
            "BLOB_UPLOAD_INVALID",
            f"the next byte of this upload is number {upload.size}, not {first}",
            "send the pieces in order; GET of the upload's address says how far it is",
            _standing(name, upload),
        )
    length = header(request.scope, b"content-length")
    if length and length != b"%d" % (last - first + 1):
        raise Problem(
            400, "SIZE_INVALID", "Content-Range and Content-Length disagree", "send as many bytes as both say"
        )
    return first, last
