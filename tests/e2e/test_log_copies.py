"""A running network's log is checked, exported and mirrored as it grows; a killed node's is checked in its folder."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyrsia.demo.network import Network
from tests.reference import stranger
from tests.unit.audit.files import read as files_below

pytestmark = pytest.mark.processes

COMMAND_S = 60  # a busy machine; each takes less than a second


def pyrsia(*arguments: object) -> tuple[int, dict, str]:
    """(exit code, the JSON answer, standard error)."""
    command = [sys.executable, "-m", "pyrsia", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def say(network: Network, texts: range) -> None:
    for number in texts:
        with network.follower.client() as client:
            fact = {"kind": "description", "subject": "pkg:pypi/load@1", "text": f"fact {number}"}
            client.post("/api/v1/facts", fact)


def signed_size(network: Network) -> int:
    note = network.follower.client().get_bytes("/log/checkpoint")
    return int(note.split(b"\n")[1])


def grown_to(network: Network, size: int) -> None:
    network.wait(lambda: signed_size(network) >= size, 30.0, f"a checkpoint of {size} entries")


def test_a_live_log_is_checked_exported_and_mirrored_and_a_killed_nodes_is_whole(
    network: Network, tmp_path: Path
) -> None:
    trust = ("--trust", network.trust)
    node = network.follower
    say(network, range(40))
    grown_to(network, 42)
    first = signed_size(network)

    for place in ((node.http,), ("--node", node.data), ("--node", node.http)):
        code, found, err = pyrsia("log", "fsck", *place, *trust)
        assert (code, found.get("ok")) == (0, True), f"{found} {err}"
        assert found["size"] >= first
        assert found["form"]
    code, found, err = pyrsia("log", "fsck", "--full", "--node", node.data)  # its own genesis is trust enough
    assert code == 0, err

    code, exported, err = pyrsia("log", "export", tmp_path / "out", "--node", node.data)
    assert code == 0, err
    code, mirrored, err = pyrsia("log", "mirror", node.http, tmp_path / "copy", *trust)
    assert code == 0, err
    say(network, range(40, 80))
    grown_to(network, 82)
    export = ("export", tmp_path / "out", "--node", node.http)
    mirror = ("mirror", node.http, tmp_path / "copy")
    for command in (export, mirror):
        code, found, err = pyrsia("log", *command, *trust)
        assert code == 0, err
        assert found["old_size"] in (exported["size"], mirrored["size"])
        assert found["size"] > 80
    for folder in ("out", "copy"):
        code, found, err = pyrsia("log", "fsck", tmp_path / folder, *trust)
        assert (code, found["notes"]) == (0, []), err
        genesis = network.trust.read_bytes()
        known = stranger.trust(genesis, hashlib.sha256(genesis).hexdigest())
        head, leaves = stranger.check_log(known, files_below(tmp_path / folder))
        assert head.size == len(leaves) == found["size"]

    network.kill(node)
    code, found, err = pyrsia("log", "fsck", "--full", node.data)
    assert code == 0, err
    assert found["size"] + found["beyond"] >= 82
