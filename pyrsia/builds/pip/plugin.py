"""The pip plug-in: plan, prefetch, build, normalise, compare, containment for Python packages.

The requester's planner and every drawn builder run the same code on their own index: what one plans, the
others derive again and compare. Leaves out: who builds, what is published, and every word to the log.

Archives are opened only inside the sandbox. Here they are names, digests and copies.

Source: docs/builds-how.md, "Step by step".
"""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds import members
from pyrsia.builds.inside import Inside, Program
from pyrsia.builds.model import (
    Built,
    Inputs,
    NamedFile,
    Output,
    PhaseFailed,
    Planned,
    Progress,
    Want,
)
from pyrsia.builds.pip import inspecting, lock, places, refusals
from pyrsia.builds.pip.bringing import Bringer
from pyrsia.builds.pip.gather import Gatherer, together
from pyrsia.builds.pip.hooks import AUTHOR, Hooks
from pyrsia.builds.pip.inspecting import Inspected
from pyrsia.builds.pip.origins import Origins, checked, file_of, kind_of
from pyrsia.builds.pip.planning import ECOSYSTEM, Planner
from pyrsia.builds.pip.resolve import Release
from pyrsia.builds.pip.toolbox import TOOLS, Toolbox
from pyrsia.builds.recipe import disagreement, parameters
from pyrsia.builds.results import Results
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal
from pyrsia.units import FETCHES_AT_ONCE

PROGRAM: Final = Program("builds/pip/worker.py", plain=("builds/pip/hook.py",), hostile=frozenset({"hook"}))


class PipPlugin:
    """Builds Python packages: pure ones anywhere, others in environments with a compiler."""

    name: Final = ECOSYSTEM

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._index = shop.index
        self._inside = Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        self._results = Results(shop.results, self._inside.isolation)
        self._hooks = Hooks(self._inside, Toolbox(self._inside, shop.scratch / TOOLS))
        self._bring = Bringer(shop).bring
        self._gather = Gatherer(self._inside, shop.index, self._hooks, self._bring)
        self._origins = Origins(shop, self._gather)
        self._planner = Planner(shop, self._gather, self._origins)

    # -- plan --

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The package and its whole run-time closure, dependencies first; see `planning`."""
        return await self._planner.plan(want, now_ms, progress)

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
        mine = await self._origins.recipe(origin, place, theirs["cutoff_ms"])
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
        return lock.encode(one.line for one in await self._origins.tools(origin, place, mine))

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

        async def make(folder: Path, log: bytearray) -> tuple[Output, ...]:
            progress(f"building {request['purl']} without network")
            name, wheel = await self._build_wheel(request, inputs, folder, log, vary)
            progress(f"inspecting {name}")
            made = NamedFile(name, wheel)
            output = await inspecting.output(
                self._inside, request, made, inputs.source, inputs.upstream, folder, log
            )
            return (output,)

        return await self._results.of(request, inputs, kind_of(request), make)

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
        return await self._results.failed(error, lock_sha256, phase, source="registry")

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
