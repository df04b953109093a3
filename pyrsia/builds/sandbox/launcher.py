"""The program that stands between the node and a job: it confines a child, runs the job in it, and reaps.

Run as compiled code that comes with its specification in SPEC_FD (`specify.launch`), alone: it may import
nothing but the standard library, and little of that, since every job pays for it. The parent half (the
warden) stays unconfined, waits, ends what the job left behind, and writes `begun`, then `CODE CPU-SECONDS`, and on
further lines what went wrong before the job began, to STATUS_FD. The child half takes its rights away, in an order in
which each step still can, and becomes the job. Where the specification has a world, both halves move into it
first (`enter.py`): a root that strangers filled is entered only when nothing of it is needed to confine a job.

Decides nothing: limits, filter, rules and uids come in the specification.
"""

from __future__ import annotations  # `typing` itself is never loaded

import ctypes
import marshal
import os
import resource
import signal
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

_PDEATHSIG, _DUMPABLE, _KEEPCAPS, _SECCOMP, _SUBREAPER, _NO_NEW_PRIVS, _AMBIENT = 1, 4, 8, 22, 36, 38, 47
_BOUNDING, _AMBIENT_CLEAR = 24, 4
_CAP_DAC_READ_SEARCH = 2
_ADD_RULE, _RESTRICT_SELF, _CREATE_RULESET = 445, 446, 444
_NEW_USER = 0x10000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_BACKLOG = 64  # connections of a job that wait for their turn
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, *arguments: Any) -> None:
    words = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    words += [ctypes.c_ulong(0)] * (4 - len(words))
    _checked(_LIBC.prctl(option, *words), f"prctl {option}")


def _syscall(number: int, *arguments: Any) -> int:
    return _checked(_LIBC.syscall(ctypes.c_long(number), *arguments), f"system call {number}")


# -- the world ---------------------------------------------------------------------------------------


def _raise_loopback() -> None:
    """Bring the one interface of a new network namespace up; it leads nowhere but to ourselves."""
    import _socket
    import fcntl

    any_socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    fcntl.ioctl(any_socket.fileno(), _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))
    any_socket.close()


def _listen(way_fd: int, port: int) -> None:
    """Listen where the job may connect, and hand the ear to the node: nothing that relays lives in here."""
    import _socket

    ear = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    ear.bind(("127.0.0.1", port))
    ear.listen(_BACKLOG)
    way = _socket.socket(fileno=way_fd)
    way.sendmsg([b"e"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("=i", ear.fileno()))])
    way.close()
    ear.close()


def _arrive(spec: dict[str, Any]) -> None:
    """Everything that is about the place and not about the job."""
    if spec["host_name"]:
        name = spec["host_name"].encode()
        _checked(_LIBC.sethostname(name, ctypes.c_size_t(len(name))), "sethostname")
    if spec["loopback"]:
        _raise_loopback()
    if spec["egress"]:
        _listen(*spec["egress"])
    if spec["world"]:
        steps, uid, code = spec["world"]
        names: dict[str, Any] = {"__name__": "enter"}
        exec(marshal.loads(code), names)  # noqa: S102, S302 - ours, compiled by the node that started us
        names["enter"](steps, uid)


# -- the child ---------------------------------------------------------------------------------------


def _ruleset(spec: dict[str, Any]) -> int:
    """A Landlock ruleset with all rules in it; paths are opened here, while we still may."""
    words = struct.pack("=QQQ", spec["files"], spec["network"], spec["scopes"])
    size = 24 if spec["scopes"] else 16 if spec["network"] else 8
    fd = _syscall(_CREATE_RULESET, words, ctypes.c_size_t(size), ctypes.c_uint32(0))
    for path, rights in spec["rules"]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rule = struct.pack("=Qi", rights, place)
        _syscall(_ADD_RULE, ctypes.c_int(fd), ctypes.c_int(1), rule, ctypes.c_uint32(0))
        os.close(place)
    return fd


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # One second between the warning and the end, so that a log says why.
        resource.setrlimit(kind, (value, value + 1 if name == "CPU" and value != hard else value))


def _drop(uid: int, search: bool) -> None:
    """Become `uid` without any capability, or with the one that opens paths through closed folders."""
    if search:
        _prctl(_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if not search:
        return
    bit = 1 << _CAP_DAC_READ_SEARCH
    header = struct.pack("=Ii", 0x20080522, 0)
    data = struct.pack("=6I", bit, bit, bit, 0, 0, 0)
    _checked(_LIBC.capset(header, data), "capset")
    _prctl(_AMBIENT, 2, _CAP_DAC_READ_SEARCH)


def _disarm() -> None:
    """No capability is left, nor a way to one: not in a user namespace of our own either."""
    number = 0
    while _LIBC.prctl(_BOUNDING, ctypes.c_ulong(number), *[ctypes.c_ulong(0)] * 3) == 0:
        number += 1  # ends at the first that the kernel does not know, or that we may not drop
    _prctl(_AMBIENT, _AMBIENT_CLEAR)
    header = struct.pack("=Ii", 0x20080522, 0)
    _checked(_LIBC.capset(header, bytes(24)), "capset")


def _map(uid: int) -> None:
    """Appear as `uid` inside, whoever the host thinks we are; left out where the host forbids it."""
    outer_uid, outer_gid = os.getuid(), os.getgid()
    _prctl(_DUMPABLE, 1)  # else our own /proc entries belong to root
    if _LIBC.unshare(_NEW_USER) != 0:
        return
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{uid} {outer_gid} 1"),
    ):
        # No codec, no module: this uid may not be able to read the interpreter's library any more.
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)


