"""Choosing versions: the run-time closure of a request, and the tools that build one source. No I/O.

`resolve` is a function of what is known so far. When it needs pages or METADATA that are not there yet it
raises `Need`; the caller fetches those and asks again. Pages and METADATA never change under a digest and
a cut-off time, so the answer is the same for every builder.

A missing METADATA does not stop the search at once: it goes on as if that release required nothing, so that
one `Need` names many releases and they are read together. Such a search never answers: the answer comes from
one that found everything it asked for.

Leaves out: fetching, and reading METADATA out of archives (that happens in the sandbox).

Source: docs/builds-pip.md, "The lock"; docs/adr/0011; PEP 440, PEP 508, PEP 592.
"""

import email.parser
import email.policy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import resolvelib
from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version
from resolvelib.resolvers import Resolution

from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.builds.pip.target import Target
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_RESOLVE_ROUNDS

Role = Literal["tool", "source", "any"]
PURE_TAGS: Final = frozenset({"py3-none-any", "py2.py3-none-any"})


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is read of a METADATA: its requirements, and what it asks of Python ("" for nothing readable)."""

    name: str
    version: str
    requires_dist: tuple[str, ...]
    requires_python: str


@dataclass(frozen=True, slots=True)
class Release:
    """All usable files of one version.

    Attributes:
        wheel: the wheel that ranks best on the target, or None.
        sdist: the source archive, or None.
        pure: the wheel for every platform, or None.
        compiled: whether there is a wheel for one platform.
        reference: the wheel that tells how upstream built: the pure one, else the one that was uploaded first.
    """

    name: str
    version: Version
    wheel: IndexFile | None
    sdist: IndexFile | None
    pure: IndexFile | None
    yanked: bool
    compiled: bool = False
    reference: IndexFile | None = None

    @property
    def uploaded_ms(self) -> int | None:
        """When the release came to the index; None where the index tells no times."""
        file = self.sdist or self.reference
        return file.upload_ms if file else None

    @property
    def compiled_only(self) -> bool:
        """Whether upstream has wheels, and none for every platform."""
        return self.compiled and self.pure is None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version under one set of extras; `release` holds its files."""

    name: str
    extras: frozenset[str]
    release: Release

    @property
    def version(self) -> Version:
        return self.release.version


@dataclass(slots=True)
class Facts:
    """What the caller has fetched, for one target and one cut-off.

    Attributes:
        projects: pages by name; a project that no index has is a page without files.
        metadata: by the SHA-256 of the archive it is of.
        known: releases by project, kept from one call of `resolve` to the next.
    """

    projects: dict[str, Project] = field(default_factory=dict)
    metadata: dict[str, Metadata] = field(default_factory=dict)
    known: dict[str, list[Release]] = field(default_factory=dict)


class Need(Exception):
    """Resolution stands still until `facts` holds these pages and the METADATA of these releases.

    Attributes:
        releases: only the first is certainly needed; the others very likely.
    """

    def __init__(self, projects: Iterable[str] = (), releases: Iterable[Release] = ()) -> None:
        self.projects = tuple(projects)
        self.releases = tuple(releases)
        super().__init__(f"{self.projects} {[f'{one.name} {one.version}' for one in self.releases]}")


def parse_metadata(data: bytes) -> Metadata:
    """Read a METADATA or PKG-INFO.

    Raises:
        Malformed: it has no name or version.
    """
    policy = email.policy.compat32
    message = email.parser.BytesHeaderParser(policy=policy).parsebytes(data)
    name, version = message.get("Name"), message.get("Version")
    if not name or not version:
        raise Malformed("the METADATA has no Name or no Version")
    return Metadata(
        name=canonicalize_name(str(name).strip()),
        version=str(version).strip(),
        requires_dist=tuple(str(line).strip() for line in message.get_all("Requires-Dist") or ()),
        requires_python=_specifier(str(message.get("Requires-Python") or "").strip()),
    )


