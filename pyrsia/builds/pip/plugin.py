"""The pip plug-in: plan, prefetch, build, normalise, compare, containment for pure Python packages.

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import trio
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pyrsia.builds import members
from pyrsia.builds.inside import Answer, Inside, Program, read_plain
from pyrsia.builds.model import (
    Built,
    FileOut,
    Inputs,
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
from pyrsia.builds.pip import host, lock, resolve, simple
from pyrsia.builds.pip.gather import (
    AUTHOR,
    Gatherer,
    hook_job,
    hook_ok,
    inner,
    parsed,
    together,
)
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.resolve import Facts, Release
from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.builds.pip.target import Target
from pyrsia.builds.recipe import disagreement
from pyrsia.errors import Refusal, Unavailable
from pyrsia.units import (
    BUILD_LOG_BYTES,
    FETCHES_AT_ONCE,
    MAX_METADATA_BYTES,
    MAX_SOURCE_BYTES,
    MAX_UNPACKED_BYTES,
    MAX_WORKER_RESULT_BYTES,
    PLANS_AT_ONCE,
)

ECOSYSTEM: Final = "pip"
PROGRAM: Final = Program("builds/pip/worker.py", plain=("builds/pip/hook.py",), hostile=frozenset({"hook"}))


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the sandbox said about one wheel; files stand in the folder it was asked to fill."""

    value: Mapping[str, Any]
    canonical: Packed
    raw_members: FileOut
    metadata: FileOut
    upstream: Packed | None
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
        self._gather = Gatherer(inside, index, self.environment)

    # -- plan --

    async def plan(self, want: Want, now_ms: int, progress: Progress = lambda _: None) -> tuple[Planned, ...]:
        """The package and its whole run-time closure, dependencies first.

        Args:
            now_ms: nothing uploaded later is seen.

        Raises:
            Refusal: `package-unknown`, `version-unknown`, `no-sdist`, `unresolvable`, `index-unreachable`,
                `build-failed` when a package cannot be built as pure Python.
        """
        progress(f"looking for {want.name} on {self._index.indexes[0]}")
        wanted = await self._requirement(want.name, want.version, now_ms)
        chosen = await self._closure(wanted, now_ms, progress)

        async def one(release: Release) -> Planned:
            progress(f"planning {release.name} {release.version}")
            return await self._plan_one(release, now_ms)

        jobs = [functools.partial(one, release) for release in chosen]
        return tuple(await together(jobs, PLANS_AT_ONCE.value))

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """The lock that this node makes for a request, after deriving its recipe here as well.

        Raises:
            Refusal: `digest-mismatch` when the own index has another source under that name,
                `lock-mismatch` when the recipe is not what the rules give.
        """
        release, sdist = await self._own_source(request)
        target = Target.from_dict(request["target"])
        source = await self._gather.source(sdist)
        theirs = request["recipe"]
        # An index without upload times cannot be asked about the past; then the request's time stands.
        mine = await self._gather.recipe(release, source, theirs["cutoff_ms"])
        why = disagreement(mine, theirs)
        if why:
            raise PhaseFailed(
                "lock-mismatch",
                f"the recipe of {request['purl']} is not what the rules give: {why}",
                who="the request",
                do="ask for the package again from a node with the same environment",
                code="lock-mismatch",
            )
        tools = await self._gather.tools(source, target, mine, release.pure)
        return lock.encode(line for line, _ in tools)

    # -- prefetch --

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs:
        """Source, tools and upstream's wheel from this node's own index, each by its digest.

        Raises:
            Refusal: `digest-mismatch` naming both digests, `index-unreachable`, `version-unknown`.
        """
        release, sdist = await self._own_source(request)
        source = await self._index.fetch(sdist)
        lines = lock.decode(locked)
        fetches = [functools.partial(self._tool, line) for line in lines]
        wheels = await together(fetches, FETCHES_AT_ONCE.value)
        upstream = {}
        if release.pure is not None:
            upstream[release.pure.filename] = await self._index.fetch(release.pure)
        digest = hashlib.sha256(locked).hexdigest()
        tools = tuple((line.file, line.sha256) for line in lines)
        return Inputs(NamedFile(sdist.filename, source), tuple(wheels), upstream, digest, tools)

    async def _tool(self, line: lock.Locked) -> NamedFile:
        page = await self._index.project(line.name)
        file = _file(page, line.file)
        if file is None:
            raise _version_unknown(line.name, line.file, page.index)
        if file.sha256 != line.sha256:
            raise _other_digest(line.file, page.index, file.sha256, line.sha256)
        return NamedFile(line.file, await self._index.fetch(file))

    # -- build --

    async def build(
        self, request: Mapping[str, Any], inputs: Inputs, progress: Progress = lambda _: None
    ) -> Built:
        """Build and inspect one wheel in the sandbox. A build that fails is an answer, not an exception.

        Raises:
            Unavailable: this machine could not build; nothing should be said about the package.
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
            source="registry",
            outputs=(output,),
            environment=self.environment,
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
        files = {"wheel.whl": wheel[1], inner(source[0]): source[1]}
        if upstream is not None:
            files["upstream.whl"] = upstream[1]
        job = {
            "operation": "inspect",
            "wheel": "wheel.whl",
            "source": inner(source[0]),
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
        page = await self._index.project(name, now_ms)
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
        facts = Facts()
        try:
            chosen = await self._gather.solve([wanted], facts, self.target, now_ms, "source")
        except Refusal as refusal:
            if refusal.code != "unresolvable":
                raise
            # Would it stand if packages without source were allowed? Then name those.
            anyhow = await self._gather.solve([wanted], facts, self.target, now_ms, "any")
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

    async def _plan_one(self, release: Release, now_ms: int) -> Planned:
        sdist = release.sdist
        assert sdist is not None  # noqa: S101 - role "source" keeps none without
        source = await self._gather.source(sdist)
        recipe = await self._gather.recipe(release, source, now_ms)
        tools = await self._gather.tools(source, self.target, recipe, release.pure)
        size = (await trio.Path(source.path).stat()).st_size
        return Planned(
            purl=f"pkg:pypi/{release.name}@{release.version}",
            coordinates={"name": release.name, "version": str(release.version)},
            source={"file": sdist.filename, "sha256": sdist.sha256, "size": size},
            recipe=recipe,
            lock=lock.encode(line for line, _ in tools),
            target=self.target.as_dict(),
            ecosystem=ECOSYSTEM,
        )

    # -- own source --

    async def _own_source(self, request: Mapping[str, Any]) -> tuple[Release, IndexFile]:
        """The release and source archive that this node's own index has for a request."""
        name, version = request["coordinates"]["name"], request["coordinates"]["version"]
        source = request["source"]
        page = await self._index.project(name)
        sdist = _file(page, source["file"])
        if sdist is None:  # it may be younger than the page that we remember
            page = await self._index.project(name, None)
            sdist = _file(page, source["file"])
        if sdist is None:
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
        job = hook_job("build", inputs.source[0], [name for name, _ in inputs.files], sde)
        files = {inner(inputs.source[0]): inputs.source[1], **dict(inputs.files)}
        async with self._inside.run(job, files, phase="build", who=who, epoch=sde) as answer:
            log += answer.log
            hook_ok(answer, "build", who)
            name = answer.value.get("file")
            why = _not_this_wheel(name, request["coordinates"])
            if why:
                raise PhaseFailed("build", why, who=who, do=AUTHOR)
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
        theirs = next(iter(inputs.upstream.items()), None)
        found = await self.normalise((name, wheel), inputs.source, theirs, sde, folder)
        log += found.log
        if found.value["upstream_reason"]:
            log += f"pyrsia: upstream's wheel is not compared: {found.value['upstream_reason']}\n".encode()
        metadata = parsed(found.metadata.path.read_bytes(), name)
        same = Version(metadata.version) == Version(request["coordinates"]["version"])
        if metadata.name != request["coordinates"]["name"] or not same:
            raise PhaseFailed("normalise", "the METADATA names another package", who=name, do=AUTHOR)
        relation = str(found.value["relation"])
        requires = metadata.requires_python
        raw = Packed(file_out(wheel), found.raw_members, found.metadata, requires)
        upstream = found.upstream
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
            log=keep(folder, "log", log),
            folder=folder,
            why=error.what,
        )

    def _new_folder(self) -> Path:
        try:
            self._results.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="built-", dir=self._results))
        except OSError as error:
            raise Unavailable(f"this machine cannot keep what is built: {error}") from error


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
        raise PhaseFailed("build", "the wheel is no plain file or too large", who=who, do=AUTHOR)
    path.write_bytes(data)


def _collect(answer: Answer, into: Path, upstream: tuple[str, Path] | None) -> Inspected:
    """Copy what the inspection wrote into the result's folder."""

    def take(name: str, limit: int) -> FileOut:
        data = read_plain(answer.work / name, limit)
        if data is None:
            raise PhaseFailed("normalise", f"the inspection left no {name}", who="this node", do=AUTHOR)
        return keep(into, name, data)

    listed = MAX_WORKER_RESULT_BYTES.value
    metadata = take("metadata", MAX_METADATA_BYTES.value)
    canonical = Packed(
        take("canonical", MAX_UNPACKED_BYTES.value + listed), take("canonical.members", listed), metadata, ""
    )
    theirs = None
    if upstream is not None and not answer.value.get("upstream_reason"):
        shutil.copyfile(upstream[1], into / "upstream")
        theirs = Packed(
            file_out(into / "upstream"),
            take("upstream.members", listed),
            take("upstream.metadata", MAX_METADATA_BYTES.value),
            "",
        )
    return Inspected(answer.value, canonical, take("raw.members", listed), metadata, theirs, answer.log)


def _file(page: Project, filename: str) -> IndexFile | None:
    return next((one for one in page.files if one.filename == filename), None)


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
