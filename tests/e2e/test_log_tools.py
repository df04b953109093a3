"""The log's tools on a network of real processes: written, followed and watched while things are killed."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyrsia.demo.network import Network

pytestmark = pytest.mark.processes

PURL = "pkg:pypi/watched"


def environment(folder: Path) -> dict[str, str]:
    """A user of their own: nothing of the developer's state, pins or nodes."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYRSIA_", "XDG_"))}
    return clean | {"XDG_STATE_HOME": str(folder / "state"), "PYRSIA_TRUST": str(folder / "pins")}


def pyrsia(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyrsia", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(folder))


@contextmanager
def running(folder: Path, out: Path, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A command that goes on, its output in `out`; killed at the end as `kill -9` kills."""
    command = [sys.executable, "-m", "pyrsia", *arguments]
    with out.open("ab") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told, env=environment(folder))
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def lines(path: Path) -> list[str]:
    """Whole lines so far."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text.splitlines()[: text.count("\n")]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(path) if line.startswith("{")]


def say(network: Network, number: int) -> None:
    with network.validators[0].client() as node:
        node.post("/api/v1/facts", {"kind": "description", "subject": PURL, "text": f"fact {number}"})


def test_the_log_is_hammered_followed_and_watched_while_things_are_killed(
    network: Network, tmp_path: Path
) -> None:
    follower, trust = network.follower, ("--trust", str(network.trust))
    hook, seen, tail = tmp_path / "hook.py", tmp_path / "seen", tmp_path / "tail"
    hook.write_text(f"import os; open({str(seen)!r}, 'a').write(os.environ['PYRSIA_INDEX'] + '\\n')\n")
    watch = (
        "log", "monitor", follower.http + "/log", "--purl", PURL, "--every", "0.2", *trust,
        "--state", str(tmp_path / "state.json"), "--exec", f"{sys.executable} {hook}",
    )  # fmt: skip
    follow = ("log", "tail", follower.http, "-f", "-n", "0", "--json", "--every", "0.2", *trust)

    with (
        running(tmp_path, tail, *follow) as tailing,
        running(tmp_path, tmp_path / "watched", *watch, "--from", "0") as first,
    ):
        hammered = pyrsia(
            tmp_path, "log", "hammer", "--goal", "60", "--for", "60s", "--writers", "20", "--json",
            "--node", str(network.validators[0].data),
        )  # fmt: skip
        report = json.loads(hammered.stdout.splitlines()[-1])
        assert "ok" in report, (hammered.stdout, hammered.stderr)
        assert (hammered.returncode, report["ok"], report["why"]) == (0, True, "")
        assert report["acknowledged"] == report["verified"] >= 60
        for number in range(3):
            say(network, number)
        network.wait(lambda: len(set(lines(seen))) == 3, 30, "the hook did not hear of three facts")

        first.kill()
        network.kill(follower)
        for number in range(3, 6):
            say(network, number)
        with running(tmp_path, tmp_path / "watched", *watch) as second:
            network.start(follower)
            network.wait_ready(follower)
            network.wait(lambda: len(set(lines(seen))) == 6, 60, "the hook did not hear of all six facts")
            wanted = [one["index"] for one in _searched(network, tmp_path)]
            network.wait(lambda: _last(tail) >= wanted[-1], 30, "the tail did not come to the last fact")
            assert (second.poll(), tailing.poll()) == (None, None)

    told = [int(line) for line in lines(seen)]
    assert sorted(set(told)) == wanted
    assert sum(count - 1 for count in Counter(told).values()) <= 1
    followed = [row["index"] for row in rows(tail)]
    assert followed == list(range(followed[0], followed[-1] + 1))
    assert set(wanted) <= set(followed)


def _last(path: Path) -> int:
    found = rows(path)
    return found[-1]["index"] if found else -1


def _searched(network: Network, folder: Path) -> list[dict[str, Any]]:
    """All that the follower finds about the package, oldest first, once it holds all of it."""
    command = ("log", "search", "--purl", PURL, "--oldest", "--json", "--node", str(network.follower.data))
    found: list[dict[str, Any]] = []

    def complete() -> bool:
        nonlocal found
        answer = pyrsia(folder, *command)
        found = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
        return len(found) == 6

    network.wait(complete, 30, "the search did not find six facts")
    return found
