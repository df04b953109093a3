"""The demo's claims, checked from outside: processes, sockets, files, and commands of their own.

One demo runs for the whole module, offline, with --keep; every test looks at it as a stranger would.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from tests.reference.machine import slowed

pytestmark = [pytest.mark.processes, pytest.mark.builds]

DEMO_S = 240.0  # the story takes a quarter of this on two idle cores
STOP_S = 3.0


def wait_for(condition: Callable[[], Any], patience_s: float, what: str) -> Any:
    end_s = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < end_s, f"{what} within {patience_s} s"
        time.sleep(0.05)
    return found


def ended(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in pids)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A demo that has told its story and keeps running."""
    folder = tmp_path_factory.mktemp("demo")
    report = folder / "report.json"
    command = [sys.executable, "-m", "pyrsia", "demo", "--offline", "--keep", "--report", str(report)]
    with (folder / "out.txt").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: report.exists() or process.poll() is not None, DEMO_S, "the demo did not report")
            told = json.loads(report.read_bytes())
            assert told["ok"], (told.get("error"), (folder / "out.txt").read_text())
            yield {**told, "process": process, "out": folder / "out.txt", "report": report}
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (loopback, from the report)
        return json.loads(answer.read())


def status(node: dict[str, Any]) -> Any:
    return get(f"{node['http']}/api/v1/status")


def node(demo: dict[str, Any], role: str) -> dict[str, Any]:
    return next(one for one in demo["nodes"] if one["role"] == role)


def pyrsia(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyrsia", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
        check=False,
    )


def test_the_report_has_the_fields_that_scripts_rely_on(demo):
    told = {name: value for name, value in demo.items() if name not in ("process", "out", "report")}

    assert set(told) == {
        "ok", "nodes", "isolation", "requests", "explained", "wheel", "proof", "trust", "log", "history", "fsck",
        "seconds",
    }  # fmt: skip
    assert all(set(one) == {"name", "role", "http", "data", "pid"} for one in told["nodes"])
    assert all(re.fullmatch(r"http://127\.0\.0\.1:\d+", one["http"]) for one in told["nodes"])
    assert all(
        set(one) == {"purl", "verdict", "agreeing", "dissenting", "file", "sha256"}
        for one in told["requests"]
    )
    assert told["isolation"] in ("namespace", "confined")
    assert set(told["log"]) == {"size", "root"}
    assert set(told["history"]) == {"file", "of", "leaves"}
    assert set(told["seconds"]) == {"start", "builds", "dissent", "loss", "use", "proof"}
    assert Path(told["proof"]) == Path(told["wheel"] + ".tlog-proof")
    assert all(Path(told[name]).is_file() for name in ("wheel", "proof", "trust"))


def test_four_validators_and_one_follower_run_as_processes_of_their_own(demo):
    roles = sorted(one["role"] for one in demo["nodes"])
    pids = {one["pid"] for one in demo["nodes"]}

    assert roles == ["follower", "validator", "validator", "validator", "validator"]
    assert len(pids) == 5
    assert all(psutil.pid_exists(pid) for pid in pids)
    assert len({one["data"] for one in demo["nodes"]}) == 5


def test_every_node_holds_the_same_log(demo):
    def one_head() -> bool:
        return len({(s["log"]["size"], s["log"]["root"]) for s in map(status, demo["nodes"])}) == 1

    assert wait_for(one_head, 20, "the logs did not become equal")
    assert demo["log"]["size"] > 20


def test_three_of_four_builders_were_drawn_and_agreed_on_the_package_and_its_closure(demo):
    validators = {status(one)["node_id"] for one in demo["nodes"] if one["role"] == "validator"}
    builds = {one["purl"]: one for one in get(f"{node(demo, 'follower')['http']}/api/v1/builds")["builds"]}

    assert [one["purl"] for one in demo["requests"][:2]] == [
        "pkg:pypi/pyrsia-sample-dep@1.0.0",
        "pkg:pypi/pyrsia-sample@0.3.0",
    ]
    for asked in demo["requests"][:2]:
        drawn = builds[asked["purl"]]["builders"]
        assert asked["verdict"] == "REPRODUCED"
        assert len(set(drawn)) == 3
        assert set(drawn) < validators
        assert set(asked["agreeing"]) == set(drawn)


