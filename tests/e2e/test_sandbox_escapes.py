"""Hostile programs in each backend: what they try, what they get, and that nothing of them is left.

The probe's table, escape by backend, is compared with tests/data/sandbox/escapes.json: what each attempt is answered
(docs/sandbox.md says which fence gives which answer), several where that depends on who the node is. The host is
looked at afterwards.
"""

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
from pyrsia.builds.sandbox import BuildLimits, Job, Mount, cgroups, choose, collect, host, survey
from pyrsia.builds.sandbox.bubblewrap import Bubblewrap
from pyrsia.builds.sandbox.confined import Confined
from pyrsia.builds.sandbox.specify import JOB_UID
from pyrsia.builds.sandbox.survey import advise
from pyrsia.builds.sandbox.unshare import Unshare
from tests.e2e.sandbox_backends import (
    BACKENDS,
    WITH_WORLDS,
    copied_interpreter,
    isolation,
    make,
    needs,
    small_root,
)
from tests.reference.machine import slowed

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "data" / "sandbox"
PACKAGES = os.pathsep.join(filter(None, (str(HERE.parent.parent), os.environ.get("PYTHONPATH"))))
pytestmark = pytest.mark.builds


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


def probe(
    python: list[str], backend: str, packages: str = PACKAGES, root: Path | None = None
) -> dict[str, object]:
    done = subprocess.run(
        [*python, str(HERE / "sandbox_runner.py"), backend, *([str(root)] if root else [])],
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
    golden = json.loads((GOLDEN / "escapes.json").read_text())
    assert len(golden) == ROWS
    table = result["table"]
    assert table.keys() == golden.keys()
    assert {way: got for way, got in table.items() if got not in golden[way][backend].split(" or ")} == {}
    assert result["isolation"] == isolation(backend)
    assert result["outside"] == {
        "ears": [],
        "sibling lives": True,
        "sibling unchanged": True,
        "secret": "a secret of the node",
        "secret mode": "0o600",
        "home": [],
        "made": ["moved"],
    }


def test_the_table_lets_nothing_out_and_what_builds_need_through():
    golden = json.loads((GOLDEN / "escapes.json").read_text())
    for way, answers in golden.items():
        assert tuple(answers) == BACKENDS
        for answer in answers.values():
            assert (answer == "done") == way.startswith("needed: "), way


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_program_that_tries_every_way_out_finds_none(backend: str):
    needs(backend)

    assert_contained(probe([sys.executable], backend), backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nor_does_it_where_the_node_runs_as_an_ordinary_user(backend: str):
    needs(backend)

    assert_contained(probe(python_of_other_uid(), backend), backend)


@pytest.mark.parametrize("backend", WITH_WORLDS)
def test_nor_does_it_in_a_root_of_its_own_with_the_one_way_out(backend: str, tmp_path: Path):
    needs(backend)

    result = probe([sys.executable], backend, root=small_root(tmp_path))

    assert result["table"].pop("the way out of another job") == "done"  # it is its own
    result["table"]["the way out of another job"] = "ECONNREFUSED"
    assert_contained(result, backend)


@pytest.fixture(scope="module")
def hidden_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole interpreter in a folder that only root may enter, as one in root's home is."""
    if os.geteuid() != 0:
        pytest.skip("only root has such a folder")
    home = tmp_path_factory.mktemp("root")
    home.chmod(0o700)
    real, library = Path(host.interpreter()), Path(sysconfig.get_path("stdlib"))
    copied_interpreter(real, home / "python" / "bin" / real.name, home / "python" / "lib" / library.name)
    for shared in Path(sysconfig.get_config_var("LIBDIR") or "/nowhere").glob("libpython*.so*"):
        shutil.copy(shared, home / "python" / "lib")
    return home / "python" / "bin" / real.name


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_interpreter_that_only_root_can_reach_serves_the_job_of_another_uid(
    backend: str, hidden_python: Path
):
    needs(backend)
    assert not host.reachable(hidden_python)
    packages = os.pathsep.join([str(HERE.parent.parent), str(Path(trio.__file__).parent.parent)])

    found = probe([str(hidden_python)], backend, packages)

    assert found["interpreter"] == str(hidden_python)
    assert found["job's uid"] == (JOB_UID if backend == "confined" else 1000)
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
        "shm_file": "/dev/none",
        "shm_key": 1,
        "disk": "/dev/none",
        "filtered": [],
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


ROWS = 83  # of the table: a way out that nobody tries any more must be missed
HOSTILE = {
    "wall": "import signal, time\nsignal.pthread_sigmask(0, range(1, 65))\nwhile True: time.sleep(1000)",
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
    limits = replace(LIMITS, **{"wall_s": 60.0, **own})  # a busy machine takes seconds to use up the others
    job = Job(
        (*sandbox.python(), "-c", HOSTILE[ended], marker),
        mounts=(Mount(tmp_path, "/build", True),),
        limits=limits,
    )

    start = time.monotonic()
    outcome = await sandbox.run(job)

    assert outcome.ended == ended, outcome
    assert time.monotonic() - start < limits.wall_s + slowed(3)
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

    assert time.monotonic() - start < slowed(1.5)  # a second, and what the kernel takes to end all of them
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
async def test_a_gigabyte_of_log_is_cut_and_blocks_nobody(backend: str, tmp_path: Path):
    sandbox = make(backend)
    code = "import os\npiece = b'x' * (1 << 20)\nfor _ in range(1024):\n    os.write(1, piece)"
    limits = BuildLimits(log_bytes=1000)

    outcome = await sandbox.run(
        Job((*sandbox.python(), "-c", code), mounts=(Mount(tmp_path, "/build", True),), limits=limits)
    )

    assert outcome.good
    assert outcome.log_truncated
    assert outcome.log.startswith(b"x" * 1000 + b"\n[pyrsia:")
    assert len(outcome.log) < 1200


TRAPS = """
import os
os.symlink("/etc/passwd", "link")
os.symlink("../../../etc", "folder")
os.mkfifo("pipe")
os.mkdir("deep")
os.symlink("..", "deep/up")
open("plain", "w").write("plain")
for name in ("../escaped", "/build/../escaped", "deep/../../escaped"):
    try:
        open(name, "w").write("x")
    except OSError:
        pass
"""


@pytest.mark.parametrize("backend", BACKENDS)
async def test_links_pipes_and_paths_upwards_lead_out_of_no_output(backend: str, tmp_path: Path):
    sandbox = make(backend)
    work = tmp_path / "work"
    work.mkdir()

    outcome = await sandbox.run(
        Job((*sandbox.python(), "-c", TRAPS), mounts=(Mount(work, "/build", True),), limits=LIMITS)
    )

    assert outcome.good, outcome
    assert os.listdir(tmp_path) == ["work"]
    for name in ("link", "pipe", "deep", "../work/plain", "missing"):
        with pytest.raises(errors.Malformed):
            collect.output(work, name)
    with pytest.raises(errors.Malformed):
        collect.output(work / "folder", "passwd")
    assert collect.output(work, "plain") == b"plain"


@pytest.mark.parametrize("backend", BACKENDS)
async def test_what_one_job_leaves_in_memory_or_tmp_no_other_finds(backend: str, tmp_path: Path):
    sandbox = make(backend)
    code = (
        "import os\n"
        "print(sorted(os.listdir(os.environ['TMPDIR'])))\n"
        "for place in (os.environ['TMPDIR'], '/dev/shm'):\n"
        "    try: open(place + '/pyrsia-left', 'x').close()\n"
        "    except FileExistsError: print('found', place)\n"
        "    except OSError: pass\n"
    )
    job = Job((*sandbox.python(), "-c", code), mounts=(Mount(tmp_path, "/build", True),))

    outcomes = [await sandbox.run(job) for _ in range(2)]

    # An interpreter that lies below /tmp is shown there; nothing else is, before and after.
    first, second = (outcome.log for outcome in outcomes)
    assert first == second
    assert b"found" not in second
    assert b"pyrsia-left" not in second


FILLER = """
import sys
for place, room in ("/tmp", 24 << 20), ("/dev/shm", 64 << 20):
    written = 0
    with open(place + "/f", "wb", buffering=0) as file:
        try:
            for _ in range(200):
                written += file.write(bytes(1 << 20))
        except OSError as error:
            print(place, written <= room, error.strerror)
"""


@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_folders_in_memory_have_a_size(backend: str, tmp_path: Path):
    sandbox = make(backend)
    limits = replace(LIMITS, file_bytes=1 << 30, memory_bytes=1 << 30)

    outcome = await sandbox.run(
        Job((*sandbox.python(), "-c", FILLER), mounts=(Mount(tmp_path, "/build", True),), limits=limits)
    )

    told = "/tmp True No space left on device\n/dev/shm True No space left on device\n"
    assert outcome.log.decode() == told


@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_where_the_kernel_counts_files_in_memory_are_memory(backend: str, tmp_path: Path):
    sandbox = make(backend)
    if cgroups.here() is None:
        pytest.skip("this machine gives us no control groups; run as root, or in a scope with Delegate=yes")
    code = "open('/tmp/f', 'wb').write(bytes(128 << 20))\nimport time\ntime.sleep(60)"
    limits = BuildLimits(wall_s=20, memory_bytes=96 << 20)
    # One write: the same bytes twice, in the process and in /tmp, are more than the limit together.

    outcome = await sandbox.run(
        Job((*sandbox.python(), "-c", code), mounts=(Mount(tmp_path, "/build", True),), limits=limits)
    )

    assert outcome.ended == "memory"


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_job_leaves_no_control_group_behind(backend: str, tmp_path: Path):
    sandbox = make(backend)
    places = cgroups.here()
    if places is None:
        pytest.skip("this machine gives us no control groups; run as root, or in a scope with Delegate=yes")

    def ours() -> list[str]:
        mine = f"pyrsia-job-{os.getpid()}-"
        return [name for parent in places.parents for name in os.listdir(parent) if name.startswith(mine)]

    seen: list[str] = []
    job = Job(
        (*sandbox.python(), "-c", DAEMONS + "time.sleep(60)"), mounts=(Mount(tmp_path, "/build", True),)
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sandbox.run, job)
            while not seen:
                seen = ours()
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()

    assert len(seen) == len(places.parents)
    assert ours() == []


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
from pathlib import Path
from pyrsia.builds.sandbox import Job, Mount
from tests.e2e.sandbox_backends import make
sandbox = make(sys.argv[1])
print(sandbox.inside("/") if sys.argv[1] == "confined" else "none", flush=True)
mounts = (Mount(Path(sys.argv[2]), "/build", True),)
trio.run(sandbox.run, Job((*sandbox.python(), "-c", sys.argv[3], sys.argv[4]), mounts=mounts))
"""


@pytest.mark.parametrize("backend", BACKENDS)
async def test_when_the_node_is_killed_its_builds_die_with_it(backend: str, tmp_path: Path):
    needs(backend)
    marker = f"marker-{os.urandom(6).hex()}"
    argv = [sys.executable, "-c", RUN_FOR_EVER, backend, str(tmp_path), DAEMONS + "time.sleep(60)", marker]
    node = await trio.lowlevel.open_process(
        argv, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": PACKAGES}
    )
    assert node.stdout is not None
    with trio.fail_after(60):
        async with node.stdout as told:
            stage = b""
            while not stage.endswith(b"\n"):
                stage += await told.receive_some()
            while len(of_marker(marker)) < 10:
                await trio.sleep(0.02)
            node.kill()
            await node.wait()
        with trio.fail_after(slowed(3)):
            while of_marker(marker):
                await trio.sleep(0.02)
        with trio.fail_after(slowed(10)):  # the files go after the processes, by a program of their own
            while os.path.exists(stage.strip()):  # noqa: ASYNC240
                await trio.sleep(0.02)

    assert node.returncode == -9
    assert of_marker(marker) == []


ENDING_THREAD = """
import marshal, os, platform, subprocess, sys, threading, time
from pyrsia.builds.sandbox import Job, seccomp, specify
steps = seccomp.assemble("confined", platform.machine())
spec = specify.specification(Job(("sleep", "60"), cwd="/"), seccomp=steps, uid=-1)
spec |= {"stage": sys.argv[1], "sweep": True}
memory = os.memfd_create("spec")
os.write(memory, specify.launching() + marshal.dumps(spec))
os.lseek(memory, 0, 0)
hear, say = os.pipe()
def start():
    subprocess.Popen(specify.launch(memory, say), pass_fds=(memory, say))
    os.read(hear, 6)
    os.close(say)
one = threading.Thread(target=start)
one.start()
one.join()
while True:
    time.sleep(1)
"""


async def test_a_stage_goes_when_the_node_ends_and_its_last_thread_lives_on(tmp_path: Path):
    """A node that is killed dies thread by thread, and is its builds' parent until the last one has gone."""
    needs("confined")
    stage = tmp_path / "stage"
    stage.mkdir()
    argv = [sys.executable, "-c", ENDING_THREAD, str(stage)]
    node = await trio.lowlevel.open_process(argv, env=os.environ | {"PYTHONPATH": PACKAGES})
    try:
        with trio.fail_after(30):
            while stage.exists():
                await trio.sleep(0.02)

        assert node.poll() is None
    finally:
        node.kill()
        await node.wait()


@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_where_no_proc_may_be_mounted_a_job_still_runs(backend: str, tmp_path: Path):
    """As in a container that masks /proc; nothing of the host's is shown in its place."""
    needs(backend)
    sandbox = {"bubblewrap": Bubblewrap, "unshare": Unshare}[backend](proc=False)
    code = "import os\nprint(os.listdir('/proc'), os.getuid() != 0)"

    outcome = await sandbox.run(
        Job((*sandbox.python(), "-c", code), mounts=(Mount(tmp_path, "/build", True),))
    )

    assert outcome.log == b"[] True\n"


async def test_a_job_that_ends_its_own_warden_has_ended_itself(tmp_path: Path):
    """Else a package could keep builders silent: they would take it for a fault of their machine."""
    needs("bubblewrap")
    python = python_of_other_uid()
    code = (
        "import trio, sys; from pathlib import Path; from pyrsia.builds.sandbox import Job, Mount\n"
        "from pyrsia.builds.sandbox.bubblewrap import Bubblewrap\n"
        "kill = 'import os, time; os.kill(os.getppid(), 9); time.sleep(60)'\n"
        "job = Job((*Bubblewrap().python(), '-c', kill), mounts=(Mount(Path(sys.argv[1]), '/build', True),))\n"
        "print(trio.run(Bubblewrap().run, job).ended)\n"
    )
    tmp_path.chmod(0o777)  # noqa: ASYNC240 - pytest made it, for its own user only
    for above in tmp_path.parents:
        if above.name.startswith(("pytest-", "popen-")):
            above.chmod(0o755)

    done = await trio.run_process(
        [*python, "-c", code, str(tmp_path)], capture_stdout=True, capture_stderr=True, check=False
    )

    assert done.stdout == b"signal\n", done.stderr


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
    assert (found.isolation == "namespace") == (found.backend in WITH_WORLDS)
    assert bool(found.advice) == (found.isolation != "namespace")
    assert found.roots == (found.isolation == "namespace")
    assert ("by the kernel" in found.limits) == (cgroups.here() is not None)
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(errors.Refusal) as refused:
        await choose(False)

    assert refused.value.code == "no-sandbox"
    assert refused.value.do == "apt-get install bubblewrap"


async def test_without_bubblewrap_the_choice_is_unshare(monkeypatch, tmp_path: Path):
    needs("unshare")
    for name in ("unshare", "setpriv"):
        os.symlink(str(shutil.which(name)), tmp_path / name)
    monkeypatch.setenv("PATH", str(tmp_path))

    chosen = await choose(False)

    assert isinstance(chosen, Unshare)
    assert chosen.isolation == "namespace"
