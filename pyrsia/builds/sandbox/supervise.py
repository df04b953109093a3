"""Runs a prepared command to its end: streams its log, watches its tree, and leaves no process behind.

What the command is (bubblewrap or the bare launcher) is the backend's business. The end of a run is
always the same: whatever happened, the tree is struck until nothing of it lives, and only then does the
caller go on, cancelled or not.
"""

import contextlib
import fcntl
import functools
import marshal
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia import errors, units

from . import cgroups, egress, watcher
from .model import EGRESS_PORT, TRUNCATED, BuildLimits, Ended, Job, Outcome, Usage
from .specify import launching

_PIPE_BYTES: Final = 1 << 20  # of a log on its way: a job that floods it wakes the node 16 times less often
_BEGUN: Final = b"begun\n"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command and how to treat it.

    Attributes:
        command: from the two descriptor numbers (specification, status) to an argv.
        spec: the launcher's specification.
        folders: what the job may write on the host's disk.
        overhead: processes in the tree that are ours.
        warden: the root of the tree ends its own tree on SIGTERM and must be given the time.
        more: further descriptors that the command reads.
    """

    command: Callable[[int, int], list[str]]
    spec: dict[str, Any]
    folders: tuple[Path, ...]
    overhead: int
    warden: bool
    more: tuple[int, ...] = ()


@dataclass(slots=True)
class _Run:
    """What is known of a run so far."""

    ended: Ended | None = None
    log: bytearray = field(default_factory=bytearray)
    truncated: bool = False
    known: set[watcher.Member] = field(default_factory=set)
    memory_bytes: int = 0
    processes: int = 0
    disk_bytes: int = 0
    group: cgroups.Group | None = None

    def memory_broken(self) -> bool:
        return self.group is not None and self.group.memory_broken()


def memory_file(name: str, data: bytes) -> int:
    """A descriptor of a file in memory with these bytes, to be read from its beginning; the caller closes it."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def _read_log(stream: trio.lowlevel.FdStream, run: _Run, most: int) -> None:
    """Keep the first `most` bytes and drop the rest, so that a talkative job never blocks."""
    while data := await stream.receive_some(_PIPE_BYTES):
        room = most - len(run.log)
        run.log += data[:room]
        run.truncated |= len(data) > room


async def _watch(root: int, prepared: Prepared, limits: BuildLimits, run: _Run, stop: trio.Event) -> None:
    while not stop.is_set():
        sample = await trio.to_thread.run_sync(watcher.look, root, prepared.folders)
        run.known = set(sample.members)
        run.memory_bytes = max(run.memory_bytes, sample.memory_bytes)
        run.processes = max(run.processes, len(sample.members) - prepared.overhead)
        run.disk_bytes = max(run.disk_bytes, sample.disk_bytes)
        why = watcher.broken(sample, limits, prepared.overhead)
        if why := why or ("memory" if run.memory_broken() else None):
            run.ended = run.ended or why
            stop.set()
        with trio.move_on_after(units.SANDBOX_POLL_MS.value / 1000):
            await stop.wait()


async def _end(process: subprocess.Popen[bytes], prepared: Prepared, run: _Run) -> None:
    """Strike until nothing lives. Raises Unavailable if something still does after the limit."""
    patience_s = units.SANDBOX_KILL_MS.value / 1000
    start = trio.current_time()
    if prepared.warden and process.poll() is None:
        process.send_signal(signal.SIGTERM)
    if run.group is not None and process.poll() is None:
        run.group.kill()
    while True:
        late = trio.current_time() - start > patience_s
        # A warden that does not finish in time is struck too: it is stuck, and its tree with it.
        spare = prepared.warden and not late
        strike = functools.partial(watcher.strike, process.pid, run.known, spare_root=spare)
        left = await trio.to_thread.run_sync(strike)
        if process.poll() is not None and not left:
            return
        if trio.current_time() - start > 3 * patience_s:
            raise errors.Unavailable(
                f"{len(left)} processes of a build outlive SIGKILL: the kernel holds them"
            )
        await trio.sleep(0.005)


