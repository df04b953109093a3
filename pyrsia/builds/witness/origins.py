"""Where the files of a package are, by its purl: wheels on indexes, jars in repositories, images in registries.

Each answers two questions: which files upstream publishes for a target, with their digests as this node sees them, and
the bytes of one of them. Which of them agree is for the log.

Source: docs/builds.md, "Witnessed".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pyrsia.builds.maven.coordinates import Artifact
from pyrsia.builds.maven.remotes import Remotes
from pyrsia.builds.maven.settings import MavenSettings
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.simple import IndexFile
from pyrsia.builds.pip.target import Target
from pyrsia.builds.witness.lock import Seen
from pyrsia.builds.witness.registry import Registries
from pyrsia.errors import Refusal
from pyrsia.units import MAX_WITNESSED_FILES
from pyrsia.wire.purl import Purl

# Beside its jar: its sources, and the further jars that Maven's own plug-ins and their containers ask for by
# classifier. Repositories have no lists that are to be trusted, so what is looked for is fixed.
OPTIONAL = ("-sources.jar", "-no_aop.jar", "-noaop.jar", "-shaded.jar", "-tests.jar", "-jdk15.jar")


@dataclass(frozen=True, slots=True)
class Origin:
    """One file of a package here: its bytes, and what its index says of the Pythons that take it.

    Attributes:
        uploaded_ms: when upstream says that it was published, 0 where it says nothing.
    """

    seen: Seen
    path: Path
    requires_python: str = ""
    uploaded_ms: int = 0


class Place(Protocol):
    """One kind of server."""

    async def files(self, package: Purl, target: Mapping[str, str], cutoff_ms: int) -> list[Origin]:
        """The files of a version, fetched; the first one stands for the package.

        Args:
            package: with its version.
            target: arch, libc, os and, for pypi, python.
            cutoff_ms: what was published later is not seen; 0 sees everything.

        Raises:
            Refusal: `package-unknown`, `version-unknown`, `index-unreachable`, `too-large`, `digest-mismatch`.
        """
        ...

    async def newest(self, package: Purl, target: Mapping[str, str]) -> str:
        """The newest version.

        Raises:
            Refusal: `version-unknown` where there is no such thing.
        """
        ...


class Wheels:
    """Wheels of the user's package indexes that the target's Python takes."""

    def __init__(self, index: IndexClient) -> None:
        self._index = index

    async def files(self, package: Purl, target: Mapping[str, str], cutoff_ms: int) -> list[Origin]:
        page = await self._index.project(package.name, cutoff_ms or None)
        python = Target.from_dict(dict(target))
        chosen = [
            one
            for one in page.files
            if _suits(one, package, python) and _in_time(one, cutoff_ms) and one.sha256
        ]
        if not chosen:
            raise _unknown(package, f"no wheel for Python {python.python} on {python.arch}", page.index)
        chosen.sort(key=lambda one: _rank(one, python))
        found = []
        for one in chosen[: MAX_WITNESSED_FILES.value]:
            path = await self._index.fetch(one)
            seen = Seen(one.filename, one.sha256, path.stat().st_size)
            found.append(Origin(seen, path, one.requires_python, one.upload_ms or 0))
        return found

    async def newest(self, package: Purl, target: Mapping[str, str]) -> str:
        page = await self._index.project(package.name)
        python = Target.from_dict(dict(target))
        versions = {
            version
            for one in page.files
            if (version := _version(one, package.name)) is not None and not one.yanked
            if _suits(one, Purl("pypi", "", package.name, str(version)), python)
        }
        if not versions:
            raise _unknown(package, "no wheel for this Python", page.index)
        finals = [one for one in versions if not one.is_prerelease]
        return str(max(finals or versions))


def _version(file: IndexFile, name: str) -> Version | None:
    try:
        project, version, _, _ = parse_wheel_filename(file.filename)
    except (InvalidWheelFilename, InvalidVersion):
        return None
    return version if project == canonicalize_name(name) else None


def _suits(file: IndexFile, package: Purl, target: Target) -> bool:
    version = _version(file, package.name)
    if version is None or version != Version(package.version):
        return False
    return bool(parse_wheel_filename(file.filename)[3] & target.ranks.keys())


def _in_time(file: IndexFile, cutoff_ms: int) -> bool:
    return not cutoff_ms or file.upload_ms is None or file.upload_ms <= cutoff_ms


def _rank(file: IndexFile, target: Target) -> tuple[int, str]:
    ranks = [target.ranks[tag] for tag in parse_wheel_filename(file.filename)[3] if tag in target.ranks]
    return min(ranks), file.filename


class Jars:
    """The jar, pom and sources of a release, from the repositories of Maven's own settings."""

    def __init__(self, settings: MavenSettings, cache: Path) -> None:
        self._settings = settings
        self._cache = cache

    async def files(self, package: Purl, target: Mapping[str, str], cutoff_ms: int) -> list[Origin]:
        artifact = Artifact(package.namespace, package.name, package.version)
        found = []
        async with Remotes(self._settings, self._cache) as remotes:
            for ending in (".jar", ".pom", *OPTIONAL):
                file = await remotes.find(artifact.path(ending))
                if file is not None:
                    found.append(Origin(Seen(artifact.file(ending), file.sha256, file.size), file.path))
        if not found:
            raise _unknown(package, "no jar and no pom", "the Maven repositories of your settings")
        return found

    async def newest(self, package: Purl, target: Mapping[str, str]) -> str:
        raise _exact(package)


class Images:
    """The manifests and blobs of an image for the target's platform."""

    def __init__(self, bases: Sequence[str], cache: Path) -> None:
        self._bases = bases
        self._cache = cache

    async def files(self, package: Purl, target: Mapping[str, str], cutoff_ms: int) -> list[Origin]:
        registries = Registries(self._bases, self._cache)
        repository = f"{package.namespace}/{package.name}" if package.namespace else package.name
        try:
            found = await registries.image(repository, package.version, target["arch"])
        finally:
            await registries.aclose()
        return [Origin(one.seen, one.path) for one in found]

    async def newest(self, package: Purl, target: Mapping[str, str]) -> str:
        raise _exact(package)


def _unknown(package: Purl, what: str, who: str) -> Refusal:
    return Refusal(
        "version-unknown", what=f"{package}: {what}", who=who, do="look at what is published there"
    )


def _exact(package: Purl) -> Refusal:
    return Refusal(
        "version-unknown",
        what=f"{package} is asked for without a version",
        who="your request",
        do="name the version, or the tag or digest of an image",
    )
