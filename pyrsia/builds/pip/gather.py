"""What is known of sources and tools: asked of the index, read in the sandbox, remembered by digest.

Turns "this source, this target, this cut-off" into a recipe, a set of tools and the releases that a
requirement leads to. Decides how much is asked at a time: pages and files together, every METADATA that one
search misses in one run of the sandbox, and nothing twice for the same bytes. What is chosen, `resolve` says.

Source: docs/builds.md, "The lock"; PEP 517, PEP 658.
"""

import base64
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import trio
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pyrsia.builds.inside import Answer, Inside
from pyrsia.builds.model import PhaseFailed
from pyrsia.builds.pip import lock, resolve
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.resolve import Facts, Metadata, Release, Role
from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.builds.pip.target import Target
from pyrsia.builds.recipe import pip_recipe, tools_cutoff_ms
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import FETCHES_AT_ONCE, MAX_HOOK_REQUIRES, MAX_METADATA_BYTES, Limit

AUTHOR: Final = "read the build's log and tell the package's author"
READ_AT_ONCE: Final = Limit(32, "wheels in one run of the sandbox; more is copied than is likely needed")
REMEMBERED: Final = Limit(2_048, "answers kept by digest, a few KB each; a busy builder sees less in a day")

K = TypeVar("K")
V = TypeVar("V")


class Memory(Generic[K, V]):
    """A table that forgets its oldest rows."""

    def __init__(self) -> None:
        self._rows: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        return self._rows.get(key)

    def keep(self, key: K, value: V) -> None:
        self._rows[key] = value
        while len(self._rows) > REMEMBERED.value:
            self._rows.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Source:
    """A source archive that is here: its name in the index, its SHA-256, its path."""

    name: str
    sha256: str
    path: Path


async def together(tasks: Sequence[Callable[[], Awaitable[V]]], at_once: int) -> list[V]:
    """The results of `tasks` in their order; the first one that fails ends all and is raised as it is."""
    results: dict[int, V] = {}
    limiter = trio.CapacityLimiter(at_once)

    async def one(at: int) -> None:
        async with limiter:
            results[at] = await tasks[at]()

    try:
        async with trio.open_nursery() as nursery:
            for at in range(len(tasks)):
                nursery.start_soon(one, at)
    except ExceptionGroup as group:  # a person is told one reason: the first
        raise group.exceptions[0] from None
    return [results[at] for at in range(len(tasks))]


