"""The pip plug-in: plan, prefetch, build, normalise, compare, containment for pure Python packages.

The requester's planner and every drawn builder run the same code on their own index: what one plans, the
others derive again and compare. Leaves out: who builds, what is published, and every word to the log.

Archives are opened only inside the sandbox. Here they are names, digests and copies.

Source: DESIGN 8; verified-builds.md 5.1 to 5.6, 5.13.
"""

import base64
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import trio
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pyrsia.builds import members
from pyrsia.builds.pip import host, lock, resolve, simple
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.inside import Answer, Inside, PhaseFailed, read_plain
from pyrsia.builds.pip.resolve import Facts, Metadata, Release, Role
from pyrsia.builds.pip.simple import IndexFile
from pyrsia.builds.pip.target import Target
from pyrsia.builds.recipe import disagreement, pip_recipe, tools_cutoff_ms
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import (
    BUILD_LOG_BYTES,
    MAX_HOOK_REQUIRES,
    MAX_METADATA_BYTES,
    MAX_SOURCE_BYTES,
    MAX_UNPACKED_BYTES,
    MAX_WORKER_RESULT_BYTES,
    PLANS_AT_ONCE,
)

Progress = Callable[[str], None]
ECOSYSTEM: Final = "pip"


@dataclass(frozen=True, slots=True)
class Planned:
    """One request that is ready to be authored: all fields of `build.request` but the requester.

    Attributes:
        lock: the lock's bytes; the node stores them and writes their manifest.
    """

    purl: str
    coordinates: dict[str, str]
    source: dict[str, Any]
    recipe: dict[str, Any]
    lock: bytes
    target: dict[str, str]
    ecosystem: str = ECOSYSTEM


@dataclass(frozen=True, slots=True)
class FileOut:
    """A file that the node adopts."""

    path: Path
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class WheelOut:
    """One packing of the wheel with its member list and METADATA."""

    file: FileOut
    members: FileOut
    metadata: FileOut
    requires_python: str


@dataclass(frozen=True, slots=True)
class Output:
    """The one output of a build.

    Attributes:
        name: file name of the wheel.
        upstream: the registry's wheel, when it is identical or equivalent.
        missing: the first paths that are not in the source.
        upstream_reason: why upstream's wheel could not be compared, or "".
    """

    name: str
    raw: WheelOut
    canonical: WheelOut
    stable: str
    upstream: WheelOut | None
    upstream_relation: str
    containment: str
    normalised: tuple[str, ...]
    requires_python: str
    missing: tuple[str, ...] = ()
    upstream_reason: str = ""


@dataclass(frozen=True, slots=True)
class Built:
    """What a builder reveals, but for manifests, nonce and attestation.

    Attributes:
        outcome: `built` or `failed`. phase: "" when built.
        folder: holds every file named here; `discard` deletes it once the node has adopted them.
        why: for a failure, in words.
    """

    outcome: str
    phase: str
    lock_sha256: str
    source: str
    outputs: tuple[Output, ...]
    environment: str
    isolation: str
    log: FileOut
    folder: Path
    why: str = ""

    async def discard(self) -> None:
        await trio.to_thread.run_sync(lambda: shutil.rmtree(self.folder, ignore_errors=True))


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a build needs, fetched by digest: (file name, path) each."""

    source: tuple[str, Path]
    wheels: tuple[tuple[str, Path], ...]
    upstream: tuple[str, Path] | None
    lock_sha256: str


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the sandbox said about one wheel; files stand in the folder it was asked to fill."""

    value: Mapping[str, Any]
    canonical: WheelOut
    raw_members: FileOut
    metadata: FileOut
    upstream: WheelOut | None
    log: bytes