def _specifier(text: str) -> str:
    """`text`, or "" where it is no specifier: as pip, what nobody can read excludes nobody."""
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return ""
    return text if text.isascii() and text.isprintable() else ""


def releases(project: Project, target: Target, cutoff_ms: int | None) -> list[Release]:
    """The versions of `project` that were there at `cutoff_ms` and suit the target, newest first.

    A file without an upload time passes: an index that gives none cannot be asked about the past.
    """
    table: dict[Version, list[IndexFile]] = {}
    for file in project.files:
        if not file.sha256 or (
            cutoff_ms is not None and file.upload_ms is not None and file.upload_ms > cutoff_ms
        ):
            continue
        version = _version_of(file, project.name)
        if version is not None and _python_suits(file.requires_python, target):
            table.setdefault(version, []).append(file)
    made = [_release(project.name, version, files, target) for version, files in table.items()]
    return sorted((one for one in made if one.wheel or one.sdist), key=lambda one: one.version, reverse=True)


def _release(name: str, version: Version, files: list[IndexFile], target: Target) -> Release:
    ranked: list[tuple[int, int, str, IndexFile]] = []
    pure: list[IndexFile] = []
    sdists: list[IndexFile] = []
    compiled: list[IndexFile] = []
    for file in sorted(files, key=lambda one: one.filename):
        if file.filename.endswith(".whl"):
            _, _, build, tags = parse_wheel_filename(file.filename)
            rank = min((target.ranks[tag] for tag in tags if tag in target.ranks), default=None)
            if rank is not None:
                ranked.append((rank, -(build[0] if build else 0), file.filename, file))
            if not file.filename.endswith("-none-any.whl"):
                compiled.append(file)
            elif not build:
                pure.append(file)
        else:
            sdists.append(file)
    sdists.sort(key=lambda one: (not one.filename.endswith(".tar.gz"), one.filename))
    # A wheel that is added to the release later, for a newer Python, changes nothing: the first one stays.
    compiled.sort(key=lambda one: (one.upload_ms is None, one.upload_ms or 0, one.filename))
    best = pure[-1] if pure else None  # py3-none-any sorts behind py2.py3-none-any
    return Release(
        name=name,
        version=version,
        wheel=min(ranked)[3] if ranked else None,
        sdist=sdists[0] if sdists else None,
        pure=best,
        yanked=all(file.yanked for file in files),
        compiled=bool(compiled),
        reference=best or next(iter(compiled), None),
    )


def _version_of(file: IndexFile, name: str) -> Version | None:
    try:
        if file.filename.endswith(".whl"):
            found, version, _, _ = parse_wheel_filename(file.filename)
        elif file.filename.endswith((".tar.gz", ".zip")):
            found, version = parse_sdist_filename(file.filename)
        else:
            return None
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    return version if found == name else None


def _python_suits(specifier: str, target: Target) -> bool:
    if not specifier:
        return True
    try:
        return SpecifierSet(specifier).contains(target.python, prereleases=True)
    except InvalidSpecifier:
        return True  # as pip: a specifier that nobody can read excludes nobody


def _serves(release: Release, role: Role) -> bool:
    if role == "tool":
        return release.wheel is not None
    return role == "any" or release.sdist is not None


