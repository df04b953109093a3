"""Runs a plug-in's worker in the sandbox: one folder in, one folder out, nothing else shared.

Decides what the sandbox sees and how its answer is read back: whatever ran inside may have written the
answer, so files are opened without following links, must be plain, and are cut at a limit.

Source: docs/builds-how.md, "Step by step"; docs/sandbox.md.
"""

import functools
import importlib.util
import json
import marshal
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.environments import Environment
from pyrsia.builds.model import PhaseFailed
from pyrsia.builds.sandbox.collect import discard
from pyrsia.builds.sandbox.model import BuildLimits, Job, Mount, Sandbox
from pyrsia.errors import Unavailable
from pyrsia.units import INSPECT_WALL_S, MAX_WORKER_RESULT_BYTES

# The modules that the worker needs, at their own places below one folder: they import each other by name.
_PACKAGE: Final = Path(__file__).resolve().parent.parent
SHARED: Final = (
    "errors.py",
    "units.py",
    "builds/containment.py",
    "builds/links.py",
    "builds/members.py",
    "builds/members_tar.py",
    "builds/members_zip.py",
    "builds/normalise.py",
    "builds/unpack.py",
    "builds/upstream.py",
    "builds/zips.py",
)
_ENDINGS: Final = {
    "wall": "it ran longer than its limit",
    "memory": "it used more memory than its limit",
    "processes": "it started more processes than its limit",
    "disk": "it wrote more than its limit",
    "cancelled": "it was cancelled",
    "signal": "it was ended by a signal",
}


@dataclass(frozen=True, slots=True)
class Program:
    """A worker: what runs inside, and what of ours it imports there.

    Attributes:
        worker: its module below `pyrsia/`, with a `main(inputs, work)` that reads `job.json`; see `unpack.serve`.
        modules: further modules below `pyrsia/` that it imports, besides SHARED.
        plain: files that are laid beside it as they are, for a stranger's interpreter to run.
        hostile: operations that run strangers' code; they get a build's limits, all others those of an inspection.
    """

    worker: str
    modules: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    hostile: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one run left behind: the worker's value, the log, and the folder with its files."""

    value: dict[str, Any]
    log: bytes
    work: Path


@functools.cache
def laid_out(program: Program, *, compiled: bool) -> dict[str, bytes]:
    """The worker's files by their place in the input folder.

    Args:
        compiled: once here, since every run would do it again; only for the interpreter that runs us. What is
            `plain` stays source, as its tracebacks are read.
    """
    files = {Path(name).name: (_PACKAGE / name).read_bytes() for name in program.plain}
    for name in (*SHARED, *program.modules):
        place = _PACKAGE / name
        files[f"lib/pyrsia/{name}{'c' if compiled else ''}"] = (
            _compiled(place, f"pyrsia/{name}") if compiled else place.read_bytes()
        )
        for above in Path("pyrsia", name).parents:
            if above.name:
                files[f"lib/{above}/__init__.py"] = b""
    worker = _PACKAGE / program.worker
    if compiled:
        files["worker.pyc"] = _compiled(worker, f"pyrsia/{program.worker}")
    else:
        files["worker.py"] = worker.read_bytes()
    return files


