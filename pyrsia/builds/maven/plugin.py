"""The Maven plug-in: plan, prefetch, build, normalise, compare, containment for jars and what stands beside them.

The requester's planner and every drawn builder run the same code on their own remotes: what one plans, the others
derive again and compare. A planning run is the build itself with one way out, so that its record is exactly the files
that the build reads. Leaves out: who builds, what is published, and every word to the log.

Source: docs/builds-maven.md.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds import closures, members
from pyrsia.builds.environments import Environment
from pyrsia.builds.inside import Inside
from pyrsia.builds.maven import lock, results
from pyrsia.builds.maven.origins import Origin, Origins
from pyrsia.builds.maven.recipe import chosen, maven_recipe
from pyrsia.builds.maven.remotes import Remotes
from pyrsia.builds.maven.runs import PROGRAM, Runs, Study
from pyrsia.builds.maven.settings import MavenSettings, load
from pyrsia.builds.model import (
    Built,
    FileOut,
    Inputs,
    NamedFile,
    Output,
    PhaseFailed,
    Planned,
    Progress,
    Want,
)
from pyrsia.builds.recipe import disagreement
from pyrsia.builds.results import Results
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal, Unavailable
from pyrsia.units import FETCHES_AT_ONCE, Limit

ECOSYSTEM: Final = "maven"
_NEEDED: Final = Limit(
    50, "dependencies of one project; most have no source release, which is soon found out"
)


class MavenPlugin:
    """Builds Maven projects.

    Args:
        settings: reads the operator's Maven settings, anew for each plan.
    """

    name: Final = ECOSYSTEM

    def __init__(self, shop: Shop, settings: Callable[[], MavenSettings] = load) -> None:
        self._shop = shop
        self._settings = settings
        self._inside = Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        self._results = Results(shop.results, self._inside.isolation)
        self._runs = Runs(self._inside, shop.scratch)

    # -- plan --

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The request for `want`, after those for what it needs at run time.

        Raises:
            Refusal: `package-unknown`, `version-unknown`, `no-sdist`, `unresolvable`, `index-unreachable`,
                `no-environment`, `inputs-unverified`, `build-failed` with what Maven said.
        """
        async with self._remotes() as (remotes, origins):
            progress(f"looking for the source of {want.name or 'what was given along'}")
            origin = await origins.wanted(want)
            environment = await self._environment(want, origin)
            upstream = await self._upstream(remotes, origin)
            study = await self._runs.study(origin, upstream)
            parameters = self._parameters(origin, study, upstream)
            recipe = self._recipe(study, environment, parameters)
            progress(f"building {study.artifact} once to see what it needs")
            lines = await self._runs.recorded(remotes, origin, study, recipe, environment)
            needs = await self._runs.needs(remotes, study, lines) if want.closure else []
        linked = [(one.path, self._shop.verified(one.sha256)) for one in lines]
        if want.verified_only:
            _all_verified([path for path, leaf in linked if leaf is None])
        planned = Planned(
            purl=study.artifact.purl(want.generic if origin.kind == "claimed" else ""),
            coordinates=study.artifact.coordinates,
            source=origin.source,
            recipe=recipe,
            lock=lock.encode(lines),
            target=_target(environment),
            ecosystem=ECOSYSTEM,
            linked=tuple((path, leaf) for path, leaf in linked if leaf is not None),
        )

        async def plan(one: Want) -> tuple[Planned, ...]:
            return await self.plan(one, now_ms, progress)

        who = f"{study.artifact.group}:{study.artifact.name}", study.artifact.version
        return await closures.with_needs(want, planned, who, needs, _NEEDED, plan, progress)

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """The lock that this node makes for a request, after deriving its recipe here as well.

        Raises:
            Refusal: `digest-mismatch` for another source, `lock-mismatch` for a recipe that the rules do not give,
                `no-environment`.
        """
        theirs = request["recipe"]
        environment = await self._shop.environments.get(theirs["environment"])
        async with self._remotes() as (remotes, origins):
            origin = await origins.of(request)
            upstream = await self._upstream(remotes, origin)
            study = await self._runs.study(origin, upstream)
            parameters = self._parameters(origin, study, upstream)
            mine = self._recipe(study, environment, parameters)
            why = disagreement(mine, theirs) or disagreement(_target(environment), dict(request["target"]))
            if not why and not environment.offers("jdk", "maven"):
                why = "its environment has no JDK or no Maven"
            if why:
                raise PhaseFailed(
                    "lock-mismatch",
                    f"the recipe of {request['purl']} is not what the rules give: {why}",
                    who="the request",
                    do="ask for the package again from a node with the same environment",
                    code="lock-mismatch",
                )
            return lock.encode(await self._runs.recorded(remotes, origin, study, mine, environment))

    # -- prefetch --

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs:
        """Source, repository and upstream's files from this node's own remotes, each by its digest.

        Raises:
            Refusal: `digest-mismatch` naming both digests, `index-unreachable`, `version-unknown`.
        """
        lines = lock.decode(locked)
        async with self._remotes() as (remotes, origins):
            origin = await origins.of(request)
            upstream = await self._upstream(remotes, origin)
            places = trio.CapacityLimiter(FETCHES_AT_ONCE.value)
            found: dict[str, Path] = {}

            async def fetch(line: lock.Locked) -> None:
                async with places:
                    found[line.path] = await self._input(remotes, line)

            await _together(fetch, lines)
        digest = hashlib.sha256(locked).hexdigest()
        files = tuple(NamedFile(line.path, found[line.path]) for line in lines)
        tools = tuple((line.path, line.sha256) for line in lines)
        named = {name: one.path for name, one in upstream.items()}
        return Inputs(NamedFile(origin.source["file"], origin.path), files, named, digest, tools)

    async def _input(self, remotes: Remotes, line: lock.Locked) -> Path:
        """One file of a lock: from peers where the network published these very bytes, else from the remotes."""
        if self._shop.published(line.sha256) is not None:
            try:
                return await self._shop.bring(line.sha256)
            except (Refusal, Unavailable):
                pass  # whoever has it is away; the bytes are the same everywhere
        return await remotes.locked(line)

    # -- build --

    async def build(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        progress: Progress = lambda _: None,
        vary: bool = False,
    ) -> Built:
        """Build and inspect in the sandbox, offline. A build that fails is an answer, not an exception.

        Raises:
            Unavailable: this machine could not build; nothing should be said about the package.
            Refusal: `no-environment`.
        """
        environment = await self._shop.environments.get(request["recipe"]["environment"])

        async def make(folder: Path, log: bytearray) -> tuple[Output, ...]:
            progress(f"building {request['purl']} without network")
            files = await self._runs.built(request, inputs, environment, folder, log, vary=vary)
            progress(f"inspecting {len(files)} files")
            sde = request["recipe"]["sde"]
            return await self._runs.inspected(
                request["purl"], inputs.source, files, inputs.upstream, sde, folder, log
            )

        return await self._results.of(request, inputs, Origins.kind_of(request), make)

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        """The answer of a builder that did not come as far as `build`: refused by `relock` or `prefetch`."""
        return await self._results.failed(error, lock_sha256, phase, source="registry")

    # -- normalise, compare, containment --

    async def normalise(
        self, files: Mapping[str, Path], source: NamedFile, upstream: Mapping[str, Path], sde: int, into: Path
    ) -> tuple[Output, ...]:
        """Inspect files of one build in the sandbox and put their canonical forms and lists into the folder `into`.

        Args:
            files, upstream: by the names that a repository gives.

        Raises:
            PhaseFailed: one may not be published; the text says why.
        """
        who = ", ".join(sorted(files))
        return await self._runs.inspected(who, source, files, upstream, sde, into, bytearray())

    @staticmethod
    def compare(first: bytes, second: bytes) -> members.Difference:
        """Name the members in which two results differ, from their published member lists.

        Raises:
            Malformed: one of them is not a member list.
        """
        return members.compare(members.decode(first), members.decode(second))

    async def containment(self, file: NamedFile, source: NamedFile, into: Path) -> str:
        """`full`, `partial` or `none`: any node can ask this alone, trusting no builder."""
        (found,) = await self.normalise({file.name: file.path}, source, {}, 0, into)
        return found.containment

    # -- what a plan is made of --

    @asynccontextmanager
    async def _remotes(self) -> AsyncIterator[tuple[Remotes, Origins]]:
        async with Remotes(self._settings(), self._shop.cache) as remotes:
            yield remotes, Origins(self._shop, remotes, self._inside)

    async def _environment(self, want: Want, origin: Origin) -> Environment:
        mapped = origin.mapping.recipe.get("environment") if origin.mapping is not None else ""
        named = str(mapped or want.environment)
        if named:
            return await self._shop.environments.get(named)
        return self._shop.environments.chosen(self._shop.admitted(), "jdk", "maven")

    async def _upstream(self, remotes: Remotes, origin: Origin) -> dict[str, FileOut]:
        """The files that the remotes serve under the asked name; none for a source that nobody vouches for."""
        if origin.kind == "claimed" or origin.artifact is None:
            return {}
        found = {}
        for ending in results.ENDINGS:
            file = await remotes.find(origin.artifact.path(ending))
            if file is not None:
                found[origin.artifact.file(ending)] = file
        return found

    def _parameters(self, origin: Origin, study: Study, upstream: Mapping[str, FileOut]) -> Mapping[str, str]:
        published = study.artifact.file("-sources.jar") in upstream
        wanted = published and not study.value["attaches_sources"]
        return chosen(origin.parameters, sources_wanted=wanted)

    @staticmethod
    def _recipe(study: Study, environment: Environment, parameters: Mapping[str, str]) -> dict[str, Any]:
        return maven_recipe(
            environment=environment.id,
            newest_s=int(study.value["newest"]),
            parameters=parameters,
        )


def _target(environment: Environment) -> dict[str, str]:
    return {name: environment.facts.get(name, "") for name in ("arch", "jdk", "libc", "os")}


def _all_verified(missing: list[str]) -> None:
    if missing:
        raise Refusal(
            "inputs-unverified",
            what=f"{len(missing)} inputs are not published by the network: {', '.join(missing[:5])}",
            who="`--only-verified-inputs`",
            do="ask for them first, or leave that option out",
        )


async def _together(work: Callable[[lock.Locked], Any], lines: tuple[lock.Locked, ...]) -> None:
    """`work` for each line at once; the first refusal ends the others and comes out alone."""
    refused: list[Refusal] = []

    async def one(line: lock.Locked) -> None:
        try:
            await work(line)
        except Refusal as refusal:
            refused.append(refusal)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for line in lines:
            nursery.start_soon(one, line)
    if refused:
        raise refused[0]
