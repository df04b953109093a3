"""The JSON documents of an image, each in one form: sorted, compact, UTF-8, no line end.

It runs inside the sandbox as well: only the standard library, no I/O.
Source: OCI image-spec 1.1: config.md, manifest.md, image-index.md, descriptor.md.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"


class Layer(NamedTuple):
    """Attributes:
    kind: media type. sha256: of the blob as it travels. diff: of the tar in it; the same where it is no archive.
    """

    kind: str
    sha256: str
    size: int
    diff: str


def encoded(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")


def descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}


def when(sde: int) -> str:
    """A time in seconds as RFC 3339 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(sde))


def platform(text: str) -> dict[str, str]:
    """`linux/arm/v7` as a descriptor and a configuration write it."""
    system, arch, *variant = text.split("/")
    return {"architecture": arch, "os": system} | ({"variant": variant[0]} if variant else {})


def configuration(
    settings: Mapping[str, Any],
    layers: Sequence[Layer],
    history: Sequence[Mapping[str, Any]],
    where: str,
    sde: int,
) -> bytes:
    return encoded(
        platform(where)
        | {
            "config": dict(settings),
            "created": when(sde),
            "history": list(history),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one.diff}" for one in layers]},
        }
    )


def manifest(config: bytes, layers: Sequence[Layer]) -> bytes:
    return encoded(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config),
            "layers": [
                {"mediaType": one.kind, "digest": f"sha256:{one.sha256}", "size": one.size} for one in layers
            ],
        }
    )


def index(manifests: Sequence[tuple[str, bytes]]) -> bytes:
    """Args: manifests: (platform, bytes of its manifest), in the order of the request."""
    rows = [descriptor(MANIFEST, data) | {"platform": platform(where)} for where, data in manifests]
    return encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})


def media_type(data: bytes) -> str:
    """What a stored manifest is: what it says of itself, else what its fields make it; "" for no manifest."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        return ""
    kind = document.get("mediaType")
    if isinstance(kind, str) and kind in (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST):
        return kind
    if kind is not None:
        return ""
    if isinstance(document.get("manifests"), list):
        return INDEX
    return MANIFEST if isinstance(document.get("layers"), list) else ""
