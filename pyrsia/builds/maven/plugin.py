"""The Maven plug-in: plan, prefetch, build, normalise, compare, containment for jars and what stands beside them.

The requester's planner and every drawn builder run the same code on their own remotes: what one plans, the others
derive again and compare. A planning run is the build itself with one way out, so that its record is exactly the files
that the build reads. Leaves out: who builds, what is published, and every word to the log.

Source: docs/builds.md, "Maven".
"""

import functools
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.environments import Environment
from pyrsia.builds.inside import Answer, Inside, Program, read_plain
from pyrsia.builds.maven import fixed, lock, results
from pyrsia.builds.maven.coordinates import Artifact, of_path, of_request, parse_name, release
from pyrsia.builds.maven.origins import Origin, Origins
from pyrsia.builds.maven.recipe import chosen, maven_recipe, parameters_of
from pyrsia.builds.maven.remotes import REMOTE, Remotes
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
    keep,
)
from pyrsia.builds.recipe import disagreement
from pyrsia.builds.sandbox.model import EGRESS_PORT, Mount
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal, Unavailable
from pyrsia.units import BUILD_LOG_BYTES, FETCHES_AT_ONCE, MAX_MAVEN_FILE_BYTES, MAX_MAVEN_LOCK_LINES
from pyrsia.wire.text import safe

ECOSYSTEM: Final = "maven"
PROGRAM: Final = Program(
    "builds/maven/worker.py",
    modules=(
        "builds/maven/fixed.py",
        "builds/maven/normalise.py",
        "builds/maven/poms.py",
        "builds/maven/texts.py",
    ),
    hostile=frozenset({"run"}),
)
_PROXY: Final = f"http://127.0.0.1:{EGRESS_PORT}/{REMOTE}"
_REPOSITORY: Final = "/mnt"  # of every environment, empty there
# A host's own Java and Maven keep their settings outside /usr.
_HOST_ETC: Final = ("/etc/maven", *(f"/etc/java-{number}-openjdk" for number in range(8, 40)))
_AUTHOR: Final = "tell the project's authors; the log of the run has the details"


