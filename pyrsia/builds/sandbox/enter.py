"""Makes a file system out of a list of steps and moves this process, and all that it starts, into it.

Run by the launcher from compiled code that comes with its specification, before anything of a job: like the
launcher it imports little, decides nothing, and needs no file once it is loaded. When `enter` returns, no
process of ours has a way back to the file system that it came from.

Needs Linux 5.12 (mount_setattr, which makes a whole tree of mounts read-only at once).
Source: pivot_root(2), mount_setattr(2), mount_namespaces(7); docs/sandbox.md, "How a world is made".
"""

from __future__ import annotations  # `typing` itself is never loaded

import ctypes
import os
import struct

_NEW_NS, _NEW_USER = 0x20000, 0x10000000
_BIND, _REC, _PRIVATE, _DETACH = 0x1000, 0x4000, 1 << 18, 2
_NOSUID, _NODEV, _NOEXEC = 2, 4, 8
_MOUNT_SETATTR, _AT_RECURSIVE, _ATTR_RDONLY = 442, 0x8000, 1
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_OLD, _NEW = "/old", "/new"  # during the move
_LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    words = [os.fsencode(text) if text else None for text in (source, target, kind, options)]
    done = _LIBC.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    _checked(done, f"mount {kind or 'bind'} at {target.removeprefix(_NEW) or '/'}")


def _set(target: str, attributes: int, *, below: bool) -> None:
    """Restrict one mount, or it and all below it: restrictions that are there already stay."""
    words = struct.pack("=4Q", attributes, 0, 0, 0)
    flags = ctypes.c_uint(_AT_RECURSIVE if below else 0)
    place = os.fsencode(target)
    done = _LIBC.syscall(
        ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(-100), place, flags, words, ctypes.c_size_t(len(words))
    )
    _checked(done, f"mount_setattr at {target.removeprefix(_NEW) or '/'}")


def _pivot(new: str, old: str) -> None:
    number = _PIVOT_ROOT[os.uname().machine]
    done = _LIBC.syscall(ctypes.c_long(number), os.fsencode(new), os.fsencode(old))
    _checked(done, "pivot_root")


def _own_namespace(uid: int) -> None:
    """A mount namespace of our own; with `uid` >= 0 in a user namespace of its own, where we are `uid`."""
    outer_uid, outer_gid = os.getuid(), os.getgid()
    _checked(_LIBC.unshare(_NEW_NS | (_NEW_USER if uid >= 0 else 0)), "unshare")
    if uid >= 0:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {outer_uid} 1"),
            ("gid_map", f"{uid} {outer_gid} 1"),
        ):
            fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
            os.write(fd, text.encode())
            os.close(fd)


def _place(target: str, *, folder: bool) -> None:
    """Something to mount on, if nothing is there yet."""
    if folder:
        os.makedirs(target, 0o755, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def _bind(source: str, target: str, attributes: int) -> None:
    _place(target, folder=os.path.isdir(source))
    _mount(source, target, "", _BIND | _REC)
    if attributes:
        _set(target, attributes, below=True)


def _do(step: tuple) -> None:  # type: ignore[type-arg] # as marshal reads it
    kind, target = step[0], _NEW + step[1]
    if kind == "dir":
        os.makedirs(target, 0o755, exist_ok=True)
    elif kind == "link":
        os.symlink(step[2], target)
    elif kind == "file":
        _place(target, folder=False)
        with open(target, "wb", buffering=0) as file:
            file.write(step[2])
    elif kind == "bind":
        _bind(_OLD + step[2], target, step[3])
    elif kind == "tmpfs":
        _place(target, folder=True)
        _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, f"mode={step[2]:o},size={step[3]}")
    elif kind == "terminals":
        _place(target, folder=True)
        _mount("devpts", target, "devpts", _NOSUID | _NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    elif kind == "proc":
        _place(target, folder=True)
        _mount("proc", target, "proc", _NOSUID | _NODEV | _NOEXEC)
        for name in ("sys", "sysrq-trigger", "irq", "bus"):  # the host's own, whoever is root here
            if os.path.exists(f"{target}/{name}"):
                _bind(f"{target}/{name}", f"{target}/{name}", _ATTR_RDONLY)
    elif kind == "fixed":
        _set(target, _ATTR_RDONLY, below=False)
    else:
        raise ValueError(f"no step is called {kind}")


def enter(steps: list[tuple], uid: int) -> None:  # type: ignore[type-arg]
    """Make the world of `steps` (see `world.py`), in their order, and leave the old one.

    Args:
        uid: who to be in a user namespace of our own; -1 to make none.

    Raises:
        OSError: the kernel refused a step; the process is then nowhere, and must end.
    """
    os.umask(0o022)
    _own_namespace(uid)
    _mount("", "/", "", _REC | _PRIVATE)
    # A small folder in memory to stand on: from there both worlds can be seen, whatever covers what in the old.
    _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "mode=755,size=1m")  # noqa: S108 - any folder does
    os.mkdir("/tmp/old", 0o755)  # noqa: S108
    os.mkdir("/tmp/new", 0o755)  # noqa: S108
    _pivot("/tmp", "/tmp/old")  # noqa: S108
    os.chdir("/")
    _mount("tmpfs", _NEW, "tmpfs", _NOSUID | _NODEV, "mode=755,size=16m")
    for step in steps:
        _do(step)
    _checked(_LIBC.umount2(os.fsencode(_OLD), _DETACH), "umount of the old world")
    os.chdir(_NEW)
    _pivot(".", ".")
    _checked(_LIBC.umount2(b".", _DETACH), "umount of the place between")
    os.chdir("/")