class PipPlugin:
    """Builds pure Python packages.

    Args:
        inside: how worker operations run.
        index: the client of this node's own indexes.
        results: folder for built files, one sub-folder a build.
        environment, target: of this node; the running interpreter's by default.
    """

    name: Final = ECOSYSTEM

    def __init__(
        self,
        inside: Inside,
        index: IndexClient,
        results: Path,
        *,
        environment: str | None = None,
        target: Target | None = None,
    ) -> None:
        self._inside = inside
        self._index = index
        self._results = results
        self.environment = environment or host.environment()
        self.target = target or host.target()
        self._metadata: dict[str, Metadata] = {}

    # -- plan --

    async def plan(
        self, name: str, version: str | None, now_ms: int, progress: Progress = lambda _: None
    ) -> tuple[Planned, ...]:
        """The package and its whole run-time closure, dependencies first.

        Args:
            version: exact, or None for the newest.
            now_ms: nothing uploaded later is seen.

        Raises:
            Refusal: `package-unknown`, `version-unknown`, `no-sdist`, `unresolvable`, `index-unreachable`,
                `build-failed` when a package cannot be built as pure Python.
        """
        progress(f"looking for {name} on {self._index.indexes[0]}")
        wanted = await self._requirement(name, version, now_ms)
        chosen = await self._closure(wanted, now_ms, progress)
        planned: list[Planned | None] = [None] * len(chosen)
        limiter = trio.CapacityLimiter(PLANS_AT_ONCE.value)

        async def one(at: int, release: Release) -> None:
            async with limiter:
                progress(f"planning {release.name} {release.version}")
                planned[at] = await self._plan_one(release, now_ms)

        try:
            async with trio.open_nursery() as nursery:
                for at, release in enumerate(chosen):
                    nursery.start_soon(one, at, release)
        except ExceptionGroup as group:  # a person is told one reason: the first
            raise group.exceptions[0] from None
        return tuple(found for found in planned if found is not None)

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """The lock that this node makes for a request, after deriving its recipe here as well.

        Raises:
            Refusal: `digest-mismatch` when the own index has another source under that name,
                `lock-mismatch` when the recipe is not what the rules give.
        """
        release, sdist = await self._own_source(request)
        target = Target.from_dict(request["target"])
        source = await self._index.fetch(sdist)
        theirs = request["recipe"]
        # An index without upload times cannot be asked about the past; then the request's time stands.
        fallback = theirs["cutoff_ms"]
        mine = await self._recipe(release, sdist, source, fallback)
        why = disagreement(mine, theirs)
        if why:
            raise PhaseFailed(
                "lock-mismatch",
                f"the recipe of {request['purl']} is not what the rules give: {why}",
                who="the request",
                do="ask for the package again from a node with the same environment",
                code="lock-mismatch",
            )
        return await self._lock(source, sdist.filename, target, mine)

    # -- prefetch --

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs:
        """Source, tools and upstream's wheel from this node's own index, each by its digest.

        Raises:
            Refusal: `digest-mismatch` naming both digests, `index-unreachable`, `version-unknown`.
        """
        release, sdist = await self._own_source(request)
        source = await self._index.fetch(sdist)
        wheels = []
        for line in lock.decode(locked):
            page = await self._index.project(line.name)
            file = next((one for one in page.files if one.filename == line.file), None)
            if file is None:
                raise _version_unknown(line.name, line.file, page.index)
            if file.sha256 != line.sha256:
                raise _other_digest(line.file, page.index, file.sha256, line.sha256)
            wheels.append((line.file, await self._index.fetch(file)))
        upstream = None
        if release.pure is not None:
            upstream = (release.pure.filename, await self._index.fetch(release.pure))
        digest = hashlib.sha256(locked).hexdigest()
        return Inputs((sdist.filename, source), tuple(wheels), upstream, digest)

    # -- build --

    async def build(
        self, request: Mapping[str, Any], inputs: Inputs, progress: Progress = lambda _: None
    ) -> Built:
        """Build and inspect one wheel in the sandbox. A build that fails is an answer, not an exception.

        Raises:
            Refusal: `no-sandbox`; nothing was built and nothing should be said about the package.
        """
        folder = await trio.to_thread.run_sync(self._new_folder)
        log = bytearray()
        try:
            progress(f"building {request['purl']} without network")
            name, wheel = await self._build_wheel(request, inputs, folder, log)
            progress(f"inspecting {name}")
            output = await self._output(request, inputs, name, wheel, folder, log)
        except PhaseFailed as error:
            log += error.log
            return await self._failed(folder, error, inputs.lock_sha256, bytes(log))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Built(
            outcome="built",
            phase="",
            lock_sha256=inputs.lock_sha256,
            source="registry",
            outputs=(output,),
            environment=self.environment,
            isolation=self._inside.isolation,
            log=_keep(folder, "log", bytes(log[: BUILD_LOG_BYTES.value])),
            folder=folder,
        )

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        """The answer of a builder that did not come as far as `build`: refused by `relock` or `prefetch`."""
        if not isinstance(error, PhaseFailed):
            error = PhaseFailed(phase, error.what, who=error.who, do=error.do)
        folder = await trio.to_thread.run_sync(self._new_folder)
        return await self._failed(folder, error, lock_sha256, error.log)

    # -- normalise, compare, containment --

    async def normalise(
        self,
        wheel: tuple[str, Path],
        source: tuple[str, Path],
        upstream: tuple[str, Path] | None,
        sde: int,
        into: Path,
    ) -> Inspected:
        """Inspect one wheel in the sandbox and put its canonical form and lists into the folder `into`.

        Raises:
            PhaseFailed: the wheel may not be published; the text says why.
        """
        files = {"wheel.whl": wheel[1], _inner(source[0]): source[1]}
        if upstream is not None:
            files["upstream.whl"] = upstream[1]
        job = {
            "operation": "inspect",
            "wheel": "wheel.whl",
            "source": _inner(source[0]),
            "upstream": "upstream.whl" if upstream else "",
            "epoch": sde,
        }
        async with self._inside.run(job, files, phase="normalise", who=wheel[0], epoch=sde) as answer:
            return await trio.to_thread.run_sync(_collect, answer, into, upstream)

    @staticmethod
    def compare(first: bytes, second: bytes) -> members.Difference:
        """Name the members in which two results differ, from their published member lists.

        Raises:
            Malformed: one of them is not a member list.
        """
        return members.compare(members.decode(first), members.decode(second))

    async def containment(self, wheel: tuple[str, Path], source: tuple[str, Path], into: Path) -> str:
        """`full`, `partial` or `none`: any node can ask this alone, trusting no builder."""
        found = await self.normalise(wheel, source, None, 0, into)
        return str(found.value["containment"])

    # -- choosing --

    async def _requirement(self, name: str, version: str | None, now_ms: int) -> Requirement:
        """The requirement for the package itself, after finding out that it can be built at all."""
        page = await self._index.project(name)
        found = resolve.releases(page, self.target, now_ms)
        if version is None:
            finals = [one for one in found if not one.version.is_prerelease and not one.yanked]
            wanted = next(iter(finals or found), None)
        else:
            try:
                exact = Version(version)
            except InvalidVersion:
                raise _version_unknown(page.name, version, page.index) from None
            wanted = next((one for one in found if one.version == exact), None)
        if wanted is None:
            raise _version_unknown(page.name, version or "any version for this Python", page.index)
        if wanted.sdist is None:
            raise _no_sdist([wanted], page.index)
        return Requirement(f"{page.name}=={wanted.version}")

    async def _closure(self, wanted: Requirement, now_ms: int, progress: Progress) -> tuple[Release, ...]:
        facts = Facts(metadata=self._metadata)
        try:
            chosen = await self._solve([wanted], facts, self.target, now_ms, "source")
        except Refusal as refusal:
            if refusal.code != "unresolvable":
                raise
            # Would it stand if packages without source were allowed? Then name those.
            anyhow = await self._solve([wanted], facts, self.target, now_ms, "any")
            bare = [one for one in anyhow if one.sdist is None]
            if not bare:
                raise
            raise _no_sdist(bare, facts.projects[bare[0].name].index) from refusal
        for release in chosen:
            newest = resolve.releases(facts.projects[release.name], self.target, now_ms)[0]
            if newest.sdist is None and newest.version > release.version:
                progress(
                    f"{release.name} {newest.version} has no source archive; {release.version} is built instead"
                )
            if release.wheels and release.pure is None:
                raise _not_pure(release, facts.projects[release.name].index)
        return chosen

    async def _solve(
        self, wanted: Sequence[Requirement], facts: Facts, target: Target, cutoff_ms: int | None, role: Role
    ) -> tuple[Release, ...]:
        """Resolve, fetching what is missing. Ends: each round adds a page or a METADATA, both finite."""
        while True:
            try:
                return resolve.resolve(wanted, facts, target, cutoff_ms, role=role)
            except resolve.Need as need:
                missing = need
            if missing.project:
                facts.projects[missing.project] = await self._index.project(missing.project)
            elif missing.release is not None:
                archive, metadata = await self._read_metadata(missing.release, target, cutoff_ms)
                facts.metadata[archive.sha256] = metadata

    async def _read_metadata(
        self, release: Release, target: Target, cutoff_ms: int | None
    ) -> tuple[IndexFile, Metadata]:
        """METADATA of a release: PEP 658, else out of the wheel, else by the backend's hook."""
        where = f"{release.name} {release.version}"
        if release.wheel is not None:
            data = await self._index.metadata(release.wheel)
            if data is None:
                path = await self._index.fetch(release.wheel)
                job = {"operation": "metadata", "wheels": ["one.whl"]}
                async with self._inside.run(job, {"one.whl": path}, phase="metadata", who=where) as answer:
                    data = _decoded(answer.value.get("metadata", {}).get("one.whl"), where, answer)
            return release.wheel, _parsed(data, where)
        assert release.sdist is not None  # noqa: S101 - `resolve.releases` keeps no empty release
        source = await self._index.fetch(release.sdist)
        cutoff = release.sdist.upload_ms or cutoff_ms or 0
        recipe = pip_recipe(environment=self.environment, cutoff_ms=cutoff, newest_s=0)
        wheels = await self._tools(source, release.sdist.filename, target, recipe)
        job = _hook_job("metadata", release.sdist.filename, [name for name, _ in wheels], recipe["sde"])
        files = {_inner(release.sdist.filename): source, **dict(wheels)}
        async with self._inside.run(job, files, phase="metadata", who=where, epoch=recipe["sde"]) as answer:
            _hook_ok(answer, "metadata", where)
            data = _decoded(answer.value.get("metadata"), where, answer)
        return release.sdist, _parsed(data, where)

    async def _plan_one(self, release: Release, now_ms: int) -> Planned:
        sdist = release.sdist
        assert sdist is not None  # noqa: S101 - role "source" keeps none without
        source = await self._index.fetch(sdist)
        recipe = await self._recipe(release, sdist, source, now_ms)
        locked = await self._lock(source, sdist.filename, self.target, recipe)
        size = (await trio.Path(source).stat()).st_size
        return Planned(
            purl=f"pkg:pypi/{release.name}@{release.version}",
            coordinates={"name": release.name, "version": str(release.version)},
            source={"file": sdist.filename, "sha256": sdist.sha256, "size": size},
            recipe=recipe,
            lock=locked,
            target=self.target.as_dict(),
        )

    async def _recipe(
        self, release: Release, sdist: IndexFile, source: Path, fallback_ms: int
    ) -> dict[str, Any]:
        """Cut-off and SOURCE_DATE_EPOCH as the rules give them for this source."""
        cutoff = sdist.upload_ms if sdist.upload_ms is not None else fallback_ms
        name, path = (sdist.filename, source)
        if release.pure is not None:
            name, path = (release.pure.filename, await self._index.fetch(release.pure))
        job = {"operation": "times", "file": _inner(name)}
        who = f"{release.name} {release.version}"
        async with self._inside.run(job, {_inner(name): path}, phase="prefetch", who=who) as answer:
            newest = answer.value.get("newest")
        if not isinstance(newest, int) or newest < 0:
            raise PhaseFailed(
                "prefetch", "the archive's times cannot be read", who=who, do="use another version"
            )
        return pip_recipe(environment=self.environment, cutoff_ms=cutoff, newest_s=newest)

    # -- build requirements --

    async def _lock(self, source: Path, name: str, target: Target, recipe: Mapping[str, Any]) -> bytes:
        """Tools for `source`: what pyproject.toml names, and what the backend asks for once it runs."""
        wheels = await self._locked(source, name, target, recipe)
        return lock.encode(line for line, _ in wheels)

    async def _tools(
        self, source: Path, name: str, target: Target, recipe: Mapping[str, Any]
    ) -> list[tuple[str, Path]]:
        return [(line.file, path) for line, path in await self._locked(source, name, target, recipe)]

    async def _locked(
        self, source: Path, name: str, target: Target, recipe: Mapping[str, Any]
    ) -> list[tuple[lock.Locked, Path]]:
        cutoff = tools_cutoff_ms(recipe["cutoff_ms"], target.version[1])
        facts = Facts(metadata=self._metadata)
        static = await self._hook_requires("static", source, name, [], recipe["sde"])
        chosen = await self._solve(static, facts, target, cutoff, "tool")
        wheels = await self._fetch_tools(chosen)
        files = [(line.file, path) for line, path in wheels]
        dynamic = await self._hook_requires("requires", source, name, files, recipe["sde"])
        if dynamic:
            chosen = await self._solve([*static, *dynamic], facts, target, cutoff, "tool")
            wheels = await self._fetch_tools(chosen)
        return wheels

    async def _hook_requires(
        self, hook: str, source: Path, name: str, wheels: list[tuple[str, Path]], epoch: int
    ) -> list[Requirement]:
        job = _hook_job(hook, name, [file for file, _ in wheels], epoch)
        files = {_inner(name): source, **dict(wheels)}
        async with self._inside.run(job, files, phase="requirements", who=name, epoch=epoch) as answer:
            _hook_ok(answer, "requirements", name)
            lines = answer.value.get("requires")
            log = answer.log
        if (
            not isinstance(lines, list)
            or len(lines) > MAX_HOOK_REQUIRES.value
            or not all(isinstance(line, str) for line in lines)
        ):
            raise PhaseFailed(
                "requirements",
                "the backend's answer is no list of requirements",
                who=name,
                do=_AUTHOR,
                log=log,
            )
        return [resolve.parse_requirement(line, name) for line in lines]

    async def _fetch_tools(self, chosen: Sequence[Release]) -> list[tuple[lock.Locked, Path]]:
        found = []
        for release in chosen:
            wheel = release.wheel
            assert wheel is not None  # noqa: S101 - role "tool"
            path = await self._index.fetch(wheel)
            size = (await trio.Path(path).stat()).st_size
            line = lock.Locked(release.name, str(release.version), wheel.filename, wheel.sha256, size)
            found.append((line, path))
        return sorted(found)

    # -- own source --

    async def _own_source(self, request: Mapping[str, Any]) -> tuple[Release, IndexFile]:
        """The release and source archive that this node's own index has for a request."""
        name, version = request["coordinates"]["name"], request["coordinates"]["version"]
        source = request["source"]
        page = await self._index.project(name)
        sdist = next((one for one in page.files if one.filename == source["file"]), None)
        if sdist is None:
            self._index.forget()
            raise _version_unknown(page.name, source["file"], page.index)
        if sdist.sha256 != source["sha256"]:
            raise _other_digest(sdist.filename, page.index, sdist.sha256, source["sha256"])
        found = resolve.releases(page, Target.from_dict(request["target"]), None)
        release = next((one for one in found if str(one.version) == version and one.sdist == sdist), None)
        if release is None:
            raise _version_unknown(page.name, version, page.index)
        return release, sdist

    # -- building --

    async def _build_wheel(
        self, request: Mapping[str, Any], inputs: Inputs, folder: Path, log: bytearray
    ) -> tuple[str, Path]:
        sde = request["recipe"]["sde"]
        who = request["purl"]
        if request["recipe"]["environment"] != self.environment:
            raise PhaseFailed(
                "prefetch",
                f"the recipe asks for the environment {request['recipe']['environment'][:21]}, here is another",
                who="this builder",
                do="ask builders that have this environment",
            )
        job = _hook_job("build", inputs.source[0], [name for name, _ in inputs.wheels], sde)
        files = {_inner(inputs.source[0]): inputs.source[1], **dict(inputs.wheels)}
        async with self._inside.run(job, files, phase="build", who=who, epoch=sde) as answer:
            log += answer.log
            _hook_ok(answer, "build", who)
            name = answer.value.get("file")
            why = _not_this_wheel(name, request["coordinates"])
            if why:
                raise PhaseFailed("build", why, who=who, do=_AUTHOR)
            path = folder / str(name)
            await trio.to_thread.run_sync(_take, answer.work / "out" / str(name), path, who)
        return str(name), path

    async def _output(
        self,
        request: Mapping[str, Any],
        inputs: Inputs,
        name: str,
        wheel: Path,
        folder: Path,
        log: bytearray,
    ) -> Output:
        sde = request["recipe"]["sde"]
        found = await self.normalise((name, wheel), inputs.source, inputs.upstream, sde, folder)
        log += found.log
        metadata = _parsed(found.metadata.path.read_bytes(), name)
        same = Version(metadata.version) == Version(request["coordinates"]["version"])
        if metadata.name != request["coordinates"]["name"] or not same:
            raise PhaseFailed("normalise", "the METADATA names another package", who=name, do=_AUTHOR)
        relation = str(found.value["relation"])
        requires = metadata.requires_python
        raw = WheelOut(_out(wheel), found.raw_members, found.metadata, requires)
        upstream = found.upstream if relation in ("identical", "equivalent") else None
        return Output(
            name=name,
            raw=raw,
            canonical=replace(found.canonical, requires_python=requires),
            stable=str(found.value["stable"]),
            upstream=replace(upstream, requires_python=requires) if upstream else None,
            upstream_relation=relation,
            containment=str(found.value["containment"]),
            normalised=tuple(found.value["normalised"]),
            requires_python=requires,
            missing=tuple(found.value["missing"]),
            upstream_reason=str(found.value["upstream_reason"]),
        )

    async def _failed(self, folder: Path, error: PhaseFailed, lock_sha256: str, log: bytes) -> Built:
        log = log[: BUILD_LOG_BYTES.value]
        return Built(
            outcome="failed",
            phase=error.phase,
            lock_sha256=lock_sha256,
            source="registry",
            outputs=(),
            environment=self.environment,
            isolation=self._inside.isolation,
            log=_keep(folder, "log", log),
            folder=folder,
            why=error.what,
        )

    def _new_folder(self) -> Path:
        self._results.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="built-", dir=self._results))


