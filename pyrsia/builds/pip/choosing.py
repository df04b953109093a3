"""Which releases a request leads to: the package that was asked for and its run-time closure.

Source: docs/builds-pip.md, "Where the source comes from"; docs/builds-how.md, "What is refused, and how it is told".
"""

from collections.abc import Sequence

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from pyrsia.builds.model import Progress
from pyrsia.builds.pip import refusals, resolve
from pyrsia.builds.pip.gather import Gatherer
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.places import Place
from pyrsia.builds.pip.resolve import Facts, Release
from pyrsia.errors import Refusal


class Chooser:
    """Chooses releases on this node's own indexes."""

    def __init__(self, index: IndexClient, gather: Gatherer) -> None:
        self._index = index
        self._gather = gather

    def version(self, name: str, version: str) -> str:
        """`version` in its normal form.

        Raises:
            Refusal: `version-unknown`, it is none.
        """
        try:
            return str(Version(version))
        except InvalidVersion:
            raise refusals.version_unknown(name, version, self._index.indexes[0]) from None

    async def requirement(self, name: str, version: str | None, place: Place, now_ms: int) -> Requirement:
        """The requirement for a package itself, after finding out that it has a source at all.

        Args:
            version: exact, or None for the newest final one.

        Raises:
            Refusal: `package-unknown`, `version-unknown`, `no-sdist`.
        """
        page = await self._index.project(name, now_ms)
        found = resolve.releases(page, place.target, now_ms)
        if version is None:
            finals = [one for one in found if not one.version.is_prerelease and not one.yanked]
            wanted = next(iter(finals or found), None)
        else:
            try:
                exact = Version(version)
            except InvalidVersion:
                raise refusals.version_unknown(page.name, version, page.index) from None
            wanted = next((one for one in found if one.version == exact), None)
        if wanted is None:
            raise refusals.version_unknown(page.name, version or "any version for this Python", page.index)
        if wanted.sdist is None:
            raise refusals.no_sdist([(wanted.name, str(wanted.version))], page.index)
        return Requirement(f"{page.name}=={wanted.version}")

    async def closure(
        self, wanted: Sequence[Requirement], place: Place, now_ms: int, progress: Progress
    ) -> tuple[Release, ...]:
        """What `wanted` leads to at run time in `place`, dependencies first, each with a source archive.

        Raises:
            Refusal: `unresolvable`, `no-sdist` with the names of those that have none, and what the index says.
        """
        facts = Facts()
        try:
            chosen = await self._gather.solve(wanted, facts, place, now_ms, "source")
        except Refusal as refusal:
            if refusal.code != "unresolvable":
                raise
            # Would it stand if packages without source were allowed? Then name those.
            anyhow = await self._gather.solve(wanted, facts, place, now_ms, "any")
            bare = [one for one in anyhow if one.sdist is None]
            if not bare:
                raise
            names = [(one.name, str(one.version)) for one in bare]
            every = [(one.name, str(one.version)) for one in anyhow]
            raise refusals.no_sdist(names, facts.projects[bare[0].name].index, every) from refusal
        for release in chosen:
            newest = resolve.releases(facts.projects[release.name], place.target, now_ms)[0]
            if newest.sdist is None and newest.version > release.version:
                progress(
                    f"{release.name} {newest.version} has no source archive; {release.version} is built instead"
                )
        return chosen