class Gatherer:
    """Answers questions about packages for one environment; any number of tasks may ask at once."""

    def __init__(self, inside: Inside, index: IndexClient, environment: str) -> None:
        self._inside = inside
        self._index = index
        self._environment = environment
        self._metadata: Memory[str, Metadata] = Memory()
        self._studies: Memory[tuple[str, str], tuple[int, tuple[str, ...]]] = Memory()
        self._hooks: Memory[tuple[object, ...], tuple[str, ...]] = Memory()

    # -- resolving --

    async def solve(
        self, wanted: Sequence[Requirement], facts: Facts, target: Target, cutoff_ms: int, role: Role
    ) -> tuple[Release, ...]:
        """Resolve, fetching what is missing. Ends: each round adds a page or a METADATA, both finite.

        Args:
            cutoff_ms: nothing uploaded later is seen; pages read before that moment are read again.

        Raises:
            Refusal: `package-unknown` when that is why nothing fits; else as `resolve.resolve` and the index.
        """
        unknown: dict[str, Refusal] = {}
        while True:
            try:
                return resolve.resolve(wanted, facts, target, cutoff_ms, role=role)
            except resolve.Need as need:
                missing = need
            except Refusal as refusal:
                causes = getattr(refusal.__cause__, "causes", ())
                for name in sorted(canonicalize_name(cause.requirement.name) for cause in causes):
                    if name in unknown:
                        raise unknown[name] from refusal
                raise
            await self._add_pages(missing.projects, facts, cutoff_ms, unknown)
            await self._add_metadata(missing.releases, facts, target, cutoff_ms)

    async def _add_pages(
        self, names: Sequence[str], facts: Facts, cutoff_ms: int, unknown: dict[str, Refusal]
    ) -> None:
        async def one(name: str) -> Project:
            try:
                return await self._index.project(name, cutoff_ms)
            except Refusal as refusal:
                if refusal.code != "package-unknown":
                    raise
                # Another version of whoever asks for it may do without: the search decides.
                unknown[name] = refusal
                return Project(name, "", ())

        pages = await together([_later(one, name) for name in names], FETCHES_AT_ONCE.value)
        facts.projects.update(zip(names, pages, strict=True))

    # -- METADATA --

    async def _add_metadata(
        self, wanted: Sequence[Release], facts: Facts, target: Target, cutoff_ms: int
    ) -> None:
        """The METADATA of the first release, and of those others that come cheaply."""
        missing = []
        for release in wanted:
            archive = release.wheel or release.sdist
            assert archive is not None  # noqa: S101 - `resolve.releases` keeps no empty release
            found = self._metadata.get(archive.sha256)
            if found is None:
                missing.append(release)
            else:
                facts.metadata[archive.sha256] = found
        if not missing:
            return
        first, *others = missing
        batch = [one for one in others if one.wheel is not None][: READ_AT_ONCE.value - 1]
        if first.wheel is None:
            found = await self._of_source(first, target, cutoff_ms)
            assert first.sdist is not None  # noqa: S101 - as above
            self._metadata.keep(first.sdist.sha256, found)
            facts.metadata[first.sdist.sha256] = found
        elif not await self._of_wheels([first, *batch], facts):
            await self._of_wheels([first], facts, strict=True)

    async def _of_wheels(self, wanted: list[Release], facts: Facts, *, strict: bool = False) -> bool:
        """Read the METADATA of these wheels; whether the first could be read.

        Raises:
            Refusal: only where `strict`: what the first lacks.
        """
        try:
            texts = await self._texts([one.wheel for one in wanted if one.wheel is not None])
        except Refusal:
            if strict or len(wanted) == 1:
                raise
            return False  # one of those that may not even be needed
        for at, release in enumerate(wanted):
            assert release.wheel is not None  # noqa: S101 - the caller chose them so
            text = texts.get(release.wheel.sha256, "it was not read")
            where = f"{release.name} {release.version}"
            try:
                if isinstance(text, str):
                    raise PhaseFailed("metadata", f"no METADATA: {text}"[:300], who=where, do=AUTHOR)
                found = parsed(text, where)
            except PhaseFailed:
                if at == 0:
                    raise
                continue
            self._metadata.keep(release.wheel.sha256, found)
            facts.metadata[release.wheel.sha256] = found
        return True

    async def _texts(self, wheels: Sequence[IndexFile]) -> dict[str, bytes | str]:
        """METADATA by the wheel's digest: from the index (PEP 658), the rest in one run of the sandbox.

        A wheel that cannot be read has its reason instead.
        """
        offered = await together([_later(self._index.metadata, one) for one in wheels], FETCHES_AT_ONCE.value)
        found: dict[str, bytes | str] = {
            one.sha256: text for one, text in zip(wheels, offered, strict=True) if text is not None
        }
        rest = [one for one in wheels if one.sha256 not in found]
        if not rest:
            return found
        paths = await together([_later(self._index.fetch, one) for one in rest], FETCHES_AT_ONCE.value)
        names = [f"{at}.whl" for at in range(len(rest))]
        job = {"operation": "metadata", "wheels": names}
        files = dict(zip(names, paths, strict=True))
        async with self._inside.run(job, files, phase="metadata", who=rest[0].filename) as answer:
            texts, broken = answer.value.get("metadata"), answer.value.get("broken")
        for name, wheel in zip(names, rest, strict=True):
            text = _decoded(texts.get(name)) if isinstance(texts, dict) else None
            why = broken.get(name) if isinstance(broken, dict) else None
            found[wheel.sha256] = text if text is not None else str(why or "the answer cannot be read")
        return found

    async def _of_source(self, release: Release, target: Target, cutoff_ms: int) -> Metadata:
        """A release without any wheel: its backend is asked, in the sandbox (PEP 517)."""
        where = f"{release.name} {release.version}"
        assert release.sdist is not None  # noqa: S101 - there is no wheel
        source = await self.source(release.sdist)
        recipe = await self.recipe(release, source, cutoff_ms)
        tools = await self.tools(source, target, recipe)
        files = {inner(source.name): source.path, **{line.file: path for line, path in tools}}
        job = hook_job("metadata", source.name, [line.file for line, _ in tools], recipe["sde"])
        async with self._inside.run(job, files, phase="metadata", who=where, epoch=recipe["sde"]) as answer:
            hook_ok(answer, "metadata", where)
            data = _decoded(answer.value.get("metadata"))
            if data is None:
                raise PhaseFailed("metadata", "no METADATA", who=where, do=AUTHOR, log=answer.log)
        return parsed(data, where)

    # -- sources and their tools --

    async def source(self, sdist: IndexFile) -> Source:
        """Fetch a source archive, checked against its digest."""
        return Source(sdist.filename, sdist.sha256, await self._index.fetch(sdist))

    async def recipe(self, release: Release, source: Source, fallback_ms: int) -> dict[str, Any]:
        """Cut-off and SOURCE_DATE_EPOCH as the rules give them for this source.

        Args:
            fallback_ms: the cut-off where the index tells no upload time.
        """
        assert release.sdist is not None  # noqa: S101 - it has this source
        upload_ms = release.sdist.upload_ms
        newest, _ = await self._study(source, release.pure)
        return pip_recipe(
            environment=self._environment,
            cutoff_ms=fallback_ms if upload_ms is None else upload_ms,
            newest_s=newest,
        )

    async def _study(self, source: Source, pure: IndexFile | None) -> tuple[int, tuple[str, ...]]:
        """(newest member time of upstream's wheel or else the source, static requirements), in one run."""
        key = (source.sha256, pure.sha256 if pure else "")
        known = self._studies.get(key)
        if known is not None:
            return known
        files = {inner(source.name): source.path}
        timed = inner(source.name)
        if pure is not None:
            timed = "upstream.whl"
            files[timed] = await self._index.fetch(pure)
        job = {"operation": "study", "file": timed, "source": inner(source.name)}
        async with self._inside.run(job, files, phase="prefetch", who=source.name) as answer:
            newest, unreadable = answer.value.get("newest"), answer.value.get("unreadable")
            if not isinstance(newest, int) or newest < 0:
                why = "the archive's times cannot be read"
                raise PhaseFailed("prefetch", why, who=source.name, do="use another version")
            if unreadable:
                why = str(unreadable)[:300]
                raise PhaseFailed("requirements", why, who=source.name, do=AUTHOR, log=answer.log)
            lines = _requirement_lines(answer, source.name)
        self._studies.keep(key, (newest, lines))
        return newest, lines

    async def tools(
        self, source: Source, target: Target, recipe: Mapping[str, Any], pure: IndexFile | None = None
    ) -> list[tuple[lock.Locked, Path]]:
        """The wheels that build `source`: what pyproject.toml names, and what the backend asks for in turn.

        Args:
            pure: as in the release that `recipe` was made for; it only spares a second look at the source.
        """
        cutoff = tools_cutoff_ms(recipe["cutoff_ms"], target.version[1])
        facts = Facts()
        _, lines = await self._study(source, pure)
        static = [resolve.parse_requirement(line, source.name) for line in lines]
        wheels = await self._fetched(await self.solve(static, facts, target, cutoff, "tool"))
        lines = await self._asked_for(source, wheels, recipe["sde"])
        if lines:
            dynamic = [resolve.parse_requirement(line, source.name) for line in lines]
            chosen = await self.solve([*static, *dynamic], facts, target, cutoff, "tool")
            wheels = await self._fetched(chosen)
        return wheels

    async def _asked_for(
        self, source: Source, wheels: Sequence[tuple[lock.Locked, Path]], epoch: int
    ) -> tuple[str, ...]:
        """`get_requires_for_build_wheel` of the backend, run in the sandbox with the static tools."""
        key = (source.sha256, epoch, *(line.sha256 for line, _ in wheels))
        known = self._hooks.get(key)
        if known is not None:
            return known
        job = hook_job("requires", source.name, [line.file for line, _ in wheels], epoch)
        files = {inner(source.name): source.path, **{line.file: path for line, path in wheels}}
        async with self._inside.run(job, files, phase="requirements", who=source.name, epoch=epoch) as answer:
            hook_ok(answer, "requirements", source.name)
            lines = _requirement_lines(answer, source.name)
        self._hooks.keep(key, lines)
        return lines

    async def _fetched(self, chosen: Sequence[Release]) -> list[tuple[lock.Locked, Path]]:
        async def one(release: Release) -> tuple[lock.Locked, Path]:
            wheel = release.wheel
            assert wheel is not None  # noqa: S101 - role "tool"
            path = await self._index.fetch(wheel)
            size = (await trio.Path(path).stat()).st_size
            return lock.Locked(release.name, str(release.version), wheel.filename, wheel.sha256, size), path

        return sorted(await together([_later(one, release) for release in chosen], FETCHES_AT_ONCE.value))


