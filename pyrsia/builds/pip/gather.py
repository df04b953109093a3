"""What is known of sources and tools: asked of the index, read in the sandbox, remembered by digest.

Turns "this source, this target, this cut-off" into a recipe, a set of tools and the releases that a
requirement leads to. Decides how much is asked at a time: pages and files together, every METADATA that one
search misses in one run of the sandbox, and nothing twice for the same bytes. What is chosen, `resolve` says.

Source: docs/builds-pip.md, "The lock"; PEP 517, PEP 658.
"""

import base64
import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import trio
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pyrsia.builds.inside import Answer, Inside
from pyrsia.builds.model import NamedFile, PhaseFailed
from pyrsia.builds.pip import generator, lock, resolve
from pyrsia.builds.pip.hooks import AUTHOR, Hooks, Tool, inner, tools_of
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.places import Place
from pyrsia.builds.pip.resolve import Facts, Metadata, Release, Role
from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.builds.recipe import cutoff_of, pip_recipe, tools_cutoff_ms
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import FETCHES_AT_ONCE, MAX_HOOK_REQUIRES, MAX_METADATA_BYTES, Limit

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
    """A source archive that is here, and what its registry says of it.

    Attributes:
        name: in the index. sha256: hex.
        upload_ms: when the index got it; None where no index tells, as for a source that was given along.
        reference: upstream's wheel of the release that tells how it was built, see `resolve.Release`.
        builds: (canonical name, version) that the network will vouch for. Its own wheels are no tools of it, nor are
            those of later versions: the source could hand them out as built. None for a source that was given along.
    """

    name: str
    sha256: str
    path: Path
    upload_ms: int | None = None
    reference: IndexFile | None = None
    builds: tuple[str, Version] | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """What a source and upstream's wheel say before anything runs.

    Attributes:
        newest: newest member time of upstream's wheel, else of the source, in s since 1970.
        requires: `build-system.requires`.
        pins: the program that packed upstream's wheel, at its version; empty where it says none.
    """

    newest: int
    requires: tuple[str, ...]
    pins: tuple[Requirement, ...]


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
    """Answers questions about packages; any number of tasks may ask at once."""

    def __init__(
        self,
        inside: Inside,
        index: IndexClient,
        hooks: Hooks,
        bring: Callable[[IndexFile], Awaitable[Path]] | None = None,
    ) -> None:
        """`bring` gets the bytes of a tool; by itself from the index."""
        self._inside = inside
        self._index = index
        self._hooks = hooks
        self._bring = bring or index.fetch
        self._metadata: Memory[str, Metadata] = Memory()
        self._studies: Memory[tuple[str, str, str], Study] = Memory()
        self._asked: Memory[tuple[object, ...], tuple[str, ...]] = Memory()

    # -- resolving --

    async def solve(
        self,
        wanted: Sequence[Requirement],
        facts: Facts,
        place: Place,
        cutoff_ms: int,
        role: Role,
        pins: Sequence[Requirement] = (),
        builds: tuple[str, Version] | None = None,
    ) -> tuple[Release, ...]:
        """Resolve, fetching what is missing. Ends: each round adds a page or a METADATA, both finite.

        Args:
            cutoff_ms: nothing uploaded later is seen, pages read before that moment are read again; 0: all is seen.
            builds: what the tools are for, see `Source`; only older versions of it are seen.

        Raises:
            Refusal: `package-unknown` when that is why nothing fits; else as `resolve.resolve` and the index.
        """
        unknown: dict[str, Refusal] = {}
        while True:
            try:
                return resolve.resolve(wanted, facts, place.target, cutoff_ms or None, role=role, pins=pins)
            except resolve.Need as need:
                missing = need
            except Refusal as refusal:
                causes = getattr(refusal.__cause__, "causes", ())
                for name in sorted(canonicalize_name(cause.requirement.name) for cause in causes):
                    if name in unknown:
                        raise unknown[name] from refusal
                raise
            await self._add_pages(missing.projects, facts, cutoff_ms, unknown, builds)
            await self._add_metadata(missing.releases, facts, place, cutoff_ms)

    async def _add_pages(
        self,
        names: Sequence[str],
        facts: Facts,
        cutoff_ms: int,
        unknown: dict[str, Refusal],
        builds: tuple[str, Version] | None,
    ) -> None:
        async def one(name: str) -> Project:
            try:
                found = await self._index.project(name, cutoff_ms)
                return _older(found, builds[1]) if builds and canonicalize_name(name) == builds[0] else found
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
        self, wanted: Sequence[Release], facts: Facts, place: Place, cutoff_ms: int
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
            found = await self._of_source(first, place, cutoff_ms)
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
        paths = await together([_later(self._bring, one) for one in rest], FETCHES_AT_ONCE.value)
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

    async def _of_source(self, release: Release, place: Place, cutoff_ms: int) -> Metadata:
        source = await self.source(release)
        recipe = await self.recipe(source, place)
        return await self.metadata(source, place, recipe, f"{release.name} {release.version}")

    async def metadata(
        self,
        source: Source,
        place: Place,
        recipe: Mapping[str, Any],
        who: str,
        *,
        subdir: str = "",
        version: str = "",
    ) -> Metadata:
        """What a source's own backend says of it: asked in the sandbox (PEP 517).

        Args:
            subdir, version: as `Hooks.run`.
        """
        tools = await self.tools(source, place, recipe, subdir=subdir, version=version)
        async with self._hooks.run(
            "metadata",
            NamedFile(source.name, source.path),
            tools_of(tools),
            place,
            recipe["sde"],
            phase="metadata",
            who=who,
            subdir=subdir,
            version=version,
        ) as answer:
            data = _decoded(answer.value.get("metadata"))
            if data is None:
                raise PhaseFailed("metadata", "no METADATA", who=who, do=AUTHOR, log=answer.log)
        return parsed(data, who)

    # -- sources and their tools --

    async def source(self, release: Release) -> Source:
        """Fetch a release's source archive, checked against its digest."""
        sdist = release.sdist
        assert sdist is not None  # noqa: S101 - the caller chose one with it
        path = await self._index.fetch(sdist)
        builds = canonicalize_name(release.name), release.version
        return Source(sdist.filename, sdist.sha256, path, sdist.upload_ms, release.reference, builds)

    async def recipe(self, source: Source, place: Place, fallback_ms: int | None = 0) -> dict[str, Any]:
        """The recipe as the rules give it for this source in this environment.

        Args:
            fallback_ms: the cut-off where the index tells no upload time; None: the source's newest member.
        """
        found = await self._study(source)
        fallback = cutoff_of(found.newest) if fallback_ms is None else fallback_ms
        return pip_recipe(
            environment=place.environment.id,
            cutoff_ms=fallback if source.upload_ms is None else source.upload_ms,
            newest_s=found.newest,
            pure=not place.native,
        )

    async def _study(self, source: Source, subdir: str = "") -> Study:
        """Read, in one run, what the source and upstream's wheel say."""
        reference = source.reference
        key = (source.sha256, reference.sha256 if reference else "", subdir)
        known = self._studies.get(key)
        if known is not None:
            return known
        files = {inner(source.name): source.path}
        timed = inner(source.name)
        if reference is not None:
            timed = "upstream.whl"
            files[timed] = await self._index.fetch(reference)
        job = {"operation": "study", "file": timed, "source": inner(source.name), "subdir": subdir}
        async with self._inside.run(job, files, phase="prefetch", who=source.name) as answer:
            newest, unreadable = answer.value.get("newest"), answer.value.get("unreadable")
            if not isinstance(newest, int) or newest < 0:
                why = "the archive's times cannot be read"
                raise PhaseFailed("prefetch", why, who=source.name, do="use another version")
            if unreadable:
                why = str(unreadable)[:300]
                raise PhaseFailed("requirements", why, who=source.name, do=AUTHOR, log=answer.log)
            lines = _requirement_lines(answer, source.name)
            pinned = generator.pin(str(answer.value.get("generator", ""))[:200])
        found = Study(newest, lines, () if pinned is None else (pinned,))
        self._studies.keep(key, found)
        return found

    async def tools(
        self,
        source: Source,
        place: Place,
        recipe: Mapping[str, Any],
        *,
        subdir: str = "",
        version: str = "",
    ) -> list[Tool]:
        """The wheels that build `source`: what pyproject.toml names, and what the backend asks for in turn.

        The program that packed upstream's wheel stands at its version, where everything else allows that.

        Args:
            subdir, version: as `Hooks.run`.
        """
        study = await self._study(source, subdir)
        asking = functools.partial(
            self._asked_for, source, place=place, epoch=recipe["sde"], subdir=subdir, version=version
        )
        cutoff = tools_cutoff_ms(recipe["cutoff_ms"], place.target.version[1])
        try:
            return await self._tools(source, study.requires, study.pins, place, cutoff, asking)
        except Refusal as refusal:
            if refusal.code != "unresolvable" or not study.pins:
                raise
            return await self._tools(source, study.requires, (), place, cutoff, asking)

    async def _tools(
        self,
        source: Source,
        requires: Sequence[str],
        pins: Sequence[Requirement],
        place: Place,
        cutoff: int,
        asking: Callable[[Sequence[Tool]], Awaitable[tuple[str, ...]]],
    ) -> list[Tool]:
        facts = Facts()
        static = [resolve.parse_requirement(line, source.name) for line in requires]
        chosen = await self.solve(static, facts, place, cutoff, "tool", pins, source.builds)
        wheels = await self._fetched(chosen)
        lines = await asking(wheels)
        if lines:
            dynamic = [resolve.parse_requirement(line, source.name) for line in lines]
            chosen = await self.solve([*static, *dynamic], facts, place, cutoff, "tool", pins, source.builds)
            wheels = await self._fetched(chosen)
        return wheels

    async def _asked_for(
        self, source: Source, tools: Sequence[Tool], *, place: Place, epoch: int, subdir: str, version: str
    ) -> tuple[str, ...]:
        """`get_requires_for_build_wheel` of the backend, run in the sandbox with the static tools."""
        digests = [one.line.sha256 for one in tools]
        key = (source.sha256, subdir, version, place.environment.id, epoch, *digests)
        known = self._asked.get(key)
        if known is not None:
            return known
        archive = NamedFile(source.name, source.path)
        async with self._hooks.run(
            "requires",
            archive,
            tools_of(tools),
            place,
            epoch,
            phase="requirements",
            who=source.name,
            subdir=subdir,
            version=version,
        ) as answer:
            lines = _requirement_lines(answer, source.name)
        self._asked.keep(key, lines)
        return lines

    async def _fetched(self, chosen: Sequence[Release]) -> list[Tool]:
        async def one(release: Release) -> Tool:
            wheel = release.wheel
            assert wheel is not None  # noqa: S101 - role "tool"
            path = await self._bring(wheel)
            size = (await trio.Path(path).stat()).st_size
            line = lock.Locked(release.name, str(release.version), wheel.filename, wheel.sha256, size)
            return Tool(line, path)

        return sorted(await together([_later(one, release) for release in chosen], FETCHES_AT_ONCE.value))


def _later(function: Callable[[Any], Awaitable[V]], argument: Any) -> Callable[[], Awaitable[V]]:
    return lambda: function(argument)


def _older(project: Project, version: Version) -> Project:
    """`project` as it was before `version`: without that version's wheels, and without later ones."""

    def stays(file: IndexFile) -> bool:
        try:
            return parse_wheel_filename(file.filename)[1] < version
        except (InvalidVersion, InvalidWheelFilename):
            return True  # no wheel, so no tool

    return replace(project, files=tuple(file for file in project.files if stays(file)))


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
