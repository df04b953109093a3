"""The pip plug-in: plan, prefetch, build, normalise, compare, containment for Python packages.

The requester's planner and every drawn builder run the same code on their own index: what one plans, the
others derive again and compare. Leaves out: who builds, what is published, and every word to the log.

Archives are opened only inside the sandbox. Here they are names, digests and copies.

Source: docs/builds.md, "Step by step".
"""

import functools
import hashlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import trio
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pyrsia.builds import members
from pyrsia.builds.inside import Inside, Program
from pyrsia.builds.model import (
    Built,
    Inputs,
    LocalSource,
    NamedFile,
    PhaseFailed,
    Planned,
    Progress,
    SourceMapping,
    Want,
    keep,
)
from pyrsia.builds.pip import inspecting, lock, places, refusals, resolve
from pyrsia.builds.pip.bringing import Bringer
from pyrsia.builds.pip.choosing import Chooser
from pyrsia.builds.pip.gather import Gatherer, Source, together
from pyrsia.builds.pip.hooks import AUTHOR, Hooks, Tool
from pyrsia.builds.pip.inspecting import Inspected
from pyrsia.builds.pip.origins import Origin, Origins, checked, claimed_purl, file_of, kind_of
from pyrsia.builds.pip.places import Place
from pyrsia.builds.pip.resolve import Metadata, Release
from pyrsia.builds.pip.toolbox import Toolbox
from pyrsia.builds.recipe import disagreement, pairs, parameters
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal, Unavailable
from pyrsia.units import BUILD_LOG_BYTES, FETCHES_AT_ONCE, PLANS_AT_ONCE

ECOSYSTEM: Final = "pip"
PROGRAM: Final = Program("builds/pip/worker.py", plain=("builds/pip/hook.py",), hostile=frozenset({"hook"}))


