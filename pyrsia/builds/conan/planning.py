"""One planning run: Conan in the sandbox with one way out, and what it fetched, sorted into source, lock and upstream.

The run evaluates a stranger's recipe, so its own answer counts for little: the reference that it names is checked
against what was wanted, and every line of the lock comes from the proxy's record, not from inside.

Source: docs/builds-conan.md.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.conan import lock, names, pack
from pyrsia.builds.conan.names import Place, Ref
from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.environments import Environment
from pyrsia.builds.inside import Inside
from pyrsia.builds.members_zip import EARLIEST
from pyrsia.builds.model import LocalSource, PhaseFailed
from pyrsia.builds.outbound.proxy import Fetched, RecordingProxy, Remote
from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.builds.sandbox.model import EGRESS_PORT, Mount
from pyrsia.errors import Malformed, Refusal

AUTHOR: Final = "tell the recipe's author, and show the log"
WAY_OUT: Final = f"http://127.0.0.1:{EGRESS_PORT}"
_API: Final = re.compile(r"v1/ping|v2/ping|v2/conans/[A-Za-z0-9_+.,:@*?=&%/-]+")
_FILE: Final = re.compile(
    r"v2/conans/(?P<name>[^/]+)/(?P<version>[^/]+)/(?P<user>[^/]+)/(?P<channel>[^/]+)/revisions/(?P<rrev>[^/]+)"
    r"(?:/packages/(?P<pid>[^/]+)/revisions/(?P<prev>[^/]+))?/files/(?P<file>[^/?]+)"
)
_CALM: Final = Blame(
    who="the Conan remote that was asked", do="check `conan remote list` and the network, then try again"
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run sees besides its environment, for tests that have no environment of their own.

    Attributes:
        path: folders in front of PATH. mounts: read-only.
    """

    path: str = ""
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a planning run found out.

    Attributes:
        rrev: recipe revision.
        source: the archive that the recipe travels as, with name, digest and size.
        newest: time of the source in s since 1970.
        files: SHA-256 -> path of every file that the lock names.
        upstream: `<package id>~<file>` or `<file>` -> the file that the remote has of the package itself.
    """

    ref: Ref
    rrev: str
    source: LocalSource
    newest: int
    lines: tuple[lock.Locked, ...]
    files: Mapping[str, Path]
    upstream: Mapping[str, Path]
    log: bytes


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be planned.

    Attributes:
        ref: of the package; its name and version may be "" for a source that says them itself.
        rrev: that a remote is asked for; "" for its newest.
        given: the archive with the recipe's folder, None for a recipe of a remote.
        subdir: folder of that archive which holds the conanfile, "" for its top.
        profiles: build type -> text.
    """

    ref: Ref
    rrev: str
    given: LocalSource | None
    subdir: str
    profiles: Mapping[str, str]
    environment: Environment


def job_of(task: Task, epoch: int, bench: Bench, *, vary: bool = False) -> dict[str, Any]:
    """The fields that planning and building share. `vary`: build as another machine might."""
    ref = task.ref
    return {
        "ref": "" if task.given else str(ref) + (f"#{task.rrev}" if task.rrev else ""),
        "name": ref.name,
        "version": ref.version,
        "user": "" if ref.user == names.NONE else ref.user,
        "channel": "" if ref.channel == names.NONE else ref.channel,
        "profiles": dict(task.profiles),
        "epoch": epoch,
        "path": bench.path,
        "subdir": task.subdir,
        "home": "elsewhere/second" if vary else "home",
        "umask": 0o027 if vary else 0o022,
        "zone": "Asia/Kathmandu" if vary else "UTC",
        "backwards": vary,
    }


def inner(name: str) -> str:
    """Under which name a source stands in the input folder."""
    return "source.zip" if name.endswith(".zip") else "source.tar.gz"


