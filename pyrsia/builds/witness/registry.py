"""Pulls from image registries: manifests by tag or digest, blobs by digest, over the one client of all fetches.

Decides which manifests of an index are wanted (the target's platform) and that every byte has the digest by which
something above it names it. A tag is looked up by each witness for itself. Layers are never unpacked here.

Source: the OCI distribution specification 1.1, "Pull"; the OCI image specification; Docker's token authentication.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
import trio

from pyrsia.builds.outbound.keeping import keep
from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web, stored
from pyrsia.builds.witness.lock import Seen
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_FILE_BYTES, MAX_IMAGE_DOCUMENT_BYTES, MAX_WITNESSED_FILES, Limit

INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
MAX_TOKEN_BYTES = Limit(65_536, "a token of a registry has a few KB")
ARCHES: Final[Mapping[str, str]] = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}

_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_HOST: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]{0,500})"')
_BLAME: Final = Blame(
    code="index-unreachable",
    who="the image registries of builds.registries",
    do="check the network and that setting, then try again",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One blob or manifest of an image: under which name it is published, and where its bytes are."""

    seen: Seen
    path: Path


class _Token(httpx.Auth):
    """A bearer token for one fetch."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class Registries:
    """A client of the configured registries; the first that has an image is asked for all of it.

    Args:
        bases: URLs before `/v2/`.
        cache: folder of files by SHA-256.
    """

    def __init__(self, bases: Sequence[str], cache: Path) -> None:
        self._bases = [base.rstrip("/") for base in bases]
        self._cache = cache
        self._web = Web(Outbound(blame=_BLAME, timeout_s=30.0).configured(self._bases))
        self._tokens: dict[str, str] = {}  # (base and repository) -> token

    async def aclose(self) -> None:
        await self._web.aclose()

    async def image(self, repository: str, reference: str, arch: str) -> list[Wanted]:
        """Index, manifest, config and layers of one image for one platform, the one that `reference` names first.

        Args:
            repository: as in the purl; one without a namespace is also looked for below `library/`, one that begins
                with a host at the configured registry of that host alone (`ghcr.io/org/app` is not Docker Hub's).
            reference: a tag, or `sha256:` and a digest.
            arch: as `uname -m` says it.

        Raises:
            Refusal: `package-unknown`, `index-unreachable`, `digest-mismatch`, `too-large`.
        """
        for place in self._places(repository):
            found = await self._image(place, reference, arch)
            if found is not None:
                return found
        raise Refusal(
            "package-unknown",
            what=f"no configured registry has {repository}:{reference}",
            who="the registries of builds.registries",
            do="check the name and the tag, or set builds.registries",
        )

    def _places(self, repository: str) -> list[str]:
        host, _, rest = repository.partition("/")
        if rest and _HOST.fullmatch(host):
            return [f"{base}/v2/{rest}" for base in self._bases if urlsplit(base).hostname == host]
        names = (repository,) if "/" in repository else (f"library/{repository}", repository)
        return [f"{base}/v2/{name}" for base in self._bases for name in names]

    async def _image(self, place: str, reference: str, arch: str) -> list[Wanted] | None:
        top = await self._manifest(place, reference, reference)
        if top is None:
            return None
        found, (document, wanted) = [top[1]], top
        if document.get("mediaType") in INDEXES or "manifests" in document:
            digest = _platform(document, arch, place)
            below = await self._manifest(place, digest, digest)
            if below is None:
                raise _bad(f"the index names {digest}, which its registry does not have")
            document, wanted = below
            found.append(wanted)
        descriptors = [document.get("config"), *_list(document.get("layers"))]
        if len(descriptors) + len(found) > MAX_WITNESSED_FILES.value:
            raise Refusal(
                "too-large",
                what=f"the image has {len(descriptors)} blobs, {MAX_WITNESSED_FILES.value - len(found)} are taken",
                who="the image",
                do="witness one with fewer layers",
            )
        blobs: dict[str, int] = dict(_descriptor(one) for one in descriptors)
        for digest, size in blobs.items():
            found.append(await self._blob(place, digest, size))
        return found

    async def _manifest(self, place: str, reference: str, name: str) -> tuple[dict[str, Any], Wanted] | None:
        data = await self._bytes(f"{place}/manifests/{reference}", ", ".join((*INDEXES, *MANIFESTS)))
        if data is None:
            return None
        digest = hashlib.sha256(data).hexdigest()
        if _DIGEST.fullmatch(reference) and reference != f"sha256:{digest}":
            raise _mismatch(reference, digest)
        path = self._cache / digest
        await trio.to_thread.run_sync(_write, path, data)
        return document(data), Wanted(Seen(manifest_name(name), digest, len(data)), path)

    async def _bytes(self, url: str, accept: str) -> bytes | None:
        async with self._web.get(
            url,
            accept=accept,
            limit=MAX_IMAGE_DOCUMENT_BYTES.value,
            missing_ok=True,
            auth=await self._auth(url),
        ) as response:
            if response.status_code != 200:
                return None
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_IMAGE_DOCUMENT_BYTES.value:
                    raise _BLAME.too_large(url, MAX_IMAGE_DOCUMENT_BYTES.value)
            return bytes(body)

    async def _blob(self, place: str, digest: str, size: int) -> Wanted:
        sha256 = digest.removeprefix("sha256:")
        path, seen = self._cache / sha256, Seen(blob_name(digest), sha256, size)
        if await trio.Path(path).is_file():
            return Wanted(seen, path)
        url = f"{place}/blobs/{digest}"

        def too_large() -> Refusal:
            return _BLAME.too_large(url, size)

        async with self._web.get(url, accept="*/*", limit=size, auth=await self._auth(url)) as response:
            found, length = await keep(self._cache, stored(response), size, too_large)
        if (found, length) != (sha256, size):
            raise _mismatch(digest, found)
        return Wanted(seen, path)

    async def _auth(self, url: str) -> httpx.Auth | None:
        """The token for a repository: asked for once, where the registry wants one.

        Raises:
            Refusal: `index-unreachable`.
        """
        place = url.rpartition("/manifests/")[0] or url.rpartition("/blobs/")[0]
        if place not in self._tokens:
            self._tokens[place] = await self._token(place)
        token = self._tokens[place]
        return _Token(token) if token else None

    async def _token(self, place: str) -> str:
        base, _, name = place.partition("/v2/")
        challenge = await self._challenge(f"{base}/v2/")
        realm = challenge.pop("realm", "")
        if not realm:
            return ""
        query = urlencode({**challenge, "scope": f"repository:{name}:pull"})
        async with self._web.get(
            f"{realm}?{query}", accept="application/json", limit=MAX_TOKEN_BYTES.value
        ) as response:
            body = await limited(response, MAX_TOKEN_BYTES.value)
        told = document(body)
        token = told.get("token") or told.get("access_token")
        return token if isinstance(token, str) else ""

    async def _challenge(self, url: str) -> dict[str, str]:
        """What a registry asks of whom it does not know; nothing where it lets everybody in."""
        header = await self._web.challenge(url)
        if not header.lower().startswith("bearer "):
            return {}
        told = dict(_CHALLENGE.findall(header))
        return {key: told[key] for key in ("realm", "service") if key in told}


def manifest_name(reference: str) -> str:
    """The file name of a manifest or index: `manifest~<tag>`, `manifest~sha256~<hex>`."""
    return f"manifest~{reference.replace(':', '~')}"


def blob_name(digest: str) -> str:
    """The file name of a blob: `sha256~<hex>`."""
    return digest.replace(":", "~")


def _platform(index: Mapping[str, Any], arch: str, place: str) -> str:
    """The digest of the manifest for Linux on `arch`, the first one that is listed."""
    wanted = ARCHES.get(arch, arch)
    for one in _list(index.get("manifests")):
        told = one.get("platform") if isinstance(one, dict) else None
        if isinstance(told, dict) and (told.get("os"), told.get("architecture")) == ("linux", wanted):
            return _descriptor(one)[0]
    raise Refusal(
        "version-unknown",
        what=f"the index has no image for linux/{wanted}",
        who=_BLAME.who,
        do="witness it on a machine of another architecture",
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _descriptor(value: Any) -> tuple[str, int]:
    """(digest, size) of a descriptor."""
    digest, size = (value.get("digest"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or type(size) is not int:
        raise _bad("a descriptor without a SHA-256 digest and a size")
    if not 0 <= size <= MAX_FILE_BYTES.value:
        raise _BLAME.too_large(digest, MAX_FILE_BYTES.value)
    return digest, size


def document(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _bad("an answer that is no JSON object")
    return found


async def limited(response: httpx.Response, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            raise Malformed("an answer that is too long")
    return bytes(body)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{path.name}")
    temporary.write_bytes(data)
    temporary.chmod(0o644)
    temporary.rename(path)


def _bad(what: str) -> Refusal:
    return Refusal("index-unreachable", what=what, who=_BLAME.who, do=_BLAME.do)


def _mismatch(told: str, found: str) -> Refusal:
    return Refusal(
        "digest-mismatch",
        what=f"{told[:80]} was asked for, its bytes have the SHA-256 {found}",
        who=_BLAME.who,
        do="do not use this image; ask another registry",
    )
