"""Our attestations as referrers of an image: manifests made from its bundle, the same bytes on every node.

Each envelope of a bundle becomes an artifact (an empty configuration, one layer: the envelope) whose subject is the
image's manifest, so that tools which know nothing of this network list and fetch them. cosign's older form, a tag
`sha256-<hex>.att` whose layers are all envelopes, is made from the same. Nothing of it is stored or published: the
bundle is the truth, and may still gather signatures, which makes another artifact.

Source: OCI image-spec 1.1, "Guidelines for Artifact Usage"; distribution-spec 1.1, "Listing Referrers"; DSSE 1.0.2.
"""

import base64
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pyrsia.builds.oci import documents
from pyrsia.errors import Refusal, Unavailable
from pyrsia.serve.desks.views import Catalog, ProjectFile
from pyrsia.serve.oci.images import EMPTY, Documents, Image
from pyrsia.units import Limit

ENVELOPE: Final = "application/vnd.dsse.envelope.v1+json"
EMPTY_KIND: Final = "application/vnd.oci.empty.v1+json"
MAX_ENVELOPES = Limit(64, "of one manifest: one of each builder and two of all of them")
MAX_LOOKED_AT = Limit(
    64, "manifests of one image whose bundles are read for a digest that nobody listed before"
)
MAX_MADE_BYTES = Limit(
    16 << 20, "of made manifests and envelopes in memory; they are made again when asked for"
)

_ATT: Final = re.compile(r"sha256-([0-9a-f]{64})\.att")


@dataclass(frozen=True, slots=True)
class Made:
    """An artifact that was made from one envelope.

    Attributes:
        descriptor: as lists of referrers have it.
    """

    manifest: bytes
    envelope: bytes
    descriptor: Mapping[str, Any]


class Attested:
    """The referrers of the network's images."""

    def __init__(self, catalog: Catalog, known: Documents) -> None:
        self._catalog = catalog
        self._known = known
        self._made: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # (package, digest) -> bytes
        self._bytes = 0
        self._looked: dict[str, int] = {}  # package -> revision at which every bundle of it was read

    async def referrers(self, package: str, image: Image, sha256: str) -> Sequence[Mapping[str, Any]]:
        """Descriptors for the manifest with this digest; none for one that is not the image's.

        Raises:
            Refusal: this node does not give the manifest.
        """
        file = image.manifest(sha256)
        return [] if file is None else [one.descriptor for one in await self._of(package, file)]

    async def find(self, package: str, image: Image, digest: str) -> bytes | None:
        """A manifest or an envelope that was made for an image."""
        found = self._made.get((package, digest))
        if found is None and self._looked.get(package) != (revision := self._catalog.revision()):
            for file in list(image.manifests.values())[: MAX_LOOKED_AT.value]:
                await self._of(package, file, bring=False)  # a stranger's digest makes no peer send anything
            if len(self._looked) >= 1_024:
                self._looked.clear()
            self._looked[package] = revision
            found = self._made.get((package, digest))
        if found is not None:
            self._made.move_to_end((package, digest))
        return found

    async def for_cosign(self, package: str, image: Image, tag: str) -> bytes | None:
        """The manifest that cosign looks for beside an image: `sha256-<hex>.att`."""
        found = _ATT.fullmatch(tag)
        file = image.manifest(found[1]) if found else None
        made = await self._of(package, file) if file is not None else []
        if not made:
            return None
        layers = [_layer(one.envelope) for one in made]
        config = documents.encoded(
            {"architecture": "", "os": "", "rootfs": {"diff_ids": [], "type": "layers"}}
        )
        manifest = documents.encoded(
            {
                "config": documents.descriptor(documents.CONFIG, config),
                "layers": layers,
                "mediaType": documents.MANIFEST,
                "schemaVersion": 2,
            }
        )
        self._put(package, config)
        self._put(package, manifest)
        return manifest

    async def _of(self, package: str, file: ProjectFile, *, bring: bool = True) -> list[Made]:
        """What is made for one manifest; kept, so that what is listed can be fetched. `bring`: also from peers."""
        bundle = await self._catalog.attestations(file.sha256)
        if not bundle:
            return []
        subject = await self._subject(file, bring=bring)
        if subject is None:
            return []
        made = [make(line, subject) for line in bundle.splitlines()[: MAX_ENVELOPES.value] if line]
        self._put(package, EMPTY)
        for one in made:
            self._put(package, one.envelope)
            self._put(package, one.manifest)
        return made

    async def _subject(self, file: ProjectFile, *, bring: bool) -> Mapping[str, Any] | None:
        """The descriptor of the image's manifest; None while its bytes cannot be had."""
        path = self._catalog.local(file.sha256)
        if path is None and not bring:
            return None
        try:
            path = path or await self._catalog.blob(file.sha256)
            data = await self._known.read(file.sha256, path, file.size)
        except (Refusal, Unavailable):
            return None
        kind = self._known.kind(file.sha256, data) if data is not None else ""
        return documents.descriptor(kind, data) if data is not None and kind else None

    def _put(self, package: str, data: bytes) -> None:
        key = (package, digest_of(data))
        if key in self._made:
            self._made.move_to_end(key)
            return
        self._made[key] = data
        self._bytes += len(data)
        while self._bytes > MAX_MADE_BYTES.value:
            (left, _), gone = self._made.popitem(last=False)
            self._bytes -= len(gone)
            self._looked.pop(left, None)


def make(envelope: bytes, subject: Mapping[str, Any]) -> Made:
    """The artifact of one envelope: sorted, compact JSON, without a time, so that every node makes the same one."""
    predicate = _predicate(envelope)
    annotations = {"in-toto.io/predicate-type": predicate} if predicate else {}
    value: dict[str, Any] = {
        "artifactType": ENVELOPE,
        "config": documents.descriptor(EMPTY_KIND, EMPTY),
        "layers": [_layer(envelope)],
        "mediaType": documents.MANIFEST,
        "schemaVersion": 2,
        "subject": dict(subject),
    }
    if annotations:
        value["annotations"] = annotations
    manifest = documents.encoded(value)
    descriptor = documents.descriptor(documents.MANIFEST, manifest) | {"artifactType": ENVELOPE}
    if annotations:
        descriptor["annotations"] = annotations
    return Made(manifest, envelope, descriptor)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _layer(envelope: bytes) -> dict[str, Any]:
    """The descriptor of an envelope: with cosign's word for what it says, and a file name for who fetches it."""
    title = f"{hashlib.sha256(envelope).hexdigest()[:12]}.intoto.json"
    annotations = {"org.opencontainers.image.title": title}
    if predicate := _predicate(envelope):
        annotations["predicateType"] = predicate
    return documents.descriptor(ENVELOPE, envelope) | {"annotations": annotations}


def _predicate(envelope: bytes) -> str:
    """What kind of statement is inside; "" where it cannot be read."""
    try:
        payload = msgspec.json.decode(envelope)["payload"]
        found = msgspec.json.decode(base64.b64decode(payload))["predicateType"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return (
        found
        if isinstance(found, str) and len(found) <= 200 and found.isascii() and found.isprintable()
        else ""
    )