class Planner:
    """Runs plannings.

    Args:
        inside: of this plug-in's worker.
        cache: files by SHA-256, filled by the proxy; archives of recipes are kept there too.
    """

    def __init__(self, inside: Inside, remotes: Remotes, cache: Path, bench: Bench) -> None:
        self._inside = inside
        self._remotes = remotes
        self._cache = cache
        self._bench = bench

    async def run(self, task: Task) -> Found:
        """Plan one recipe.

        Raises:
            Refusal: `package-unknown`, `unresolvable`, `build-failed`, or the sandbox's.
        """
        who = str(task.ref) if task.ref.name else "the source that was given along"
        async with self._way_out() as proxy:
            job = job_of(task, EARLIEST, self._bench) | {
                "operation": "plan",
                "way_out": WAY_OUT,
                "remotes": sorted(self._remotes.conan, key=lambda name: int(name.rpartition("-")[2])),
                "origins": dict(self._remotes.sources),
                "source": inner(task.given.file) if task.given else "",
                "upstream": task.given is None,
            }
            files = {inner(task.given.file): task.given.path} if task.given else {}
            async with self._inside.run(
                job,
                files,
                phase="requirements",
                who=who,
                epoch=EARLIEST,
                environment=task.environment,
                egress=proxy.socket if proxy else None,
                mounts=self._bench.mounts,
            ) as answer:
                value, log = answer.value, answer.log
            record = proxy.record if proxy else []
            trouble = proxy.trouble if proxy else None
        if "failed" in value:
            raise trouble or _failed(task, log, bool(self._remotes.conan))
        ref, rrev = _named(task, value)
        return await trio.to_thread.run_sync(self._sorted, task, ref, rrev, value, record, log)

    @asynccontextmanager
    async def _way_out(self) -> AsyncIterator[RecordingProxy | None]:
        if not self._remotes.all:
            yield None
            return
        known: dict[str, Remote | str] = {
            name: Remote(url, allowed=lambda path: _API.fullmatch(path) is not None)
            for name, url in self._remotes.conan.items()
        }
        known |= {name: Remote(url) for name, url in self._remotes.sources.items()}
        settings = Outbound(blame=_CALM).configured(self._remotes.all.values())
        async with Web(settings) as web, RecordingProxy(web, known, self._cache) as proxy:
            yield proxy

    def _sorted(
        self, task: Task, ref: Ref, rrev: str, value: Mapping[str, Any], record: Iterable[Fetched], log: bytes
    ) -> Found:
        recipe: dict[str, Path] = {}
        upstream: dict[str, Path] = {}
        lines: dict[tuple[str, str, str], lock.Locked] = {}
        files: dict[str, Path] = {}
        for one in record:
            if one.remote in self._remotes.sources:
                line = lock.Locked(ref.title, ref.version, lock.SOURCE + one.sha256, one.sha256, one.size)
            else:
                place = read_path(one.path)
                if place is None:
                    continue  # a list or a date, which the desk makes again from the lock
                whose, where = place
                if whose == ref and task.given is None:
                    if where.rrev == rrev and where.package_id:
                        upstream.setdefault(f"{where.package_id}~{where.file}", one.file)
                    elif where.rrev == rrev:
                        recipe.setdefault(where.file, one.file)
                    continue
                if (whose.name, whose.version) == (ref.name, ref.version):
                    raise _of_itself(ref)
                line = lock.Locked(whose.title, whose.version, str(where), one.sha256, one.size)
            lines.setdefault((line.title, line.version, line.file), line)
            files.setdefault(line.sha256, one.file)
        kept = {
            sha256: path for sha256, path in files.items() if any(x.sha256 == sha256 for x in lines.values())
        }
        if task.given is not None:
            newest = value.get("newest", 0)
            source, time_s = task.given, newest if isinstance(newest, int) else 0
        else:
            source, time_s = self._recipe_archive(ref, rrev, recipe)
            upstream |= recipe
        return Found(ref, rrev, source, time_s, tuple(sorted(lines.values())), kept, upstream, log)

    def _recipe_archive(self, ref: Ref, rrev: str, recipe: Mapping[str, Path]) -> tuple[LocalSource, int]:
        """The recipe's files as one archive, packed and not opened; and the time of its manifest."""
        if names.CONANFILE not in recipe or names.MANIFEST not in recipe:
            raise PhaseFailed(
                "requirements", "the remote gave no whole recipe", who=str(ref), do="look at the remote"
            )
        top = f"{ref.name}-{ref.version}"
        items = {f"{top}/{name}": pack.Item(f"{top}/{name}", path) for name, path in recipe.items()}
        first = recipe[names.MANIFEST].read_bytes()[:20].partition(b"\n")[0]
        time_s = int(first) if first.isdigit() else 0
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=self._cache, prefix=".part-")  # others may plan the same
        try:
            with open(handle, "w+b") as out:
                pack.archive(items, out, EARLIEST)
                size = out.seek(0, os.SEEK_END)
                out.seek(0)
                sha256 = hashlib.file_digest(out, "sha256").hexdigest()
            os.chmod(part, 0o644)  # as every file of the cache
            os.replace(part, self._cache / sha256)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)
        return LocalSource(f"{top}-{rrev}.tar.gz", self._cache / sha256, sha256, size), time_s