_AUTHOR: Final = "read the build's log and tell the package's author"


def _inner(filename: str) -> str:
    """The name of an archive inside: its own for the backend's eyes does not matter, its ending does."""
    return "archive" + (
        ".whl" if filename.endswith(".whl") else ".zip" if filename.endswith(".zip") else ".tar.gz"
    )


def _hook_job(hook: str, source: str, wheels: list[str], epoch: int) -> dict[str, Any]:
    return {"operation": "hook", "hook": hook, "source": _inner(source), "wheels": wheels, "epoch": epoch}


def _hook_ok(answer: Answer, phase: str, who: str) -> None:
    if "failed" in answer.value:
        last = answer.log.decode("utf-8", "replace").strip().rpartition("\n")[2]
        why = f"the build backend gave up: {last[:200]!a}"
        raise PhaseFailed(phase, why, who=who, do=_AUTHOR, log=answer.log)


def _decoded(text: Any, where: str, answer: Answer) -> bytes:
    if isinstance(text, str):
        try:
            return base64.b64decode(text, validate=True)[: MAX_METADATA_BYTES.value]
        except ValueError:
            pass
    broken = answer.value.get("broken")
    why = next(iter(broken.values()), "") if isinstance(broken, dict) else ""
    raise PhaseFailed("metadata", f"no METADATA: {why}"[:300], who=where, do=_AUTHOR, log=answer.log)