@dataclass(frozen=True, slots=True)
class Study:
    """What is known of a source before anything of it runs; see `worker.study`."""

    artifact: Artifact
    value: Mapping[str, Any]

    @property
    def packaging(self) -> str:
        return str(self.value["packaging"])


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

    # -- plan --

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The one request for `want`; what a jar needs at run time is asked for by its own name.

        Raises:
            Refusal: `package-unknown`, `version-unknown`, `no-sdist`, `unresolvable`, `index-unreachable`,
                `no-environment`, `inputs-unverified`, `build-failed` with what Maven said.
        """
        async with self._remotes() as (remotes, origins):
            progress(f"looking for the source of {want.name}")
            origin = await origins.wanted(want)
            environment = await self._environment(want, origin)
            upstream = await self._upstream(remotes, origin)
            study = await self._study(origin, upstream)
            parameters = self._parameters(origin, study, upstream)
            recipe = self._recipe(study, environment, parameters, now_ms)
            progress(f"building {study.artifact} once to see what it needs")
            lines = await self._resolve(remotes, origin, study, recipe, environment)
        linked = [(one.path, self._shop.published(one.sha256)) for one in lines]
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
        return (planned,)

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
            study = await self._study(origin, upstream)
            parameters = self._parameters(origin, study, upstream)
            mine = self._recipe(study, environment, parameters, theirs["cutoff_ms"])
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
            return lock.encode(await self._resolve(remotes, origin, study, mine, environment))

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
        folder = await trio.to_thread.run_sync(self._new_folder)
        log = bytearray()
        try:
            progress(f"building {request['purl']} without network")
            files = await self._built(request, inputs, environment, folder, log, vary=vary)
            progress(f"inspecting {len(files)} files")
            outputs = await self._inspected(request, inputs, files, folder, log)
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
            source=Origins.kind_of(request),
            outputs=outputs,
            environment=environment.id,
            isolation=self._inside.isolation,
            log=keep(folder, "log", bytes(log[: BUILD_LOG_BYTES.value])),
            folder=folder,
            tools=inputs.tools,
        )

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        """The answer of a builder that did not come as far as `build`: refused by `relock` or `prefetch`."""
        if not isinstance(error, PhaseFailed):
            error = PhaseFailed(phase, error.what, who=error.who, do=error.do)
        folder = await trio.to_thread.run_sync(self._new_folder)
        return self._failed(folder, error, lock_sha256, error.log, None)

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

    async def _study(self, origin: Origin, upstream: Mapping[str, FileOut]) -> Study:
        asked = origin.artifact
        main = next((one for name, one in upstream.items() if results.is_main(name)), None)
        job = {
            "operation": "study",
            "source": origin.inner,
            "upstream": "" if main is None else "upstream.zip",
            "group": asked.group if asked else "",
            "artifact": asked.name if asked else "",
            "version": asked.version if asked else "",
        }
        files = {origin.inner: origin.path} | ({"upstream.zip": main.path} if main else {})
        who = str(asked or origin.source["file"])
        async with self._inside.run(job, files, phase="metadata", who=who) as answer:
            value = answer.value
        if asked is None or not asked.version:  # a source that was given along says itself whose it is
            group, name = parse_name(f"{value['group']}:{value['name']}")
            asked = Artifact(group, name, release(str(value["version"])))
        return Study(asked, value)

    def _parameters(self, origin: Origin, study: Study, upstream: Mapping[str, FileOut]) -> Mapping[str, str]:
        published = study.artifact.file("-sources.jar") in upstream
        wanted = published and not study.value["attaches_sources"]
        return chosen(origin.parameters, sources_wanted=wanted)

    @staticmethod
    def _recipe(
        study: Study, environment: Environment, parameters: Mapping[str, str], now_ms: int
    ) -> dict[str, Any]:
        return maven_recipe(
            environment=environment.id,
            cutoff_ms=now_ms,
            newest_s=int(study.value["newest"]),
            parameters=parameters,
        )

    async def _resolve(
        self,
        remotes: Remotes,
        origin: Origin,
        study: Study,
        recipe: Mapping[str, Any],
        environment: Environment,
    ) -> list[lock.Locked]:
        """Build once with the recording proxy as the one way out; what went in is what the build reads."""
        job = _job(study, origin.inner, recipe, remote=_PROXY)
        who, moving = str(study.artifact), set[str]()
        async with remotes.recording(moving) as proxy:
            try:
                async with self._inside.run(
                    job,
                    {origin.inner: origin.path},
                    phase="requirements",
                    who=who,
                    epoch=recipe["sde"],
                    environment=environment,
                    egress=proxy.socket,
                    mounts=_host_mounts(environment),
                ) as answer:
                    _maven_ok(answer, "requirements", who)
            except PhaseFailed as error:
                if moving:
                    raise _moves(who, moving) from error
                raise
            record = proxy.record
        lines = [lock.Locked(one.path, one.sha256, one.size) for one in record if lock.kept(one.path)]
        _no_copy(study.artifact, lines)
        if len(lines) > MAX_MAVEN_LOCK_LINES.value:
            raise Refusal(
                "too-large",
                what=f"{who} reads {len(lines)} files of its repository; a lock has {MAX_MAVEN_LOCK_LINES.value}",
                who="the project",
                do="build one of its modules, or ask for it with `witness`",
            )
        return lines

    # -- building --

    async def _built(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        environment: Environment,
        folder: Path,
        log: bytearray,
        *,
        vary: bool,
    ) -> dict[str, Path]:
        """The files that Maven left for the asked artifact, by name."""
        recipe, who = request["recipe"], request["purl"]
        inner = Origin.name_inside(inputs.source.name)
        origin_job = {"operation": "study", "source": inner, "upstream": ""} | _asked(of_request(request))
        files = {inner: inputs.source.path}
        async with self._inside.run(origin_job, files, phase="metadata", who=who) as answer:
            study = Study(of_request(request), answer.value)
        job = _job(study, inner, recipe, remote=_PROXY) | {"repository": _REPOSITORY}
        if vary:
            job |= {"folder": "elsewhere/source", "zone": "Pacific/Auckland", "backwards": True}
        repository = await trio.to_thread.run_sync(self._laid_out, inputs.files)
        try:
            async with self._inside.run(
                job,
                files,
                phase="build",
                who=who,
                epoch=recipe["sde"],
                environment=environment,
                mounts=(Mount(repository, _REPOSITORY), *_host_mounts(environment)),
            ) as answer:
                log += answer.log
                _maven_ok(answer, "build", who, log=False)
                return await trio.to_thread.run_sync(_taken, answer, study.artifact, folder, who)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(
                    functools.partial(shutil.rmtree, repository, ignore_errors=True)
                )

    def _laid_out(self, files: tuple[NamedFile, ...]) -> Path:
        """A folder that is a local repository of `files`: links to the cache, copies where it is elsewhere."""
        self._shop.scratch.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="repository-", dir=self._shop.scratch))
        folder.chmod(0o755)
        for name, path in files:
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, place)
            except OSError:
                shutil.copyfile(path, place)
                place.chmod(0o644)
        fixed.lay(folder)
        for path in folder.rglob("*"):
            if path.is_dir():
                path.chmod(0o755)
        return folder

    async def _inspected(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        files: Mapping[str, Path],
        folder: Path,
        log: bytearray,
    ) -> tuple[Output, ...]:
        inner = Origin.name_inside(inputs.source.name)
        given = {inner: inputs.source.path}
        told = []
        for number, (name, path) in enumerate(sorted(files.items())):
            given[f"{number}.ours"] = path
            theirs = inputs.upstream.get(name)
            if theirs is not None:
                given[f"{number}.theirs"] = theirs
            told.append(
                {"name": name, "file": f"{number}.ours", "upstream": f"{number}.theirs" if theirs else ""}
            )
        sde = request["recipe"]["sde"]
        job = {"operation": "inspect", "source": inner, "files": told, "epoch": sde}
        async with self._inside.run(job, given, phase="normalise", who=request["purl"], epoch=sde) as answer:
            log += answer.log
            return await trio.to_thread.run_sync(
                functools.partial(results.collect, answer, dict(files), dict(inputs.upstream), folder, log)
            )

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
            source="registry" if request is None else Origins.kind_of(request),
            outputs=(),
            environment="" if request is None else request["recipe"]["environment"],
            isolation=self._inside.isolation,
            log=keep(folder, "log", log[: BUILD_LOG_BYTES.value]),
            folder=folder,
            why=error.what,
        )

    def _new_folder(self) -> Path:
        try:
            self._shop.results.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="built-", dir=self._shop.results))
        except OSError as error:
            raise Unavailable(f"this machine cannot keep what is built: {error}") from error


def _asked(artifact: Artifact) -> dict[str, str]:
    return {"group": artifact.group, "artifact": artifact.name, "version": artifact.version}


def _job(study: Study, inner: str, recipe: Mapping[str, Any], *, remote: str) -> dict[str, Any]:
    """What the worker is told to run; `repository` empty: one is filled through `remote`."""
    parameters = parameters_of(recipe)
    known = {name: study.value[name] for name in ("root", "module", "packaging", "final_name")}
    return (
        {"operation": "run", "source": inner, "epoch": recipe["sde"], "folder": "source", "zone": "UTC"}
        | {"repository": "", "remote": remote, "backwards": False}
        | known
        | _asked(study.artifact)
        | {"define": "", "profiles": ""}
        | parameters
    )


def _target(environment: Environment) -> dict[str, str]:
    return {name: environment.facts.get(name, "") for name in ("arch", "jdk", "libc", "os")}


def _host_mounts(environment: Environment) -> tuple[Mount, ...]:
    if environment.root is not None:
        return ()
    return tuple(Mount(Path(place), place) for place in _HOST_ETC if Path(place).is_dir())


def _maven_ok(answer: Answer, phase: str, who: str, *, log: bool = True) -> None:
    """
    Raises:
        PhaseFailed: Maven ended with an error; its first words about it are told.
    """
    if "failed" not in answer.value:
        return
    said = _errors(answer.log) or f"code {answer.value['failed']}"
    raise PhaseFailed(phase, f"Maven failed: {said}", who=who, do=_AUTHOR, log=answer.log if log else b"")


def _errors(log: bytes) -> str:
    """Maven's first words about what went wrong, as they may be shown."""
    lines = log.decode("utf-8", "replace").splitlines()
    told = (re.sub(r"^(?:\[(?:ERROR|FATAL)\] )+", "", line) for line in lines if line.startswith("[ERROR] "))
    words = [
        safe(line.strip()) for line in told if line.strip() and not line.startswith(("Some problems", "---"))
    ]
    return ": ".join(words[:2])[:300]


