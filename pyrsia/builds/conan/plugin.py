"""The conan plug-in: plan, relock, prefetch and build of one recipe, with a package for each build type.

A recipe comes as an archive that somebody gave along, or from the operator's own Conan remotes by its revision. The
requester's planner and every drawn builder run the same planning; what one locks, the others derive again.

Recipes run and archives open only inside the sandbox. Here they are names, digests and copies.

Source: docs/builds-conan.md; docs/adr/0045-conan-by-content.md.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds import closures
from pyrsia.builds.conan import lock, names, pack, profile, results
from pyrsia.builds.conan.lock import Locked
from pyrsia.builds.conan.names import Ref
from pyrsia.builds.conan.origins import Origin, Origins, kind_of, purl, ref_of
from pyrsia.builds.conan.planning import AUTHOR, Bench, Found, Planner, Task, inner, job_of, rrev_of
from pyrsia.builds.conan.remotes import Remotes, load
from pyrsia.builds.environments import Environment
from pyrsia.builds.inside import Inside, Program
from pyrsia.builds.model import (
    Built,
    Inputs,
    LocalSource,
    NamedFile,
    Output,
    PhaseFailed,
    Planned,
    Progress,
    Want,
    file_out,
)
from pyrsia.builds.recipe import cutoff_of, disagreement, epoch
from pyrsia.builds.results import Results
from pyrsia.builds.shop import Shop
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import (
    Limit,
)

ECOSYSTEM: Final = "conan"
BACKEND: Final = "conan@1"
TOOLS: Final = ("conan", "cmake", "compiler")
PROGRAM: Final = Program(
    "builds/conan/worker.py",
    modules=(
        "builds/conan/desk.py",
        "builds/conan/names.py",
        "builds/conan/pack.py",
        "builds/conan/rest.py",
    ),
    plain=("builds/conan/command.py",),
    hostile=frozenset({"plan", "build"}),
)
LEFT: Final = "left.tar"
_REQUIRED: Final = Limit(
    50, "recipes requested along with one: at five seconds each they fill the time of a plan"
)
_REMEMBERED: Final = Limit(16, "plannings between relock and prefetch of builds that run at once")


class ConanPlugin:
    """Builds Conan packages.

    Args:
        remotes: of the operator; read from Conan's home, anew for each planning, where not given.
        bench: what runs see besides their environment.
    """

    name: Final = ECOSYSTEM

    def __init__(self, shop: Shop, remotes: Remotes | None = None, bench: Bench | None = None) -> None:
        self._shop = shop
        self._inside = Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        self._results = Results(shop.results, self._inside.isolation)
        self._remotes = remotes
        self._bench = bench or Bench()
        self._origins = Origins(shop)
        self._plans: dict[str, tuple[Origin, Found]] = {}

    # -- plan --

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The request for one recipe, after those for what it requires: the same files are locked with either.

        Raises:
            Refusal: `bad-request`, `package-unknown`, `no-environment`, `no-sandbox`, `build-failed`.
        """
        mine, ref, lines = await self._one(want, progress)
        if not want.closure:
            return (mine,)

        async def plan(one: Want) -> tuple[Planned]:
            return ((await self._one(one, progress))[0],)

        who, needs = _asked(ref), sorted(_recipes(lines))
        found = await closures.with_needs(want, mine, who, needs, _REQUIRED, plan, progress)
        # What another requires has fewer requirements itself: all of its own are the other's as well.
        return tuple(
            sorted(found, key=lambda one: (one is mine, len(_recipes(lock.decode(one.lock))), one.purl))
        )

    async def _one(self, want: Want, progress: Progress) -> tuple[Planned, Ref, tuple[Locked, ...]]:
        """One recipe's request, its reference, and the lines of its lock."""
        self._must_be_contained()
        origin = await self._origins.wanted(want)
        environment = await self._environment(origin.environment)
        named = str(origin.ref) if want.name else "the recipe that was given along"
        progress(f"planning {named} in the sandbox")
        found = await self._found(origin, environment)
        source = origin.source or _source(found.source)
        linked = ((line.file, self._shop.verified(line.sha256)) for line in found.lines)
        planned = Planned(
            purl=str(purl(found.ref)),
            coordinates=_coordinates(found.ref),
            source=source,
            recipe=_recipe(environment, found, origin.parameters),
            lock=lock.encode(found.lines),
            target=_target(environment),
            ecosystem=ECOSYSTEM,
            linked=tuple((file, leaf) for file, leaf in linked if leaf is not None),
        )
        return planned, found.ref, found.lines

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """The lock that this node makes for a request, after deriving its recipe here as well.

        Raises:
            Refusal: `digest-mismatch` when the own remote has another recipe under that revision,
                `lock-mismatch` when the recipe is not what the rules give.
        """
        self._must_be_contained()
        environment = await self._shop.environments.get(request["recipe"]["environment"])
        origin, found = await self._again(request, environment)
        theirs = request["recipe"]
        mine = _recipe(environment, found, origin.parameters)
        why = disagreement(mine, theirs) or disagreement(_target(environment), dict(request["target"]))
        if not why and not environment.offers(*TOOLS):
            why = "its environment lacks Conan, cmake or a compiler"
        if why:
            raise PhaseFailed(
                "lock-mismatch",
                f"the recipe of {request['purl']} is not what the rules give: {why}",
                who="the request",
                do="ask for the package again from a node with the same environment",
                code="lock-mismatch",
            )
        return lock.encode(found.lines)

    # -- prefetch --

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs:
        """The recipe and every file of the lock, each by its digest, as this node's own planning fetched them.

        Raises:
            Refusal: `digest-mismatch`, or the planning's where it has to run again.
        """
        environment = await self._shop.environments.get(request["recipe"]["environment"])
        _, found = await self._again(request, environment)
        lines = lock.decode(locked)
        files = []
        for line in lines:
            path = found.files.get(line.sha256)
            if path is None or not path.is_file():
                raise Refusal(
                    "digest-mismatch",
                    what=f"{line.title}/{line.version} {line.file} is not what the lock says here",
                    who="the Conan remotes of this node, or the request",
                    do="compare the remotes of both nodes",
                )
            files.append(NamedFile(_line_name(line), path))
        digest = hashlib.sha256(locked).hexdigest()
        source = NamedFile(found.source.file, found.source.path)
        tools = tuple((_line_name(line), line.sha256) for line in lines)
        return Inputs(source, tuple(files), found.upstream, digest, tools)

    # -- build --

    async def build(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        progress: Progress = lambda _: None,
        vary: bool = False,
    ) -> Built:
        """Build and inspect the packages in the sandbox. A build that fails is an answer, not an exception.

        Raises:
            Refusal: `no-environment`. Unavailable: this machine could not build.
        """
        environment = await self._shop.environments.get(request["recipe"]["environment"])

        async def make(folder: Path, log: bytearray) -> tuple[Output, ...]:
            progress(f"building {request['purl']} without network")
            answer = await self._conan(request, inputs, environment, folder, log, vary)
            progress(f"inspecting {request['purl']}")
            return await self._outputs(request, inputs, answer, folder, log)

        return await self._results.of(request, inputs, kind_of(request), make)

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        """The answer of a builder that did not come as far as `build`."""
        return await self._results.failed(error, lock_sha256, phase, source="registry")

    # -- planning --

    async def _found(self, origin: Origin, environment: Environment) -> Found:
        try:
            profiles = profile.profiles(environment.facts, origin.parameters)
        except Malformed as error:
            raise Refusal(
                "no-environment",
                what=str(error),
                who="the build environment",
                do="choose one with a C compiler",
            ) from error
        remotes = self._remotes
        if remotes is None:
            remotes = await trio.to_thread.run_sync(load)
        planner = Planner(self._inside, remotes, self._shop.cache, self._bench)
        subdir = origin.parameters.get(profile.SUBDIR, "")
        return await planner.run(Task(origin.ref, origin.rrev, origin.folder, subdir, profiles, environment))

    async def _again(self, request: Mapping[str, Any], environment: Environment) -> tuple[Origin, Found]:
        """This node's own planning of a request, run once between relock and prefetch.

        Raises:
            Refusal: `digest-mismatch` where the own recipe is another one.
        """
        key = f"{request['purl']} {request['source']['sha256']} {request['recipe']}"
        known = self._plans.get(key)
        if known is not None and all(
            path.is_file() for path in (*known[1].files.values(), known[1].source.path)
        ):
            return known
        origin = await self._origins.of(request)
        found = await self._found(origin, environment)
        source = request["source"]
        if found.source.sha256 != source["sha256"]:
            raise Refusal(
                "digest-mismatch",
                what=f"{source['file']} has the SHA-256 {found.source.sha256} here, {source['sha256']} in the request",
                who="the Conan remotes of this node, or the request",
                do="do not use this recipe; compare the remotes of both nodes",
            )
        while len(self._plans) >= _REMEMBERED.value:
            del self._plans[next(iter(self._plans))]
        self._plans[key] = origin, found
        return origin, found

    async def _environment(self, chosen: str) -> Environment:
        if chosen:
            return await self._shop.environments.get(chosen)
        return self._shop.environments.chosen(self._shop.admitted(), *TOOLS)

    def _must_be_contained(self) -> None:
        if self._inside.isolation != "namespace":
            raise Refusal(
                "no-sandbox",
                what="a recipe is planned and built in a sandbox of namespaces only, and this machine has a weaker one",
                who="this machine",
                do="see `pyrsia doctor` for the one command that helps",
            )

    # -- building --

    async def _conan(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        environment: Environment,
        folder: Path,
        log: bytearray,
        vary: bool,
    ) -> dict[str, Any]:
        recipe, who, ref = request["recipe"], request["purl"], ref_of(request)
        parameters = dict(recipe["parameters"])
        profiles = profile.profiles(environment.facts, parameters)
        folder_of = None
        if kind_of(request) != "registry":
            folder_of = LocalSource(inputs.source.name, inputs.source.path, "", 0)
        rrev = "" if folder_of else rrev_of(inputs.source.name)
        task = Task(ref, rrev, folder_of, parameters.get(profile.SUBDIR, ""), profiles, environment)
        digests = dict(inputs.tools)
        rows = [(*name.split(" "), sha256) for name, sha256 in inputs.tools]
        job = job_of(task, recipe["sde"], self._bench, vary=vary) | {
            "operation": "build",
            "source": inner(inputs.source.name),
            "locked": rows,
        }
        files = {inner(inputs.source.name): inputs.source.path}
        files |= {digests[one.name]: one.path for one in inputs.files}
        async with self._inside.run(
            job,
            files,
            phase="build",
            who=who,
            epoch=recipe["sde"],
            environment=environment,
            mounts=self._bench.mounts,
        ) as answer:
            log += answer.log
            if "failed" in answer.value:
                raise PhaseFailed("build", "Conan ended with an error", who=who, do=AUTHOR)
            await trio.to_thread.run_sync(results.take, answer.work / LEFT, folder / LEFT, who)
            return answer.value

    async def _outputs(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        built: Mapping[str, Any],
        folder: Path,
        log: bytearray,
    ) -> tuple[Output, ...]:
        who = request["purl"]
        packages = results.package_ids(built, who)
        theirs, files = {}, {LEFT: folder / LEFT, inner(inputs.source.name): inputs.source.path}
        for number, (key, path) in enumerate(sorted(inputs.upstream.items())):
            found = await trio.to_thread.run_sync(file_out, path)
            files[f"theirs-{number}"] = path
            theirs[key] = {"file": f"theirs-{number}", "sha256": found.sha256}
        archives = []
        downloaded = [one for one in inputs.files if one.name.rpartition(" ")[2].startswith(lock.SOURCE)]
        for number, one in enumerate(downloaded):
            kind = await trio.to_thread.run_sync(_kind, one.path)
            archives.append(f"archive-{number}{kind}")
            files[archives[-1]] = one.path
        job = {
            "operation": "inspect",
            "source": inner(inputs.source.name),
            "recipe": kind_of(request) == "registry",
            "archives": archives,
            "rrev": rrev_of(inputs.source.name) if kind_of(request) == "registry" else "",
            "packages": packages,
            "theirs": theirs,
            "epoch": request["recipe"]["sde"],
        }
        async with self._inside.run(job, files, phase="normalise", who=who) as answer:
            log += answer.log
            outputs = await trio.to_thread.run_sync(results.collect, answer, folder, inputs.upstream, who)
        (folder / LEFT).unlink()
        return outputs


