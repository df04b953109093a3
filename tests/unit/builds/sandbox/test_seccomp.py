"""The filters, run over system calls by an interpreter of classic BPF; the lists are the definition."""

import errno
import struct

import pytest

from pyrsia.builds.sandbox import seccomp
from pyrsia.builds.sandbox.seccomp import ALLOW, ARCHES, ERRNO, KILL, SYSCALLS, assemble

MACHINES = ("x86_64", "aarch64")


def judge(program: bytes, machine_code: int, number: int, *arguments: int) -> int:
    """What the kernel would answer: linux/filter.h, instruction by instruction, only those we use."""
    words = [*arguments, *([0] * (6 - len(arguments)))]
    data = struct.pack("<iIQ6Q", number, machine_code, 0, *(word & (1 << 64) - 1 for word in words))
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, jt, jf, k = steps[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:
            accumulator &= k
        elif code == 0x06:
            return k
        elif code in (0x15, 0x35, 0x45):
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}[code]
            at += jt if holds else jf
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


def ask(profile: str, machine: str, name: str, *arguments: int, **options: object) -> int:
    number = SYSCALLS[name][MACHINES.index(machine)]
    assert number is not None
    return judge(assemble(profile, machine, **options), ARCHES[machine], number, *arguments)


# Written out once more, so that no call falls off the list in the code unseen (docs/sandbox.md, "What is refused").
DENIED = """
add_key keyctl request_key bpf perf_event_open ptrace process_vm_readv process_vm_writev kexec_load kexec_file_load
init_module finit_module delete_module mount umount2 pivot_root move_mount open_tree fsopen fsconfig fsmount fspick
mount_setattr setns unshare swapon swapoff reboot userfaultfd io_uring_setup io_uring_enter io_uring_register
open_by_handle_at name_to_handle_at acct quotactl settimeofday clock_settime adjtimex clock_adjtime iopl ioperm syslog
vhangup personality pidfd_getfd
""".split()  # noqa: SIM905 - a list that is easy to read
CONFINED = """
socket connect bind listen accept accept4 tkill tgkill pidfd_open pidfd_send_signal rt_sigqueueinfo
rt_tgsigqueueinfo shmget shmat semget semop msgget msgsnd mq_open mq_unlink
""".split()  # noqa: SIM905 - a list that is easy to read
EPERM = ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", ["namespace", "confined"])
def test_every_listed_call_is_refused(profile: str, machine: str):
    assert len(DENIED) == 46
    for name in DENIED:
        if SYSCALLS[name][MACHINES.index(machine)] is not None:
            assert ask(profile, machine, name) == EPERM, name


@pytest.mark.parametrize("machine", MACHINES)
def test_confined_also_refuses_every_way_to_others(machine: str):
    assert len(CONFINED) == 20
    for name in CONFINED:
        assert ask("confined", machine, name) == EPERM, name
        assert ask("namespace", machine, name) == ALLOW, name