def _later(function: Callable[[Any], Awaitable[V]], argument: Any) -> Callable[[], Awaitable[V]]:
    return lambda: function(argument)


def inner(filename: str) -> str:
    """The name of an archive inside: its own for the backend's eyes does not matter, its ending does."""
    return "archive" + (
        ".whl" if filename.endswith(".whl") else ".zip" if filename.endswith(".zip") else ".tar.gz"
    )


def hook_job(hook: str, source: str, wheels: list[str], epoch: int) -> dict[str, Any]:
    return {"operation": "hook", "hook": hook, "source": inner(source), "wheels": wheels, "epoch": epoch}


def hook_ok(answer: Answer, phase: str, who: str) -> None:
    """Raises: PhaseFailed when the backend gave up, with the last line that it printed."""
    if "failed" in answer.value:
        last = answer.log.decode("utf-8", "replace").strip().rpartition("\n")[2]
        why = f"the build backend gave up: {last[:200]!a}"
        raise PhaseFailed(phase, why, who=who, do=AUTHOR, log=answer.log)


def parsed(data: bytes, where: str) -> Metadata:
    """Raises: PhaseFailed for a METADATA without a name or with a version that is none."""
    try:
        found = resolve.parse_metadata(data)
        Version(found.version)
    except (Malformed, InvalidVersion) as error:
        raise PhaseFailed("metadata", str(error), who=where, do=AUTHOR) from error
    return found


def _requirement_lines(answer: Answer, who: str) -> tuple[str, ...]:
    lines = answer.value.get("requires")
    if (
        not isinstance(lines, list)
        or len(lines) > MAX_HOOK_REQUIRES.value
        or not all(isinstance(line, str) for line in lines)
    ):
        why = "the backend's answer is no list of requirements"
        raise PhaseFailed("requirements", why, who=who, do=AUTHOR, log=answer.log)
    return tuple(lines)


def _decoded(text: Any) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)[: MAX_METADATA_BYTES.value]
    except (ValueError, TypeError):
        return None