def test_the_dissenter_is_the_first_drawn_and_is_named_by_every_node(demo):
    altered = demo["requests"][-1]
    assert len(altered["dissenting"]) == 1
    assert len(altered["agreeing"]) == 2

    for one in demo["nodes"]:
        builds = get(f"{one['http']}/api/v1/builds")["builds"]
        found = next(b for b in builds if b["purl"] == altered["purl"])
        assert list(found["dissenting"]) == altered["dissenting"] == [found["builders"][0]]


def test_any_node_explains_the_dissent_by_file_and_line_and_draws_a_page_of_it(demo):
    altered = demo["requests"][-1]
    builds = get(f"{demo['nodes'][0]['http']}/api/v1/builds")["builds"]
    request = next(b["request"] for b in builds if b["purl"] == altered["purl"])
    told = get(f"{node(demo, 'follower')['http']}/api/v1/builds/{request}/explanation")

    assert [one["builder"] for one in told["said"] if not one["agrees"]] == altered["dissenting"]
    (pair,) = told["pairs"]
    (changed,) = [one for one in pair["differing"] if one["path"].endswith(".py")]
    assert (changed["cause"], "altered by the demo" in str(changed["shown"])) == ("unknown", True)
    assert any("no usual cause explains it" in line for line in demo["explained"])
    page = httpx.get(f"{demo['nodes'][0]['http']}/builds/{request}", timeout=30).text
    assert "altered by the demo" in page
    words = pyrsia("build", "explain", request[:16], "--node", demo["nodes"][0]["http"])
    assert (words.returncode, "altered by the demo" in words.stdout) == (0, True)


def test_the_bundle_beside_the_wheel_is_signed_by_all_that_agreed(demo):
    listed = get(f"{demo['nodes'][0]['http']}/api/v1/members")["members"]
    members = {one["node_id"]: one["keys"].get("build", "") for one in listed}
    asked = next(
        one
        for one in demo["requests"]
        if one["sha256"] == hashlib.sha256(Path(demo["wheel"]).read_bytes()).hexdigest()
    )
    trusted = [
        SSlibKey(members[one], "ed25519", "ed25519", {"public": members[one]}) for one in asked["agreeing"]
    ]
    lines = Path(f"{demo['wheel']}.intoto.jsonl").read_text().splitlines()
    envelopes = [Envelope.from_dict(json.loads(line)) for line in lines]
    kinds = [json.loads(one.payload)["predicateType"] for one in envelopes]

    assert kinds.count("https://slsa.dev/provenance/v1") >= len(trusted)
    summary = envelopes[kinds.index("https://slsa.dev/verification_summary/v1")]
    assert len(summary.verify(trusted, 2)) >= 2
    assert json.loads(summary.payload)["subject"][0]["digest"]["sha256"] == asked["sha256"]


def test_the_follower_fetched_from_peers_and_built_nothing(demo):
    moved = status(node(demo, "follower"))["transfer"]
    validators = {status(one)["node_id"] for one in demo["nodes"] if one["role"] == "validator"}
    sizes = Path(demo["wheel"]).stat().st_size

    assert moved["artifacts_built"] == 0
    assert moved["artifacts_fetched"] >= 2
    assert moved["bytes_received"] >= sizes
    assert moved["chunks_received"] >= 2
    assert moved["sources"]
    assert set(moved["sources"]) <= validators


