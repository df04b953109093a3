"""Makes an environment from a definition or a lock: plan, fetch by digest, make in the sandbox, keep.

Source: docs/environments.md, "How a root is made".
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import trio

from pyrsia.builds.environments.apt import Apt
from pyrsia.builds.environments.lock import Part, RootfsLock, decode, encode
from pyrsia.builds.environments.model import Environment
from pyrsia.builds.environments.recipes import Archive, Definition, rules
from pyrsia.builds.environments.store import FOLDER, PARTS, Fetch, Kept, Store
from pyrsia.builds.inside import Answer, Inside, Program
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.pip.simple import IndexFile
from pyrsia.builds.sandbox.model import BuildLimits, Mount, Sandbox
from pyrsia.errors import Refusal
from pyrsia.units import Limit

PROGRAM: Final = Program(
    "builds/environments/worker.py",
    tuple(f"builds/environments/{name}.py" for name in ("deb", "facts", "lock", "tarball", "tree")),
    hostile=frozenset({"import", "make", "unpack"}),
)
ROOT_BYTES = Limit(4 << 30, "a JDK with Maven unpacks to 350 MB, a whole tool chain to 1 GB")
MAKE_S = Limit(1_800, "xz unpacks 20 MB a second, and 150 packages hold 600 MB")
_PARTS: Final = "/parts"
_ARCHIVE: Final = "/archive.tar"
Progress = Callable[[str], None]


def limits() -> BuildLimits:
    """Of a run that makes or unpacks a root: larger files than a build's, and more of them."""
    return replace(
        BuildLimits(),
        wall_s=MAKE_S.value,
        cpu_s=MAKE_S.value,
        disk_bytes=ROOT_BYTES.value,
        file_bytes=ROOT_BYTES.value,
    )


async def plan(made: Definition, apt: Apt, index: IndexClient) -> bytes:
    """The lock's bytes for a definition, as the configured archives and indexes answer today.

    Raises:
        Refusal: `unresolvable`, `package-unknown`, `version-unknown`, `index-unreachable`.
    """
    parts = list(await trio.to_thread.run_sync(apt.plan, made.packages, made.leave, made.wish))
    files = {}
    for one in made.archives:
        found = await _archive(one, index)
        files[one.name] = found.filename
        size = found.size if found.size >= 0 else (await index.fetch(found)).stat().st_size
        parts.append(Part(one.name, one.version, found.filename, found.sha256, size))
    return encode(parts, rules(made, files))


async def _archive(one: Archive, index: IndexClient) -> IndexFile:
    """The pure wheel of that version, or its source archive where `lay` says what of it is taken."""
    page = await index.project(one.name)
    word = one.name.replace("-", "_")
    wanted = [f"{one.name}-{one.version}.tar.gz", f"{word}-{one.version}.tar.gz"]
    if not one.lay:
        wanted = [f"{word}-{one.version}-py3-none-any.whl", f"{word}-{one.version}-py2.py3-none-any.whl"]
    for file in page.files:
        if file.filename in wanted and file.sha256:
            return file
    raise Refusal(
        "version-unknown",
        what=f"no file of {one.name} {one.version} suits a root: {' or '.join(wanted)}",
        who="the configured package index",
        do="name another version in the definition",
    )


class _Shown(NamedTuple):
    path: str
    files: dict[str, Path]
    mounts: tuple[Mount, ...]


