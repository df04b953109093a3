"""Runs inside a sandbox and tries to get out: prints one JSON object, for each attempt `done` or the error it got.

argv[1] is JSON: what the test laid out on the host. Standalone: no package of ours is inside.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading

BAIT = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
RESULTS: dict[str, str | int] = {}


def attempt(name, act):
    try:
        act()
    except OSError as error:
        RESULTS[name] = errno.errorcode.get(error.errno, "timeout")
    except (ValueError, MemoryError):
        RESULTS[name] = "refused"
    else:
        RESULTS[name] = "done"


def call(number_x86, number_arm, *arguments):
    number = number_x86 if os.uname().machine == "x86_64" else number_arm
    if LIBC.syscall(ctypes.c_long(number), *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def every_filtered_call():
    """All calls that no build needs, with arguments that harm nobody: each must get the filter's answer."""
    for number in BAIT["filtered"]:
        ctypes.set_errno(0)
        if LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6) != -1:
            return
        if ctypes.get_errno() != errno.EPERM:
            raise OSError(errno.ENOTRECOVERABLE, str(number))
    raise OSError(errno.EPERM, "all of them")


def capability():
    words = (ctypes.c_uint32 * 6)()
    if LIBC.capget((ctypes.c_uint32 * 2)(0x20080522, 0), words) != 0:
        raise OSError(ctypes.get_errno(), "refused")
    if not any(
        word & ~(1 << 2) for word in words
    ):  # see docs/sandbox.md for the one that `confined` may keep
        raise OSError(errno.EPERM, "none")


def privileges_by_exec():
    if LIBC.prctl(39, *[ctypes.c_ulong(0)] * 4) == 1:  # PR_GET_NO_NEW_PRIVS
        raise OSError(errno.EPERM, "none")


def foreign_descriptor():
    for fd in range(3, 4096):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            return
    raise OSError(errno.EBADF, "none")