async def supervise(prepared: Prepared, job: Job) -> Outcome:
    """Run it. See `model.Sandbox.run`."""
    started = trio.current_time()
    run = _Run()
    fds: list[int] = []
    ways = contextlib.ExitStack()
    try:
        await trio.to_thread.run_sync(cgroups.here)
        run.group = cgroups.make(job.limits)
        doors = [] if run.group is None else run.group.doors()
        fds += doors
        here, there = socket.socketpair()
        ways.enter_context(here)
        ways.enter_context(there)
        out = (there.fileno(), EGRESS_PORT) if job.egress else None
        spec = marshal.dumps(prepared.spec | {"egress": out, "groups": doors})
        spec_fd = memory_file("spec", launching() + spec)
        stdin_fd = memory_file("stdin", job.stdin)
        status_r, status_w = os.pipe()
        log_r, log_w = os.pipe()
        with contextlib.suppress(OSError):  # a user may have used up his share of large pipes
            fcntl.fcntl(log_w, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        fds += [spec_fd, stdin_fd, status_r, status_w, log_w]
        log = trio.lowlevel.FdStream(log_r)
        try:
            # Not in a thread: the death signal that ties the tree to us follows the thread that forked.
            process = subprocess.Popen(  # noqa: ASYNC220 - as said above
                prepared.command(spec_fd, status_w),
                stdin=stdin_fd,
                stdout=log_w,
                stderr=log_w,
                pass_fds=(
                    spec_fd,
                    status_w,
                    *prepared.more,
                    *doors,
                    *([there.fileno()] if job.egress else []),
                ),
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            await log.aclose()
            raise errors.Unavailable(f"the sandbox does not start: {error}") from error
        there.close()
        os.close(log_w)
        os.close(status_w)
        fds = [fd for fd in fds if fd not in (log_w, status_w)]
        await _follow(process, log, prepared, job, run, here)
        if run.memory_broken():  # the kernel was faster than any look
            run.ended = run.ended or "memory"
        os.set_blocking(status_r, False)
        with contextlib.suppress(BlockingIOError):
            return _outcome(run, os.read(status_r, 65_536), process, trio.current_time() - started)
        return _outcome(run, b"", process, trio.current_time() - started)
    finally:
        ways.close()
        for fd in fds:
            os.close(fd)
        if run.group is not None:
            with trio.CancelScope(shield=True):
                await run.group.remove()


async def _follow(
    process: subprocess.Popen[bytes],
    log: trio.lowlevel.FdStream,
    prepared: Prepared,
    job: Job,
    run: _Run,
    way: socket.socket,
) -> None:
    """From the start of `process` to the end of its whole tree and of its log."""
    stop = trio.Event()
    pidfd = os.pidfd_open(process.pid)
    try:
        async with trio.open_nursery() as nursery:
            reading = trio.Event()

            async def read() -> None:
                await _read_log(log, run, job.limits.log_bytes)
                reading.set()

            async def wait() -> None:
                await trio.lowlevel.wait_readable(pidfd)
                stop.set()

            nursery.start_soon(read)
            nursery.start_soon(wait)
            nursery.start_soon(_watch, process.pid, prepared, job.limits, run, stop)
            if job.egress is not None:
                nursery.start_soon(egress.relay, way, job.egress)
            with trio.move_on_after(job.limits.wall_s) as scope:
                await stop.wait()
            if scope.cancelled_caught and not stop.is_set():
                run.ended = "wall"
            stop.set()
            with trio.CancelScope(shield=True):
                await _end(process, prepared, run)
            # The tree is dead, so the pipe has ended too; what it held is a matter of microseconds.
            with trio.move_on_after(units.SANDBOX_KILL_MS.value / 1000):
                await reading.wait()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            try:
                await _end(process, prepared, run)
            finally:
                os.close(pidfd)
                await log.aclose()


def _outcome(run: _Run, said: bytes, process: subprocess.Popen[bytes], wall_s: float) -> Outcome:
    begun = said.startswith(_BEGUN)
    code, cpu_s, trouble = _report(said.removeprefix(_BEGUN))
    kind, _, what = trouble.partition("\n")
    if run.ended is None and kind == "confine":
        raise errors.Unavailable(f"this host does not let a build be confined: {what}")
    # A job of our own uid can end its warden: that is its own doing, as any other end that it brings about.
    if run.ended is None and code is None and not begun:
        words = bytes(run.log[-500:]).decode("utf-8", "replace").strip()
        raise errors.Unavailable(f"the sandbox ended with {process.returncode} before its job: {words}")
    code = -signal.SIGKILL if code is None else code
    text = bytes(run.log)
    if trouble:
        text += f"{what}\n".encode()
    if run.truncated:
        text += TRUNCATED
    ended: Ended = run.ended or ("signal" if code < 0 else "exit")
    used = Usage(wall_s, cpu_s, run.memory_bytes, run.processes, run.disk_bytes)
    return Outcome(code, ended, text, run.truncated, used)


def _report(said: bytes) -> tuple[int | None, float, str]:
    """(exit status, CPU seconds, trouble before the job began) as the launcher wrote them; None for no word."""
    first, _, trouble = said.decode("utf-8", "replace").partition("\n")
    code, _, cpu_s = first.partition(" ")
    try:
        return int(code), float(cpu_s), trouble
    except ValueError:
        return None, 0.0, ""
