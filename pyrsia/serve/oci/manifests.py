"""Manifests on their way in, and what is taken back: what must be true of a document before it stands under a name.

A manifest is kept byte for byte under the digest that it was pushed by, then its referrer's row, then its tags: whoever
finds the later ones finds the earlier. Its configuration and at least one of its layers must be here, in the size it
says: where nothing is here, a push went wrong; one with holes is sparse on purpose. Layers that nobody
may distribute, manifests that an index names, and a subject may come later or never. Other fields mean nothing here.

Source: OCI distribution-spec 1.1, "Pushing Manifests", "Pushing Manifests with Subject", "Content Management".
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pyrsia.builds.oci import documents
from pyrsia.errors import Refusal
from pyrsia.serve.answers import header
from pyrsia.serve.grants import require_delete
from pyrsia.serve.http.reading import Header
from pyrsia.serve.oci import names
from pyrsia.serve.oci.errors import Problem
from pyrsia.serve.oci.images import MANIFEST_BYTES
from pyrsia.serve.oci.names import Name
from pyrsia.serve.oci.pushing import Uploads
from pyrsia.serve.oci.replies import Request, content
from pyrsia.serve.oci.shelf import BLOB, MANIFEST, REFERRER, TAG, Shelf, unknown_blob, unknown_manifest
from pyrsia.units import Limit

MAX_TAGS_AT_ONCE = Limit(64, "tag= parameters of one push; a release has a handful")
MAX_LAYERS = Limit(4_096, "of one manifest: images have at most 127 layers, artifacts hundreds")

_KIND: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_INDEXES: Final = (documents.INDEX, documents.DOCKER_LIST)
_NOT_DISTRIBUTED: Final = (".nondistributable.", ".foreign.")
_SUBJECTS: Final = (documents.MANIFEST, documents.INDEX)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A document that may stand under a name.

    Attributes:
        kind: its media type.
        artifact: its artifactType, as lists of referrers filter by it.
        subject: digest of what it refers to, "" for nothing.
        config, layers: digest and size of the blobs that registries hold of it.
    """

    data: bytes
    kind: str
    artifact: str
    subject: str
    config: Sequence[tuple[str, int]]
    layers: Sequence[tuple[str, int]]


