"""Which system calls a job may make: two filters and the small assembler that writes them. Pure.

`namespace` runs beside namespaces and refuses what could undo them. `confined` stands alone beside
Landlock and refuses, on top, every way to another process or to the network. A refused call fails
with EPERM and the build goes on; a call of another architecture kills, since no honest build makes one.

A filter sees numbers and registers, never memory: what hides behind a pointer (a path, a msghdr) is
left to Landlock, or the call that would need it is refused whole.

Source: docs/sandbox.md, "What is refused"; Linux include/uapi/linux/{filter,seccomp,audit}.h.
"""

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Profile = Literal["namespace", "confined"]

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
ERRNO: Final = 0x00050000
ARCHES: Final[Mapping[str, int]] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT: Final = 0x40000000

_LD, _JEQ, _JGE, _JSET, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data

# number on x86_64, number on aarch64; None where the architecture has no such call.
SYSCALLS: Final[Mapping[str, tuple[int | None, int | None]]] = {
    "accept": (43, 202),
    "accept4": (288, 242),
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bind": (49, 200),
    "bpf": (321, 280),
    "chmod": (90, None),
    "chown": (92, None),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchownat": (260, 54),
    "fcntl": (72, 25),
    "file_setattr": (469, 469),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, None),
    "iopl": (172, None),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "lchown": (94, None),
    "listen": (50, 201),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_getsetattr": (245, 185),
    "mq_notify": (244, 184),
    "mq_open": (240, 180),
    "mq_timedreceive": (243, 183),
    "mq_timedsend": (242, 182),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "removexattr": (197, 14),
    "removexattrat": (466, 466),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "sendto": (44, 206),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "settimeofday": (164, 170),
    "setxattr": (188, 5),
    "setxattrat": (463, 463),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "truncate": (76, 45),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}

# What leads out of a sandbox, administers the machine, or widens the kernel's face; none of it builds a package.
_ALWAYS: Final = [
    "add_key",
    "keyctl",
    "request_key",
    "bpf",
    "perf_event_open",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "mount",
    "umount2",
    "pivot_root",
    "move_mount",
    "open_tree",
    "open_tree_attr",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "setns",
    "unshare",
    "swapon",
    "swapoff",
    "reboot",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "open_by_handle_at",
    "name_to_handle_at",
    "acct",
    "quotactl",
    "quotactl_fd",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "iopl",
    "ioperm",
    "syslog",
    "vhangup",
    "personality",
    "chroot",
    "fanotify_init",
    "kcmp",
    "pidfd_getfd",
]
_CONFINED: Final = [
    "socket",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "tkill",
    "tgkill",
    "pidfd_open",
    "pidfd_send_signal",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "shmget",
    "shmat",
    "shmctl",
    "shmdt",
    "semget",
    "semop",
    "semctl",
    "semtimedop",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
    "mq_timedsend",
    "mq_timedreceive",
    "mq_notify",
    "mq_getsetattr",
    "process_madvise",
    "process_mrelease",
    "migrate_pages",
    "move_pages",
]
# Landlock does not judge these, so a job with the node's own uid could reach any of that user's files by path.
_SAME_UID_REFUSED: Final = ["chown", "lchown", "fchownat", "fchmodat2", "file_setattr"]
_SAME_UID_UNSUPPORTED: Final = [
    "setxattr",
    "lsetxattr",
    "setxattrat",
    "removexattr",
    "lremovexattr",
    "removexattrat",
]
# Answered with success and not done: every copy of a file calls chmod, and a copy must not fail for it.
_SAME_UID_IGNORED: Final = ["chmod", "fchmodat"]

_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
_TIOCSTI, _TIOCLINUX, _FIOSETOWN, _SIOCSPGRP = 0x5412, 0x541C, 0x8901, 0x8902
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
_AF_UNIX, _SOCK_STREAM, _SOCK_SEQPACKET = 1, 1, 5


@dataclass(frozen=True, slots=True)
class _Step:
    code: int
    k: int
    jt: int = 0
    jf: int = 0


def _refuse(number: int = errno.EPERM) -> _Step:
    return _Step(_RET, ERRNO | number)


def _arg(index: int, *, high: bool = False) -> _Step:
    return _Step(_LD, _ARGS + 8 * index + (4 if high else 0))


def _unless_in(index: int, allowed: tuple[int, ...]) -> list[_Step]:
    """Refuse unless the low word of an argument is one of `allowed`."""
    steps = [_arg(index)]
    for at, value in enumerate(allowed):
        steps.append(_Step(_JEQ, value, jt=len(allowed) - at))
    return [*steps, _refuse(), _Step(_RET, ALLOW)]