def _parsed(data: bytes, where: str) -> Metadata:
    try:
        found = resolve.parse_metadata(data)
        Version(found.version)
    except (Malformed, InvalidVersion) as error:
        raise PhaseFailed("metadata", str(error), who=where, do=_AUTHOR) from error
    return found


def _not_this_wheel(name: Any, coordinates: Mapping[str, str]) -> str:
    """Why the backend's answer is not the pure wheel that was asked for; "" when it is."""
    if not isinstance(name, str) or not simple.plain_name(name) or not name.endswith(".whl"):
        return "the backend did not name a wheel"
    try:
        project, version, _, tags = parse_wheel_filename(name)
    except (InvalidWheelFilename, InvalidVersion):
        return f"{name} is not a wheel's name"
    if project != canonicalize_name(coordinates["name"]) or version != Version(coordinates["version"]):
        return f"{name} is another package or version"
    found = "-".join(name.removesuffix(".whl").split("-")[-3:])
    if found not in resolve.PURE_TAGS:
        return f"the wheel is for {found}; only pure Python packages (py3-none-any) are built here"
    return "" if tags else "the wheel has no tags"


def _take(source: Path, path: Path, who: str) -> None:
    data = read_plain(source, MAX_SOURCE_BYTES.value)
    if data is None:
        raise PhaseFailed("build", "the wheel is no plain file or too large", who=who, do=_AUTHOR)
    path.write_bytes(data)


