"""Runs the worker in the sandbox: one folder in, one folder out, nothing else shared.

Decides what the sandbox sees and how its answer is read back: whatever ran inside may have written the
answer, so files are opened without following links, must be plain, and are cut at a limit.

Source: docs/builds.md, "Step by step"; docs/sandbox.md.
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

from pyrsia.builds.sandbox.collect import discard
from pyrsia.builds.sandbox.model import BuildLimits, Job, Mount, Sandbox
from pyrsia.errors import Refusal, Unavailable
from pyrsia.units import INSPECT_WALL_S, MAX_WORKER_RESULT_BYTES

# The modules that the worker needs, at their own places below one folder: they import each other by name.
_PACKAGE: Final = Path(__file__).resolve().parent.parent.parent
_MODULES: Final = (
    "errors.py",
    "units.py",
    "builds/containment.py",
    "builds/members.py",
    "builds/members_tar.py",
    "builds/members_zip.py",
    "builds/normalise.py",
    "builds/upstream.py",
)
_ENDINGS: Final = {
    "wall": "it ran longer than its limit",
    "memory": "it used more memory than its limit",
    "processes": "it started more processes than its limit",
    "disk": "it wrote more than its limit",
    "cancelled": "it was cancelled",
    "signal": "it was ended by a signal",
}


class PhaseFailed(Refusal):
    """A build that ended without a wheel.

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


@dataclass(frozen=True, slots=True)
class Answer:
    """What one run left behind: the worker's value, the log, and the folder with its files."""

    value: dict[str, Any]
    log: bytes
    work: Path


@functools.cache
def _program() -> dict[str, bytes]:
    """The worker's files by their place in the input folder.

    Compiled once here, since every run would do it again; the hook stays source, as its tracebacks are read.
    """
    files = {"hook.py": Path(__file__).with_name("hook.py").read_bytes()}
    for name in _MODULES:
        files[f"lib/pyrsia/{name}c"] = _compiled(_PACKAGE / name, f"pyrsia/{name}")
    for package in ("pyrsia", "pyrsia/builds"):
        files[f"lib/{package}/__init__.py"] = b""
    files["worker.pyc"] = _compiled(Path(__file__).with_name("worker.py"), "pyrsia/builds/pip/worker.py")
    return files


def _compiled(path: Path, shown: str) -> bytes:
    """The bytes of a .pyc that is run without its source (PEP 3147, PEP 552: hash-based, unchecked)."""
    code = compile(path.read_bytes(), shown, "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


class Inside:
    """Runs worker operations in `sandbox`, each in folders of its own below `scratch`."""

    def __init__(self, sandbox: Sandbox, scratch: Path, build_limits: BuildLimits | None = None) -> None:
        self._sandbox = sandbox
        self._scratch = scratch
        self._limits = build_limits or BuildLimits()

    @property
    def isolation(self) -> str:
        return self._sandbox.isolation

    @asynccontextmanager
    async def run(
        self, job: Mapping[str, Any], files: Mapping[str, Path], *, phase: str, who: str, epoch: int = 0
    ) -> AsyncIterator[Answer]:
        """Run one operation with `files` (name inside -> path); its folder lives as long as the context.

        Raises:
            PhaseFailed: the run ended otherwise than by itself with an answer, or refused its input.
            Unavailable: this machine could not do it: its disk is full, or it does not start a sandbox.
        """
        folder = None
        try:
            folder = await trio.to_thread.run_sync(self._prepare, dict(job), dict(files))
            outcome = await self._sandbox.run(self._job(folder, job, epoch))
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

    def _prepare(self, job: dict[str, Any], files: dict[str, Path]) -> Path:
        self._scratch.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self._scratch))
        try:
            self._fill(folder, job, files)
        except OSError:
            discard(folder)
            raise
        return folder

    @staticmethod
    def _fill(folder: Path, job: dict[str, Any], files: dict[str, Path]) -> None:
        folder.chmod(0o755)  # the sandbox's uid is another one
        inputs = folder / "in"
        (folder / "work").mkdir()
        for name, data in _program().items():
            place = inputs / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        for name, path in files.items():
            shutil.copyfile(path, inputs / name)
        (inputs / "job.json").write_text(json.dumps(job))
        for path in (inputs, *inputs.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def _job(self, folder: Path, job: Mapping[str, Any], epoch: int) -> Job:
        """The worker on two folders; every backend rewrites `/in` and `/build` where it cannot move paths."""
        hostile = job["operation"] == "hook"
        return Job(
            argv=(*self._sandbox.python(), "-S", "-s", "-P", "-B", "/in/worker.pyc", "/in", "/build"),
            env=environment(epoch),
            cwd="/build",
            mounts=(Mount(folder / "in", "/in"), Mount(folder / "work", "/build", writable=True)),
            limits=self._limits if hostile else replace(self._limits, wall_s=INSPECT_WALL_S.value),
        )


_DO: Final = "read the build's log; if the source is to blame, tell its author"


def environment(epoch: int) -> dict[str, str]:
    """The variables of every run beside the sandbox's fixed ones."""
    return {
        "LANG": "C.UTF-8",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPATH": "/in/lib",
        "SOURCE_DATE_EPOCH": str(epoch),
    }


def read_plain(path: Path, limit: int) -> bytes | None:
    """The bytes of a plain file, or None for anything else: a link, a device, something too large."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
            return None
        with open(handle, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(handle)


def _result(path: Path) -> dict[str, Any] | None:
    data = read_plain(path, MAX_WORKER_RESULT_BYTES.value)
    try:
        value = json.loads(data or b"")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