def _if_in(index: int, refused: tuple[int, ...]) -> list[_Step]:
    steps = [_arg(index)]
    for at, value in enumerate(refused):
        steps.append(_Step(_JEQ, value, jt=len(refused) - at))
    return [*steps, _Step(_RET, ALLOW), _refuse()]


def _if_bits(index: int, bits: int) -> list[_Step]:
    return [_arg(index), _Step(_JSET, bits, jt=0, jf=1), _refuse(), _Step(_RET, ALLOW)]


def _rules(profile: Profile, *, same_uid: bool, landlock: int) -> dict[str, list[_Step]]:
    """What to do about each call that is not simply allowed; every list ends in a return."""
    rules = {name: [_refuse()] for name in _ALWAYS}
    rules["clone"] = _if_bits(0, _NEW_NAMESPACES)
    # Its flags are behind a pointer; libc then falls back to clone.
    rules["clone3"] = [_refuse(errno.ENOSYS)]
    rules["ioctl"] = _if_in(1, (_TIOCSTI, _TIOCLINUX))
    if profile == "namespace":
        return rules
    rules |= {name: [_refuse()] for name in _CONFINED}
    rules["ioctl"] = _if_in(1, (_TIOCSTI, _TIOCLINUX, _FIOSETOWN, _SIOCSPGRP))
    # A file's owner gets SIGIO from the kernel: a signal to anybody of the same uid.
    rules["fcntl"] = _if_in(1, (_F_SETOWN, _F_SETSIG, _F_SETOWN_EX))
    # Datagram pairs can still send to any named socket; stream pairs cannot.
    rules["socketpair"] = [
        _arg(0),
        _Step(_JEQ, _AF_UNIX, jt=1),
        _refuse(),
        _arg(1),
        _Step(_AND, 0xF),
        _Step(_JEQ, _SOCK_STREAM, jt=2),
        _Step(_JEQ, _SOCK_SEQPACKET, jt=1),
        _refuse(),
        _Step(_RET, ALLOW),
    ]
    rules["sendto"] = [
        _arg(4),
        _Step(_JEQ, 0, jf=2),
        _arg(4, high=True),
        _Step(_JEQ, 0, jt=1),
        _refuse(),
        _Step(_RET, ALLOW),
    ]
    # Zero means the caller itself or, for kill, its own process group, which the launcher made for the job.
    rules["kill"] = _unless_in(0, (0,))
    for name in ("prlimit64", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr"):
        rules[name] = _unless_in(0, (0,))
    for name, own in (("setpriority", 0), ("ioprio_set", 1)):  # PRIO_PROCESS, IOPRIO_WHO_PROCESS
        rules[name] = [_arg(0), _Step(_JEQ, own, jt=1), _refuse(), *_unless_in(1, (0,))]
    if same_uid:
        rules |= {name: [_refuse()] for name in _SAME_UID_REFUSED}
        rules |= {name: [_refuse(errno.EOPNOTSUPP)] for name in _SAME_UID_UNSUPPORTED}
        rules |= {name: [_refuse(0)] for name in _SAME_UID_IGNORED}
        if landlock < 3:  # the right to truncate came with ABI 3
            rules["truncate"] = [_refuse()]
    return rules


def assemble(profile: Profile, machine: str, *, same_uid: bool = False, landlock: int = 0) -> bytes:
    """The filter as an array of struct sock_filter.

    Args:
        machine: as `uname -m` says it.
        same_uid: the job runs with the node's own uid (`confined` only).
        landlock: ABI version of this kernel (`confined` only).

    Raises:
        ValueError: no table for this machine.
    """
    if machine not in ARCHES:
        raise ValueError(f"no system call table for {machine!r}")
    column = 0 if machine == "x86_64" else 1
    steps = [_Step(_LD, _ARCH), _Step(_JEQ, ARCHES[machine], jt=1), _Step(_RET, KILL), _Step(_LD, _NR)]
    if machine == "x86_64":
        steps += [_Step(_JGE, X32_BIT, jf=1), _Step(_RET, KILL)]
    for name, rule in sorted(_rules(profile, same_uid=same_uid, landlock=landlock).items()):
        number = SYSCALLS[name][column]
        if number is not None:
            # The rule returns in all its branches, so the number stays loaded for the next comparison.
            steps += [_Step(_JEQ, number, jf=len(rule)), *rule]
    steps.append(_Step(_RET, ALLOW))
    return b"".join(struct.pack("=HBBI", s.code, s.jt, s.jf, s.k) for s in steps)
