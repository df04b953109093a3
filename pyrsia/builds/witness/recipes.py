"""Conan packages as a remote serves them: the newest recipe revision, and its packages for the target's platform.

Files have the names that the network publishes Conan packages by: `<rrev>~<file>` of the recipe,
`<rrev>~<package id>~<prev>~<file>` of a package. Of packages those are taken whose settings say Linux and the target's
architecture, in the order of their ids, as many as fit.

Source: docs/builds.md, "Witnessed"; docs/builds-conan.md; Conan 2, `conan/internal/rest/client_routes.py`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pyrsia.builds.outbound.keeping import keep
from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web, stored
from pyrsia.builds.witness.lock import Seen
from pyrsia.builds.witness.origins import Origin
from pyrsia.builds.witness.registry import document, limited
from pyrsia.errors import Refusal
from pyrsia.units import MAX_IMAGE_DOCUMENT_BYTES, MAX_SOURCE_BYTES, MAX_WITNESSED_FILES
from pyrsia.wire.purl import Purl

ARCHES: Final[Mapping[str, str]] = {"aarch64": "armv8", "armv7l": "armv7hf"}
_BLAME: Final = Blame(
    code="index-unreachable",
    who="the remotes of your Conan home",
    do="check the network and `conan remote list`, then try again",
)
_ID: Final = re.compile("[0-9a-f]{1,64}")
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,60}")


class Recipes:
    """The remotes of the user's Conan home, in their order; the first that has a recipe is asked for all of it.

    Args:
        bases: URLs before `/v2/`.
        cache: folder of files by SHA-256.
    """

    def __init__(self, bases: Sequence[str], cache: Path) -> None:
        self._bases = [base.rstrip("/") for base in bases]
        self._cache = cache
        self._web = Web(Outbound(blame=_BLAME, timeout_s=30.0).configured(self._bases))

    async def files(self, package: Purl, target: Mapping[str, str], cutoff_ms: int) -> list[Origin]:
        user, _, channel = package.namespace.partition("/")
        place = f"{package.name}/{package.version}/{user or '_'}/{channel or '_'}"
        try:
            for base in self._bases:
                start = f"{base}/v2/conans/{place}"
                latest = await self._json(f"{start}/latest")
                if latest is not None:
                    return await self._recipe(start, _id(latest.get("revision")), target["arch"])
        finally:
            await self._web.aclose()
        raise Refusal(
            "version-unknown",
            what=f"{package} is on no remote",
            who=_BLAME.who,
            do="look at `conan search`, or add the remote",
        )

    async def newest(self, package: Purl, target: Mapping[str, str]) -> str:
        raise Refusal(
            "version-unknown",
            what=f"{package} is asked for without a version",
            who="your request",
            do="name the version",
        )

    async def _recipe(self, start: str, rrev: str, arch: str) -> list[Origin]:
        at = f"{start}/revisions/{rrev}"
        found = await self._listed(at, f"{rrev}~")
        told = await self._json(f"{at}/search") or {}
        for package_id in sorted(one for one in told if _suits(told[one], arch)):
            here = f"{at}/packages/{_id(package_id)}"
            latest = await self._json(f"{here}/latest")
            if latest is None:
                continue
            prev = _id(latest.get("revision"))
            more = await self._listed(f"{here}/revisions/{prev}", f"{rrev}~{package_id}~{prev}~")
            if len(found) + len(more) > MAX_WITNESSED_FILES.value:
                break
            found += more
        return found

    async def _listed(self, at: str, prefix: str) -> list[Origin]:
        """Every file of one revision; `conanfile.py` or `conaninfo.txt` first, which stands for it."""
        told = await self._json(f"{at}/files")
        files = told.get("files") if told is not None else None
        # What a remote keeps beside a package (signatures, logs) may change, and nobody names it by the revision.
        names = [one for one in files if not one.startswith("metadata/")] if isinstance(files, dict) else []
        if not 1 <= len(names) <= MAX_WITNESSED_FILES.value:
            raise _BLAME.unreachable(at, "its list of files makes no sense")
        found = []
        for name in sorted(names, key=lambda one: (one not in ("conanfile.py", "conaninfo.txt"), one)):
            if not _FILE.fullmatch(name):
                raise _BLAME.unreachable(at, f"a file that no package has: {name[:40]!r}")
            found.append(await self._file(f"{at}/files/{name}", prefix + name))
        return found

    async def _file(self, url: str, name: str) -> Origin:
        def too_large() -> Refusal:
            return _BLAME.too_large(url, MAX_SOURCE_BYTES.value)

        async with self._web.get(url, accept="*/*", limit=MAX_SOURCE_BYTES.value) as response:
            sha256, size = await keep(self._cache, stored(response), MAX_SOURCE_BYTES.value, too_large)
        return Origin(Seen(name, sha256, size), self._cache / sha256)

    async def _json(self, url: str) -> dict[str, Any] | None:
        async with self._web.get(
            url, accept="application/json", limit=MAX_IMAGE_DOCUMENT_BYTES.value, missing_ok=True
        ) as response:
            if response.status_code != 200:
                return None
            return document(await limited(response, MAX_IMAGE_DOCUMENT_BYTES.value))


def _id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _BLAME.unreachable("its answer", "it names no revision")
    return value


def _settings(info: str) -> dict[str, str]:
    """The settings of a conaninfo.txt: the lines `name=value` below `[settings]`."""
    found: dict[str, str] = {}
    section = ""
    for line in info.splitlines():
        name, _, value = line.strip().partition("=")
        if name.startswith("["):
            section = name
        elif section == "[settings]":
            found[name] = value
    return found


def _suits(told: Any, arch: str) -> bool:
    """Whether a package's settings are those of Linux on `arch`, as far as the remote tells them."""
    if not isinstance(told, dict):
        return False
    settings, content = told.get("settings"), told.get("content")
    if isinstance(content, str):  # the text of its conaninfo.txt, where the remote has not read it
        settings = _settings(content)
    if not isinstance(settings, dict):
        return False
    return (settings.get("os"), settings.get("arch")) == ("Linux", ARCHES.get(arch, arch))
