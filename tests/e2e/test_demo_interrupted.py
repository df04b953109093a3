"""Ctrl-C and a polite kill at several moments of the demo: no process stays, and no half-written state."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.reference.machine import slowed

pytestmark = [pytest.mark.processes, pytest.mark.builds]

PATIENCE_S = 240.0  # the story takes a tenth of this on two idle cores
STOP_S = 3.0
SLACK_S = 3.0  # the interpreter's own end, and pip's environment, on a busy machine


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that work below `folder`, or were told to."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(folder) in words or (process.info["environ"] or {}).get("TMPDIR") == str(folder):
            found.append(words)
    return found


def interrupted(
    options: list[str], folder: Path, out: Path, moment: str, number: signal.Signals
) -> tuple[int, float]:
    """Run the demo, send `number` when it says `moment`; (exit code, seconds until it ended)."""
    # As a script's shell starts what it puts into the background: deaf to SIGINT, unless the program listens.
    deaf = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    command = [*deaf, sys.executable, "-u", "-m", "pyrsia", "demo", "--offline", *options]
    with out.open("wb") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, env=os.environ | {"TMPDIR": str(folder)}
        )
    try:
        end_s = time.monotonic() + PATIENCE_S
        while moment not in out.read_text(errors="replace"):
            assert process.poll() is None, out.read_text()
            assert time.monotonic() < end_s, f"the demo never said {moment!r}"
            time.sleep(0.02)
        began_s = time.monotonic()
        process.send_signal(number)
        return process.wait(slowed(STOP_S + SLACK_S) + 20), time.monotonic() - began_s
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("starting four", signal.SIGINT),
        ("follower  fern", signal.SIGTERM),  # pip's environment is still being made
        ("committing", signal.SIGINT),
        ("pip install", signal.SIGINT),
    ],
)
def test_a_stop_at_any_moment_leaves_no_process_and_no_half_written_state(tmp_path, moment, number):
    folder, report, out = Path(tempfile.mkdtemp(prefix="t-")), tmp_path / "report.json", tmp_path / "out.txt"
    code, took_s = interrupted(["--report", str(report)], folder, out, moment, number)

    assert took_s < slowed(STOP_S + SLACK_S)
    assert code != 0
    assert left_behind(folder) == []
    assert list(folder.iterdir()) == []
    folder.rmdir()
    assert '"ok": false' in report.read_text()


def test_a_kept_network_ends_by_a_polite_kill_too_and_leaves_the_results(tmp_path):
    folder, out = Path(tempfile.mkdtemp(prefix="t-")), tmp_path / "out.txt"
    code, took_s = interrupted(["--keep"], folder, out, "The network runs", signal.SIGTERM)
    kept = [path.name for demo in folder.iterdir() for path in demo.iterdir()]
    shutil.rmtree(folder)

    assert took_s < slowed(STOP_S + SLACK_S)
    assert code == 0
    assert left_behind(folder) == []
    assert kept == ["results"]