def pip_install(demo: dict[str, Any], into: Path, patience_s: int) -> subprocess.CompletedProcess[str]:
    index = f"{node(demo, 'follower')['http']}/pypi/simple/"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--no-cache-dir", "--retries", "0", "--timeout", str(patience_s),
            "--target", str(into), "--index-url", index, "pyrsia-sample==0.3.0",
        ],
        env=environment | {"PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip


def test_an_unchanged_pip_installs_package_and_closure_from_the_follower_alone(demo, tmp_path):
    follower = psutil.Process(node(demo, "follower")["pid"])
    follower.suspend()  # stopped: nothing answers at its port
    try:
        refused = pip_install(demo, tmp_path / "refused", 3)
    finally:
        follower.resume()
    done = pip_install(demo, tmp_path / "done", 30)

    assert refused.returncode != 0
    assert not (tmp_path / "refused" / "pyrsia_sample").exists()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "done" / "pyrsia_sample" / "__init__.py").exists()
    assert (tmp_path / "done" / "pyrsia_sample_dep" / "__init__.py").exists()


def test_the_wheel_the_proof_and_the_trust_file_verify_in_a_process_of_their_own(demo):
    done = pyrsia("verify", demo["wheel"], "--proof", demo["proof"], "--trust", demo["trust"])

    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith("pkg:pypi/pyrsia-sample@")
    assert "demo: all operators are one person" in done.stdout


def test_without_a_pin_verify_does_not_say_verified(demo, tmp_path):
    done = pyrsia("verify", demo["wheel"], "--proof", demo["proof"], PYRSIA_TRUST=str(tmp_path))

    assert done.returncode == 3
    assert "not pinned" in done.stderr