def read(data: bytes, told: str) -> Manifest:
    """
    Args:
        told: the Content-Type that it came with, "" without one.

    Raises:
        Problem: MANIFEST_INVALID.
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _invalid(f"it is no JSON: {error}") from None
    if not isinstance(value, dict) or value.get("schemaVersion") != 2:
        raise _invalid("it is no object with schemaVersion 2")
    said = told.partition(";")[0].strip()
    own = value.get("mediaType", said or documents.media_type(data))
    if not isinstance(own, str) or not _KIND.fullmatch(own):
        raise _invalid("it has no media type")
    if not own.lower().startswith("application/") or not own.lower().endswith("json"):
        raise _invalid(f"{own} is not what a program writes as JSON")
    if said and said != own:
        raise _invalid(f"it came as {said} and says {own}")
    if "manifests" in value and not value.keys().isdisjoint(("config", "layers")):
        raise _invalid(
            "it is an image and an index at once"
        )  # CVE-2021-41190: what it is would be the reader's guess
    config, layers = [], []
    if own in _INDEXES:
        for one in _list(value, "manifests"):
            _descriptor(one)
    else:
        config = [_descriptor(value["config"])] if "config" in value else []
        layers = [_descriptor(one) for one in _list(value, "layers") if not _elsewhere(one)]
    if len(layers) > MAX_LAYERS.value:
        raise _invalid(f"it has {len(layers)} layers, {MAX_LAYERS.value} are taken")
    subject = _descriptor(value["subject"])[0] if own in _SUBJECTS and value.get("subject") else ""
    return Manifest(data, own, artifact_type(value), subject, config, layers)


def artifact_type(value: Mapping[str, Any]) -> str:
    """What a manifest is in a list of referrers: its artifactType, else the type of its configuration."""
    own = value.get("artifactType")
    config = value.get("config")
    found = own or (config.get("mediaType") if isinstance(config, dict) else "")
    return found if isinstance(found, str) and _KIND.fullmatch(found) else ""


class Manifests:
    """PUT and DELETE below a name."""

    def __init__(self, shelf: Shelf, uploads: Uploads) -> None:
        self._shelf = shelf
        self._uploads = uploads

    async def put(self, request: Request, name: Name, reference: str) -> None:
        by = self._uploads.permitted(request, name)
        tags = _tags(request, reference)
        if ":" in reference:
            names.digest(reference)
        data = await _body(request)
        algorithm = reference.partition(":")[0] if ":" in reference else "sha256"
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        if ":" in reference and digest != reference:
            raise Problem(
                400,
                "DIGEST_INVALID",
                f"the manifest that came has the digest {digest}, not {reference}",
                "push it by its own digest, byte for byte",
            )
        told = header(request.scope, b"content-type").decode("latin-1")
        manifest = read(data, told)
        standing = self._shelf.local.row(name.package, MANIFEST + digest)
        if standing is not None and standing.more["kind"] != manifest.kind:
            raise _invalid(f"it stands here as {standing.more['kind']} already")
        self._check_blobs(name, manifest)
        await self._keep(name, manifest, digest, tags, by)
        more: list[Header] = [(b"oci-tag", tag.encode("ascii")) for tag in request.tags]
        if manifest.subject:
            more.append((b"oci-subject", manifest.subject.encode("ascii")))
        location = name.address(f"manifests/{digest}").encode("ascii")
        await request.nothing(201, (b"location", location), content(digest), *more)

    def _check_blobs(self, name: Name, manifest: Manifest) -> None:
        missing = self._missing(name, manifest.config)
        if not missing:
            layers = self._missing(name, manifest.layers)
            missing = layers if len(layers) == len(manifest.layers) else []
        if missing:
            raise Problem(
                404,
                "MANIFEST_BLOB_UNKNOWN",
                f"the manifest names the blob {missing[0]}, which is not here under this name",
                "push its blobs before it",
            )

    def _missing(self, name: Name, blobs: Sequence[tuple[str, int]]) -> list[str]:
        missing = []
        for digest, size in blobs:
            row = self._shelf.blob(name, digest)
            if row is None:
                missing.append(digest)
            elif row.size != size:
                raise _invalid(f"it says that {digest} has {size} bytes; it has {row.size}")
        return missing

    async def _keep(self, name: Name, manifest: Manifest, digest: str, tags: Sequence[str], by: str) -> None:
        local, package = self._shelf.local, name.package
        more = {"kind": manifest.kind, "artifact": manifest.artifact, "subject": manifest.subject}
        referrer = f"{REFERRER}{manifest.subject}/{digest}"
        keys = [
            MANIFEST + digest,
            *([referrer] if manifest.subject else []),
            *(TAG + tag for tag in set(tags)),
        ]
        upload = await local.open(package, *keys, by=by)
        try:
            await upload.write(manifest.data)
        except BaseException:
            upload.drop()
            raise
        row = await upload.keep(MANIFEST + digest, by=by, more=more)
        self._shelf.documents.put(row.sha256, manifest.data)
        if manifest.subject:
            told = {"kind": manifest.kind, "artifact": manifest.artifact}
            await local.link(package, referrer, row.sha256, by=by, more=told)
        for tag in tags:
            told = {"digest": digest, "kind": manifest.kind}
            await local.link(package, TAG + tag, row.sha256, by=by, more=told)

    async def delete(self, request: Request, name: Name, reference: str) -> None:
        """A tag alone, or a manifest with every tag that leads to it."""
        self._permitted(request, name)
        if ":" not in reference:
            if not await self._remove(name, TAG + reference):
                raise unknown_manifest(reference)
        else:
            names.digest(reference)
            row = self._shelf.local.row(name.package, MANIFEST + reference)
            if row is None:
                raise unknown_manifest(reference)
            for tag in self._shelf.leading_to(name, reference):
                await self._remove(name, TAG + tag)
            if subject := row.more.get("subject"):
                await self._remove(name, f"{REFERRER}{subject}/{reference}")
            await self._remove(name, MANIFEST + reference)
        await request.nothing(202)

    async def delete_blob(self, request: Request, name: Name, digest: str) -> None:
        self._permitted(request, name)
        if not await self._remove(name, BLOB + digest):
            raise unknown_blob(digest)
        await request.nothing(202)

    def _permitted(self, request: Request, name: Name) -> None:
        self._uploads.permitted(request, name)
        try:
            require_delete(request.scope, name.package, pushers=self._shelf.local.pushers_delete())
        except Refusal as refusal:
            if refusal.code != "denied":
                raise
            raise Problem(405, "UNSUPPORTED", f"{refusal.what}: {refusal.do}", refusal.as_dict()) from None

    async def _remove(self, name: Name, key: str) -> bool:
        return await self._shelf.local.delete(name.package, key)


def _tags(request: Request, reference: str) -> list[str]:
    """The tags that will lead to the manifest.

    Raises:
        Problem: one of them is none, or there are too many.
    """
    tags = ([] if ":" in reference else [reference]) + request.tags
    if len(tags) > MAX_TAGS_AT_ONCE.value:
        raise Problem(
            414,
            "UNSUPPORTED",
            f"{len(tags)} tags at once, {MAX_TAGS_AT_ONCE.value} are taken",
            "push again with the others",
        )
    for tag in tags:
        if not names.is_tag(tag):
            raise Problem(
                400, "MANIFEST_INVALID", f"{tag[:80]} is no tag", "use letters, digits, `_`, `.` and `-`"
            )
    return tags


async def _body(request: Request) -> bytes:
    data = bytearray()
    while (piece := await request.piece()) is not None:
        data += piece
        if len(data) > MANIFEST_BYTES.value:
            raise Problem(
                413,
                "MANIFEST_INVALID",
                f"a manifest has at most {MANIFEST_BYTES.value} bytes",
                "make it smaller",
            )
    return bytes(data)


def _list(value: Mapping[str, Any], key: str) -> Iterator[Any]:
    found = value.get(key)
    if found is not None and not isinstance(found, list):
        raise _invalid(f"its {key} are no list")
    yield from found or ()


def _elsewhere(descriptor: Any) -> bool:
    """Whether a layer is of a kind that registries do not hold."""
    kind = descriptor.get("mediaType") if isinstance(descriptor, dict) else None
    return isinstance(kind, str) and any(word in kind for word in _NOT_DISTRIBUTED)


def _descriptor(value: Any) -> tuple[str, int]:
    digest, size = (value.get("digest"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(digest, str) or type(size) is not int or size < 0:
        raise _invalid("a descriptor has no digest or no size")
    try:
        names.digest(digest)
    except Problem as problem:
        raise _invalid(problem.message) from None
    return digest, size


def _invalid(why: str) -> Problem:
    return Problem(
        400,
        "MANIFEST_INVALID",
        f"the manifest is not taken: {why}",
        "look at it with a tool that makes images",
    )
