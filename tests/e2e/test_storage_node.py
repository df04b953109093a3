"""A real node's disk: damage is found and told, what a crash left is swept, a full disk stops nothing but files."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trio

from pyrsia.node.house import BLOBS
from pyrsia.node.opening import DATABASE
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Database

pytestmark = pytest.mark.processes


def pyrsia(node, *words):
    """(exit code, JSON) of a command asked of a node."""
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", *words, "--node", str(node.data), "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def put(node, *datas):
    """Keep blobs in the folder of a node that does not run."""
    database = Database.open(node.data / DATABASE)

    async def main():
        blobs = Blobs(node.data / BLOBS, database)
        return [await blobs.put_bytes(data, pin="build") for data in datas]

    try:
        return trio.run(main)
    finally:
        database.close()


def place(node, sha256):
    name = sha256.hex()
    return Path(node.data) / BLOBS / name[:2] / name[2:4] / name


def test_a_node_finds_damage_and_leftovers_and_lives_through_a_full_disk(network):
    node = network.follower
    network.stop(node)
    whole, bad = put(node, b"w" * 2_000_000, b"b" * 1_000_000)
    place(node, bad).write_bytes(b"B" + b"b" * 999_999)
    stray = place(node, hashlib.sha256(b"stray").digest())
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"stray")
    os.utime(stray, (1, 1))
    # More is to stay free than any disk has: it is full.
    network.variables["PYRSIA_STORAGE__RESERVE_MB"] = "1048576"
    network.variables["PYRSIA_STORAGE__SCRUB_MB_S"] = "0"  # by order only
    network.start(node)
    network.wait_ready(node)

    _, (before,) = pyrsia(node, "storage", "status")
    scrubbed, told = pyrsia(node, "storage", "scrub", "--all")
    _, (swept,) = pyrsia(node, "storage", "gc")
    _, (after,) = pyrsia(node, "storage", "status")
    _, (glance,) = pyrsia(node, "status")
    with httpx.Client(base_url=node.http, timeout=30) as client:
        # A young network signs its first head some seconds after its start.
        network.wait(lambda: client.get("/readyz").status_code == 200, 60, "a full disk is not ready")
        stranger = client.get("/api/v1/storage").status_code

    assert (before["used"], before["pinned"], before["allocated"]) == (3_000_000, 3_000_000, 10**10)
    assert (scrubbed, told[0]["scrub"]["found"], told[-1]["error"]["code"]) == (1, 1, "data-damaged")
    assert (swept["removed"], stray.exists()) == (1, False)
    assert [(one["sha256"], one["state"]) for one in after["rotten"]] == [(bad.hex(), "wanted")]
    assert (after["used"], place(node, bad).exists(), place(node, whole).exists()) == (2_000_000, False, True)
    # Nothing more is taken, and it says so. It serves and follows.
    assert after["full"]
    assert any(notice.startswith("storage: full: ") for notice in glance["notices"])
    assert "storage: full: " in node.diary(200)
    assert stranger == 401
    size = network.status(node)["log"]["size"]
    assert size == network.status(network.nodes[0])["log"]["size"]