class Maker:
    """Makes and unpacks roots for one store. `parts`: folder of fetched files by SHA-256."""

    def __init__(self, sandbox: Sandbox, store: Store, scratch: Path, parts: Path) -> None:
        self._inside = Inside(sandbox, scratch, PROGRAM, limits())
        self._sandbox = sandbox
        self._store = store
        self._parts = parts

    async def gather(self, lock: RootfsLock, apt: Apt, index: IndexClient, progress: Progress) -> None:
        """Bring every file of the lock that is not here, each checked against its digest.

        Raises:
            Refusal: `digest-mismatch`, or as the sources say.
        """
        self._open_parts()
        missing = [one for one in lock.parts if not (self._parts / one.sha256).is_file()]
        debian = [one for one in missing if one.debian]
        if debian:
            progress(f"fetching {len(debian)} packages, {sum(one.size for one in debian) >> 20} MiB")
            with tempfile.TemporaryDirectory(dir=self._parts, prefix="apt-") as folder:
                await trio.to_thread.run_sync(apt.fetch, debian, Path(folder))
                for one in debian:
                    await trio.to_thread.run_sync(self._adopt, one, Path(folder) / one.file)
        for one in missing:
            if not one.debian:
                page = await index.project(one.name)
                found = next((file for file in page.files if file.sha256 == one.sha256), None)
                if found is None:
                    raise _missing(one)
                await trio.to_thread.run_sync(self._copy, await index.fetch(found), one.sha256)

    def _open_parts(self) -> None:
        """The folder is shown to jobs, which have another uid: readable for all, whatever the umask."""
        self._parts.mkdir(parents=True, exist_ok=True)
        self._parts.chmod(0o755)

    def _copy(self, path: Path, digest: str) -> None:
        with tempfile.NamedTemporaryFile(dir=self._parts, delete=False) as new, path.open("rb") as file:
            shutil.copyfileobj(file, new)
        Path(new.name).chmod(0o644)
        os.replace(new.name, self._parts / digest)

    def _adopt(self, one: Part, path: Path) -> None:
        if not path.is_file():
            raise _missing(one)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != one.sha256:
            raise Refusal(
                "digest-mismatch",
                what=f"{one.file} has SHA-256 {found}, the lock says {one.sha256}",
                who="the archive that apt asked",
                do="do not use it; plan anew if the package was published again",
            )
        path.chmod(0o644)
        os.replace(path, self._parts / one.sha256)

    async def make(self, data: bytes) -> Environment:
        """The environment of a lock, whose files are here; made in the sandbox, unpacked, kept.

        Raises:
            PhaseFailed: a package is hostile, or two contradict each other.
        """
        decode(data)
        known = await trio.to_thread.run_sync(self._store.of_lock, data)
        if known is not None:
            return known
        with tempfile.NamedTemporaryFile(dir=self._parts, prefix="lock-") as file:
            file.write(data)
            file.flush()
            job = {"operation": "make", "parts": self._sandbox.inside(_PARTS)}
            mounts = (Mount(self._parts, _PARTS),)
            async with self._run(job, {"lock": Path(file.name)}, mounts) as answer:
                return await self._keep(answer, data)

    async def tidy(self) -> None:
        """Delete what no environment needs any more; see `Store.tidy`."""
        await trio.to_thread.run_sync(self._store.tidy)

    async def take(self, archive: Path, facts: dict[str, str], dropped: Sequence[str]) -> Environment:
        """An environment from an archive that another tool made."""
        shown = self._shown(archive)
        job = {"operation": "import", "archive": shown.path, "facts": facts, "dropped": list(dropped)}
        async with self._run(job, shown.files, shown.mounts) as answer:
            return await self._keep(answer, b"")

    async def adopt(self, archive: Path, digest: str, lock: bytes = b"") -> Environment:
        """Unpack and keep `archive`, whose SHA-256 must be `digest`."""
        shown = self._shown(archive)
        job = {"operation": "unpack", "archive": shown.path, "sha256": digest}
        async with self._run(job, shown.files, shown.mounts) as answer:
            facts = answer.value["facts"]
            return await trio.to_thread.run_sync(
                self._store.keep, digest, archive, answer.work / "root", facts, lock
            )

    def _shown(self, archive: Path) -> _Shown:
        """How a job sees an archive: where it lies, or as a copy where the job's own uid may not read it."""
        if archive.stat().st_mode & 0o004:
            return _Shown(self._sandbox.inside(_ARCHIVE), {}, (Mount(archive, _ARCHIVE),))
        return _Shown(self._sandbox.inside("/in/archive.tar"), {"archive.tar": archive}, ())

    async def _keep(self, answer: Answer, lock: bytes) -> Environment:
        return await self.adopt(answer.work / "rootfs.tar", answer.value["sha256"], lock)

    def _run(
        self, job: Mapping[str, object], files: Mapping[str, Path], mounts: tuple[Mount, ...]
    ) -> AbstractAsyncContextManager[Answer]:
        return self._inside.run(job, files, phase="environment", who="the files of the root", mounts=mounts)


def place(data: Path, configured: str) -> Path:
    """The folder of environments of the node in `data`; `configured`: `builds.environments` of its configuration."""
    return Path(configured) if configured else data / FOLDER


def kept(
    own: Environment,
    sandbox: Sandbox,
    data: Path,
    configured: str,
    scratch: Path,
    fetch: Fetch | None = None,
    needed: Callable[[], Sequence[str]] = tuple,
) -> Kept:
    """The environments of a node; it unpacks in `sandbox` what `fetch` brings, and keeps those that are `needed`.

    A folder that was configured belongs to its operator, and perhaps to other nodes: nothing in it is deleted.
    """
    folder = place(data, configured)
    store = Store(folder)
    adopt = Maker(sandbox, store, scratch, folder / PARTS).adopt
    return Kept(own, store, fetch, adopt, None if configured else needed)


def _missing(one: Part) -> Refusal:
    return Refusal(
        "version-unknown",
        what=f"{one.file} is no longer where it was fetched from",
        who="the configured archives",
        do="fetch the environment from a peer, use a dated archive, or plan anew",
    )
