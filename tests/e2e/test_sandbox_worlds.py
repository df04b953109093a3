"""A job in another file system, and a job with the one way out: what it sees, and what stays closed."""

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from pyrsia import errors
from pyrsia.builds.sandbox import BuildLimits, Job, Mount
from pyrsia.builds.sandbox.model import EGRESS_PORT
from pyrsia.units import SANDBOX_EGRESS_CONNECTIONS
from tests.e2e.sandbox_backends import WITH_WORLDS, make, small_root

pytestmark = pytest.mark.builds

LOOK = """
import json, os, pwd, socket, sys
def written(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    return "written"
def listed(path):
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        return error.strerror
print(json.dumps({
    "python": sys.executable,
    "top": listed("/"),
    "mark": open("/etc/mark").read(),
    "tool": open("/opt/tool/run").read(),
    "below": [open("/opt/tool/given/file").read(), open("/usr/share/given/file").read()],
    "tmp": listed("/tmp"),
    "uid": os.getuid(),
    "name and home": [pwd.getpwuid(os.getuid()).pw_name, pwd.getpwuid(os.getuid()).pw_dir],
    "own address": socket.gethostbyname(os.uname().nodename),
    "flags": {p: os.statvfs(p).f_flag & 7 for p in ("/", "/usr", "/in", "/opt/tool/given", "/build", "/tmp")},
    "terminal": os.ttyname(os.openpty()[1]),
    "host": os.uname().nodename,
    "first process": listed("/proc/1/root"),
    "writes": {p: written(p) for p in ("/x", "/usr/x", "/etc/x", "/opt/tool/x", "/in/x", "/run/x", "/dev/x")},
    "needs": {p: written(p) for p in ("/tmp/x", "/build/x", "/dev/null", "/dev/shm/x")},
}))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_root(tmp_path_factory.mktemp("root"))


@pytest.fixture
def mounts(tmp_path: Path) -> tuple[Mount, ...]:
    for name in ("in", "build"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "file").write_text("given")
    return (
        Mount(tmp_path / "in", "/in"),
        Mount(tmp_path / "build", "/build", writable=True),
        Mount(tmp_path / "in", "/opt/tool/given"),
        Mount(tmp_path / "in", "/usr/share/given"),
    )


@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_a_job_sees_the_root_that_it_names_and_nothing_of_the_hosts(
    backend: str, root: Path, mounts: tuple[Mount, ...]
):
    sandbox = make(backend)

    outcome = await sandbox.run(Job(("/usr/bin/python3", "-c", LOOK), mounts=mounts, root=root))

    assert outcome.good, outcome
    seen = json.loads(outcome.log)
    shown = {name for name in os.listdir(root) if name != "tmp"}
    assert set(seen.pop("top")) == shown | {"build", "dev", "in", "proc", "run", "tmp"}
    assert seen.pop("first process") == "Permission denied"
    assert set(seen.pop("writes").values()) == {"Read-only file system"}
    assert set(seen.pop("needs").values()) == {"written"}
    assert seen == {
        "python": "/usr/bin/python3",
        "mark": "of the root",
        "tool": "shown",
        "below": ["given", "given"],
        "tmp": [],
        "uid": 1000,
        "name and home": ["builder", "/tmp"],
        "own address": "127.0.0.1",
        "terminal": "/dev/pts/0",
        # read-only, set-uid bits do nothing, devices do nothing: 1 + 2 + 4
        "flags": {"/": 7, "/usr": 7, "/in": 7, "/opt/tool/given": 7, "/build": 6, "/tmp": 6},
        "host": "builder",
    }
    assert not any((root / place).exists() for place in ("x", "usr/x", "etc/x", "opt/tool/x", "tmp/x"))
    assert (mounts[1].source / "x").exists()


@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_nothing_of_a_root_runs_before_the_job_is_confined(
    backend: str, tmp_path: Path, mounts: tuple[Mount, ...]
):
    """A root without any interpreter, and with a trap in its place, serves: our launcher needs nothing of it."""
    sandbox = make(backend)
    trap = tmp_path / "trap" / "usr" / "bin"
    trap.mkdir(parents=True)
    (trap / "python3").write_text("#!/build/trap\n")
    (trap / "python3").chmod(0o755)

    outcome = await sandbox.run(Job(("/usr/bin/missing",), mounts=mounts[1:2], root=tmp_path / "trap"))

    assert (outcome.ended, outcome.code) == ("exit", 127)
    assert b"No such file or directory" in outcome.log


SAME = """
import json, os, resource, sys
print(json.dumps({
    "folders": {p: sorted(os.listdir(p)) for p in ("/", "/etc", "/run", "/dev", "/dev/shm", "/tmp", "/build", "/in")},
    "flags": {p: os.statvfs(p).f_flag & 7 for p in ("/", "/usr", "/etc", "/dev", "/tmp", "/build", "/in", "/dev/shm")},
    "limits": [resource.getrlimit(n) for n in range(16)],
    "who": [os.getresuid(), os.getresgid(), os.uname().nodename, os.getcwd(), os.umask(0), dict(os.environ)],
    "sizes": {p: os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ("/tmp", "/dev/shm")},
}))
"""


@pytest.mark.parametrize("of", ["host", "root"])
async def test_both_ways_of_making_a_world_make_the_same(of: str, root: Path, mounts: tuple[Mount, ...]):
    seen = []
    for backend in WITH_WORLDS:
        sandbox = make(backend)
        python = "/usr/bin/python3" if of == "root" else sandbox.python()[0]
        job = Job((python, "-c", SAME), mounts=mounts[:2], root=root if of == "root" else None)
        outcome = await sandbox.run(job)
        assert outcome.good, outcome
        seen.append(json.loads(outcome.log))

    # A link to the kernel's memory, which leads nowhere without rights; bubblewrap always makes it.
    seen[0]["folders"]["/dev"].remove("core")
    assert seen[0] == seen[1]


TOLD = """
import os
for number in [name for name in os.listdir("/proc") if name.isdigit()]:
    for part in ("cmdline", "environ", "fd"):
        path = f"/proc/{number}/{part}"
        try:
            print(os.listdir(path) if part == "fd" else open(path, "rb").read())
        except PermissionError:
            pass