class _Provider(resolvelib.AbstractProvider[Requirement, Candidate, str]):
    """The rules of choice: newest first, final before pre-release, names in order. Nothing random."""

    def __init__(
        self, facts: Facts, target: Target, cutoff_ms: int | None, role: Role, pins: Sequence[Requirement]
    ) -> None:
        self._facts, self._target, self._cutoff_ms, self._role = facts, target, cutoff_ms, role
        self._pins = {canonicalize_name(one.name): one.specifier for one in pins}
        self._unread: dict[str, Release] = {}  # METADATA taken for empty, by digest, in the order of asking

    def identify(self, requirement_or_candidate: Requirement | Candidate) -> str:
        one = requirement_or_candidate
        extras = ",".join(sorted(canonicalize_name(extra) for extra in one.extras))
        return canonicalize_name(one.name) + (f"[{extras}]" if extras else "")

    def get_preference(
        self,
        identifier: str,
        resolutions: Mapping[str, Candidate],
        candidates: Mapping[str, Iterator[Candidate]],
        information: Mapping[str, Iterator[Any]],
        backtrack_causes: Sequence[Any],
    ) -> tuple[bool, str]:
        wanted = [one.requirement for one in information[identifier]]
        pinned = any(spec.operator in ("==", "===") for one in wanted for spec in one.specifier)
        return not pinned, identifier

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Requirement]],
        incompatibilities: Mapping[str, Iterator[Candidate]],
    ) -> list[Candidate]:
        wanted = list(requirements[identifier])
        name, _, listed = identifier.removesuffix("]").partition("[")
        extras = frozenset(filter(None, listed.split(",")))
        refused = {one.version for one in incompatibilities[identifier]}
        specifier = self._pins.get(canonicalize_name(name), SpecifierSet())
        for one in wanted:
            specifier &= one.specifier
        pinned = any(spec.operator in ("==", "===") for spec in specifier)
        usable = {
            one.version: one
            for one in self._releases(name)
            if one.version not in refused
            and _serves(one, self._role)
            and (pinned or not one.yanked)  # PEP 592
        }
        return [Candidate(name, extras, usable[version]) for version in specifier.filter(usable)]

    def _releases(self, name: str) -> list[Release]:
        known = self._facts.known
        if name not in known:
            self.need_pages([name])
            known[name] = releases(self._facts.projects[name], self._target, self._cutoff_ms)
        return known[name]

    def need_pages(self, names: Iterable[str]) -> None:
        """Raises: Need when pages are missing, with everything that is missing so far."""
        missing = list(dict.fromkeys(name for name in names if name not in self._facts.projects))
        if missing:
            raise Need(missing, self._unread.values())

    def need_metadata(self) -> None:
        """Raises: Need when this search took an unread METADATA for an empty one."""
        if self._unread:
            raise Need((), self._unread.values())

    def is_satisfied_by(self, requirement: Requirement, candidate: Candidate) -> bool:
        return requirement.specifier.contains(candidate.version, prereleases=True)

    def get_dependencies(self, candidate: Candidate) -> list[Requirement]:
        archive = candidate.release.wheel or candidate.release.sdist
        metadata = self._facts.metadata.get(archive.sha256) if archive else None
        found: list[Requirement] = []
        if metadata is not None:
            found = wanted_by(metadata, candidate.extras, self._target)
            self.need_pages(canonicalize_name(one.name) for one in found)
        elif archive is not None:
            self._unread.setdefault(archive.sha256, candidate.release)
        if candidate.extras:  # name[extra] stands beside the very same version of name
            found.append(Requirement(f"{candidate.name}=={candidate.version}"))
        return found


def wanted_by(metadata: Metadata, extras: Iterable[str], target: Target) -> list[Requirement]:
    """The requirements of `metadata` that hold on the target with `extras` asked for."""
    found = []
    for line in metadata.requires_dist:
        requirement = parse_requirement(line, f"{metadata.name} {metadata.version}")
        if holds(requirement, extras, target):
            found.append(requirement)
    return found


def holds(requirement: Requirement, extras: Iterable[str], target: Target) -> bool:
    """Whether the requirement's marker is true on the target for one of `extras` or for none."""
    if requirement.marker is None:
        return True
    try:
        return any(
            requirement.marker.evaluate({**target.markers, "extra": extra}) for extra in ("", *sorted(extras))
        )
    except UndefinedEnvironmentName:
        return False