def test_a_proof_with_any_byte_changed_never_verifies(demo, tmp_path):
    proof = Path(demo["proof"]).read_bytes()
    copy = tmp_path / "changed.tlog-proof"
    step = max(1, len(proof) // 12)
    codes = set()
    for at in range(0, len(proof), step):
        changed = bytearray(proof)
        changed[at] ^= 1
        copy.write_bytes(changed)
        codes.add(pyrsia("verify", demo["wheel"], "--proof", str(copy), "--trust", demo["trust"]).returncode)

    assert codes == {1}


def test_a_missing_proof_exits_3_and_says_what_to_do(demo, tmp_path):
    lonely = tmp_path / Path(demo["wheel"]).name
    shutil.copyfile(demo["wheel"], lonely)

    done = pyrsia("verify", str(lonely), "--trust", demo["trust"])

    assert done.returncode == 3
    assert "do:" in done.stderr


def test_the_wrong_purl_is_refused(demo):
    done = pyrsia("verify", demo["wheel"], "--trust", demo["trust"], "--as", "pkg:pypi/idna@3.10")

    assert done.returncode == 1


def test_status_and_log_show_speak_json_for_scripts(demo):
    data = node(demo, "follower")["data"]

    said = json.loads(pyrsia("status", "--json", "--node", data).stdout)
    log = json.loads(pyrsia("log", "show", "--json", "--node", data).stdout)

    assert said["role"] == "follower"
    assert said["peers"] >= 3
    assert {"node_id", "name", "log"} <= set(said)
    assert log["size"] >= demo["log"]["size"]
    assert len(log["root"]) == 64


def test_a_package_is_fetched_with_its_proof_and_verified(demo, tmp_path):
    data = node(demo, "follower")["data"]

    fetched = pyrsia(
        "fetch", "pkg:pypi/pyrsia-sample@0.3.0", "--out", str(tmp_path), "--json", "--node", data
    )
    assert fetched.returncode == 0, fetched.stderr
    file = json.loads(fetched.stdout)["file"]
    verified = pyrsia("verify", file, "--trust", demo["trust"])

    assert Path(file).read_bytes() == Path(demo["wheel"]).read_bytes()
    assert verified.returncode == 0
    assert pyrsia("fetch", "pkg:pypi/pyrsia-sample@99", "--node", data).returncode == 1


def test_a_proof_of_one_leaf_is_checked_offline(demo, tmp_path):
    data = node(demo, "follower")["data"]
    out = tmp_path / "leaf.json"

    written = pyrsia("log", "prove", "0", "--out", str(out), "--node", data)
    checked = pyrsia("log", "verify", str(out), "--trust", demo["trust"])

    assert written.returncode == 0, written.stderr
    assert checked.returncode == 0, checked.stderr
    out.write_text(out.read_text().replace('"index": 0', '"index": 1'))
    assert pyrsia("log", "verify", str(out), "--trust", demo["trust"]).returncode == 1


def test_the_demo_proves_a_whole_history_and_checks_a_whole_log(demo, tmp_path):
    file = Path(demo["history"]["file"])
    checked = pyrsia("log", "verify-history", str(file), "--trust", demo["trust"], "--json")

    assert checked.returncode == 0, checked.stderr
    told = json.loads(checked.stdout)
    assert (told["complete"], told["of"]) == (True, demo["history"]["of"]) == (True, "pkg:pypi/pyrsia-sample")
    assert len(told["leaves"]) == demo["history"]["leaves"]
    kinds = [json.loads(row["leaf"])["type"] for row in told["leaves"]]
    builds = sum(one["purl"].startswith("pkg:pypi/pyrsia-sample@") for one in demo["requests"])
    expected = {"build.request": builds, "build.reveal": 3 * builds, "artifact.add": builds}
    for kind, count in expected.items():
        assert kinds.count(kind) == count, kinds
    assert kinds.count("fact.add") >= 3, kinds  # the demo's own, and what builders had said of it by then
    short = tmp_path / "short.history"
    short.write_bytes(b"\n".join([*file.read_bytes().split(b"\n")[:-2], b""]))
    assert pyrsia("log", "verify-history", str(short), "--trust", demo["trust"]).returncode == 1
    assert 20 < demo["fsck"] <= demo["log"]["size"]


def test_the_commands_about_the_log_work_on_the_demo_network(demo, tmp_path):
    """As anybody else would: over the follower's address, with the trust file alone."""
    url, trust = node(demo, "follower")["http"], ("--trust", demo["trust"])
    ask, copy, purl = ("--node", url), str(tmp_path / "copy"), "pkg:pypi/pyrsia-sample"
    history, checkpoint = str(tmp_path / "one.history"), str(tmp_path / "copy" / "checkpoint")
    said = {}
    for command in (
        ("history", purl, "--prove", history, *ask, *trust),
        ("verify-history", history, *trust),
        ("fsck", "--full", url, *trust),
        ("mirror", url, copy, *trust),
        ("fsck", copy, *trust),
        ("export", str(tmp_path / "out"), *ask, *trust),
        ("policy", "--check", checkpoint, *trust),
        ("search", "--purl", purl, "--type", "artifact.add", *ask),
        ("tail", "-n", "3", url, *trust),
        ("monitor", "--purl", purl, "--from", "0", "--exec", f"tee -a {tmp_path / 'told'}", "--once",
         "--state", str(tmp_path / "state"), url, *trust),
        ("hammer", "--goal", "10", "--for", "30s", "--node", node(demo, "follower")["data"], *trust),
    ):  # fmt: skip
        done = pyrsia("log", *command, "--json")
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        said[command[0]] = [json.loads(line) for line in done.stdout.splitlines()]

    (whole,) = said["fsck"]  # of the copy, the later one
    assert whole["size"] == said["mirror"][0]["size"] >= demo["fsck"]
    assert said["export"][0]["size"] >= whole["size"]
    assert len(said["tail"]) == 3
    assert {row["kind"] for row in said["search"]} == {"artifact.add"}
    events = (tmp_path / "told").read_text()
    assert events.count('"artifact.add"') >= len(said["search"])
    assert len(said["history"][0]["leaves"]) == len(said["verify-history"][0]["leaves"]) > 0


def test_the_originals_short_flags_and_endpoints_answer(demo):
    follower = node(demo, "follower")

    assert pyrsia("-s", "--node", follower["data"]).stdout.count("Connected Peers Count:") == 1
    assert len(pyrsia("-l", "--node", follower["data"]).stdout.splitlines()) >= 3
    assert get(f"{follower['http']}/status")["peers_count"] >= 3
    assert len(get(f"{follower['http']}/peers")) >= 3


def test_the_dashboard_prints_one_picture_as_text(demo):
    done = pyrsia("dashboard", "--once", "--node", node(demo, "follower")["data"])

    assert done.returncode == 0, done.stderr
    for fact in ("LOG", "PEERS", "BUILDS", "amber", "pyrsia-sample"):
        assert fact in done.stdout


def test_an_unknown_package_is_refused_with_what_to_do(demo):
    done = pyrsia("build", "request", "no-such-package-here==9", "--node", node(demo, "follower")["data"])

    assert done.returncode == 1
    assert "no-such-package-here" in done.stderr
    assert "do:" in done.stderr


def test_an_unknown_version_is_refused_by_name(demo):
    done = pyrsia("build", "request", "pyrsia-sample==99", "--node", node(demo, "follower")["data"])

    assert done.returncode == 1
    assert "99" in done.stderr


def test_a_node_on_a_taken_port_says_which_and_exits_1(demo, tmp_path):
    follower = node(demo, "follower")
    port = int(follower["http"].rsplit(":", 1)[1])
    shutil.copytree(
        follower["data"], tmp_path / "copy", ignore=shutil.ignore_patterns("db", "*.sock", "blobs", "LOCK*")
    )
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", "node", "run", "--data", str(tmp_path / "copy")],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ
        | {"PYRSIA_HTTP__PORT": str(port)}
        | {f"PYRSIA_NET__{name}_PORT": "0" for name in ("CONTROL", "DATA", "BROADCAST")},
        check=False,
    )

    assert done.returncode == 1
    assert str(port) in done.stderr


