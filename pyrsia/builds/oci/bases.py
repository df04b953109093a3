"""What an image begins with: nothing, a root by digest, or a published image by digest; and what is copied from others.

Everything named here is fixed by its digest; who vouches for it is the log (a published file), or its digest alone (a
root, which any machine makes again from its lock).

Source: docs/builds-oci.md.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.environments import ROOTFS
from pyrsia.builds.oci import documents, lock, names
from pyrsia.builds.oci.dockerfile import SCRATCH
from pyrsia.builds.oci.documents import Layer
from pyrsia.builds.oci.lock import Locked
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

MAX_DOCUMENT_BYTES: Final = Limit(4 << 20, "what every registry takes as a manifest")
_SETTINGS: Final = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "User", "WorkingDir")
_LAYERS: Final = (
    documents.LAYER,
    f"{documents.LAYER}+gzip",
    f"{documents.LAYER}+zstd",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)


@dataclass(frozen=True, slots=True)
class Based:
    """Attributes:
    told: what the sandbox is told of the base: `layers`, `settings`, `history`, `merged`.
    lines: of the lock.
    """

    told: Mapping[str, Any]
    lines: tuple[Locked, ...] = ()

    def with_lines(self, more: Iterable[Locked]) -> "Based":
        return replace(self, lines=(*self.lines, *more))


async def of(shop: Shop, base: str, platform: str, line: int) -> Based:
    """The base that a FROM names, for one platform.

    Raises:
        Refusal: `bad-request` for another platform's root, `no-environment`, `not-found`.
    """
    if base == SCRATCH:
        return Based({"layers": (), "settings": {}, "history": (), "merged": False})
    if base.startswith(ROOTFS):
        return await _root(shop, base, platform, line)
    return await _image(shop, base.rpartition("@sha256:")[2], platform, line)


async def _root(shop: Shop, base: str, platform: str, line: int) -> Based:
    found = await shop.environments.get(base)
    digest = base.removeprefix(ROOTFS)
    if found.archive is None:
        raise no_archive(digest)
    native = names.native(found.facts.get("arch", ""))
    if native != platform:
        raise _bad(
            line, f"that root is for {native}, the image for {platform}", "ask for the root's platform only"
        )
    size = (await trio.Path(found.archive).stat()).st_size
    layer = Layer(documents.LAYER, digest, size, digest)
    history = ({"created_by": f"FROM {base}"},)
    told = {"layers": (layer,), "settings": {}, "history": history, "merged": True}
    return Based(told, (Locked(lock.ROOTFS, digest[:12], f"sha256~{digest}", digest, size),))


async def _image(shop: Shop, digest: str, platform: str, line: int) -> Based:
    """A published image: its layers stand below ours as they are."""
    top, first = await _document(shop, digest, line)
    lines = [first]
    if "manifests" in top:
        chosen = _for_platform(top, platform, line)
        top, second = await _document(shop, chosen, line)
        lines.append(second)
    config, third = await _document(shop, _digest(top.get("config"), line), line)
    lines.append(third)
    root = config.get("rootfs")
    rows, diffs = top.get("layers"), root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(rows, list) or not isinstance(diffs, list) or len(rows) != len(diffs):
        raise _bad(line, "the base has no layers that can be read", "choose another base")
    layers = []
    for row, diff in zip(rows, diffs, strict=True):
        found = published(shop, _digest(row, line))  # refuses a row that is no map
        kind = row.get("mediaType")
        if kind not in _LAYERS or not isinstance(diff, str) or not diff.startswith("sha256:"):
            raise _bad(line, "the base has a layer of a kind that is not known", "choose another base")
        layers.append(Layer(kind, found.sha256, found.size, diff.removeprefix("sha256:")))
        lines.append(found._replace(name=lock.IMAGE))
    settings = config.get("config")
    history = config.get("history")
    told = {
        "layers": tuple(layers),
        "settings": {key: settings[key] for key in _SETTINGS if key in settings}
        if isinstance(settings, dict)
        else {},
        "history": [row for row in history if isinstance(row, dict)] if isinstance(history, list) else [],
        "merged": None,
    }
    return Based(told, tuple(lines))


def _for_platform(index: Mapping[str, Any], platform: str, line: int) -> str:
    wanted = documents.platform(platform)
    for row in index["manifests"] if isinstance(index["manifests"], list) else ():
        here = row.get("platform") if isinstance(row, dict) else None
        if isinstance(here, dict) and all(here.get(key) == value for key, value in wanted.items()):
            return _digest(row, line)
    raise _bad(line, f"the base has nothing for {platform}", "ask for platforms that it has")


def _digest(row: object, line: int) -> str:
    text = row.get("digest") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.startswith("sha256:"):
        raise _bad(line, "the base names something without a SHA-256", "choose another base")
    return text.removeprefix("sha256:")


async def _document(shop: Shop, digest: str, line: int) -> tuple[dict[str, Any], Locked]:
    """A JSON document of a published image, and its line of the lock."""
    found = published(shop, digest)
    if found.size > MAX_DOCUMENT_BYTES.value:
        raise _bad(line, f"a document of the base has {found.size} bytes", "choose another base")
    data = await trio.to_thread.run_sync(Path.read_bytes, await shop.bring(digest))
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _bad(
            line, f"sha256:{digest[:12]} is no document of an image", "name an image's manifest by digest"
        )
    return document, found._replace(name=lock.IMAGE)


def published(shop: Shop, digest: str) -> Locked:
    """The line of a file that this network has published.

    Raises:
        Refusal: `not-found`.
    """
    body = shop.artifact(digest)
    if body is None:
        raise Refusal(
            "not-found",
            what=f"this network has published no file with the SHA-256 {digest[:64]!a}",
            who="the Dockerfile of the source",
            do="have it built or witnessed first; `pyrsia build show` names the digests of what was published",
        )
    package = purls.parse(body["purl"])
    return Locked(package.name, package.version, body["file"], digest, body["size"])


def no_archive(digest: str) -> Refusal:
    return Refusal(
        "no-environment",
        what=f"the archive of the root {digest[:16]} is not kept on this machine",
        who="this node",
        do="make it again with `pyrsia build environment make`",
    )


def _bad(line: int, what: str, do: str) -> Refusal:
    return Refusal(
        "bad-request", what=f"line {line} of the Dockerfile: {what}", who="the source that was given", do=do
    )
