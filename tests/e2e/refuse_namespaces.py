"""Runs a command on a machine that refuses namespaces: `refuse_namespaces.py [--] COMMAND...`.

A seccomp filter around the command answers EPERM to unshare, setns, mount, pivot_root and to clone with
any CLONE_NEW flag, and ENOSYS to clone3, as an unprivileged container does. Standalone on purpose: the
tests of a fresh machine run it before anything is installed.
"""

import ctypes
import os
import platform
import struct
import sys

_LD, _JEQ, _JSET, _RET = 0x20, 0x15, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
_NEW = 0x7E020000
# unshare, setns, mount, umount2, pivot_root; clone; by machine
_CALLS = {"x86_64": ((272, 308, 165, 166, 155), 56), "aarch64": ((97, 268, 40, 39, 41), 220)}


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def main() -> None:
    refused, clone = _CALLS[platform.machine()]
    steps = [(_LD, 0, 0, 0)]
    for number in refused:
        steps += [(_JEQ, 0, 1, number), (_RET, 0, 0, _EPERM)]
    steps += [(_JEQ, 0, 1, 435), (_RET, 0, 0, _ENOSYS)]
    steps += [(_JEQ, 0, 4, clone), (_LD, 0, 0, 16), (_JSET, 0, 1, _NEW), (_RET, 0, 0, _EPERM)]
    steps += [(_RET, 0, 0, _ALLOW), (_RET, 0, 0, _ALLOW)]
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    filter_ = _Filter(len(steps), program)
    if libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero):
        sys.exit("no_new_privs is refused")
    if libc.prctl(22, ctypes.c_ulong(2), ctypes.byref(filter_), zero, zero):
        sys.exit("the filter is refused")
    command = sys.argv[2:] if sys.argv[1] == "--" else sys.argv[1:]
    os.execvp(command[0], command)  # noqa: S606 - that is what it is for


if __name__ == "__main__":
    main()
