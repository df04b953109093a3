"""Real nodes, real commands: a follower witnesses a log that a validator sends it, and is killed meanwhile."""

import http.client
import os
import signal
import subprocess
import sys

import pytest

from pyrsia.demo.network import Network
from pyrsia.log.checkpoint import log_key
from pyrsia.log.note import SignedNote, VerifierKey
from pyrsia.log.witness import origin_hash

pytestmark = pytest.mark.processes


def pyrsia(*arguments):
    """(exit code, standard output) of the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", *(str(one) for one in arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def told(code_and_output):
    code, output = code_and_output
    assert code == 0, output
    return output


def post(node, body):
    connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=10)
    try:
        connection.request("POST", "/witness/add-checkpoint", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def stopped():
    """A network whose nodes are not started yet."""
    net = Network.create(isolation="namespace", environment="host:" + "0" * 64)
    try:
        yield net
    finally:
        net.stop_all()
        net.remove()


def test_a_node_is_told_to_witness_another_one_and_what_it_signs_satisfies_the_printed_policy(
    stopped, tmp_path
):
    net, fern, amber = stopped, stopped.follower, stopped.validators[0]
    policy = told(pyrsia("log", "policy", "--trust", net.trust))
    vkeys = [line.split()[1] for line in policy.splitlines() if line.startswith("log ")]
    origin = VerifierKey.parse(vkeys[0]).name
    assert len(vkeys) == len(net.validators)
    told(pyrsia("witness", "add-log", *vkeys, "--need", "2", "--node", fern.data))
    net.start(fern)
    net.wait_ready(fern)
    witness = told(pyrsia("witness", "key", "--node", fern.data)).strip()
    told(pyrsia("witness", "add-witness", witness, f"{fern.http}/witness", "--node", amber.data))
    for node in net.validators[:3]:  # a quorum
        net.start(node)
    net.wait_ready(amber)

    name = VerifierKey.parse(witness).name

    def served():
        with amber.client() as client:
            return client.get_bytes(f"/witness/{origin_hash(origin)}/checkpoint")

    def witnessed(size=1):
        try:
            note = SignedNote.parse(served())
        except Exception:  # noqa: BLE001 (not there yet)
            return False
        return name in [line.name for line in note.lines] and int(note.text.split(b"\n")[1]) >= size

    net.wait(witnessed, 40, "the witness's line is not on the log's checkpoint")
    file = tmp_path / "checkpoint"
    file.write_bytes(served())
    for more in ([], ["--witness", witness]):
        assert "satisfies" in told(pyrsia("log", "policy", "--trust", net.trust, "--check", file, *more))

    # A kill forgets nothing: from an old size the answer is the size that was signed, and it only grows.
    before = SignedNote.parse(served())
    size = int(before.text.split(b"\n")[1])
    fern.process.send_signal(signal.SIGKILL)
    fern.process.wait(10)
    net.start(fern)
    net.wait_ready(fern)
    lines = tuple(line for line in before.lines if line.name == origin)
    status, answer = post(fern, b"old 0\n\n" + SignedNote(before.text, lines).encode())
    assert status == 409
    assert int(answer) >= size
    assert told(pyrsia("witness", "key", "--node", fern.data)).strip() == witness
    with amber.client() as client:
        client.post("/api/v1/facts", {"kind": "description", "subject": "pkg:pypi/x@1", "text": "grow"})
    net.wait(lambda: witnessed(size + 1), 40, "the witness does not sign after its restart")
    assert pyrsia("witness", "evidence", "--node", fern.data)[0] == 0
    assert post(fern, b"x" * 70_000)[0] == 413
    assert os.stat(fern.data / "keys" / "witness.key").st_mode & 0o777 == 0o600
    assert str(log_key(origin, VerifierKey.parse(vkeys[0]).public)) == vkeys[0]
