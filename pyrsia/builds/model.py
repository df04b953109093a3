"""What every ecosystem's plug-in takes and gives: wants, plans, inputs, results. No ecosystem is named here.

A plug-in turns a want into requests for the log (`plan`), makes the request's lock again on its own (`relock`),
brings the inputs by digest (`prefetch`), builds them in the sandbox and normalises what came out (`build`). What is
agreed, published and signed from that, the node and the ledger say.

Source: docs/builds-how.md, "Step by step".
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import trio

from pyrsia.errors import Refusal, Unavailable

Progress = Callable[[str], None]


class PhaseFailed(Refusal):
    """A build that ended without a result.

    Attributes:
        phase: `prefetch`, `requirements`, `metadata`, `build`, `normalise` or `lock-mismatch`.
        log: what the build printed, at most BUILD_LOG_BYTES.
    """

    def __init__(
        self, phase: str, why: str, *, who: str, do: str, log: bytes = b"", code: str = "build-failed"
    ) -> None:
        super().__init__(code, what=f"{phase}: {why}", who=who, do=do)
        self.phase = phase
        self.log = log


class SourceWithheld(Unavailable):
    """A source that a requester gave along, which neither its node nor anybody else gives now."""


class Unbuildable(Refusal):
    """A want that leads to packages without a source that can be built.

    Attributes:
        packages: those, (name, version) each, in the ecosystem's words.
        closure: all that the want leads to, dependencies first, where that is known; with those.
    """

    def __init__(
        self,
        code: str,
        *,
        what: str,
        who: str,
        do: str,
        packages: Sequence[tuple[str, str]],
        closure: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(code, what=what, who=who, do=do)
        self.packages = tuple(packages)
        self.closure = tuple(closure)


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A source that somebody brought along: it travels as a blob and is `claimed`, nobody vouches for it.

    Attributes:
        path: one archive, already packed by us (`builds.sources`); its name ends in `.tar`, `.tar.gz` or `.zip`.
        manifest: of the blob that peers fetch it by, hex.
    """

    file: str
    path: Path
    sha256: str
    size: int
    manifest: str = ""


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """An enacted `mapping.set`: where the source of a package is, and what it says of its recipe."""

    purl: str
    repository: str
    tag: str
    recipe: Mapping[str, Any]
    version: int


@dataclass(frozen=True, slots=True)
class Want:
    """What somebody asks to be built.

    Attributes:
        name: in the ecosystem's own words: `requests`, `group:artifact`, `zlib`, `team/app`.
        version: exact, or None for the newest where the ecosystem has such a thing.
        source: given along; then the result stands under the requester's own name only.
        generic: purl namespace of such a result, the requester's node id text; "" without `source`.
        mapping: the enacted one of this package, if there is one.
        parameters: of the recipe, from mapping or requester (the latter only with `source`).
        environment: one that must be used; "" leaves the choice to the rules.
        upstream: coordinates are to be witnessed, not rebuilt, where the plug-in is `witness`.
        verified_only: every file of the lock must have been built by the network; others are refused by name.
    """

    name: str
    version: str | None = None
    source: LocalSource | None = None
    generic: str = ""
    mapping: SourceMapping | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    environment: str = ""
    closure: bool = True
    verified_only: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """One request that is ready to be authored: all fields of `build.request` but the requester.

    Attributes:
        lock: the lock's bytes; the node stores them and writes their manifest.
        linked: (file of the lock, leaf of the `artifact.add` that published these very bytes), for people.
    """

    purl: str
    coordinates: dict[str, str]
    source: dict[str, Any]
    recipe: dict[str, Any]
    lock: bytes
    target: dict[str, str]
    ecosystem: str
    linked: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class FileOut:
    """A file that the node adopts."""

    path: Path
    sha256: str
    size: int


def file_out(path: Path) -> FileOut:
    """`path` with its digest and size."""
    with path.open("rb") as file:
        return FileOut(path, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def keep(folder: Path, name: str, data: bytes) -> FileOut:
    """Write `data` into a result's folder."""
    path = folder / name
    path.write_bytes(data)
    return FileOut(path, hashlib.sha256(data).hexdigest(), len(data))


@dataclass(frozen=True, slots=True)
class Packed:
    """One packing of an output: its bytes, its member list, and what the ecosystem calls its metadata.

    Attributes:
        members: canonical JSON of (path, sha256, size, exec), see `builds.members`.
        metadata: METADATA of a wheel; None where the ecosystem has no such file.
    """

    file: FileOut
    members: FileOut
    metadata: FileOut | None = None
    requires_python: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One file of a result.

    Attributes:
        name: file name under which it is published, unique within the result.
        upstream: the registry's file of that name, if there is one and it could be read; see `upstream_relation`.
        missing: the first paths that are not in the source.
        upstream_reason: why upstream's file could not be compared, or "".
    """

    name: str
    raw: Packed
    canonical: Packed
    stable: str
    upstream: Packed | None
    upstream_relation: str
    containment: str
    normalised: tuple[str, ...]
    requires_python: str = ""
    missing: tuple[str, ...] = ()
    upstream_reason: str = ""


@dataclass(frozen=True, slots=True)
class Built:
    """What a builder reveals, but for manifests, nonce and attestation.

    Attributes:
        outcome: `built` or `failed`. phase: "" when built.
        source: how this builder got the source's digest: `registry`, `mapping` or `claimed`.
        folder: holds every file named here; `discard` deletes it once the node has adopted them.
        why: for a failure, in words.
        tools: (file name, sha256 hex) of each line of the lock that was used.
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
    tools: tuple[tuple[str, str], ...] = ()

    async def discard(self) -> None:
        await trio.to_thread.run_sync(lambda: shutil.rmtree(self.folder, ignore_errors=True))


class NamedFile(NamedTuple):
    """A file that is here, under the name that it has elsewhere."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a build needs, fetched by digest.

    Attributes:
        files: of the lock, each under the name that the lock gives it.
        upstream: output name -> the registry's own file of that name.
        tools: (file name, sha256 hex) of each line of the lock.
    """

    source: NamedFile
    files: tuple[NamedFile, ...]
    upstream: Mapping[str, Path]
    lock_sha256: str
    tools: tuple[tuple[str, str], ...] = ()


class Plugin(Protocol):
    """An ecosystem. Nothing here raises for a package's fault but by `Refusal`; see `Built` for failures."""

    @property
    def name(self) -> str:
        """The ecosystem, as requests name it."""
        ...

    async def plan(self, want: Want, now_ms: int, progress: Progress) -> tuple[Planned, ...]:
        """The requests for `want` and what it needs at run time, dependencies first.

        Args:
            now_ms: nothing uploaded later is seen.

        Raises:
            Refusal: it cannot be built; the text says why and what to do.
        """
        ...

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        """The lock that this node makes for a request's body, after deriving its recipe here as well.

        Raises:
            Refusal: `digest-mismatch` for another source, `lock-mismatch` for a recipe that the rules do not give.
        """
        ...

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs: ...

    async def build(
        self, request: Mapping[str, Any], inputs: Inputs, progress: Progress, vary: bool = False
    ) -> Built:
        """A build that fails is an answer, not an exception.

        Args:
            vary: build as another machine might: at another path below /build, with another umask, time zone and
                order of folders, as far as the ecosystem can. What differs from a plain build is unstable.

        Raises:
            Unavailable: this machine could not build; nothing should be said about the package.
        """
        ...

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        """The answer of a builder that did not come as far as `build`."""
        ...