def _keep(folder: Path, name: str, data: bytes) -> FileOut:
    path = folder / name
    path.write_bytes(data)
    return FileOut(path, hashlib.sha256(data).hexdigest(), len(data))


def _out(path: Path) -> FileOut:
    with path.open("rb") as file:
        return FileOut(path, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _collect(answer: Answer, into: Path, upstream: tuple[str, Path] | None) -> Inspected:
    """Copy what the inspection wrote into the result's folder."""

    def take(name: str, limit: int) -> FileOut:
        data = read_plain(answer.work / name, limit)
        if data is None:
            raise PhaseFailed("normalise", f"the inspection left no {name}", who="this node", do=_AUTHOR)
        return _keep(into, name, data)

    listed = MAX_WORKER_RESULT_BYTES.value
    metadata = take("metadata", MAX_METADATA_BYTES.value)
    canonical = WheelOut(
        take("canonical", MAX_UNPACKED_BYTES.value + listed), take("canonical.members", listed), metadata, ""
    )
    theirs = None
    if upstream is not None and answer.value.get("relation") in ("identical", "equivalent"):
        shutil.copyfile(upstream[1], into / "upstream")
        theirs = WheelOut(
            _out(into / "upstream"),
            take("upstream.members", listed),
            take("upstream.metadata", MAX_METADATA_BYTES.value),
            "",
        )
    return Inspected(answer.value, canonical, take("raw.members", listed), metadata, theirs, answer.log)


def _version_unknown(name: str, version: str, index: str) -> Refusal:
    return Refusal(
        "version-unknown",
        what=f"{name} has no {version} that suits this Python",
        who=f"the index {index}",
        do="look at the versions that the index has, or leave the version out",
    )


def _no_sdist(bare: Sequence[Release], index: str) -> Refusal:
    names = ", ".join(f"{one.name} {one.version}" for one in bare)
    return Refusal(
        "no-sdist",
        what=f"no source archive: {names}",
        who=f"the index {index}",
        do="ask for a version that has one, or ask its authors to publish the source",
    )


def _not_pure(release: Release, index: str) -> Refusal:
    return Refusal(
        "build-failed",
        what=f"{release.name} {release.version} has compiled wheels only; pure Python packages are built here",
        who=f"the index {index}",
        do="ask for a package whose run-time closure is pure Python",
    )


def _other_digest(name: str, index: str, mine: str, theirs: str) -> Refusal:
    return Refusal(
        "digest-mismatch",
        what=f"{name} has the SHA-256 {mine} here, and {theirs} in the request",
        who=f"the index {index} or the request",
        do="do not use this file; compare both indexes",
    )
