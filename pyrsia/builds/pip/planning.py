"""Planning: which requests a want becomes, each with its source, recipe and lock, dependencies first.

Source: docs/builds-how.md, "Step by step"; docs/builds-pip.md, "The recipe".
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import trio
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pyrsia.builds.model import LocalSource, Planned, Progress, SourceMapping, Want
from pyrsia.builds.pip import lock, places, refusals, resolve
from pyrsia.builds.pip.choosing import Chooser
from pyrsia.builds.pip.gather import Gatherer, Source, together
from pyrsia.builds.pip.origins import Origin, Origins, checked, claimed_purl
from pyrsia.builds.pip.places import Place
from pyrsia.builds.pip.resolve import Metadata, Release
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources.git import GitArchive
from pyrsia.units import PLANS_AT_ONCE

ECOSYSTEM: Final = "pip"


class Planner:
    """Plans with this node's own indexes, environments and repositories."""

    def __init__(self, shop: Shop, gather: Gatherer, origins: Origins) -> None:
        self._shop = shop
        self._index = shop.index
        self._gather = gather
        self._origins = origins
        self._choose = Chooser(shop.index, gather)

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The package and its whole run-time closure, dependencies first.

        Args:
            now_ms: nothing uploaded later is seen.

        Raises:
            Refusal: `package-unknown`, `version-unknown`, `no-sdist`, `unresolvable`, `index-unreachable`,
                `no-environment`, `build-failed` when a package cannot be built here.
        """
        pure, native = await self._places(want)
        if want.source is not None:
            return await self._plan_given(want, want.source, pure, native, now_ms, progress)
        mapping = want.mapping or self._shop.mapping(f"pkg:pypi/{canonicalize_name(want.name)}")
        if mapping is not None:
            return await self._plan_mapped(want, mapping, pure, native, now_ms, progress)
        progress(f"looking for {want.name} on {self._index.indexes[0]}")
        wanted = await self._choose.requirement(want.name, want.version, pure, now_ms)
        if want.closure:
            chosen = await self._closure([wanted], pure, native, now_ms, progress)
        else:
            alone = await self._origins.release(wanted.name, _version(wanted), pure.target, now_ms)
            chosen = self._buildable(() if alone is None else (alone,), native)
        return await self._plan_all(chosen, pure, native, now_ms, progress)

    async def _plan_given(
        self,
        want: Want,
        given: LocalSource,
        pure: Place,
        native: Place | None,
        now_ms: int,
        progress: Progress,
    ) -> tuple[Planned, ...]:
        """A source that was given along, and what it needs at run time from the index."""
        where = native or pure  # what comes out of it nobody knows yet
        parameters = checked(want.parameters)
        progress(f"asking {given.file} for its name and requirements")
        source = Source(given.file, given.sha256, given.path)
        origin = Origin("claimed", source, None, parameters, want.version or "")
        found = await self._metadata(origin, where, now_ms)
        version = str(Version(found.version))
        if want.name and canonicalize_name(want.name) != found.name:
            raise refusals.another_package(given.file, found.name, want.name)
        if want.version and Version(want.version) != Version(version):
            raise refusals.another_package(given.file, f"{found.name} {version}", want.version)
        planned = await self._needs(want, found, where, pure, native, now_ms, progress)
        origin = replace(origin, version=version)
        body: dict[str, Any] = {"file": given.file, "sha256": given.sha256, "size": given.size}
        body |= {"manifest": given.manifest} if given.manifest else {}  # else the node adds it
        purl = claimed_purl(want.generic, found.name, version)
        mine = await self._planned(origin, where, now_ms, purl, found.name, version, body)
        return (*planned, mine)

    async def _plan_mapped(
        self,
        want: Want,
        mapping: SourceMapping,
        pure: Place,
        native: Place | None,
        now_ms: int,
        progress: Progress,
    ) -> tuple[Planned, ...]:
        """A source out of the repository that an enacted mapping names, and what it needs at run time."""
        name = canonicalize_name(want.name)
        version = want.version
        if version is None:  # the index knows which is the newest; a repository does not
            wanted = await self._choose.requirement(want.name, None, pure, now_ms)
            version = _version(wanted)
        version = self._choose.version(name, version)
        progress(f"fetching {name} {version} from the repository that its mapping names")
        where, origin, archive = await self._of_mapping(mapping, name, version, pure, native, now_ms)
        found = await self._metadata(origin, where, now_ms)
        planned = await self._needs(want, found, where, pure, native, now_ms, progress)
        purl = f"pkg:pypi/{name}@{version}"
        mine = await self._planned(origin, where, now_ms, purl, name, version, archive.as_source())
        return (*planned, mine)

    async def _of_mapping(
        self,
        mapping: SourceMapping,
        name: str,
        version: str,
        pure: Place,
        native: Place | None,
        now_ms: int,
    ) -> tuple[Place, Origin, GitArchive]:
        release = await self._origins.release(name, version, pure.target, now_ms)
        where = pure if release is not None and not release.compiled else native or pure
        origin, archive = await self._origins.mapped(mapping, name, version, where.target, now_ms)
        return where, origin, archive

    async def _mapped_need(self, mapping: SourceMapping, name: str, version: str, now_ms: int) -> Planned:
        """One package of a closure out of its mapping's repository: the log takes no other source for it."""
        pure, native = await self._places(Want(name, version))
        where, origin, archive = await self._of_mapping(mapping, name, version, pure, native, now_ms)
        purl = f"pkg:pypi/{name}@{version}"
        return await self._planned(origin, where, now_ms, purl, name, version, archive.as_source())

    async def _metadata(self, origin: Origin, place: Place, now_ms: int) -> Metadata:
        """What the source's own backend says of it."""
        recipe = await self._origins.recipe(origin, place, now_ms)
        return await self._gather.metadata(
            origin.source, place, recipe, origin.source.name, subdir=origin.subdir, version=origin.version
        )

    async def _needs(
        self,
        want: Want,
        found: Metadata,
        where: Place,
        pure: Place,
        native: Place | None,
        now_ms: int,
        progress: Progress,
    ) -> tuple[Planned, ...]:
        """Requests for what a source needs at run time."""
        wanted = resolve.wanted_by(found, (), where.target)
        if not wanted or not want.closure:
            return ()
        chosen = await self._closure(wanted, pure, native, now_ms, progress)
        return await self._plan_all(chosen, pure, native, now_ms, progress)

    async def _closure(
        self,
        wanted: Sequence[Requirement],
        pure: Place,
        native: Place | None,
        now_ms: int,
        progress: Progress,
    ) -> tuple[Release, ...]:
        """The closure on the Python that its compiled packages will be for; without any, on the plain one."""
        chosen = await self._choose.closure(wanted, pure, now_ms, progress)
        if native is not None and native.target != pure.target and any(one.compiled for one in chosen):
            chosen = await self._choose.closure(wanted, native, now_ms, progress)
        return self._buildable(chosen, native)

    def _buildable(self, chosen: tuple[Release, ...], native: Place | None) -> tuple[Release, ...]:
        """
        Raises:
            Refusal: `build-failed`, one needs a compiler, and there is none.
        """
        if native is None and any(one.compiled_only for one in chosen):
            compiled = [(one.name, str(one.version)) for one in chosen if one.compiled_only]
            every = [(one.name, str(one.version)) for one in chosen]
            raise refusals.needs_compiler(compiled, self._index.indexes[0], every)
        return chosen

    async def _plan_all(
        self,
        chosen: Sequence[Release],
        pure: Place,
        native: Place | None,
        now_ms: int,
        progress: Progress,
    ) -> tuple[Planned, ...]:
        async def one(release: Release) -> Planned:
            progress(f"planning {release.name} {release.version}")
            place = native if native is not None and release.compiled else pure
            version = str(release.version)
            mapping = self._shop.mapping(f"pkg:pypi/{release.name}")
            if mapping is not None:
                return await self._mapped_need(mapping, release.name, version, now_ms)
            # The closure may have been chosen for the other Python; what is built is what this one may see.
            suited = await self._origins.release(release.name, version, place.target, now_ms)
            if suited is None or suited.sdist is None:
                place, suited = native or pure, release
            origin = await self._origins.registered(suited)
            size = (await trio.Path(origin.source.path).stat()).st_size
            body = {"file": origin.source.name, "sha256": origin.source.sha256, "size": size}
            purl = f"pkg:pypi/{release.name}@{version}"
            return await self._planned(origin, place, now_ms, purl, release.name, version, body)

        jobs = [functools.partial(one, release) for release in chosen]
        return tuple(await together(jobs, PLANS_AT_ONCE.value))

    async def _planned(
        self,
        origin: Origin,
        place: Place,
        now_ms: int,
        purl: str,
        name: str,
        version: str,
        source: dict[str, Any],
    ) -> Planned:
        recipe = await self._origins.recipe(origin, place, now_ms)
        tools = await self._origins.tools(origin, place, recipe)
        leaves = ((one.line.file, self._shop.verified(one.line.sha256)) for one in tools)
        return Planned(
            purl=purl,
            coordinates={"name": name, "version": version},
            source=source,
            recipe=recipe,
            lock=lock.encode(one.line for one in tools),
            target=place.target.as_dict(),
            ecosystem=ECOSYSTEM,
            linked=tuple((file, leaf) for file, leaf in leaves if leaf is not None),
        )

    async def _places(self, want: Want) -> tuple[Place, Place | None]:
        """(for pure packages, for others) as the mapping or the rules say."""
        mapping = want.mapping or self._shop.mapping(f"pkg:pypi/{canonicalize_name(want.name)}")
        mapped = mapping.recipe.get("environment", "") if mapping and want.source is None else ""
        named = str(mapped or want.environment)
        if named:
            only = places.place(await self._shop.environments.get(named))
            return only, only if only.native else None
        admitted = self._shop.admitted()
        environments = self._shop.environments
        return places.pure(environments, admitted), places.compiling(environments, admitted)


def _version(pinned: Requirement) -> str:
    """The version of a requirement that pins one."""
    return next(iter(pinned.specifier)).version