def _compiled(path: Path, shown: str) -> bytes:
    """The bytes of a .pyc that is run without its source (PEP 3147, PEP 552: hash-based, unchecked)."""
    code = compile(path.read_bytes(), shown, "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


class Inside:
    """Runs operations of one program in `sandbox`, each in folders of its own below `scratch`."""

    def __init__(
        self,
        sandbox: Sandbox,
        scratch: Path,
        program: Program,
        build_limits: BuildLimits | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._scratch = scratch
        self._program = program
        self._limits = build_limits or BuildLimits()

    @property
    def isolation(self) -> str:
        return self._sandbox.isolation

    def running(self, program: Program) -> "Inside":
        """The same place for another plug-in's worker."""
        return Inside(self._sandbox, self._scratch, program, self._limits)

    @asynccontextmanager
    async def run(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, Path],
        *,
        phase: str,
        who: str,
        epoch: int = 0,
        environment: Environment | None = None,
        egress: Path | None = None,
        mounts: tuple[Mount, ...] = (),
        variables: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Answer]:
        """Run one operation with `files` (name inside -> path); its folder lives as long as the context.

        Args:
            environment: what it runs in; None for the host's own.
            egress: Unix socket of the one way out that a planning run has; None for no network at all.
            mounts: read-only folders besides.
            variables: of the worker, besides those of every run.

        Raises:
            PhaseFailed: the run ended otherwise than by itself with an answer, or refused its input.
            Unavailable: this machine could not do it: its disk is full, or it does not start a sandbox.
        """
        folder = None
        try:
            root = None if environment is None else environment.root
            folder = await trio.to_thread.run_sync(self._prepare, dict(job), dict(files), root is None)
            words = fixed_variables(epoch) | dict(variables or {})
            outcome = await self._sandbox.run(self._job(folder, job, words, root, egress, mounts))
            if outcome.ended != "exit" or outcome.code != 0:
                why = _ENDINGS.get(outcome.ended, f"it ended with code {outcome.code}")
                raise PhaseFailed(phase, why, who=who, do=_DO, log=outcome.log)
            value = await trio.to_thread.run_sync(_result, folder / "work" / "result.json")
            if value is None:
                raise PhaseFailed(phase, "it left no answer", who=who, do=_DO, log=outcome.log)
            if "refused" in value:
                raise PhaseFailed(phase, str(value["refused"])[:300], who=who, do=_DO, log=outcome.log)
            yield Answer(value, outcome.log, folder / "work")
        except OSError as error:
            raise Unavailable(f"this machine cannot run a build now: {error}") from error
        finally:
            if folder is not None:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(discard, folder)

    def _prepare(self, job: dict[str, Any], files: dict[str, Path], compiled: bool) -> Path:
        self._scratch.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Without links, so that reading back may refuse every one (`open_plain`).
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self._scratch.resolve()))
        try:
            self._fill(folder, job, files, laid_out(self._program, compiled=compiled))
        except OSError:
            discard(folder)
            raise
        return folder

    @staticmethod
    def _fill(
        folder: Path, job: dict[str, Any], files: dict[str, Path], program: Mapping[str, bytes]
    ) -> None:
        # `folder` stays closed to everybody else on the host, as `mkdtemp` made it: a build may leave a program in it
        # that runs as its owner. The sandbox is given what lies below, whoever it runs as.
        inputs = folder / "in"
        (folder / "work").mkdir()
        for name, data in program.items():
            place = inputs / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        for name, path in files.items():
            shutil.copyfile(path, inputs / name)
        (inputs / "job.json").write_text(json.dumps(job))
        for path in (inputs, *inputs.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def _job(
        self,
        folder: Path,
        job: Mapping[str, Any],
        words: Mapping[str, str],
        root: Path | None,
        egress: Path | None,
        mounts: tuple[Mount, ...],
    ) -> Job:
        """The worker on two folders; every backend rewrites `/in` and `/build` where it cannot move paths."""
        hostile = job["operation"] in self._program.hostile
        python = self._sandbox.python() if root is None else (ROOT_PYTHON,)
        worker = "/in/worker.pyc" if root is None else "/in/worker.py"
        return Job(
            argv=(*python, "-S", "-s", "-P", "-B", worker, "/in", "/build"),
            env=words,
            cwd="/build",
            mounts=(Mount(folder / "in", "/in"), Mount(folder / "work", "/build", writable=True), *mounts),
            limits=self._limits if hostile else replace(self._limits, wall_s=INSPECT_WALL_S.value),
            root=root,
            egress=egress,
        )


ROOT_PYTHON: Final = "/usr/bin/python3"  # of a `rootfs:` environment; 3.11 or newer, for `-P`
_DO: Final = "read the build's log; if the source is to blame, tell its author"


def fixed_variables(epoch: int) -> dict[str, str]:
    """The variables of every run beside the sandbox's fixed ones."""
    return {
        "LANG": "C.UTF-8",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": "/in/lib",
        "SOURCE_DATE_EPOCH": str(epoch),
    }


def read_plain(path: Path, limit: int) -> bytes | None:
    """The bytes of a plain file, or None for anything else: a link anywhere in its path, a device, too large."""
    handle = open_plain(path, limit)
    if handle is None:
        return None
    with open(handle, "rb") as file:
        return file.read(limit)


def open_plain(path: Path, limit: int) -> int | None:
    """A descriptor of a plain file of at most `limit` bytes; None for anything else.

    What ran inside may have put links in place of folders too, so each part of the path is opened in the one
    before it and none is followed. `path` is absolute, and ours without links down to the job's own folder.
    """
    steps = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    above = os.open(path.anchor, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.parts[1:-1]:
            below = os.open(part, steps, dir_fd=above)
            os.close(above)
            above = below
        handle = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=above)
    except OSError:
        return None
    finally:
        os.close(above)
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
        os.close(handle)
        return None
    return handle


def _result(path: Path) -> dict[str, Any] | None:
    data = read_plain(path, MAX_WORKER_RESULT_BYTES.value)
    try:
        value = json.loads(data or b"")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
