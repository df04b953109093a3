"""Where the source of a request comes from: this node's own index, the mapped repository, or its author.

Each builder gets the source itself; what the request says of it is only compared. A source that was given along is
`claimed`: nobody vouches for it, so its result stands under its author's own name alone.

Source: docs/builds-pip.md, "Where the source comes from"; docs/ledger.md, "A request".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from packaging.utils import canonicalize_name
from packaging.version import Version

from pyrsia.builds import recipe as recipes
from pyrsia.builds.model import SourceMapping
from pyrsia.builds.pip import refusals, resolve
from pyrsia.builds.pip.gather import Gatherer, Source
from pyrsia.builds.pip.hooks import Tool
from pyrsia.builds.pip.places import Place
from pyrsia.builds.pip.resolve import Release
from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.builds.pip.target import Target
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources import git
from pyrsia.errors import Malformed, Refusal
from pyrsia.wire import purl as purls

Kind = Literal["claimed", "mapping", "registry"]
SUBDIR: Final = "subdir"


@dataclass(frozen=True, slots=True)
class Origin:
    """A source, and who vouches for it.

    Attributes:
        release: what this node's own index has under the name; None where nothing.
        parameters: of the recipe: `subdir`, the folder of the source that is built.
        version: that the package has, for tools that would ask a repository's history for it; "" for a source of a
            registry, which says so itself.
    """

    kind: Kind
    source: Source
    release: Release | None
    parameters: Mapping[str, str]
    version: str = ""

    @property
    def subdir(self) -> str:
        return self.parameters.get(SUBDIR, "")


def kind_of(request: Mapping[str, Any]) -> Kind:
    """How a request's body says that its source is to be had."""
    if "git" in request["source"]:
        return "mapping"
    return "claimed" if "manifest" in request["source"] else "registry"


class Origins:
    """Brings sources, for the requests of others and for our own."""

    def __init__(self, shop: Shop, gather: Gatherer) -> None:
        self._shop = shop
        self._gather = gather

    async def of(self, request: Mapping[str, Any]) -> Origin:
        """The source of a request, as this node gets it.

        Raises:
            Refusal: `version-unknown`, `digest-mismatch` with both digests, `lock-mismatch` for parameters that are
                none.
        """
        kind, named = kind_of(request), request["source"]
        if kind == "registry":
            return await self._of_index(request)
        parameters = checked(recipes.parameters(request["recipe"]))
        version = request["coordinates"]["version"]
        if kind == "claimed":
            path = await self._shop.claimed(request)
            return Origin(kind, Source(named["file"], named["sha256"], path), None, parameters, version)
        mapping = self._shop.mapping(f"pkg:pypi/{request['coordinates']['name']}")
        if mapping is None:
            raise Refusal(
                "lock-mismatch",
                what=f"no mapping says where the source of {request['purl']} is",
                who="the request",
                do="have the package mapped first (`pyrsia package map`)",
            )
        target = Target.from_dict(request["target"])
        origin, found = await self.mapped(mapping, request["coordinates"]["name"], version, target, None)
        git.same(named, found)
        return origin

    async def mapped(
        self, mapping: SourceMapping, name: str, version: str, target: Target, now_ms: int | None
    ) -> tuple[Origin, git.GitArchive]:
        """The source that a mapping gives for a version, and what the index has under the same name.

        Raises:
            Refusal: `version-unknown` for no such tag, `source-unreachable`.
        """
        found = await self._shop.git.mapped(mapping, name=name.replace("-", "_"), version=version)
        release = await self.release(name, version, target, now_ms)
        source = Source(
            found.file.name,
            found.sha256,
            found.file.path,
            release.uploaded_ms if release else None,
            release.reference if release else None,
            (canonicalize_name(name), Version(version)),
        )
        parameters = checked(recipes.parameters(mapping.recipe))
        return Origin("mapping", source, release, parameters, version), found

    async def _of_index(self, request: Mapping[str, Any]) -> Origin:
        named, name = request["source"], request["coordinates"]["name"]
        # As it is now: a wheel that came since, and tells how upstream built, is one that the requester has seen.
        page = await self._shop.index.project(name, None)
        sdist = file_of(page, named["file"])
        if sdist is None:
            raise refusals.version_unknown(page.name, named["file"], page.index)
        if sdist.sha256 != named["sha256"]:
            raise refusals.other_digest(sdist.filename, page.index, sdist.sha256, named["sha256"])
        found = resolve.releases(page, Target.from_dict(request["target"]), None)
        wanted = request["coordinates"]["version"]
        release = next((one for one in found if str(one.version) == wanted and one.sdist == sdist), None)
        if release is None:
            raise refusals.version_unknown(page.name, wanted, page.index)
        return await self.registered(release)

    async def registered(self, release: Release) -> Origin:
        """The source archive of a release of the index."""
        return Origin("registry", await self._gather.source(release), release, {})

    async def release(self, name: str, version: str, target: Target, now_ms: int | None) -> Release | None:
        """What the index has of one version for one target, if anything.

        Args:
            now_ms: of the plan, whose closure was chosen from pages as young as that; None: the page is read anew.
        """
        try:
            page = await self._shop.index.project(name, now_ms)
        except Refusal as refusal:
            if refusal.code != "package-unknown":
                raise
            return None
        found = resolve.releases(page, target, now_ms)
        return next((one for one in found if one.version == Version(version)), None)

    async def recipe(self, origin: Origin, place: Place, claimed_ms: int) -> dict[str, Any]:
        """The recipe as the rules give it.

        Where an index tells no upload time the past cannot be asked about, and nothing is left out; a commit has its
        own time. Neither is the requester's to choose, only what it builds under its own name.

        Args:
            claimed_ms: the cut-off for a source that was given along: the time of asking, or what the request says.
        """
        fallback = {"claimed": claimed_ms, "mapping": None}.get(origin.kind, 0)
        recipe = await self._gather.recipe(origin.source, place, fallback)
        return recipe | ({"parameters": recipes.pairs(origin.parameters)} if origin.parameters else {})

    async def tools(self, origin: Origin, place: Place, recipe: Mapping[str, Any]) -> list[Tool]:
        return await self._gather.tools(
            origin.source, place, recipe, subdir=origin.subdir, version=origin.version
        )


def file_of(page: Project, filename: str) -> IndexFile | None:
    return next((one for one in page.files if one.filename == filename), None)


def checked(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters that a pip recipe may have.

    Raises:
        Refusal: `lock-mismatch`, one is not known or leads out of the source.
    """
    subdir = parameters.get(SUBDIR, "")
    parts = subdir.split("/")
    plain = all(part not in ("", ".", "..") and part.isascii() and part.isprintable() for part in parts)
    if set(parameters) - {SUBDIR} or (subdir and (not plain or "\\" in subdir)):
        raise Refusal(
            "lock-mismatch",
            what="a pip recipe has one parameter, `subdir`: a plain folder below the source",
            who="the request or the package's mapping",
            do="correct the parameters",
        )
    return {SUBDIR: subdir} if subdir else {}


def claimed_purl(owner: str, name: str, version: str) -> str:
    """`pkg:generic/<owner>/pypi/<name>@<version>`.

    Raises:
        Refusal: `bad-request`, they make no purl.
    """
    package = purls.Purl("pypi", "", purls.pypi_name(name), version)
    try:
        return str(purls.parse(str(purls.under(owner, package))))
    except Malformed as error:
        raise Refusal(
            "bad-request",
            what=f"{name[:80]!r} {version[:40]!r} cannot be published: {error}",
            who="the source's own metadata",
            do="correct name and version in the source",
        ) from error
