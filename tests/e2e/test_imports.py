"""An import through a node that has no vote, killed in the middle and run again: each fact once, and none lost."""

import json
import subprocess
import sys
import time
from collections import Counter

import pytest

from bench import osv
from pyrsia.consumers.documents.finding import records
from pyrsia.consumers.documents.intake import Intake
from pyrsia.demo.network import Network

pytestmark = pytest.mark.processes

COUNT = 3_000
WAIT_S = 120
PAGE = 200


class Issuing(Network):
    """The demo's network, whose follower may say advisories."""

    def _roles(self, node):
        return super()._roles(node) or ("issuer",)


@pytest.fixture
def network():
    found = Issuing.create(isolation="namespace", environment="host:" + "0" * 64)
    try:
        found.start_all()
        yield found
    finally:
        found.stop_all()
        found.remove()


def importing(network, path):
    command = [sys.executable, "-m", "pyrsia", "facts", "import", "osv", str(path), "--json"]
    return subprocess.Popen(
        [*command, "--node", str(network.follower.data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wanted(export):
    """(advisory, subject) of each fact that the records come to."""
    intake = Intake(int(time.time() * 1_000))
    for one in records(export, intake.tally):
        intake.take(one)
    told = (json.loads(one.raw) for one in intake.tellings() if not one.whole)
    return [(one["fields"]["advisory"], one["subject"]) for one in told if not one.get("withdraw")]


def said(network, node):
    """How often each (advisory, subject) stands in the log that `node` has."""
    found, first = Counter(), 0
    with node.client() as client:
        while first >= 0:
            page = client.get("/api/v1/facts", kind="advisory", order="oldest", first=first, count=PAGE)
            found.update((one["body"]["advisory"], one["subject"]) for one in page["facts"])
            first = page["next"]
    return found


def test_an_import_through_a_follower_that_is_killed_says_each_fact_once(network, tmp_path):
    export = osv.export(tmp_path / "all.zip", COUNT)
    started = network.status(network.follower)["log"]["size"]
    first = importing(network, export)
    network.wait(
        lambda: network.status(network.follower)["log"]["size"] > started + 300, WAIT_S, "nothing is said"
    )
    network.kill(network.follower)
    _, err = first.communicate(timeout=WAIT_S)
    assert (first.returncode != 0, b"run the same command again for the rest" in err) == (True, True), err
    network.start(network.follower)
    network.wait_ready(network.follower)
    second = importing(network, export)
    out, err = second.communicate(timeout=WAIT_S)
    assert second.returncode == 0, err
    told = json.loads(out)
    assert told["refused"] == 0
    assert 0 < told["added"] < COUNT < told["added"] + told["same"]
    network.wait(
        lambda: len({network.status(one)["log"]["size"] for one in network.nodes}) == 1, WAIT_S, "logs differ"
    )
    found = said(network, network.nodes[0])
    assert found == Counter(wanted(export))
