"""System calls that change files, seen from outside before they happen.

The child asks the kernel to tell its parent of each such call and to wait for an answer (seccomp user
notification, Linux 5.5). So every call is counted in one order over all threads, RocksDB's included, and the
parent may let it happen, make it fail with an error number, or kill the child in front of it. Nothing of the
product takes part, and no tool is needed.

Source: seccomp_unotify(2); Linux include/uapi/linux/seccomp.h.
"""

import ctypes
import errno
import fcntl
import os
import platform
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pyrsia.builds.sandbox import seccomp

ROOT = Path(__file__).resolve().parents[3]

# number on x86_64, number on aarch64; None where the architecture has no such call.
CALLS = {
    "write": (1, 64),
    "pwrite64": (18, 68),
    "writev": (20, 66),
    "pwritev": (296, 70),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "sync_file_range": (277, 84),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "open": (2, None),
    "openat": (257, 56),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "link": (86, None),
    "linkat": (265, 37),
}
ON_HANDLES = {
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
}
SYNCS = {"fsync", "fdatasync"}
CHANGES = {"write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate", "open", "openat"}
NEEDS_ROOM = CHANGES - {"ftruncate"} | {"mkdir", "mkdirat", "link", "linkat"}

_USER_NOTIF = 0x7FC00000
_NO_NEW_PRIVS, _SET_FILTER, _NEW_LISTENER = 38, 1, 1 << 3
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
_NOTICE = struct.Struct("=QIIiIQ6Q")  # id, pid, flags; struct seccomp_data
_ANSWER = struct.Struct("=QqiI")
_GO_ON = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_OPEN_FLAGS = {"open": 1, "openat": 2}
_PATH_ARGUMENT = {name: 1 for name in ("openat", "renameat", "renameat2", "unlinkat", "mkdirat", "linkat")}
_NEW_NAME = {"rename": 1, "renameat": 3, "renameat2": 3}
_LONGEST_PATH = 4_096
_LOOKS = 10_000  # one second


def _column() -> int:
    return 0 if platform.machine() == "x86_64" else 1


def supported() -> bool:
    """Whether a process on this machine may be watched: its numbers are known, and its kernel lets it ask."""
    if platform.machine() not in _SECCOMP:
        return False
    asking = "from tests.e2e.crash import operations; operations.watch_me()"
    return (
        subprocess.run([sys.executable, "-c", asking], cwd=ROOT, capture_output=True, check=False).returncode
        == 0
    )


def waits_in(thread: int, name: str) -> bool:
    """Whether a thread that was let do the call `name` has not come back from it."""
    for _ in range(_LOOKS):
        try:
            with open(f"/proc/{thread}/syscall") as file:
                now = file.read().split()[0]
        except OSError:  # the thread has ended
            return False
        if now != "running":
            return now == str(CALLS[name][_column()])
        time.sleep(0.0001)  # on a processor, in the kernel or not: which, is not told
    return True


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def watch_me() -> int:
    """Have every further change of a file by this process, which has one thread, told; the handle to tell it by."""
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
    steps = [(load, 0, 0, 4), (equal, 1, 0, seccomp.ARCHES[platform.machine()]), (give, 0, 0, seccomp.ALLOW)]
    steps.append((load, 0, 0, 0))
    for name, numbers in CALLS.items():
        number = numbers[_column()]
        if number is None:
            continue
        if name in _OPEN_FLAGS:  # only those that make or empty a file
            flags = 16 + 8 * _OPEN_FLAGS[name]
            steps += [(equal, 0, 4, number), (load, 0, 0, flags), (any_bit, 0, 1, os.O_CREAT | os.O_TRUNC)]
            steps += [(give, 0, 0, _USER_NOTIF), (give, 0, 0, seccomp.ALLOW)]
        else:
            steps += [(equal, 0, 1, number), (give, 0, 0, _USER_NOTIF)]
    steps.append((give, 0, 0, seccomp.ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    libc.syscall.restype = ctypes.c_long
    handle = libc.syscall(_SECCOMP[platform.machine()], _SET_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if handle < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(handle)


def _text(thread: int, address: int) -> str:
    """The path at an address of a process that waits."""
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return os.fsdecode(memory.read(_LONGEST_PATH).partition(b"\0")[0])


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that is about to happen. Paths are relative to the watched folder; `to` is a rename's new name."""

    number: int
    name: str
    path: str
    to: str
    thread: int
    id: int

    def __str__(self) -> str:
        return f"{self.number} {self.name} {self.path}"


class Supervisor:
    """Answers the calls of one child; counts those below `folder`, lets all others happen."""

    def __init__(self, listener: int, folder: Path) -> None:
        self.listener = listener
        self._folder = str(folder.resolve())
        self._names = {numbers[_column()]: name for name, numbers in CALLS.items()}
        self._count = 0

    def next(self) -> Operation | None:
        """The call that waits for an answer; None if it is of no interest, and was answered."""
        buffer = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self.listener, _RECEIVE, buffer)
        except OSError as error:
            if error.errno == errno.ENOENT:  # it was killed while it waited
                return None
            raise
        ident, thread, _, number, _, _, *arguments = _NOTICE.unpack(buffer)
        name = self._names[number]
        try:
            if name in ON_HANDLES:
                path, to = os.readlink(f"/proc/{thread}/fd/{arguments[0]}"), ""
            else:
                path = _text(thread, arguments[_PATH_ARGUMENT.get(name, 0)])
                to = _text(thread, arguments[_NEW_NAME[name]]) if name in _NEW_NAME else ""
        except OSError:  # it is gone
            path, to = "", ""
        if f"{path}/".startswith(f"{self._folder}/"):
            self._count += 1
            return Operation(self._count, name, self._below(path), self._below(to), thread, ident)
        self.allow(ident)
        return None

    def _below(self, path: str) -> str:
        return path.removeprefix(self._folder).removeprefix("/")

    def allow(self, ident: int) -> None:
        self._answer(ident, 0, _GO_ON)

    def fail(self, ident: int, number: int) -> None:
        """Make the call return the error `number` without happening."""
        self._answer(ident, -number, 0)

    def _answer(self, ident: int, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.listener, _SEND, _ANSWER.pack(ident, 0, error, flags))
        except OSError as caught:
            if caught.errno != errno.ENOENT:
                raise