CASES = [
    ("both", "clone", (0x10000000,), EPERM),
    ("both", "clone", (0x00020000 | 17,), EPERM),
    ("both", "clone", (0x003D0F00,), ALLOW),  # a thread, as libc makes it
    ("both", "clone3", (), ERRNO | errno.ENOSYS),
    ("both", "ioctl", (0, 0x5412), EPERM),
    ("both", "ioctl", (0, 0x541C), EPERM),
    ("both", "ioctl", (0, (1 << 32) | 0x5412), EPERM),  # the kernel reads the low word
    ("both", "ioctl", (0, 0x5401), ALLOW),
    ("confined", "ioctl", (0, 0x8901), EPERM),
    ("confined", "kill", (0, 9), ALLOW),
    ("confined", "kill", (1, 9), EPERM),
    ("confined", "kill", (-1, 9), EPERM),
    ("confined", "prlimit64", (0, 7), ALLOW),
    ("confined", "prlimit64", (77, 7), EPERM),
    ("confined", "setpriority", (0, 0, 5), ALLOW),
    ("confined", "setpriority", (0, 77, 5), EPERM),
    ("confined", "setpriority", (2, 0, 5), EPERM),
    ("confined", "ioprio_set", (1, 0, 5), ALLOW),
    ("confined", "ioprio_set", (3, 0, 5), EPERM),
    ("confined", "sched_setaffinity", (0,), ALLOW),
    ("confined", "sched_setaffinity", (77,), EPERM),
    ("confined", "fcntl", (0, 8, 77), EPERM),
    ("confined", "fcntl", (0, 15, 77), EPERM),
    ("confined", "fcntl", (0, 1, 77), ALLOW),
    ("confined", "socketpair", (1, 1), ALLOW),
    ("confined", "socketpair", (1, 0o2000001), ALLOW),  # SOCK_CLOEXEC
    ("confined", "socketpair", (1, 5), ALLOW),
    ("confined", "socketpair", (1, 2), EPERM),  # datagrams reach named sockets
    ("confined", "socketpair", (1, 3), EPERM),  # which the kernel takes for datagrams
    ("confined", "socketpair", (30, 1), EPERM),
    ("confined", "sendto", (3, 4096, 1, 0, 0, 0), ALLOW),
    ("confined", "sendto", (3, 4096, 1, 0, 4096, 16), EPERM),
    ("confined", "sendto", (3, 4096, 1, 0, 1 << 32, 16), EPERM),
]


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_with_arguments_are_judged_by_them(machine: str):
    assert len(CASES) == 33
    for profile, name, arguments, verdict in CASES:
        for one in ("namespace", "confined") if profile == "both" else (profile,):
            assert ask(one, machine, name, *arguments) == verdict, (one, name, arguments)


@pytest.mark.parametrize("profile", ["namespace", "confined"])
def test_another_architecture_and_x32_kill(profile: str):
    program = assemble(profile, "x86_64")

    assert judge(program, 0x40000003, 4) == KILL  # int 0x80
    assert judge(program, ARCHES["aarch64"], 63) == KILL
    assert judge(program, ARCHES["x86_64"], 0x40000000) == KILL
    assert judge(program, ARCHES["x86_64"], 0x40000000 | 41) == KILL
    assert judge(program, ARCHES["x86_64"], -1) == KILL


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", ["namespace", "confined"])
def test_whatever_has_no_rule_is_allowed(profile: str, machine: str):
    column = MACHINES.index(machine)
    program = assemble(profile, machine)
    ruled = {numbers[column] for numbers in SYSCALLS.values()}
    free = [number for number in range(470) if number not in ruled]

    assert len(free) > 350
    assert {judge(program, ARCHES[machine], number, 1, 2, 3, 4, 5, 6) for number in free} == {ALLOW}


def test_with_the_nodes_own_uid_metadata_by_path_is_out_of_reach():
    for name, verdict in (
        ("chown", EPERM),
        ("fchmodat2", EPERM),
        ("setxattr", ERRNO | errno.EOPNOTSUPP),
        ("chmod", ERRNO),
    ):
        assert ask("confined", "x86_64", name, same_uid=True, landlock=7) == verdict
        assert ask("confined", "x86_64", name, landlock=7) == ALLOW
    assert ask("confined", "x86_64", "truncate", same_uid=True, landlock=2) == EPERM
    assert ask("confined", "x86_64", "truncate", same_uid=True, landlock=3) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_a_filter_fits_the_kernel_and_every_jump_lands_inside(machine: str):
    program = assemble("confined", machine, same_uid=True, landlock=1)
    steps = list(struct.iter_unpack("=HBBI", program))

    assert len(steps) < 4096
    for at, (code, jt, jf, _) in enumerate(steps):
        if code in (0x15, 0x35, 0x45):
            assert at + 1 + max(jt, jf) < len(steps)
    assert steps[-1][0] == 0x06


def test_a_machine_without_a_table_is_the_callers_mistake():
    with pytest.raises(ValueError, match="riscv64"):
        assemble("namespace", "riscv64")


def test_no_two_calls_share_a_number():
    for column in (0, 1):
        numbers = [row[column] for row in seccomp.SYSCALLS.values() if row[column] is not None]
        assert len(numbers) == len(set(numbers))