"""


@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_the_processes_of_a_job_tell_nothing_of_where_the_host_keeps_it(
    backend: str, root: Path, mounts: tuple[Mount, ...]
):
    outcome = await make(backend).run(Job(("/usr/bin/python3", "-c", TOLD), mounts=mounts, root=root))

    assert outcome.good, outcome
    assert b"/usr/bin/python3" in outcome.log
    for place in (root, *(mount.source for mount in mounts)):
        assert str(place).encode() not in outcome.log


ASK = """
import json, os, socket, sys
def attempt(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(2)
        try:
            one.connect(address)
        except OSError as error:
            return error.strerror
    return "done"
port, path, host = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with socket.create_connection(("127.0.0.1", port)) as one:
    one.sendall(b"GET /there HTTP/1.0\\r\\n\\r\\n")
    one.shutdown(socket.SHUT_WR)
    said = b""
    while piece := one.recv(4096):
        said += piece
print(json.dumps({
    "said": said.decode(),
    "the socket itself": attempt(socket.AF_UNIX, socket.SOCK_STREAM, path),
    "the host's loopback": attempt(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", host)),
    "the world": attempt(socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 80)),
    "names": sorted(name for _, name in socket.if_nameindex()),
}))
"""


@asynccontextmanager
async def toy_server(path: Path) -> AsyncIterator[list[bytes]]:
    """Answers HTTP on a Unix socket; what it was asked."""
    asked: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            got = b""
            while piece := await stream.receive_some(4096):
                got += piece
            asked.append(got)
            await stream.send_all(b"HTTP/1.0 200 OK\r\ncontent-length: 6\r\n\r\nanswer")

    ear = trio.socket.socket(socket.AF_UNIX)
    await ear.bind(str(path))
    ear.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [trio.SocketListener(ear)])
        yield asked
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("of", ["host", "root"])
@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_the_one_way_out_leads_to_its_socket_and_nowhere_else(
    backend: str, of: str, root: Path, tmp_path: Path, mounts: tuple[Mount, ...]
):
    sandbox = make(backend)
    ear = socket.create_server(("127.0.0.1", 0))
    python = "/usr/bin/python3" if of == "root" else sandbox.python()[0]
    place = tmp_path / "proxy.sock"
    argv = (python, "-c", ASK, str(EGRESS_PORT), str(place), str(ear.getsockname()[1]))

    with ear:
        async with toy_server(place) as asked:
            own_root = root if of == "root" else None
            outcome = await sandbox.run(Job(argv, mounts=mounts[1:2], root=own_root, egress=place))

    assert outcome.good, outcome
    seen = json.loads(outcome.log)
    assert seen.pop("said").endswith("answer")
    assert seen == {
        "the socket itself": "No such file or directory",
        "the host's loopback": "Connection refused",
        "the world": "Network is unreachable",
        "names": ["lo"],
    }
    assert asked == [b"GET /there HTTP/1.0\r\n\r\n"]


CROWD = """
import socket, sys
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
for one in held:
    one.sendall(b"x")
print("held", flush=True)
sys.stdin.read()
while True:
    pass
"""


@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_connections_are_bounded_and_end_with_the_job(backend: str, tmp_path: Path, mounts):
    sandbox = make(backend)
    open_now, most = 0, 0

    async def hold(stream: trio.SocketStream) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        async with stream:
            while await stream.receive_some(10):
                pass
        open_now -= 1

    ear = trio.socket.socket(socket.AF_UNIX)
    await ear.bind(str(tmp_path / "proxy.sock"))
    ear.listen(200)
    bound = int(SANDBOX_EGRESS_CONNECTIONS.value)
    argv = (*sandbox.python(), "-c", CROWD, str(EGRESS_PORT), str(bound + 20))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, hold, [trio.SocketListener(ear)])
            job = Job(argv, mounts=mounts[1:2], limits=BuildLimits(wall_s=1), egress=tmp_path / "proxy.sock")
            outcome = await sandbox.run(job)
            while open_now:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    assert outcome.ended == "wall"
    assert outcome.log == b"held\n"
    assert most == bound


@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_a_way_out_that_nobody_serves_is_a_closed_door(backend: str, tmp_path: Path, mounts):
    sandbox = make(backend)
    code = (
        "import socket, sys\n"
        "one = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "try: print(one.recv(10))\n"
        "except OSError: print(b'')\n"
    )

    outcome = await sandbox.run(
        Job(
            (*sandbox.python(), "-c", code, str(EGRESS_PORT)),
            mounts=mounts[1:2],
            egress=tmp_path / "nobody.sock",
        )
    )

    assert outcome.log == b"b''\n"


@pytest.mark.parametrize(("wanted", "code"), [("root", "no-environment"), ("egress", "no-sandbox")])
async def test_confined_says_that_it_cannot_move_a_job_or_let_it_out(wanted: str, code: str, tmp_path: Path):
    sandbox = make("confined")

    with pytest.raises(errors.Refusal) as refused:
        await sandbox.run(Job(("true",), **{wanted: tmp_path}))

    assert refused.value.code == code
    assert "`confined` does not give" in refused.value.what
    assert "pyrsia doctor" in refused.value.do
