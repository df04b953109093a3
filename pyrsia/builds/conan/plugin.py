"""The conan plug-in: plan, relock, prefetch and build of one recipe, with a package for each build type.

A recipe comes as an archive that somebody gave along, or from the operator's own Conan remotes by its revision. The
requester's planner and every drawn builder run the same planning; what one locks, the others derive again.

Recipes run and archives open only inside the sandbox. Here they are names, digests and copies.

Source: docs/builds.md, "conan"; docs/adr/0045-conan-by-content.md.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.conan import lock, names, pack, profile
from pyrsia.builds.conan.lock import Locked
from pyrsia.builds.conan.names import Ref
from pyrsia.builds.conan.planning import AUTHOR, Bench, Found, Planner, Task, inner, job_of, rrev_of
from pyrsia.builds.conan.remotes import Remotes, load
from pyrsia.builds.environments import Environment
from pyrsia.builds.inside import Answer, Inside, Program, read_plain
from pyrsia.builds.model import (
    Built,
    FileOut,
    Inputs,
    LocalSource,
    NamedFile,
    Output,
    Packed,
    PhaseFailed,
    Planned,
    Progress,
    Want,
    file_out,
    keep,
)
from pyrsia.builds.recipe import disagreement, epoch
from pyrsia.builds.shop import Shop
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.units import (
    BUILD_DISK_BYTES,
    BUILD_LOG_BYTES,
    MAX_OUTPUTS,
    MAX_WORKER_RESULT_BYTES,
    Limit,
)
from pyrsia.wire.purl import Purl, parse

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
_REMEMBERED: Final = Limit(16, "plannings between relock and prefetch of builds that run at once")
_MAX_PACKAGES: Final = Limit(4, "Conan knows four build types")


class ConanPlugin:
    """Builds Conan packages.

    Args:
        remotes: of the operator; read from Conan's home where not given.
        bench: what runs see besides their environment.
    """

    name: Final = ECOSYSTEM

    def __init__(self, shop: Shop, remotes: Remotes | None = None, bench: Bench | None = None) -> None:
        self._shop = shop
        self._inside = Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        self._remotes = remotes
        self._bench = bench or Bench()
        self._plans: dict[str, Found] = {}

    # -- plan --

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The request for one recipe. What it requires is locked, from the operator's remotes.

        Raises:
            Refusal: `bad-request`, `package-unknown`, `no-environment`, `no-sandbox`, `build-failed`.
        """
        self._must_be_contained()
        ref = _wanted(want)
        mapping = want.mapping or self._shop.mapping(str(_purl(ref).versionless))
        if want.source is None and want.version is None:
            raise _bad(
                "a conan package is asked for with its version", "add it after the name, as in zlib@1.3.1"
            )
        settings = dict(mapping.recipe) if mapping is not None else {}
        parameters = _parameters(dict(settings.get("parameters", ())) | dict(want.parameters))
        chosen = want.environment or str(settings.get("environment", ""))
        environment = await self._environment(chosen)
        progress(f"planning {ref} in the sandbox")
        found = await self._found(ref, "", want.source, parameters, environment)
        linked = ((line.file, self._shop.published(line.sha256)) for line in found.lines)
        source = {"file": found.source.file, "sha256": found.source.sha256, "size": found.source.size}
        return (
            Planned(
                purl=str(_purl(found.ref)),
                coordinates=_coordinates(found.ref),
                source=source,
                recipe=_recipe(environment, found, now_ms, parameters),
                lock=lock.encode(found.lines),
                target=_target(environment),
                ecosystem=ECOSYSTEM,
                linked=tuple((file, leaf) for file, leaf in linked if leaf is not None),
            ),
        )

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """The lock that this node makes for a request, after deriving its recipe here as well.

        Raises:
            Refusal: `digest-mismatch` when the own remote has another recipe under that revision,
                `lock-mismatch` when the recipe is not what the rules give.
        """
        self._must_be_contained()
        environment = await self._shop.environments.get(request["recipe"]["environment"])
        found = await self._again(request, environment)
        theirs = request["recipe"]
        mine = _recipe(environment, found, theirs["cutoff_ms"], self._rules(request))
        why = disagreement(mine, theirs)
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
        found = await self._again(request, environment)
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
        folder = await trio.to_thread.run_sync(self._new_folder)
        log = bytearray()
        try:
            progress(f"building {request['purl']} without network")
            answer = await self._conan(request, inputs, environment, folder, log, vary)
            progress(f"inspecting {request['purl']}")
            outputs = await self._outputs(request, inputs, answer, folder, log)
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
            source=_whose(request),
            outputs=outputs,
            environment=environment.id,
            isolation=self._inside.isolation,
            log=keep(folder, "log", bytes(log[: BUILD_LOG_BYTES.value])),
            folder=folder,
            tools=inputs.tools,
        )

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        """The answer of a builder that did not come as far as `build`."""
        if not isinstance(error, PhaseFailed):
            error = PhaseFailed(phase, error.what, who=error.who, do=error.do)
        folder = await trio.to_thread.run_sync(self._new_folder)
        return self._failed(folder, error, lock_sha256, error.log, None)

    # -- planning --

    async def _found(
        self,
        ref: Ref,
        rrev: str,
        given: LocalSource | None,
        parameters: Mapping[str, str],
        environment: Environment,
    ) -> Found:
        try:
            profiles = profile.profiles(environment.facts, parameters, ref.name)
        except Malformed as error:
            raise Refusal(
                "no-environment",
                what=str(error),
                who="the build environment",
                do="choose one with a C compiler",
            ) from error
        if self._remotes is None:
            self._remotes = await trio.to_thread.run_sync(load)
        files, kept = self._shop.cache.parent / "conan-files", self._shop.cache.parent / "conan-recipes"
        planner = Planner(self._inside, self._remotes, files, kept, self._bench)
        return await planner.run(Task(ref, rrev, given, profiles, environment))

    async def _again(self, request: Mapping[str, Any], environment: Environment) -> Found:
        """This node's own planning of a request, run once between relock and prefetch.

        Raises:
            Refusal: `digest-mismatch` where the own recipe is another one.
        """
        key = f"{request['purl']} {request['source']['sha256']} {request['recipe']}"
        found = self._plans.get(key)
        if found is not None and all(path.is_file() for path in (*found.files.values(), found.source.path)):
            return found
        coordinates, source = request["coordinates"], request["source"]
        ref = names.from_namespace(
            coordinates.get("namespace", ""), coordinates["name"], coordinates["version"]
        )
        given = None
        if _is_given(request):
            path = await self._shop.claimed(request)
            given = LocalSource(source["file"], path, source["sha256"], source["size"])
        rrev = "" if given else rrev_of(source["file"])
        found = await self._found(ref, rrev, given, self._rules(request), environment)
        if found.source.sha256 != source["sha256"]:
            raise Refusal(
                "digest-mismatch",
                what=f"{source['file']} has the SHA-256 {found.source.sha256} here, {source['sha256']} in the request",
                who="the Conan remotes of this node, or the request",
                do="do not use this recipe; compare the remotes of both nodes",
            )
        while len(self._plans) >= _REMEMBERED.value:
            del self._plans[next(iter(self._plans))]
        self._plans[key] = found
        return found

    def _rules(self, request: Mapping[str, Any]) -> dict[str, str]:
        """The parameters that a request may have: its own for a given source, else those of rules and mapping."""
        told = dict(request["recipe"].get("parameters", ()))
        if parse(request["purl"]).owner:
            return _parameters(told)
        mapping = self._shop.mapping(str(parse(request["purl"]).versionless))
        return _parameters(dict(mapping.recipe.get("parameters", ())) if mapping is not None else {})

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
        recipe, who = request["recipe"], request["purl"]
        coordinates = request["coordinates"]
        ref = names.from_namespace(
            coordinates.get("namespace", ""), coordinates["name"], coordinates["version"]
        )
        profiles = profile.profiles(environment.facts, dict(recipe["parameters"]), ref.name)
        given = LocalSource(inputs.source.name, inputs.source.path, "", 0) if _is_given(request) else None
        task = Task(ref, "" if given else rrev_of(inputs.source.name), given, profiles, environment)
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
            await trio.to_thread.run_sync(_take, answer.work / LEFT, folder / LEFT, who)
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
        packages = _package_ids(built, who)
        theirs, files = {}, {LEFT: folder / LEFT, inner(inputs.source.name): inputs.source.path}
        for number, (key, path) in enumerate(sorted(inputs.upstream.items())):
            found = await trio.to_thread.run_sync(file_out, path)
            files[f"theirs-{number}"] = path
            theirs[key] = {"file": f"theirs-{number}", "sha256": found.sha256}
        archives = []
        downloaded = [one for one in inputs.files if one.name.rpartition(" ")[2].startswith(lock.SOURCE)]
        for number, one in enumerate(downloaded):
            archives.append(f"archive-{number}.tar.gz")
            files[archives[-1]] = one.path
        job = {
            "operation": "inspect",
            "source": inner(inputs.source.name),
            "recipe": not _is_given(request),
            "archives": archives,
            "rrev": "" if _is_given(request) else rrev_of(inputs.source.name),
            "packages": packages,
            "theirs": theirs,
            "epoch": request["recipe"]["sde"],
        }
        async with self._inside.run(job, files, phase="normalise", who=who) as answer:
            log += answer.log
            outputs = await trio.to_thread.run_sync(_collect, answer, folder, inputs.upstream, who)
        (folder / LEFT).unlink()
        return outputs

    def _failed(
        self,
        folder: Path,
        error: PhaseFailed,
        lock_sha256: str,
        log: bytes,
        request: Mapping[str, Any] | None,
    ) -> Built:
        (folder / LEFT).unlink(missing_ok=True)
        return Built(
            outcome="failed",
            phase=error.phase,
            lock_sha256=lock_sha256,
            source=_whose(request) if request is not None else "registry",
            outputs=(),
            environment=request["recipe"]["environment"] if request is not None else "",
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


def _wanted(want: Want) -> Ref:
    """The reference of a want; its version is "" where a given source says it."""
    try:
        ref = names.titled(want.name, want.version or "0")
    except Malformed as error:
        raise _bad(str(error), "name it as Conan does: zlib, or zlib@user/channel") from error
    return Ref(ref.name, want.version or "", ref.user, ref.channel)


def _parameters(told: Mapping[str, str]) -> dict[str, str]:
    try:
        return profile.checked(told)
    except Malformed as error:
        raise _bad(str(error), "change the parameters") from error


def _bad(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the request", do=do)


def _purl(ref: Ref) -> Purl:
    return Purl("conan", ref.namespace, ref.name, ref.version)


def _coordinates(ref: Ref) -> dict[str, str]:
    found = {"name": ref.name, "version": ref.version}
    return found | ({"namespace": ref.namespace} if ref.namespace else {})


def _recipe(
    environment: Environment, found: Found, cutoff_ms: int, parameters: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that shapes the output besides its inputs."""
    return {
        "backend": BACKEND,
        "cutoff_ms": cutoff_ms,
        "environment": environment.id,
        "isolation": "namespace",
        "normaliser": pack.NORMALISER,
        "parameters": [[name, value] for name, value in sorted(parameters.items())],
        "sde": epoch(found.newest, cutoff_ms),
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


def _is_given(request: Mapping[str, Any]) -> bool:
    """Whether the source of a request is an archive that holds a recipe's folder."""
    source = request["source"]
    return "manifest" in source or "git" in source or not rrev_of(source["file"])


def _whose(request: Mapping[str, Any]) -> str:
    """How this builder knows that the source is that package's."""
    if "git" in request["source"]:
        return "mapping"
    return "claimed" if _is_given(request) else "registry"


def _line_name(line: Locked) -> str:
    """A line of the lock without its digest: `title version file`."""
    return f"{line.title} {line.version} {line.file}"


def _package_ids(built: Mapping[str, Any], who: str) -> list[str]:
    """The package ids that a build says it made; whether they are, the inspection computes."""
    rows = built.get("packages")
    found = [row.get("package_id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    good = [one for one in found if isinstance(one, str) and names.is_package_id(one)]
    if not good or good != found or len(set(good)) != len(good) or len(good) > _MAX_PACKAGES.value:
        raise PhaseFailed("build", "Conan named no packages", who=who, do=AUTHOR)
    return good


def _take(source: Path, path: Path, who: str) -> None:
    """Copy the tar that a build left, as one reads a stranger's file: no link, no device, no more than its limit."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(source, flags)
    except OSError:
        raise PhaseFailed("build", "the build left no packages", who=who, do=AUTHOR) from None
    with os.fdopen(handle, "rb") as file, path.open("xb") as out:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or state.st_size > BUILD_DISK_BYTES.value:
            raise PhaseFailed(
                "build", "what the build left is no plain file or too large", who=who, do=AUTHOR
            )
        shutil.copyfileobj(file, out)


def _collect(answer: Answer, folder: Path, upstream: Mapping[str, Path], who: str) -> tuple[Output, ...]:
    """Copy what the inspection wrote into the result's folder."""

    def take(name: str, into: str) -> FileOut:
        data = read_plain(answer.work / name, MAX_WORKER_RESULT_BYTES.value)
        if data is None:
            raise PhaseFailed("normalise", f"the inspection left no {name}", who="this node", do=AUTHOR)
        return keep(folder, into, data)

    rows = answer.value["outputs"]
    if not 0 < len(rows) <= MAX_OUTPUTS.value:
        raise PhaseFailed("normalise", f"{len(rows)} outputs of one build", who=who, do=AUTHOR)
    found = []
    for number, row in enumerate(rows):
        place = names.place(row["name"])
        _take(answer.work / row["path"], folder / row["name"], who)
        packed = Packed(file_out(folder / row["name"]), take(f"members-{number}", f"members-{number}"))
        theirs = None
        if row["relation"] != "none" and not row["reason"]:
            key = f"{place.package_id}~{place.file}" if place.package_id else place.file
            copied = folder / f"upstream-{number}"
            shutil.copyfile(upstream[key], copied)
            theirs = Packed(file_out(copied), take(f"upstream-{number}", f"upstream-members-{number}"))
        found.append(
            Output(
                name=row["name"],
                raw=packed,
                canonical=packed,
                stable=row["stable"],
                upstream=theirs,
                upstream_relation=row["relation"] if theirs is not None else "none",
                containment=row["containment"],
                normalised=tuple(row["normalised"]),
                missing=tuple(row["missing"]),
                upstream_reason=row["reason"],
            )
        )
    return tuple(found)
