"""Hostile programs in each backend: what they try, what they get, and that nothing of them is left.

The probe's table is compared with tests/data/sandbox/<backend>.json; the host is looked at afterwards.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from pyrsia import errors
from pyrsia.builds.sandbox import BuildLimits, Job, Mount, Sandbox, choose, host, landlock, survey
from pyrsia.builds.sandbox.bubblewrap import Bubblewrap
from pyrsia.builds.sandbox.confined import Confined
from pyrsia.builds.sandbox.supervise import JOB_UID
from pyrsia.builds.sandbox.survey import advise
from tests.reference.machine import slowed

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "data" / "sandbox"
PACKAGES = os.pathsep.join(filter(None, (str(HERE.parent.parent), os.environ.get("PYTHONPATH"))))
BACKENDS = ("namespace", "confined")
pytestmark = pytest.mark.builds


def needs(backend: str) -> None:
    if backend == "namespace" and not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed; apt-get install bubblewrap")
    if backend == "namespace" and not namespaces():
        pytest.skip("namespaces are refused here; run the tests where bubblewrap works")
    if backend == "confined" and landlock.abi() < landlock.LEAST_ABI:
        pytest.skip("this kernel has no Landlock, or one that is too old")


@functools.cache
def namespaces() -> bool:
    """Whether bubblewrap itself, without anything of ours, gets its namespaces from this machine."""
    argv = ["bwrap", "--unshare-user-try", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "true"]
    return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0


def make(backend: str) -> Sandbox:
    needs(backend)
    return Bubblewrap() if backend == "namespace" else Confined()


def python_of_other_uid() -> list[str]:
    """An argv prefix that runs Python with our packages as an unprivileged uid."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed; apt-get install util-linux")
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = [
        p
        for p in (host.interpreter(), f"/usr/bin/{same}")
        if Path(p).exists() and host.reachable(Path(p).resolve())
    ]
    packages = Path(trio.__file__).parent.parent
    if not found or not host.reachable(packages / "trio" / "__init__.py"):
        pytest.skip("no interpreter of this version that another user can reach")
    paths = f"{HERE.parent.parent}:{packages}"
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "-i"]
    return [*drop, f"PATH={os.defpath}", "PYTHONDONTWRITEBYTECODE=1", f"PYTHONPATH={paths}", found[0]]