def parse_requirement(line: str, where: str) -> Requirement:
    """Raises: Refusal `unresolvable` for a line that is no requirement, or one that names a URL."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        raise Refusal(
            "unresolvable",
            what=f"{line!r} is not a requirement",
            who=where,
            do="ask its author to correct it",
        ) from error
    if requirement.url:
        raise Refusal(
            "unresolvable",
            what=f"the requirement {line!r} points to a URL, which no index vouches for",
            who=where,
            do="ask its author for a version that names packages only",
        )
    return requirement


def resolve(
    wanted: Sequence[Requirement],
    facts: Facts,
    target: Target,
    cutoff_ms: int | None,
    *,
    role: Role,
    pins: Sequence[Requirement] = (),
) -> tuple[Release, ...]:
    """The releases that satisfy `wanted` and everything they need, dependencies first, then by name.

    Args:
        role: `tool` takes wheels only, since tools are installed; `source` takes only versions with a source
            archive, since they are built; `any` takes both, to learn what a closure without source would be.
        pins: hold where a project is needed anyway; they make nothing needed.

    Raises:
        Need: pages or METADATA are missing in `facts`; add at least the first release and call again.
        Refusal: `unresolvable`, with the requirements that contradict each other.
    """
    provider = _Provider(facts, target, cutoff_ms, role, pins)
    roots = [one for one in wanted if holds(one, (), target)]
    provider.need_pages(canonicalize_name(one.name) for one in roots)
    # Not `Resolver`: its last step never ends where a cycle of packages was chosen and given up again.
    search = Resolution[Requirement, Candidate, str](provider, resolvelib.BaseReporter())
    try:
        mapping = search.resolve(roots, max_rounds=MAX_RESOLVE_ROUNDS.value).mapping
    except resolvelib.ResolutionImpossible as error:
        provider.need_metadata()
        raise _impossible(error.causes, role) from error
    except resolvelib.ResolutionTooDeep as error:
        provider.need_metadata()
        raise Refusal(
            "unresolvable",
            what=f"no set of versions was found in {MAX_RESOLVE_ROUNDS.value} rounds",
            who="the requirements of the package",
            do="ask for a version with narrower requirements",
        ) from error
    needs = _reached(provider, [provider.identify(one) for one in roots], mapping)
    provider.need_metadata()
    return _dependencies_first(needs, mapping)


def _impossible(causes: Iterable[Any], role: Role) -> Refusal:
    lines = sorted(
        {
            f"{cause.requirement} (of {cause.parent.name} {cause.parent.version})"
            if cause.parent is not None
            else str(cause.requirement)
            for cause in causes
        }
    )
    kind = "build tools" if role == "tool" else "packages"
    return Refusal(
        "unresolvable",
        what=f"no versions of the {kind} satisfy together: {', '.join(lines[:8])}",
        who="the requirements of the package and what the index offers for this target",
        do="ask for another version, or another target",
    )


def _reached(
    provider: _Provider, roots: Iterable[str], mapping: Mapping[str, Candidate]
) -> dict[str, set[str]]:
    """What the roots lead to, each with what it needs; a search leaves more behind where it turned back."""
    needs: dict[str, set[str]] = {}
    queue = list(roots)
    while queue:
        identifier = queue.pop()
        if identifier not in needs:
            found = provider.get_dependencies(mapping[identifier])
            needs[identifier] = {provider.identify(one) for one in found}
            queue += needs[identifier]
    return needs


def _dependencies_first(
    reached: Mapping[str, set[str]], mapping: Mapping[str, Candidate]
) -> tuple[Release, ...]:
    releases_of = {mapping[identifier].name: mapping[identifier].release for identifier in reached}
    needs: dict[str, set[str]] = {name: set() for name in releases_of}
    for identifier, children in reached.items():  # name and name[extra] are one package
        name = mapping[identifier].name
        needs[name].update(mapping[child].name for child in children if mapping[child].name != name)
    done: dict[str, Release] = {}
    entered: set[str] = set()

    def visit(start: str) -> None:
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            identifier, leaving = stack.pop()
            if leaving:
                done[identifier] = releases_of[identifier]
            elif identifier not in entered:
                entered.add(identifier)
                stack.append((identifier, True))
                stack.extend((child, False) for child in sorted(needs[identifier], reverse=True))

    for identifier in sorted(needs):
        visit(identifier)
    return tuple(done.values())