def _recipes(lines: Iterable[Locked]) -> set[tuple[str, str]]:
    """(name, version) of every other package whose recipe a lock has."""
    found = [one for one in lines if one.file.endswith(f"~{names.CONANFILE}")]
    return {_asked(names.titled(one.title, one.version)) for one in found}


def _asked(ref: Ref) -> tuple[str, str]:
    """(name, version) with which a reference is asked for; the name is as a purl has it."""
    return f"{ref.namespace}/{ref.name}".lstrip("/"), ref.version


def _source(archive: LocalSource) -> dict[str, Any]:
    return {"file": archive.file, "sha256": archive.sha256, "size": archive.size}


def _coordinates(ref: Ref) -> dict[str, str]:
    found = {"name": ref.name, "version": ref.version}
    return found | ({"namespace": ref.namespace} if ref.namespace else {})


def _recipe(environment: Environment, found: Found, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Everything that shapes the output besides its inputs."""
    return {
        "backend": BACKEND,
        "cutoff_ms": cutoff_of(found.newest),
        "environment": environment.id,
        "isolation": "namespace",
        "normaliser": pack.NORMALISER,
        "parameters": [[name, value] for name, value in sorted(parameters.items())],
        "sde": epoch(found.newest, 0),
        "v": 1,
    }


def _target(environment: Environment) -> dict[str, str]:
    facts = environment.facts
    return {
        "arch": facts["arch"],
        "compiler": profile.compiler(facts),
        "libc": facts["libc"],
        "os": facts["os"],
    }


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        return ".zip" if file.read(4) == b"PK\3\4" else ".tar"


def _line_name(line: Locked) -> str:
    """A line of the lock without its digest: `title version file`."""
    return f"{line.title} {line.version} {line.file}"