class PipPlugin:
    """Builds Python packages: pure ones anywhere, others in environments with a compiler."""

    name: Final = ECOSYSTEM

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._index = shop.index
        self._inside = Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        self._hooks = Hooks(self._inside, Toolbox(self._inside, shop.scratch / "tools"))
        self._bring = Bringer(shop).bring
        self._gather = Gatherer(self._inside, shop.index, self._hooks, self._bring)
        self._choose = Chooser(shop.index, self._gather)
        self._origins = Origins(shop, self._gather)

    # -- plan --

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
        release = await self._origins.release(name, version, pure.target, now_ms)
        where = pure if release is not None and not release.compiled else native or pure
        origin, archive = await self._origins.mapped(mapping, name, version, where.target, now_ms)
        found = await self._metadata(origin, where, now_ms)
        planned = await self._needs(want, found, where, pure, native, now_ms, progress)
        purl = f"pkg:pypi/{name}@{version}"
        mine = await self._planned(origin, where, now_ms, purl, name, version, archive.as_source())
        return (*planned, mine)

    async def _metadata(self, origin: Origin, place: Place, now_ms: int) -> Metadata:
        """What the source's own backend says of it."""
        recipe = await self._recipe(origin, place, now_ms)
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
        for one in chosen:
            if one.compiled_only and native is None:
                raise refusals.needs_compiler(one.name, str(one.version), self._index.indexes[0])
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
        recipe = await self._recipe(origin, place, now_ms)
        tools = await self._tools(origin, place, recipe)
        leaves = ((one.line.file, self._shop.published(one.line.sha256)) for one in tools)
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

    async def _recipe(self, origin: Origin, place: Place, fallback_ms: int) -> dict[str, Any]:
        recipe = await self._gather.recipe(origin.source, place, fallback_ms)
        return recipe | ({"parameters": pairs(origin.parameters)} if origin.parameters else {})

    async def _tools(self, origin: Origin, place: Place, recipe: Mapping[str, Any]) -> list[Tool]:
        return await self._gather.tools(
            origin.source, place, recipe, subdir=origin.subdir, version=origin.version
        )

    # -- relock, prefetch --

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """The lock that this node makes for a request, after deriving its recipe here as well.

        Raises:
            Refusal: `digest-mismatch` when the own index has another source under that name,
                `lock-mismatch` when the recipe is not what the rules give, `no-environment`.
        """
        theirs = request["recipe"]
        place = places.place(await self._shop.environments.get(theirs["environment"]))
        origin = await self._origins.of(request)
        # An index without upload times cannot be asked about the past; then the request's time stands.
        mine = await self._recipe(origin, place, theirs["cutoff_ms"])
        why = disagreement(mine, theirs) or disagreement(place.target.as_dict(), dict(request["target"]))
        if not why and origin.release is not None and not places.fits(place, origin.release):
            why = "it has compiled wheels only, and the environment is a host's own"
        if why:
            raise PhaseFailed(
                "lock-mismatch",
                f"the recipe of {request['purl']} is not what the rules give: {why}",
                who="the request",
                do="ask for the package again from a node with the same environment",
                code="lock-mismatch",
            )
        return lock.encode(one.line for one in await self._tools(origin, place, mine))

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs:
        """Source, tools and upstream's wheels from this node's own index, each by its digest.

        Raises:
            Refusal: `digest-mismatch` naming both digests, `index-unreachable`, `version-unknown`.
        """
        origin = await self._origins.of(request)
        lines = lock.decode(locked)
        fetches = [functools.partial(self._tool, line) for line in lines]
        wheels = await together(fetches, FETCHES_AT_ONCE.value)
        upstream = await self._upstream(origin.release)
        digest = hashlib.sha256(locked).hexdigest()
        tools = tuple((line.file, line.sha256) for line in lines)
        source = NamedFile(origin.source.name, origin.source.path)
        return Inputs(source, tuple(wheels), upstream, digest, tools)

    async def _upstream(self, release: Release | None) -> dict[str, Path]:
        """The index's own wheels of a release that a result may be compared with: pure, and for the target."""
        found = {}
        for file in {one for one in (release.pure, release.wheel) if one} if release else ():
            try:
                found[file.filename] = await self._index.fetch(file)
            except Refusal as refusal:
                if refusal.code != "too-large":  # then nothing is compared; nobody could
                    raise
        return found

    async def _tool(self, line: lock.Locked) -> NamedFile:
        page = await self._index.project(line.name)
        file = file_of(page, line.file)
        if file is None:
            raise refusals.version_unknown(line.name, line.file, page.index)
        if file.sha256 != line.sha256:
            raise refusals.other_digest(line.file, page.index, file.sha256, line.sha256)
        return NamedFile(line.file, await self._bring(file))

    # -- build --

    async def build(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        progress: Progress = lambda _: None,
        vary: bool = False,
    ) -> Built:
        """Build and inspect one wheel in the sandbox. A build that fails is an answer, not an exception.

        Args:
            vary: as another machine might, see `model.Plugin`.

        Raises:
            Unavailable: this machine could not build; nothing should be said about the package.
        """
        folder = await trio.to_thread.run_sync(self._new_folder)
        log = bytearray()
        try:
            progress(f"building {request['purl']} without network")
            name, wheel = await self._build_wheel(request, inputs, folder, log, vary)
            progress(f"inspecting {name}")
            made = NamedFile(name, wheel)
            output = await inspecting.output(
                self._inside, request, made, inputs.source, inputs.upstream, folder, log
            )
        except PhaseFailed as error:
            log += error.log
            return self._failed(folder, error, inputs.lock_sha256, bytes(log), request)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable(f"this machine cannot keep what was built: {error}") from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Built(
            outcome="built",
            phase="",
            lock_sha256=inputs.lock_sha256,
            source=kind_of(request),
            outputs=(output,),
            environment=request["recipe"]["environment"],
            isolation=self._inside.isolation,
            log=keep(folder, "log", bytes(log[: BUILD_LOG_BYTES.value])),
            folder=folder,
            tools=inputs.tools,
        )

    async def _build_wheel(
        self, request: Mapping[str, Any], inputs: Inputs, folder: Path, log: bytearray, vary: bool = False
    ) -> tuple[str, Path]:
        recipe, who = request["recipe"], request["purl"]
        place = places.place(await self._shop.environments.get(recipe["environment"]))
        digests = dict(inputs.tools)
        tools = {name: (digests[name], path) for name, path in inputs.files}
        async with self._hooks.run(
            "build",
            inputs.source,
            tools,
            place,
            recipe["sde"],
            phase="build",
            who=who,
            subdir=checked(parameters(recipe)).get("subdir", ""),
            version="" if kind_of(request) == "registry" else request["coordinates"]["version"],
            vary=vary,
        ) as answer:
            log += answer.log
            if isinstance(took := answer.value.get("ms"), int):
                log += f"pyrsia: the backend took {took} ms\n".encode()
            name = answer.value.get("file")
            why = inspecting.unfit(name, request["coordinates"], place)
            if why:
                raise PhaseFailed("build", why, who=who, do=AUTHOR)
            path = folder / str(name)
            await trio.to_thread.run_sync(inspecting.take, answer.work / "out" / str(name), path, who)
        return str(name), path

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        """The answer of a builder that did not come as far as `build`: refused by `relock` or `prefetch`."""
        if not isinstance(error, PhaseFailed):
            error = PhaseFailed(phase, error.what, who=error.who, do=error.do)
        folder = await trio.to_thread.run_sync(self._new_folder)
        return self._failed(folder, error, lock_sha256, error.log, None)

    def _failed(
        self,
        folder: Path,
        error: PhaseFailed,
        lock_sha256: str,
        log: bytes,
        request: Mapping[str, Any] | None,
    ) -> Built:
        return Built(
            outcome="failed",
            phase=error.phase,
            lock_sha256=lock_sha256,
            source="registry" if request is None else kind_of(request),
            outputs=(),
            environment="" if request is None else request["recipe"]["environment"],
            isolation=self._inside.isolation,
            log=keep(folder, "log", log[: BUILD_LOG_BYTES.value]),
            folder=folder,
            why=error.what,
        )

    # -- normalise, compare, containment --

    async def normalise(
        self, wheel: NamedFile, source: NamedFile, upstream: NamedFile | None, sde: int, into: Path
    ) -> Inspected:
        """See `inspecting.normalise`."""
        return await inspecting.normalise(self._inside, wheel, source, upstream, sde, into)

    @staticmethod
    def compare(first: bytes, second: bytes) -> members.Difference:
        """Name the members in which two results differ, from their published member lists.

        Raises:
            Malformed: one of them is not a member list.
        """
        return members.compare(members.decode(first), members.decode(second))

    async def containment(self, wheel: NamedFile, source: NamedFile, into: Path) -> str:
        """`full`, `partial` or `none`: any node can ask this alone, trusting no builder."""
        found = await self.normalise(wheel, source, None, 0, into)
        return str(found.value["containment"])

    def _new_folder(self) -> Path:
        try:
            self._shop.results.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="built-", dir=self._shop.results))
        except OSError as error:
            raise Unavailable(f"this machine cannot keep what is built: {error}") from error


def _version(pinned: Requirement) -> str:
    """The version of a requirement that pins one."""
    return next(iter(pinned.specifier)).version