def _moves(who: str, moving: set[str]) -> Refusal:
    first = min(moving)
    return Refusal(
        "unresolvable",
        what=f"{who} leaves a version open: {first[:200]} names another file from day to day",
        who="the project's own files (a range, LATEST, a SNAPSHOT, or a plug-in without a version)",
        do="ask its authors to name exact versions, or ask for the package with `witness`",
    )


def _no_copy(artifact: Artifact, lines: Sequence[lock.Locked]) -> None:
    """Refuse a build that reads its own published result: it could hand that out as what it built."""
    for one in lines:
        if of_path(one.path) == artifact and not one.path.endswith(".pom"):
            raise Refusal(
                "unresolvable",
                what=f"{artifact} fetches its own published file {one.path[:200]} while it is built",
                who="the project's own files",
                do="ask its authors to build it without that, or ask for the package with `witness`",
            )


def _all_verified(missing: list[str]) -> None:
    if missing:
        raise Refusal(
            "inputs-unverified",
            what=f"{len(missing)} inputs are not published by the network: {', '.join(missing[:5])}",
            who="`--only-verified-inputs`",
            do="ask for them first, or leave that option out",
        )


def _taken(answer: Answer, artifact: Artifact, folder: Path, who: str) -> dict[str, Path]:
    """Copy what the build left into the result's folder; whatever ran inside may have written it."""
    found = {}
    for name in answer.value.get("files", []):
        if name not in {artifact.file(ending) for ending in results.ENDINGS}:
            raise PhaseFailed("build", "it left a file of another name", who=who, do=_AUTHOR)
        data = read_plain(answer.work / "out" / name, MAX_MAVEN_FILE_BYTES.value)
        if data is None:
            raise PhaseFailed("build", f"{name} is no plain file or too large", who=who, do=_AUTHOR)
        path = folder / name
        path.write_bytes(data)
        found[name] = path
    if not found:
        raise PhaseFailed("build", "it left no file", who=who, do=_AUTHOR)
    return found


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
