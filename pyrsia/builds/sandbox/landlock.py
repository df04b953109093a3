"""Which files a confined job may touch, in Landlock's words. Decides the rights; the launcher applies them.

Leaves out: metadata. Landlock judges opening, making, removing and moving, not stat, chmod or utime; the
system call filter takes care of what matters there.

Source: Linux include/uapi/linux/landlock.h, ABI 1 to 7.
"""

import ctypes
from typing import Final

CREATE_RULESET: Final = 444
LEAST_ABI: Final = 2  # with ABI 1 nothing can be renamed between folders, which every build does

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_MAKE_DEVICES = 1 << 6 | 1 << 11

READ: Final = EXECUTE | READ_FILE | READ_DIR
DEVICE: Final = READ_FILE | WRITE_FILE | TRUNCATE
_FILE_RIGHTS: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV


def abi() -> int:
    """Landlock's version in this kernel, 0 where it is absent or switched off."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def handled(version: int) -> int:
    """Every right over files that this version knows: what no rule gives is refused."""
    rights = (1 << 13) - 1
    for needs, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)):
        if version >= needs:
            rights |= right
    return rights


def write(version: int) -> int:
    """Everything in a folder of the job's own, except device nodes."""
    return handled(version) & ~_MAKE_DEVICES & ~IOCTL_DEV


def ruleset(version: int) -> tuple[int, int, int]:
    """(files, network, scopes) to handle: all that this version can refuse."""
    return handled(version), 3 if version >= 4 else 0, 3 if version >= 6 else 0


def fitting(rights: int, version: int, *, folder: bool) -> int:
    """`rights` without what this version or a plain file does not know."""
    rights &= handled(version)
    return rights if folder else rights & _FILE_RIGHTS