def attach_shared_memory():
    number = 29 if os.uname().machine == "x86_64" else 194
    if LIBC.syscall(ctypes.c_long(number), ctypes.c_int(BAIT["shm_key"]), ctypes.c_size_t(1), 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def type_into_terminal():
    import fcntl

    fcntl.ioctl(0, 0x5412, b"x")


def send(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(2)
        if kind == socket.SOCK_DGRAM:
            one.sendto(b"escaped", address)
        else:
            one.connect(address)
            one.sendall(b"escaped")


def ask_for_a_name():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(2)
        one.connect(("127.0.0.53", 53))
        one.send(bytes(12))
        one.recv(1)


def through_a_pair():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.sendto(b"escaped", "\0" + BAIT["abstract_datagram"])


def write(path):
    with open(path, "w") as file:
        file.write("escaped")


def read(path):
    with open(path, "rb") as file:
        if not file.read(1):
            raise ValueError("empty")


def own_signal():
    got = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: got.set())
    os.kill(0, signal.SIGUSR1)
    if not got.wait(1):
        raise ValueError("never came")


def fork_and_wait():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def setown():
    import fcntl

    r, w = os.pipe()
    fcntl.fcntl(r, fcntl.F_SETOWN, BAIT["sibling"])
    os.close(r)
    os.close(w)


def chmod_secret():
    os.chmod(BAIT["secret"], 0o666)  # noqa: S103
    # A fence may say yes and do nothing; the test looks at the file itself.


def namespace(flag):
    if LIBC.unshare(flag) != 0:
        raise OSError(ctypes.get_errno(), "refused")


def mount():
    if LIBC.mount(b"none", b"/tmp", b"tmpfs", ctypes.c_ulong(0), None) != 0:
        raise OSError(ctypes.get_errno(), "refused")


def ptrace(pid):
    if LIBC.ptrace(16, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "refused")


def main() -> None:
    tcp = ("127.0.0.1", BAIT["tcp"])
    sibling, node = BAIT["sibling"], BAIT["node"]
    # the network and the sockets of the host
    attempt("tcp to the host", lambda: send(socket.AF_INET, socket.SOCK_STREAM, tcp))
    attempt("tcp to the world", lambda: send(socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 80)))
    attempt("udp to the world", lambda: send(socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 53)))
    attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close())
    attempt("control socket", lambda: send(socket.AF_UNIX, socket.SOCK_STREAM, BAIT["control"]))
    attempt("abstract socket", lambda: send(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + BAIT["abstract"]))
    attempt("abstract socket through a pair", through_a_pair)
    attempt("a name by DNS", ask_for_a_name)
    attempt(
        "the way out of another job", lambda: send(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 7999))
    )
    # files
    attempt("read a secret", lambda: read(BAIT["secret"]))
    attempt("write in the user's home", lambda: write(BAIT["home"] + "/escaped"))
    attempt("write in /etc", lambda: write("/etc/escaped"))
    attempt("write in the interpreter", lambda: write(os.path.join(sys.base_prefix, "escaped")))
    attempt("write in /usr", lambda: write("/usr/escaped"))
    attempt("write in /", lambda: write("/escaped"))
    attempt("write in /dev", lambda: write("/dev/escaped"))
    attempt("list the folder of the secret", lambda: os.listdir(os.path.dirname(BAIT["secret"])))
    attempt("device node", lambda: os.mknod("device", 0o600 | 0o020000, os.makedev(1, 1)))
    attempt("truncate a secret", lambda: os.truncate(BAIT["secret"], 0))
    attempt("second name of a secret", lambda: os.link(BAIT["secret"], "second"))
    attempt("write in the input", lambda: write(os.path.dirname(__file__) + "/escaped"))
    attempt("the disk itself", lambda: os.close(os.open(BAIT["disk"], os.O_RDWR)))
    attempt("the host's root by the first process", lambda: read("/proc/1/root" + BAIT["secret"]))
    attempt("the host's shared memory by name", lambda: read(BAIT["shm_file"]))
    attempt("the host's shared memory by key", attach_shared_memory)
    attempt("a descriptor that was left open", foreign_descriptor)
    # other processes
    for who, pid in (("the node", node), ("a sibling", sibling)):
        attempt(f"signal {who}", lambda pid=pid: os.kill(pid, signal.SIGCONT))
        attempt(f"kill {who} by thread", lambda pid=pid: call(200, 130, pid, int(signal.SIGCONT)))
        attempt(
            f"queue a signal to {who}",
            lambda pid=pid: call(129, 138, pid, 18, ctypes.create_string_buffer(128)),
        )
        attempt(f"pidfd of {who}", lambda pid=pid: os.close(os.pidfd_open(pid)))
        attempt(f"limits of {who}", lambda pid=pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, 5)))
        attempt(f"priority of {who}", lambda pid=pid: os.setpriority(os.PRIO_PROCESS, pid, 19))
        attempt(f"affinity of {who}", lambda pid=pid: os.sched_setaffinity(pid, {0}))
        attempt(f"trace {who}", lambda pid=pid: ptrace(pid))
        attempt(f"environment of {who}", lambda pid=pid: read(f"/proc/{pid}/environ"))
        attempt(f"memory of {who}", lambda pid=pid: os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR)))
        attempt(f"command line of {who}", lambda pid=pid: read(f"/proc/{pid}/cmdline"))
    attempt("signals through a file's owner", setown)
    attempt("trace the parent", lambda: ptrace(os.getppid()))
    attempt("memory of the parent", lambda: os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR)))
    # the kernel
    for name, flag in (
        ("user", 0x10000000),
        ("mount", 0x20000),
        ("network", 0x40000000),
        ("pid", 0x20000000),
    ):
        attempt(f"{name} namespace", lambda flag=flag: namespace(flag))
    attempt("mount", mount)
    attempt("chroot", lambda: os.chroot("/tmp"))
    attempt("every filtered call", every_filtered_call)
    attempt("a capability", capability)
    attempt("privileges by a program's owner", privileges_by_exec)
    attempt("kernel settings", lambda: write("/proc/sys/kernel/core_pattern"))
    attempt("kernel's emergency keys", lambda: write("/proc/sysrq-trigger"))
    attempt("control groups", lambda: os.mkdir("/sys/fs/cgroup/escaped"))
    attempt("type into a terminal", type_into_terminal)
    attempt("keyring", lambda: call(250, 219, 0, -3, 1))
    attempt("become root", lambda: os.setuid(0))
    attempt("bpf", lambda: call(321, 280, 0, None, 0))
    attempt("io_uring", lambda: call(425, 425, 1, ctypes.create_string_buffer(256)))
    attempt("userfaultfd", lambda: call(323, 282, 0))
    attempt("host name", lambda: socket.sethostname("escaped"))
    attempt("more files than allowed", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)))
    attempt("core dumps", lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)))
    attempt("terminal", lambda: os.close(os.open("/dev/tty", os.O_RDWR)))
    # what an honest build needs
    attempt("needed: a child", fork_and_wait)
    attempt("needed: a thread", lambda: threading.Thread(target=int).start())
    attempt("needed: a file here", lambda: write("here"))
    attempt("needed: a file in HOME", lambda: write(os.environ["HOME"] + "/there"))
    attempt("needed: a stream pair", lambda: [s.close() for s in socket.socketpair()])
    attempt("needed: /dev/null", lambda: write("/dev/null"))
    attempt("needed: random bytes", lambda: read("/dev/urandom"))
    attempt("needed: rename", lambda: os.rename("here", "moved"))
    attempt("needed: a program", lambda: subprocess.run([sys.executable, "-c", ""], check=True))
    attempt("needed: its own group", own_signal)
    with contextlib.suppress(OSError):
        chmod_secret()
    RESULTS["uid"] = os.getuid()
    print(json.dumps(RESULTS, indent=1, sort_keys=True))


main()