def read_path(path: str) -> tuple[Ref, Place] | None:
    """The file of a recipe or package that a path of the API names; None for every other path."""
    match = _FILE.fullmatch(path)
    if match is None:
        return None
    parts = (match["rrev"], match["pid"] or "", match["prev"] or "", match["file"])
    try:
        ref = names.ref(match["name"], match["version"], match["user"], match["channel"])
        return ref, names.place("~".join(part for part in parts if part))
    except Malformed:
        return None


def rrev_of(file: str) -> str:
    """The recipe revision in the name of a recipe's archive; "" where it has none."""
    found = file.removesuffix(".tar.gz")[-32:]
    return found if names.is_revision(found) else ""


def _named(task: Task, value: Mapping[str, Any]) -> tuple[Ref, str]:
    """The reference that the run found, when it is the one that was asked for."""
    text, rrev = value.get("ref"), value.get("rrev")
    try:
        ref = names.parse(str(text).partition("#")[0])
    except Malformed as error:
        raise PhaseFailed("requirements", str(error), who=str(task.ref), do=AUTHOR) from error
    wanted = task.ref
    same = (ref.name, ref.user, ref.channel) == (wanted.name, wanted.user, wanted.channel)
    if not (same or not wanted.name) or wanted.version not in ("", ref.version):
        raise PhaseFailed(
            "requirements",
            f"the recipe says that it is {ref}",
            who=str(wanted),
            do="ask for it under that name and version",
        )
    if not isinstance(rrev, str) or not names.is_revision(rrev) or task.rrev not in ("", rrev):
        raise PhaseFailed("requirements", "Conan gave no recipe revision", who=str(wanted), do=AUTHOR)
    return ref, rrev


def _of_itself(ref: Ref) -> PhaseFailed:
    return PhaseFailed(
        "requirements",
        "it requires a package of its own name and version, which it could hand out as built",
        who=str(ref),
        do="have the recipe require an older version",
        code="unresolvable",
    )


def _failed(task: Task, log: bytes, remotes: bool) -> Refusal:
    """Conan's own last words say what was wrong; they are a stranger's, and printed as such elsewhere."""
    said = [line for line in log.decode("utf-8", "replace").splitlines() if line.startswith("ERROR: ")]
    why = " ".join("".join(c if c.isprintable() else " " for c in said[-1][7:]).split())[:240] if said else ""
    if task.given is None and "no remote has the recipe" in why:
        return Refusal(
            "package-unknown",
            what=f"no configured Conan remote has {task.ref}",
            who="the Conan remotes of this node" if remotes else "this node, which has no Conan remotes",
            do="add the remote that has it with `conan remote add`, or give the recipe along with --source",
        )
    return PhaseFailed(
        "requirements",
        f"Conan could not plan it: {why or 'it ended with an error'}",
        who=str(task.ref),
        do="look at its requirements, settings and options; sources need a SHA-256 and a configured server",
        log=log,
    )
