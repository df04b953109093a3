# ruff: noqa: ASYNC220, ASYNC240 - one program, nothing else to do while it waits
"""Lays out bait on the host, runs the probe in one backend and prints what came of it, as JSON.

`sandbox_runner.py bubblewrap|unshare|confined|best [ROOT]`, with ROOT in that file system and with a way out. A
program of its own, so that the same attempt can be made as another user and on a machine that refuses namespaces.
"""

import ctypes
import json
import os
import resource
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import trio

from pyrsia.builds.sandbox import BuildLimits, Job, Mount, choose, host, seccomp
from pyrsia.builds.sandbox.bubblewrap import Bubblewrap
from pyrsia.builds.sandbox.confined import Confined
from pyrsia.builds.sandbox.unshare import Unshare

PROBE = Path(__file__).with_name("sandbox_probe.py")


def listener(family, kind, address):
    one = socket.socket(family, kind)
    one.bind(address)
    if kind == socket.SOCK_STREAM:
        one.listen()
    one.setblocking(False)
    return one


def touched(one):
    try:
        if one.type == socket.SOCK_STREAM:
            one.accept()[0].close()
        else:
            one.recv(1)
    except BlockingIOError:
        return False
    return True


def filtered():
    """Numbers of the calls that every backend refuses whatever their arguments."""
    column = 0 if os.uname().machine == "x86_64" else 1
    numbers = [seccomp.SYSCALLS[name][column] for name in seccomp._ALWAYS]
    return [number for number in numbers if number is not None]


def disk():
    """Some block device of the host; a name that is nowhere if it has none."""
    found = [f"/dev/{name}" for name in sorted(os.listdir("/sys/class/block"))]
    return next(filter(os.path.exists, found), "/dev/none")


async def main() -> None:
    wanted, root = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None
    kinds = {"bubblewrap": Bubblewrap, "unshare": Unshare, "confined": Confined}
    sandbox = kinds[wanted]() if wanted != "best" else await choose(True)
    python = sandbox.python() if root is None else ("/usr/bin/python3",)
    with tempfile.TemporaryDirectory(prefix="pyrsia-bait-") as text:
        top = Path(text)
        top.chmod(0o755)
        for name in ("home", "build", "program"):
            (top / name).mkdir()
        (top / "home").chmod(0o777)
        (top / "program" / "probe.py").write_bytes(PROBE.read_bytes())
        secret = top / "token"
        secret.write_text("a secret of the node")
        secret.chmod(0o600)
        name = secrets.token_hex(8)
        ears = {
            "tcp": listener(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "udp": listener(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "control": listener(socket.AF_UNIX, socket.SOCK_STREAM, str(top / "control.sock")),
            "abstract": listener(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + name),
            "abstract_datagram": listener(socket.AF_UNIX, socket.SOCK_DGRAM, "\0" + name + "d"),
        }
        (top / "control.sock").chmod(0o777)
        shared = Path("/dev/shm") / f"pyrsia-bait-{name}"
        shared.write_text("of the host")
        shm_key = secrets.randbelow(1 << 30) + 1
        shm = ctypes.CDLL(None, use_errno=True).shmget(shm_key, 4096, 0o1666)  # IPC_CREAT
        sibling = subprocess.Popen(["sleep", "60"])
        before = resource.prlimit(sibling.pid, resource.RLIMIT_NOFILE)
        bait = {
            "tcp": ears["tcp"].getsockname()[1],
            "udp": ears["udp"].getsockname()[1],
            "control": str(top / "control.sock"),
            "abstract": name,
            "abstract_datagram": name + "d",
            "secret": str(secret),
            "home": str(top / "home"),
            "sibling": sibling.pid,
            "node": os.getpid(),
            "shm_file": str(shared),
            "shm_key": shm_key,
            "disk": disk(),
            "filtered": filtered(),
        }
        os.environ["NODE_SECRET"] = "never seen inside"
        try:
            job = Job(
                (*python, "/program/probe.py", json.dumps(bait)),
                mounts=(Mount(top / "build", "/build", writable=True), Mount(top / "program", "/program")),
                limits=BuildLimits(wall_s=30),
                root=root,
                egress=root and top / "proxy.sock",
            )
            outcome = await sandbox.run(job)
            outside = {
                "ears": sorted(kind for kind, ear in ears.items() if touched(ear)),
                "sibling lives": sibling.poll() is None,
                "sibling unchanged": resource.prlimit(sibling.pid, resource.RLIMIT_NOFILE) == before,
                "secret": secret.read_text(),
                "secret mode": oct(secret.stat().st_mode & 0o777),
                "home": os.listdir(top / "home"),
                "made": sorted(os.listdir(top / "build")),
            }
        finally:
            sibling.kill()
            sibling.wait()
            shared.unlink()
            ctypes.CDLL(None).shmctl(shm, 0, None)  # IPC_RMID
        try:
            table = json.loads(outcome.log)
        except ValueError:
            table = {"log": outcome.log.decode("utf-8", "replace")}
    print(
        json.dumps(
            {
                "isolation": sandbox.isolation,
                "ended": outcome.ended,
                "code": outcome.code,
                "interpreter": host.interpreter(),
                "job's uid": table.pop("uid", None),
                "table": table,
                "outside": outside,
            }
        )
    )


if __name__ == "__main__":
    trio.run(main)
