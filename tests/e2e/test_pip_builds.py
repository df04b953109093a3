"""The whole pip plug-in: real source archives of `file:` indexes, built for real in each sandbox.

What a build must not do is looked for from outside: sockets that listen, files that must not be there,
processes that must be gone.
"""

import hashlib
import importlib.util
import json
import os
import resource
import secrets
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from pyrsia.builds import members
from pyrsia.builds.model import Built, Want
from pyrsia.builds.pip import lock
from pyrsia.builds.pip.plugin import PipPlugin
from pyrsia.builds.sandbox import BuildLimits, Job, Outcome, Sandbox, Usage, choose, landlock
from pyrsia.demo import sample
from pyrsia.errors import Refusal, Unavailable

sys.path.insert(0, str(Path(__file__).parent))
import sdists
from test_sandbox_escapes import make, needs, of_marker

assert importlib.util.find_spec("sdists")
pytestmark = pytest.mark.builds


@pytest.fixture(params=["namespace", "confined"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return make(request.param)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


async def carried_out(plugin: PipPlugin, planned: Any) -> Built:
    """What a drawn builder does: its own lock, its own sources, the build."""
    request = sdists.request(planned)
    locked = await plugin.relock(request)
    assert locked == planned.lock
    return await plugin.build(request, await plugin.prefetch(request, locked))


async def built_once(sandbox: Sandbox, home: Path, index: Path, limits: BuildLimits | None = None) -> Built:
    """Plan `thing` with usual limits and build it with `limits`, both on one machine."""
    async with sdists.plugin(sandbox, home / "planner", index) as planner:
        (planned,) = await planner.plan(Want("thing", None), sdists.now_ms())
        request = sdists.request(planned)
        inputs = await planner.prefetch(request, planned.lock)
        async with sdists.plugin(sandbox, home / "builder", index, limits=limits) as builder:
            return await builder.build(request, inputs)


def said_by(built: Built) -> dict[str, Any]:
    """What the hostile backend packed into its wheel."""
    assert built.outcome == "built", built.why
    with zipfile.ZipFile(built.outputs[0].raw.file.path) as archive:
        found: dict[str, Any] = json.loads(archive.read("thing/said.json"))
    return found


# -- honest builds ------------------------------------------------------------------------------------


async def test_two_builders_of_the_sample_get_equal_bytes(sandbox: Sandbox, tmp_path: Path, index: Path):
    sample.write_index(index)
    async with sdists.plugin(sandbox, tmp_path / "p", index) as planner:
        planned = await planner.plan(Want(*sample.DEFAULT), sdists.now_ms())
        assert [one.purl for one in planned] == [
            "pkg:pypi/pyrsia-sample-dep@1.0.0",
            "pkg:pypi/pyrsia-sample@0.3.0",
        ]
        for one in planned:
            assert lock.decode(one.lock) == ()
            found = []
            for name in ("a", "b"):
                async with sdists.plugin(sandbox, tmp_path / f"{name}", index) as builder:
                    found.append(await carried_out(builder, one))

            assert [built.outcome for built in found] == ["built", "built"]
            first, second = (built.outputs[0] for built in found)
            assert first.raw.file.sha256 == second.raw.file.sha256
            assert first.canonical.file.sha256 == second.canonical.file.sha256
            assert first.stable == second.stable
            assert (first.containment, first.missing, first.upstream_relation) == ("full", (), "none")
            assert {built.isolation for built in found} == {sandbox.isolation}


async def test_a_wheel_of_the_other_backend_has_the_same_bytes(tmp_path: Path, index: Path):
    """What is pure does not depend on how it was isolated, so builders of both kinds can agree."""
    needs("namespace")
    sdists.sdist(index)
    digests = {
        (await built_once(make(backend), tmp_path / backend, index)).outputs[0].raw.file.sha256
        for backend in ("namespace", "confined")
        if (tmp_path / backend).mkdir(mode=0o755) is None
    }

    assert len(digests) == 1


async def test_the_files_of_a_result_are_what_they_say_and_discard_leaves_nothing(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    sdists.sdist(index)
    built = await built_once(sandbox, tmp_path, index)
    output = built.outputs[0]

    listed = members.decode(output.raw.members.path.read_bytes())
    assert [one.path for one in listed] == sorted(
        ["thing/__init__.py", *(f"thing-1.0.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL"))]
    )
    assert output.raw.file.path.name == output.name == "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(output.raw.file.path) as archive:
        for one in listed:
            assert one.sha256 == hashlib.sha256(archive.read(one.path)).hexdigest()
    await built.discard()
    assert list((tmp_path / "builder" / "results").iterdir()) == []
    assert list((tmp_path / "builder" / "scratch").iterdir()) == []


async def test_a_known_wheel_of_the_registry_is_compared_and_a_changed_one_is_told(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    sdists.sdist(index)
    first = (await built_once(sandbox, tmp_path, index)).outputs[0]
    theirs = index / "thing" / first.name
    theirs.write_bytes(first.raw.file.path.read_bytes())

    async with sdists.plugin(sandbox, tmp_path / "same", index) as plugin:
        (planned,) = await plugin.plan(Want("thing", "1.0"), sdists.now_ms())
        same = (await carried_out(plugin, planned)).outputs[0]
    theirs.write_bytes(sdists.wheels.pack(sdists.wheels.members({"thing/__init__.py": b"other = 1\n"})))
    async with sdists.plugin(sandbox, tmp_path / "changed", index) as plugin:
        (planned,) = await plugin.plan(Want("thing", "1.0"), sdists.now_ms())
        changed = (await carried_out(plugin, planned)).outputs[0]

    altered = sdists.wheels.members() | {"thing/__init__.py": b"altered after RECORD was written"}
    theirs.write_bytes(sdists.wheels.pack(altered))
    async with sdists.plugin(sandbox, tmp_path / "odd", index) as plugin:
        (planned,) = await plugin.plan(Want("thing", "1.0"), sdists.now_ms())
        built = await carried_out(plugin, planned)
        odd, told = built.outputs[0], built.log.path.read_text()
    theirs.write_bytes(b"not a wheel at all")
    async with sdists.plugin(sandbox, tmp_path / "broken", index) as plugin:
        with pytest.raises(Refusal) as broken:
            await plugin.plan(Want("thing", "1.0"), sdists.now_ms())

    assert same.upstream is not None
    assert (same.upstream_relation, same.upstream.file.sha256) == ("identical", same.raw.file.sha256)
    assert changed.upstream is not None
    assert (changed.upstream_relation, changed.stable) == ("different", same.stable)
    assert changed.upstream.file.sha256 != changed.raw.file.sha256
    assert (odd.upstream_relation, odd.upstream, odd.stable) == ("different", None, same.stable)
    assert odd.upstream_reason in told
    assert "upstream's wheel is not compared: " in told
    assert broken.value.code == "build-failed"


# -- refusals before a build --------------------------------------------------------------------------


async def refused(plugin: PipPlugin, name: str = "thing", version: str | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await plugin.plan(Want(name, version), sdists.now_ms())
    return caught.value


@pytest.mark.parametrize(
    ("name", "version", "code", "words"),
    [
        ("nothing", None, "package-unknown", "no configured index has a package named nothing"),
        ("thing", "9.9", "version-unknown", "thing has no 9.9"),
        ("thing", "not a version", "version-unknown", "thing has no not a version"),
        ("needy", None, "package-unknown", "a package named nowhere"),
    ],
)
async def test_what_no_index_has_is_named(
    name: str, version: str | None, code: str, words: str, tmp_path: Path, index: Path
):
    sdists.sdist(index)
    sdists.sdist(index, "needy", needs=("nowhere",))
    async with sdists.plugin(make("confined"), tmp_path / "p", index) as plugin:
        refusal = await refused(plugin, name, version)

    assert refusal.code == code
    assert words in refusal.what
    assert index.as_uri() in refusal.who
    assert refusal.do


async def test_an_older_version_is_taken_where_the_newest_needs_what_is_nowhere(tmp_path: Path, index: Path):
    sdists.sdist(index, "lib", "1.0")
    sdists.sdist(index, "lib", "2.0", needs=("nowhere",))
    sdists.sdist(index, needs=("lib",))
    async with sdists.plugin(make("confined"), tmp_path / "p", index) as plugin:
        planned = await plugin.plan(Want("thing", None), sdists.now_ms())

    assert [one.purl for one in planned] == ["pkg:pypi/lib@1.0", "pkg:pypi/thing@1.0"]


async def test_a_package_of_the_closure_without_source_is_named_with_what_to_do(tmp_path: Path, index: Path):
    sdists.sdist(index, needs=("lib",))
    sdists.wheel(index, "lib", "2.5", needs=("deeper",))
    sdists.wheel(index, "deeper", "0.1")
    async with sdists.plugin(make("confined"), tmp_path / "p", index) as plugin:
        refusal = await refused(plugin)
        alone = await refused(plugin, "lib")

    assert refusal.code == alone.code == "no-sdist"
    assert "lib 2.5" in refusal.what
    assert "deeper 0.1" in refusal.what
    assert "thing" not in refusal.what
    assert "ask for a version that has one" in refusal.do


async def test_other_bytes_than_the_index_promised_are_refused_with_both_digests(tmp_path: Path, index: Path):
    path = sdists.sdist(index)
    promised = "ab" * 32
    (path.parent / "index.html").write_text(f'<a href="{path.name}#sha256={promised}">{path.name}</a>')
    async with sdists.plugin(make("confined"), tmp_path / "p", index) as plugin:
        refusal = await refused(plugin)

    assert refusal.code == "digest-mismatch"
    assert promised in refusal.what
    assert hashlib.sha256(path.read_bytes()).hexdigest() in refusal.what
    assert list((tmp_path / "p" / "cache").iterdir()) == []


async def test_an_index_that_is_not_there_is_named(tmp_path: Path, index: Path):
    with socket.socket() as taken:  # bound and not listening: a connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/simple"
        async with sdists.plugin(make("confined"), tmp_path / "p", url, index) as plugin:
            refusal = await refused(plugin)

    assert refusal.code == "index-unreachable"
    assert f"{url}/thing/" in refusal.what
    async with sdists.plugin(make("confined"), tmp_path / "q", tmp_path / "gone") as plugin:
        assert (await refused(plugin)).code == "index-unreachable"


async def test_a_builder_whose_index_has_another_build_tool_gets_another_lock(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    sdists.sdist(index, requires=("tool",))
    sdists.wheel(index, "tool", "1.0")
    other = tmp_path / "other"
    sdists.sdist(other, requires=("tool",))
    sdists.wheel(other, "tool", "1.1")
    async with sdists.plugin(sandbox, tmp_path / "p", index) as planner:
        (planned,) = await planner.plan(Want("thing", None), sdists.now_ms())
        assert [line.file for line in lock.decode(planned.lock)] == ["tool-1.0-py3-none-any.whl"]
        assert (await carried_out(planner, planned)).outcome == "built"
    async with sdists.plugin(sandbox, tmp_path / "b", other) as builder:
        request = sdists.request(planned)
        mine = await builder.relock(request)
        with pytest.raises(Refusal) as caught:
            await builder.prefetch(request, planned.lock)

    assert mine != planned.lock
    assert [line.file for line in lock.decode(mine)] == ["tool-1.1-py3-none-any.whl"]
    assert caught.value.code == "version-unknown"


async def test_a_builder_whose_index_has_another_source_or_other_rules_refuses(tmp_path: Path, index: Path):
    sdists.sdist(index)
    other = tmp_path / "other"
    sdists.sdist(other, evil="pass")
    async with sdists.plugin(make("confined"), tmp_path / "p", index) as planner:
        (planned,) = await planner.plan(Want("thing", None), sdists.now_ms())
        request = sdists.request(planned)
        changed = request | {"recipe": request["recipe"] | {"sde": request["recipe"]["sde"] + 1}}
        with pytest.raises(Refusal) as recipe:
            await planner.relock(changed)
    async with sdists.plugin(make("confined"), tmp_path / "b", other) as builder:
        with pytest.raises(Refusal) as source:
            await builder.relock(request)

    assert recipe.value.code == "lock-mismatch"
    assert "sde is" in recipe.value.what
    assert source.value.code == "digest-mismatch"
    assert planned.source["sha256"] in source.value.what


async def test_a_version_younger_than_the_page_that_a_builder_remembers_is_found(tmp_path: Path, index: Path):
    sdists.sdist(index)
    async with (
        sdists.plugin(make("confined"), tmp_path / "b", index) as builder,
        sdists.plugin(make("confined"), tmp_path / "p", index) as planner,
    ):
        await builder.plan(Want("thing", None), sdists.now_ms())
        sdists.sdist(index, version="1.1")
        (planned,) = await planner.plan(Want("thing", None), sdists.now_ms())

        assert planned.purl == "pkg:pypi/thing@1.1"
        assert await builder.relock(sdists.request(planned)) == planned.lock


async def test_where_nothing_isolates_a_build_the_refusal_says_what_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(landlock, "abi", lambda: 0)

    with pytest.raises(Refusal) as caught:
        await choose(True)

    assert caught.value.code == "no-sandbox"
    assert "bubblewrap: not installed" in caught.value.what
    assert caught.value.do == "apt-get install bubblewrap"


# -- hostile builds -----------------------------------------------------------------------------------

SETUP_PY = """
import os, pathlib, socket, setuptools
for place in ({home!r}, os.path.expanduser("~"), os.path.expanduser("~root")):
    try:
        pathlib.Path(place, "left-by-setup-py").write_text("I was here")
    except OSError:
        pass
for family, kind, address in (
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", {port})),
    (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", {port})),
):
    try:
        with socket.socket(family, kind) as one:
            one.settimeout(2)
            one.connect(address)
            one.send(b"leaked")
    except OSError:
        pass
setuptools.setup(name="thing", version="1.0", packages=["thing"], package_dir={{"thing": "src"}})
"""


def left_at_home() -> list[str]:
    """What SETUP_PY left in the home folders that it thinks of. Other tests may make folders there meanwhile."""
    places = {str(Path.home()), os.path.expanduser("~root")}
    return [place for place in places if os.path.lexists(f"{place}/left-by-setup-py")]


async def test_a_setup_py_that_writes_in_home_and_opens_a_socket_leaves_neither(
    sandbox: Sandbox, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    assert left_at_home() == []
    monkeypatch.setenv("HOME", str(home))
    sdists.setuptools_wheel(index)
    with socket.socket() as ear, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        ear.bind(("127.0.0.1", 0))
        ear.listen()
        port = ear.getsockname()[1]
        datagrams.bind(("127.0.0.1", port))
        for one in (ear, datagrams):
            one.setblocking(False)
        sdists.sdist(index, files={"setup.py": SETUP_PY.format(home=str(home), port=port)})

        built = await built_once(sandbox, tmp_path, index)

        with pytest.raises(BlockingIOError):
            ear.accept()
        with pytest.raises(BlockingIOError):
            datagrams.recv(1)
    assert built.outcome == "built", built.why
    assert built.outputs[0].containment == "full"
    assert list(home.iterdir()) == []
    monkeypatch.undo()
    assert left_at_home() == []


ESCAPES = """
import os, resource, signal, socket, subprocess
def attempt(name, act):
    try:
        act()
    except (OSError, ValueError) as error:
        said[name] = "refused"
    else:
        said[name] = "done"
def connect(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.settimeout(2)
        one.connect(address)
        one.send(b"x")
def read(path):
    with open(path, "rb") as file:
        if not file.read(1):
            raise ValueError
NODE = {node}
attempt("control socket", lambda: connect({control!r}))
attempt("abstract socket", lambda: connect("\\0" + {abstract!r}))
attempt("signal", lambda: os.kill(NODE, signal.SIGTERM))
attempt("signal to its group", lambda: os.killpg(NODE, signal.SIGTERM))
attempt("pidfd", lambda: os.pidfd_open(NODE))
attempt("prlimit", lambda: resource.prlimit(NODE, resource.RLIMIT_NOFILE, (3, 3)))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, NODE, 19))
attempt("token", lambda: read({token!r}))
for what in ("environ", "cmdline", "maps", "mem", "root/etc/passwd", "cwd/token"):
    attempt("/proc " + what, lambda: read(f"/proc/{{NODE}}/{{what}}"))
attempt("/proc fd", lambda: os.listdir(f"/proc/{{NODE}}/fd"))
"""


async def reach(sandbox: Sandbox, tmp_path: Path, index: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Build a package that makes every attempt: (what it says came of each, what is seen from outside).

    The node is played by a process of this user that owns a control socket, a token and an abstract socket.
    """
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    (data / "token").write_text("secret")
    (data / "token").chmod(0o600)
    name = secrets.token_hex(8)
    with (
        socket.socket(socket.AF_UNIX) as control,
        socket.socket(socket.AF_UNIX) as abstract,
        subprocess.Popen(["sleep", "600"], cwd=data, start_new_session=True) as node,  # noqa: ASYNC220
    ):
        try:
            control.bind(str(data / "control.sock"))
            (data / "control.sock").chmod(0o777)  # permissions are not what keeps it out
            abstract.bind("\0" + name)
            for one in (control, abstract):
                one.listen()
                one.settimeout(0)
            limits = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
            evil = ESCAPES.format(
                node=node.pid, control=str(data / "control.sock"), abstract=name, token=str(data / "token")
            )
            sdists.sdist(index, evil=evil)
            built = await built_once(sandbox, tmp_path, index)
            assert built.outputs[0].missing == ("thing/said.json",)
            outside: dict[str, Any] = {
                "lives": node.poll() is None,
                "called": [
                    kind for kind, one in (("control", control), ("abstract", abstract)) if called(one)
                ],
            }
            if outside["lives"]:
                outside["limits"] = resource.prlimit(node.pid, resource.RLIMIT_NOFILE) == limits
                outside["priority"] = os.getpriority(os.PRIO_PROCESS, node.pid)
            return said_by(built), outside
        finally:
            node.kill()


def called(ear: socket.socket) -> bool:
    """Whether somebody connected to a listening socket."""
    try:
        ear.accept()[0].close()
    except BlockingIOError:
        return False
    return True


async def test_a_build_that_reaches_for_the_node_is_refused_everything(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    said, outside = await reach(sandbox, tmp_path, index)

    assert len(said) == 15
    assert {what: answer for what, answer in said.items() if answer != "refused"} == {}
    assert outside == {"lives": True, "limits": True, "priority": 0, "called": []}


class Unfenced:
    """No sandbox at all: the job's paths are led into a folder, and that is all."""

    isolation = "confined"

    def python(self) -> tuple[str, ...]:
        return (sys.executable,)

    def inside(self, path: str) -> str:
        return path

    async def run(self, job: Job) -> Outcome:
        def moved(word: str) -> str:
            for mount in job.mounts:
                if word == mount.target or word.startswith(mount.target + "/"):
                    return str(mount.source) + word.removeprefix(mount.target)
            return word

        done = await trio.run_process(
            [moved(word) for word in job.argv],
            env={name: moved(value) for name, value in job.environment().items()},
            cwd=moved(job.cwd),
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return Outcome(done.returncode, "exit", done.stdout, False, Usage())


async def test_the_same_build_without_a_fence_reaches_the_node(tmp_path: Path, index: Path):
    """The attempts do not simply fail: what the sandboxes refuse is open outside of them."""
    said, outside = await reach(Unfenced(), tmp_path, index)

    for what in ("control socket", "abstract socket", "signal", "prlimit", "token"):
        assert said[what] == "done", what
    assert outside["called"] == ["control", "abstract"]
    assert not outside["lives"]


LIMITS = BuildLimits(wall_s=8, memory_bytes=256 << 20, processes=40, disk_bytes=32 << 20, file_bytes=24 << 20)
# Each becomes another program, so that its processes can be found by their command line.
BECOME = "import os, sys; os.execv(sys.executable, [sys.executable, '-S', '-c', {code!r}, {marker!r}])"
GREEDY = {
    "fails": ("raise SystemExit(7)", "the build backend gave up"),
    "loops": ("while True: pass", "ran longer than its limit"),
    "sleeps": ("import time; time.sleep(3600)", "ran longer than its limit"),
    "memory": ("x = []\nwhile True: x.append(bytearray(b'x') * (4 << 20))", "more memory than its limit"),
    "disk": (
        "n = 0\nwhile True:\n    n += 1\n    open(f'f{n}', 'wb').write(bytes(1 << 20))",
        "wrote more than its limit",
    ),
    "forks": (
        "import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)",
        "more processes than its limit",
    ),
    "daemons": (
        "import os, time\nfor n in 1, 2, 3:\n    if not os.fork(): os.setsid(); time.sleep(99)\nos._exit(3)",
        "the build backend gave up",
    ),
}


@pytest.mark.parametrize("kind", sorted(GREEDY))
async def test_a_greedy_build_ends_within_its_bound_as_a_failure_with_its_reason(
    sandbox: Sandbox, kind: str, tmp_path: Path, index: Path
):
    code, why = GREEDY[kind]
    marker = f"marker-{secrets.token_hex(6)}"
    sdists.sdist(index, evil=BECOME.format(code=code, marker=marker))
    limits = (
        BuildLimits(**{field: getattr(LIMITS, field) for field in LIMITS.__slots__} | {"wall_s": 2.0})
        if why.startswith("ran")
        else LIMITS
    )

    start = time.monotonic()
    built = await built_once(sandbox, tmp_path, index, limits)

    assert (built.outcome, built.phase, built.outputs) == ("failed", "build", ())
    assert why in built.why
    assert time.monotonic() - start < limits.wall_s + 10  # planning and starting on a busy machine
    assert of_marker(marker) == []
    assert not [one for one in psutil.Process().children(recursive=True) if one.status() != "zombie"]
    await built.discard()
    assert list((tmp_path / "builder" / "results").iterdir()) == []
    assert list((tmp_path / "builder" / "scratch").iterdir()) == []


async def test_cancelling_a_build_leaves_no_process_and_no_file(
    sandbox: Sandbox, tmp_path: Path, index: Path
):
    marker = f"marker-{secrets.token_hex(6)}"
    sdists.sdist(index, evil=BECOME.format(code="import time; time.sleep(3600)", marker=marker))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(built_once, sandbox, tmp_path, index)
            while not of_marker(marker):
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()

    assert of_marker(marker) == []
    assert list((tmp_path / "builder" / "results").iterdir()) == []
    assert list((tmp_path / "builder" / "scratch").iterdir()) == []


ANSWERS = {
    "a link to a secret": (
        "os.symlink({secret!r}, sys.argv[3] + '/' + {wheel!r})\nreturn {wheel!r}",
        "no plain file",
    ),
    "a path": ("return '../../etc/passwd'", "did not name a wheel"),
    "another package": ("return 'other-1.0-py3-none-any.whl'", "another package or version"),
    "another version": ("return 'thing-1.1-py3-none-any.whl'", "another package or version"),
    "a compiled wheel": ("return 'thing-1.0-cp311-cp311-linux_x86_64.whl'", "only pure Python packages"),
    "nothing": ("return None", "did not name a wheel"),
    "no zip": (
        "open(sys.argv[3] + '/' + {wheel!r}, 'wb').write(b'garbage')\nreturn {wheel!r}",
        "normalise",
    ),
    "a folder": ("os.mkdir(sys.argv[3] + '/' + {wheel!r})\nreturn {wheel!r}", "no plain file"),
    "a pipe": (
        "os.mkfifo(sys.argv[3] + '/' + {wheel!r})\nreturn {wheel!r}",
        "no plain file",
    ),
}


@pytest.mark.parametrize("kind", sorted(ANSWERS))
async def test_what_is_no_wheel_of_this_package_is_a_failed_build(kind: str, tmp_path: Path, index: Path):
    code, why = ANSWERS[kind]
    secret = tmp_path / "secret"
    secret.write_text("of the node")
    lines = "\n    ".join(code.format(secret=str(secret), wheel="thing-1.0-py3-none-any.whl").split("\n"))
    backend = sdists.BACKEND.format(name="thing", version="1.0", needs=(), evil="")
    backend += f"\ndef build_wheel(folder, settings=None, metadata=None):\n    {lines}\n"
    sdists.sdist(index, files={"backend.py": backend, "pyproject.toml": sdists.IN_TREE.format(requires=[])})

    built = await built_once(make("confined"), tmp_path, index)

    assert built.outcome == "failed"
    assert why in built.why
    assert b"of the node" not in built.log.path.read_bytes()


@pytest.mark.parametrize("place", ["scratch", "results"])
async def test_a_disk_that_takes_nothing_is_the_machine_s_fault_and_no_verdict_on_the_package(
    sandbox: Sandbox, place: str, tmp_path: Path, index: Path
):
    sdists.sdist(index)
    async with sdists.plugin(sandbox, tmp_path / "p", index) as plugin:
        (planned,) = await plugin.plan(Want("thing", None), sdists.now_ms())
        request = sdists.request(planned)
        inputs = await plugin.prefetch(request, planned.lock)
        shutil.rmtree(tmp_path / "p" / place, ignore_errors=True)
        (tmp_path / "p" / place).write_text("a file where the folder should be")
        with pytest.raises(Unavailable, match="this machine cannot"):
            await plugin.build(request, inputs)