def _confine(spec: dict[str, Any]) -> None:
    try:  # noqa: SIM105 - contextlib costs every job 5 ms
        os.setsid()
    except PermissionError:
        pass  # we lead a session already
    os.umask(0o022)
    fence = _ruleset(spec["landlock"]) if spec["landlock"] else -1
    _limit(spec["rlimits"])
    if spec["uid"] >= 0:
        _drop(spec["uid"], spec["search"])
    os.chdir(spec["cwd"])  # the job's own folder: only its uid may enter
    if spec["map"] >= 0:
        _map(spec["map"])
    if not spec["search"]:
        _disarm()
    _prctl(_NO_NEW_PRIVS, 1)
    if fence >= 0:
        _syscall(_RESTRICT_SELF, ctypes.c_int(fence), ctypes.c_uint32(0))
    steps = spec["seccomp"]
    program = _Filter(len(steps) // 8, steps)
    _prctl(_SECCOMP, 2, ctypes.pointer(program))


def _become(spec: dict[str, Any], trouble: int) -> None:
    """Never returns. What goes wrong is told through `trouble`, which a started job no longer has."""
    kind = "confine"
    try:
        for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for fd in spec["groups"]:
            try:  # noqa: SIM105 - as below
                os.write(fd, b"0")  # in by our own hand: nobody else's process of the tree counts
            except OSError:
                pass  # before Linux 5.16 a new namespace may not; the watcher stands alone then
        os.dup2(trouble, 3, inheritable=False)
        os.closerange(4, 65536)
        trouble = 3
        _confine(spec)
        kind = "exec"
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - a launcher's purpose
    except BaseException as error:  # noqa: BLE001 - whatever it was, the child must end here and say so
        os.write(trouble, f"{kind}\n{error}".encode("utf-8", "replace")[:4096])
    finally:
        os._exit(127)


# -- the warden --------------------------------------------------------------------------------------


def _descendants() -> Iterator[int]:
    """Every living process below us; a zombie is already dead."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state not in (b"Z", b"X"):
                parents[int(name)] = int(parent)
    mine = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in mine and pid not in mine}:
        mine |= more
    yield from mine - {os.getpid()}


def _sweep() -> None:
    """End everything below us. Stopping first keeps a fork bomb from outrunning us."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in _descendants():
                try:
                    os.kill(pid, number)
                except OSError:
                    continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


# Never handled, only waited for: a handler that raises would leave moments in which it must not.
_ENDING = (signal.SIGTERM, signal.SIGHUP)  # the node wants an end; the node has died
_HEARD = (*_ENDING, signal.SIGCHLD)


def _await(child: int) -> tuple[int, int]:
    """(wait status of `child`, 0), or (0, the signal that wants an end); orphans that come to us are reaped."""
    while True:
        heard = signal.sigwait(_HEARD)
        if heard in _ENDING:
            return 0, heard
        try:
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == child:
                    return found[1], 0
        except ChildProcessError:
            return 0, signal.SIGTERM  # somebody else reaped it, which nobody can


def _clear(spec: dict[str, Any]) -> None:
    """The node is gone and nobody else will. Does not return where there is something to remove."""
    if spec["stage"]:
        os.execvp("rm", ["rm", "-rf", "--", spec["stage"]])  # noqa: S606


def _ward(spec: dict[str, Any], status_fd: int) -> None:
    hear, trouble = os.pipe()
    _prctl(_DUMPABLE, 0)  # a job with our uid gets nothing of ours from /proc
    _prctl(_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    if spec["sweep"]:
        # Sent when the thread that started us ends. The process may then still be there for a moment, with its
        # other threads, and be our parent: the signal itself says that it dies, its number must be another.
        _prctl(_PDEATHSIG, signal.SIGHUP)
        if os.getppid() != spec["node"]:
            return _clear(spec)
    child = os.fork()
    if child == 0:
        os.close(status_fd)
        _become(spec, trouble)
    for fd in (trouble, *spec["groups"]):
        os.close(fd)
    if not spec["sweep"]:
        _disarm()  # the end of the namespace ends everything in it: we need no right over anybody
    os.write(status_fd, b"begun\n")
    # The job's own output must end with the job; we keep no copy of it.
    for fd in (0, 1, 2):
        os.close(fd)
    status, wanted = _await(child)
    code = -signal.SIGKILL if wanted else os.waitstatus_to_exitcode(status)
    said = b"" if wanted else os.read(hear, 4096)
    if spec["sweep"]:
        _sweep()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:  # noqa: SIM105 - as above
        os.write(status_fd, f"{code} {used.ru_utime + used.ru_stime:.3f}\n".encode() + said)
    except OSError:
        pass  # the node is gone
    if wanted == signal.SIGHUP or (spec["sweep"] and os.getppid() != spec["node"]):
        _clear(spec)
    return None


def main(given: BinaryIO) -> None:
    """`given` is the open SPEC_FD, behind the code that this is."""
    spec, status_fd = marshal.load(given), int(sys.argv[2])  # noqa: S302 - ours, from the same interpreter
    given.close()
    os.set_inheritable(status_fd, False)
    try:
        _arrive(spec)
    except BaseException as error:  # noqa: BLE001 - whatever it was, the node must hear it
        os.write(status_fd, f"127 0\nconfine\n{error}".encode("utf-8", "replace")[:4096])
        return
    _ward(spec, status_fd)


if __name__ == "__main__":
    main(globals()["f"])
