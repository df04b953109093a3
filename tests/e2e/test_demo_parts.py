"""The demo's edges: its villain, its failures, its end, and a machine that refuses namespaces."""

import ast
import base64
import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from pyrsia.cli.main import cli
from pyrsia.demo import install, prepare
from pyrsia.demo.network import Network
from pyrsia.demo.report import Report
from pyrsia.demo.story import after
from pyrsia.demo.teller import Teller
from pyrsia.demo.villain import ALTERED_LINE, alter
from pyrsia.errors import Refusal

ROOT = Path(__file__).resolve().parents[2]
REFUSE = Path(__file__).with_name("refuse_namespaces.py")
DEMO_S = 240.0


def importers_of(name: str) -> set[str]:
    """Modules of the package that import `name` anywhere, also inside functions."""
    found = set()
    for path in (ROOT / "pyrsia").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(one == name or one.startswith(name + ".") for one in names):
                found.add(path.relative_to(ROOT).as_posix())
    return found


def test_only_the_demos_node_entry_point_can_load_the_villain():
    told = CliRunner().invoke(cli, ["node", "run", "--help"])

    assert importers_of("pyrsia.demo.villain") == {"pyrsia/demo/node.py"}
    assert importers_of("pyrsia.demo.node") == set()
    assert told.exit_code == 0
    assert "villain" not in told.output


def test_the_villains_wheel_is_whole_and_different(tmp_path):
    wheel = tmp_path / "w-1-py3-none-any.whl"
    files = {"w/__init__.py": b"x = 1\n", "w/data,1.txt": b"y", "w-1.dist-info/METADATA": b"Name: w\n"}
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(data)])
    rows.writerow(["w-1.dist-info/RECORD", "", ""])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("w-1.dist-info/RECORD", record.getvalue())

    alter(wheel)

    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    listed = {row[0]: row[1:] for row in csv.reader(io.StringIO(found["w-1.dist-info/RECORD"].decode()))}
    changed = [name for name in files if found[name] != files[name]]
    assert changed == ["w/__init__.py"]
    assert found["w/__init__.py"] == files["w/__init__.py"] + ALTERED_LINE
    for name in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(found[name]).digest()).rstrip(b"=").decode()
        assert listed[name] == [f"sha256={digest}", str(len(found[name]))]


@pytest.mark.parametrize("keep", [False, True])
def test_what_to_try_next_names_real_commands(keep):
    network = Network.create(isolation="namespace", environment="host:" + "0" * 64)
    try:
        report = Report(wheel="/tmp/a b/idna-3.10-py3-none-any.whl", trust="/tmp/a b/demo.genesis")
        lines = list(after(network, report, "six==1.16.0", keep=keep))
    finally:
        network.remove()

    commands = [line.split("#")[0].split()[1] for line in lines if line.startswith("pyrsia ")]
    assert "verify" in commands
    assert all(CliRunner().invoke(cli, [name, "--help"]).exit_code == 0 for name in commands)
    assert any("export PYRSIA_NODE=" in line for line in lines) == keep
    assert "'/tmp/a b/demo.genesis'" in lines[-1]


def test_a_report_that_cannot_be_written_is_said_before_the_story(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", "demo", "--report", str(tmp_path / "missing" / "r.json")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert "report cannot be written" in done.stderr
    assert done.stdout == ""


def test_what_is_altered_is_never_what_was_asked_for():
    asked = ["Packaging==24.2", "idna==3.10"]
    ready = prepare.prepare(asked, offline=False, tell=Teller(io.StringIO()))

    assert ready.packages == tuple(asked)
    assert ready.dissent == "six==1.16.0"


def test_a_pip_that_hangs_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(install, "PATIENCE_S", 0.2)
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 30\n")
    sleeper.chmod(0o755)

    with pytest.raises(Refusal, match="pip install did not end"):
        install.pip_install(sleeper, "http://127.0.0.1:1/", ["x"])


def test_an_environment_that_is_still_made_is_ended_with_all_its_children(tmp_path):
    environment = install.FreshVenv(tmp_path / "venv")
    making = psutil.Process(environment._making.pid)
    end_s = time.monotonic() + 30
    while not making.children(recursive=True):  # ensurepip
        assert time.monotonic() < end_s
        time.sleep(0.01)
    whole = [making, *making.children(recursive=True)]

    environment.close()
    gone, alive = psutil.wait_procs(whole, timeout=5)

    assert len(gone) >= 2
    assert alive == []


@pytest.mark.processes
def test_a_failing_step_exits_1_with_its_cause_and_a_report_that_says_so(tmp_path):
    index = tmp_path / "empty"
    index.mkdir()
    report = tmp_path / "report.json"
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", "demo", "--package", "nowhere-to-be-found==1", "--report", report],
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.as_uri()},
        check=False,
    )
    told = json.loads(report.read_bytes())

    assert done.returncode == 1
    assert "nowhere-to-be-found" in done.stderr
    assert "done: every step" not in done.stdout
    assert told["ok"] is False
    assert "nowhere-to-be-found" in told["error"]
    assert not any(Path(node["data"]).exists() for node in told["nodes"])


@pytest.mark.processes
@pytest.mark.builds
def test_where_namespaces_are_refused_the_demo_is_confined_and_says_so(tmp_path):
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            sys.executable, str(REFUSE), "--", sys.executable, "-m", "pyrsia", "demo", "--offline",
            "--report", str(report),
        ],
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(report.read_bytes())
    shutil.rmtree(Path(told["trust"]).parent.parent, ignore_errors=True)

    assert told["ok"]
    assert told["isolation"] == "confined"
    assert "confined" in done.stdout.splitlines()[0]
    assert "For stronger isolation:" in done.stdout


def is_node(process: psutil.Process) -> bool:
    """What makes pip's environment beside the nodes comes and goes."""
    try:
        return "pyrsia.demo.node" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


@pytest.mark.processes
def test_nodes_die_with_the_demo_even_when_it_is_killed():
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", "pyrsia", "demo", "--offline"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    try:
        assert demo.stdout is not None
        line = next(line for line in demo.stdout if "follower  fern" in line)
        children = psutil.Process(demo.pid).children(recursive=True)
        nodes = [child for child in children if is_node(child)]
        demo.send_signal(signal.SIGKILL)
        demo.wait()
        gone, alive = psutil.wait_procs(nodes, timeout=10)
    finally:
        demo.kill()
        demo.wait()
        demo.stdout.close()
        end_s = time.monotonic() + 5
        while folder.exists() and time.monotonic() < end_s:  # pip's environment may still be written
            shutil.rmtree(folder, ignore_errors=True)

    assert "http://127.0.0.1:" in line
    assert len(gone) == 5
    assert alive == []