def probe(python: list[str], backend: str, packages: str = PACKAGES) -> dict[str, object]:
    done = subprocess.run(
        [*python, str(HERE / "sandbox_runner.py"), backend],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        env=os.environ | {"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_contained(result: dict[str, object], backend: str) -> None:
    golden = json.loads((GOLDEN / f"{backend}.json").read_text())
    assert len(golden) == 67
    assert result["table"] == golden
    assert result["isolation"] == backend
    assert result["outside"] == {
        "ears": [],
        "sibling lives": True,
        "sibling unchanged": True,
        "secret": "a secret of the node",
        "secret mode": "0o600",
        "home": [],
        "made": ["moved"],
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_program_that_tries_every_way_out_finds_none(backend: str):
    needs(backend)

    assert_contained(probe([sys.executable], backend), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nor_does_it_where_the_node_runs_as_an_ordinary_user(backend: str):
    needs(backend)

    assert_contained(probe(python_of_other_uid(), backend), backend)


@pytest.fixture(scope="module")
def hidden_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole interpreter in a folder that only root may enter, as one in root's home is."""
    if os.geteuid() != 0:
        pytest.skip("only root has such a folder")
    home = tmp_path_factory.mktemp("root")
    home.chmod(0o700)
    real, library = Path(host.interpreter()), Path(sysconfig.get_path("stdlib"))
    shutil.copytree(
        library,
        home / "python" / "lib" / library.name,
        ignore=shutil.ignore_patterns(
            "test", "tests", "site-packages", "dist-packages", "config-*", "__pycache__"
        ),
        ignore_dangling_symlinks=True,
    )
    for shared in Path(sysconfig.get_config_var("LIBDIR") or "/nowhere").glob("libpython*.so*"):
        shutil.copy(shared, home / "python" / "lib")
    (home / "python" / "bin").mkdir()
    return Path(shutil.copy(real, home / "python" / "bin" / real.name))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interpreter_that_only_root_can_reach_serves_the_job_of_another_uid(
    backend: str, hidden_python: Path
):
    needs(backend)
    assert not host.reachable(hidden_python)
    packages = os.pathsep.join([str(HERE.parent.parent), str(Path(trio.__file__).parent.parent)])

    found = probe([str(hidden_python)], backend, packages)

    assert found["interpreter"] == str(hidden_python)
    assert found["job's uid"] == (1000 if backend == "namespace" else JOB_UID)
    assert_contained(found, backend)


@pytest.mark.parametrize("user", ["self", "other"])
def test_where_namespaces_are_refused_the_choice_is_confined_and_holds(user: str):
    needs("confined")
    python = [sys.executable] if user == "self" else python_of_other_uid()
    refuse = [python[-1], str(HERE / "refuse_namespaces.py")]

    assert_contained(probe([*python[:-1], *refuse, python[-1]], "best"), "confined")


def test_the_same_attempts_succeed_without_a_fence():
    """The probe is not simply failing: as the same user, unconfined, the ways out are open."""
    needs("confined")
    python = python_of_other_uid()
    bait = {
        "tcp": 1,
        "udp": 1,
        "control": "/",
        "abstract": "x",
        "abstract_datagram": "x",
        "secret": "/etc/passwd",
    }
    sleeper = subprocess.Popen(
        [*python, "-c", "import time; print(1, flush=True); time.sleep(30)"], stdout=subprocess.PIPE
    )
    try:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        bait |= {"home": "/tmp", "sibling": sleeper.pid, "node": sleeper.pid}
        # Without namespaces, else the probe would leave the world that it is to be seen in.
        refuse = [python[-1], str(HERE / "refuse_namespaces.py")]
        probed = [python[-1], str(HERE / "sandbox_probe.py"), json.dumps(bait)]
        argv = [*python[:-1], "HOME=/tmp", *refuse, *probed]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True, cwd="/tmp")
    finally:
        sleeper.kill()
        sleeper.communicate()
        for name in ("/tmp/escaped", "/tmp/there", "/tmp/moved", "/tmp/here"):
            Path(name).unlink(missing_ok=True)
    table = json.loads(done.stdout)
    ways = [
        f"{what} a sibling"
        for what in ("signal", "limits of", "affinity of", "environment of", "command line of")
    ]
    for way in [
        *ways,
        "pidfd of a sibling",
        "read a secret",
        "write in the user's home",
        "signals through a file's owner",
    ]:
        assert table[way] == "done", way


HOSTILE = {
    "wall": "while True: pass",
    "memory": "x = []\nwhile True: x.append(bytearray(b'x') * (4 << 20))",
    "processes": "import os, time\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)",
    "disk": "import os\nn = 0\nwhile True:\n    n += 1\n    open(f'f{n}', 'wb').write(bytes(1 << 20))",
}
LIMITS = BuildLimits(wall_s=6, memory_bytes=192 << 20, processes=40, disk_bytes=24 << 20, file_bytes=16 << 20)


def of_marker(marker: str) -> list[int]:
    """Processes of the host whose command line holds `marker`."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if marker.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                    found.append(int(name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("ended", sorted(HOSTILE))
async def test_a_greedy_program_is_ended_whole_and_told_why(backend: str, ended: str, tmp_path: Path):
    sandbox = make(backend)
    marker = f"marker-{os.urandom(6).hex()}"
    # A fork bomb is large as well as many: only the limit that is looked at may end it.
    own = {"wall": {"wall_s": 1.0}, "processes": {"memory_bytes": 2 << 30}}.get(ended, {})
    limits = replace(LIMITS, **own)
    job = Job(
        (*sandbox.python(), "-c", HOSTILE[ended], marker),
        mounts=(Mount(tmp_path, "/build", True),),
        limits=limits,
    )

    start = time.monotonic()
    outcome = await sandbox.run(job)

    assert outcome.ended == ended, outcome
    assert time.monotonic() - start < limits.wall_s + 3
    assert of_marker(marker) == []


DAEMONS = """
import os, signal, sys, time
for n in range(4):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
        while True:
            time.sleep(1)
print("started", flush=True)
"""


@pytest.mark.parametrize("backend", BACKENDS)
async def test_daemons_that_ignore_every_request_die_with_their_job(backend: str, tmp_path: Path):
    sandbox = make(backend)
    marker = f"marker-{os.urandom(6).hex()}"

    outcome = await sandbox.run(
        Job(
            (*sandbox.python(), "-c", DAEMONS, marker),
            mounts=(Mount(tmp_path, "/build", True),),
            limits=LIMITS,
        )
    )

    assert outcome.good
    assert outcome.log == b"started\n"
    assert of_marker(marker) == []


@pytest.mark.parametrize("backend", BACKENDS)
async def test_cancelling_ends_the_whole_tree_within_a_second(backend: str, tmp_path: Path):
    sandbox = make(backend)
    marker = f"marker-{os.urandom(6).hex()}"
    job = Job(
        (*sandbox.python(), "-c", DAEMONS + "time.sleep(60)", marker),
        mounts=(Mount(tmp_path, "/build", True),),
    )

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sandbox.run, job)
            while len(of_marker(marker)) < 9:
                await trio.sleep(0.02)
            start = time.monotonic()
            nursery.cancel_scope.cancel()

    assert time.monotonic() - start < 1.5  # a second, and the scheduling of a busy machine
    assert of_marker(marker) == []
    if isinstance(sandbox, Confined):
        assert not os.path.exists(sandbox.inside("/"))  # noqa: ASYNC240


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_job_sees_its_environment_and_nothing_of_the_nodes(backend: str, tmp_path: Path, monkeypatch):
    sandbox = make(backend)
    monkeypatch.setenv("NODE_SECRET", "a token")
    code = "import os, sys; print(sorted(os.environ), os.umask(0), sys.stdin.read())"
    job = Job(
        (*sandbox.python(), "-c", code),
        env={"MINE": "1"},
        stdin=b"in",
        mounts=(Mount(tmp_path, "/build", True),),
    )

    outcome = await sandbox.run(job)

    names = "['HOME', 'LC_ALL', 'MINE', 'PATH', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED', 'TMPDIR', 'TZ']"
    assert outcome.log.decode().strip() == f"{names} 18 in"


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_talkative_job_is_cut_and_not_blocked(backend: str, tmp_path: Path):
    sandbox = make(backend)
    code = "import sys\nfor _ in range(200): sys.stdout.write('x' * 10000)"
    limits = BuildLimits(log_bytes=1000)

    outcome = await sandbox.run(
        Job((*sandbox.python(), "-c", code), mounts=(Mount(tmp_path, "/build", True),), limits=limits)
    )

    assert outcome.good
    assert outcome.log_truncated
    assert outcome.log.startswith(b"x" * 1000 + b"\n[pyrsia:")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("code", "ended", "status"),
    [("raise SystemExit(3)", "exit", 3), ("import os; os.kill(0, 9)", "signal", -9)],
)
async def test_the_end_of_a_job_is_told_as_it_was(
    backend: str, code: str, ended: str, status: int, tmp_path: Path
):
    sandbox = make(backend)

    outcome = await sandbox.run(
        Job((*sandbox.python(), "-c", code), mounts=(Mount(tmp_path, "/build", True),))
    )

    assert (outcome.ended, outcome.code) == (ended, status)


RUN_FOR_EVER = """
import sys, trio
from dataclasses import replace
from pathlib import Path
from pyrsia.builds.sandbox import Job, Mount
from pyrsia.builds.sandbox.bubblewrap import Bubblewrap
from pyrsia.builds.sandbox.confined import Confined
sandbox = {"namespace": Bubblewrap, "confined": Confined}[sys.argv[1]]()
mounts = (Mount(Path(sys.argv[2]), "/build", True),)
trio.run(sandbox.run, Job((*sandbox.python(), "-c", sys.argv[3], sys.argv[4]), mounts=mounts))
"""


@pytest.mark.parametrize("backend", BACKENDS)
async def test_when_the_node_is_killed_its_builds_die_with_it(backend: str, tmp_path: Path):
    needs(backend)
    marker = f"marker-{os.urandom(6).hex()}"
    argv = [sys.executable, "-c", RUN_FOR_EVER, backend, str(tmp_path), DAEMONS + "time.sleep(60)", marker]
    stages = set(Path("/var/tmp").glob("pyrsia-*"))  # noqa: ASYNC240
    node = await trio.lowlevel.open_process(argv, env=os.environ | {"PYTHONPATH": PACKAGES})
    with trio.fail_after(60):
        while len(of_marker(marker)) < 10:
            await trio.sleep(0.02)
        node.kill()
        await node.wait()
        with trio.fail_after(slowed(3)):
            while of_marker(marker):
                await trio.sleep(0.02)
        with trio.fail_after(slowed(10)):  # the files go after the processes, by a program of their own
            while set(Path("/var/tmp").glob("pyrsia-*")) - stages:  # noqa: ASYNC240
                await trio.sleep(0.02)

    assert node.returncode == -9
    assert of_marker(marker) == []


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (
            {"kernel/apparmor_restrict_unprivileged_userns": "1"},
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            {"kernel/apparmor_restrict_unprivileged_userns": "0", "kernel/unprivileged_userns_clone": "0"},
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        ({"user/max_user_namespaces": "0"}, "sysctl -w user.max_user_namespaces=15000"),
        ({"user/max_user_namespaces": "9000"}, "docker run --security-opt seccomp=unconfined"),
    ],
)
def test_the_advice_names_what_keeps_bubblewrap_from_working(
    settings: dict[str, str], advice: str, tmp_path: Path
):
    for place, value in settings.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(f"{value}\n")

    assert advise(tmp_path).startswith(advice)


async def test_the_survey_names_what_works_and_the_choice_follows_it(monkeypatch):
    found = await survey()
    assert found.isolation in ("namespace", "confined", "")
    assert (found.isolation == "namespace") == found.bubblewrap
    assert bool(found.advice) != found.bubblewrap
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(errors.Refusal) as refused:
        await choose(False)

    assert refused.value.code == "no-sandbox"
    assert refused.value.do == "apt-get install bubblewrap"