def test_a_data_directory_in_use_is_refused(demo):
    follower = node(demo, "follower")
    done = pyrsia("node", "run", "--data", follower["data"])

    assert done.returncode == 1
    assert f"in use by process {follower['pid']}" in done.stderr


def test_a_data_directory_of_another_network_is_refused(demo, tmp_path):
    data = tmp_path / "d"
    skipped = shutil.ignore_patterns("db", "*.sock", "blobs", "node.lock")
    shutil.copytree(node(demo, "follower")["data"], data, ignore=skipped)
    (data / "network").write_text("another\n")

    done = pyrsia("node", "run", "--data", str(data))

    assert done.returncode == 1
    assert "another network" in done.stderr


@pytest.mark.parametrize(
    "junk", [b"\x00" * 64, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 200]
)
def test_garbage_on_every_socket_stops_no_node(demo, junk):
    for one in demo["nodes"]:
        process = psutil.Process(one["pid"])
        ports = {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        assert len(ports) >= 3
        for port in ports:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
                stranger.sendall(junk)

    assert all(status(one)["log"]["size"] > 0 for one in demo["nodes"])


def test_ctrl_c_stops_every_node_within_three_seconds(demo):
    """Last in the module: it ends the demo."""
    pids = [one["pid"] for one in demo["nodes"]]
    process = demo["process"]

    process.send_signal(signal.SIGINT)
    wait_for(lambda: ended(pids), slowed(STOP_S), "nodes outlived the demo")

    results = Path(demo["trust"]).parent
    assert process.wait(10) == 0
    assert json.loads(demo["report"].read_bytes())["ok"]
    assert sorted(path.name for path in results.parent.iterdir()) == [results.name]
    assert Path(demo["wheel"]).exists()
    shutil.rmtree(results.parent, ignore_errors=True)
