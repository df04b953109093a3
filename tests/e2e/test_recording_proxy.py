"""A hostile planning program in the sandbox: the recording proxy gives it what is configured, and nothing else."""

import hashlib
import json
from pathlib import Path

import pytest

from pyrsia.builds.outbound.proxy import RecordingProxy
from pyrsia.builds.outbound.settings import Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.builds.sandbox import Job, Mount
from pyrsia.builds.sandbox.model import EGRESS_PORT
from tests.e2e.sandbox_backends import WITH_WORLDS, make
from tests.unit.builds.outbound.upstream import serving

pytestmark = pytest.mark.builds

PLANNER = """
import http.client, json, os, socket, sys
port, upstream = int(sys.argv[1]), int(sys.argv[2])
def ask(method, target, body=None, **headers):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    link.putrequest(method, target, skip_host="host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        link.putheader(name, value)
    if body is not None:
        link.putheader("content-length", str(len(body)))
    link.endheaders(body)
    answer = link.getresponse()
    return answer.status, answer.read().decode("latin-1")
def dial(host, port):
    try:
        socket.create_connection((host, port), 5).close()
    except OSError as error:
        return type(error).__name__ + " " + str(error.strerror)
    return "reached"
open(os.path.expanduser("~/.m2-of-mine"), "w").write("written")
print(json.dumps({
    "given": ask("GET", "/central/a.jar")[1],
    "missing": ask("GET", "/central/none")[0],
    "up": ask("GET", "/central/../secret")[0],
    "hidden": ask("GET", "/central/%2e%2e/secret")[0],
    "open proxy": ask("GET", f"http://127.0.0.1:{upstream}/secret")[0],
    "tunnel": ask("CONNECT", f"127.0.0.1:{upstream}")[0],
    "told out": ask("POST", "/central/a.jar", b"a secret")[0],
    "told out in a name": ask("GET", "/central/a.jar?secret=of-mine")[0],
    "other host": ask("GET", "/central/a.jar", host="evil.example")[0],
    "other remote": ask("GET", "/elsewhere/a")[0],
    "upstream itself": dial("127.0.0.1", upstream),
    "metadata": dial("169.254.169.254", 80),
}))
"""


@pytest.fixture
def build(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    (tmp_path / "build").mkdir()
    return tmp_path / "build"


@pytest.mark.parametrize("backend", WITH_WORLDS)
async def test_a_hostile_planner_is_given_what_is_configured_and_reaches_nothing_else(
    backend: str, build: Path, tmp_path: Path
):
    sandbox = make(backend)
    async with serving() as upstream:
        upstream.page("/repo/a.jar", b"a jar")
        upstream.page("/secret", b"of the host")
        web = Web(Outbound(netrc=False).configured([upstream.url]))
        async with web, RecordingProxy(web, {"central": f"{upstream.url}/repo"}, tmp_path / "cache") as proxy:
            argv = (sandbox.python()[0], "-c", PLANNER, str(EGRESS_PORT), str(upstream.port))
            mounts = (Mount(build, "/build", writable=True),)
            outcome = await sandbox.run(Job(argv, mounts=mounts, egress=proxy.socket))

    assert outcome.good, outcome
    seen = json.loads(outcome.log)
    assert seen.pop("upstream itself").startswith("ConnectionRefusedError")
    assert seen.pop("metadata") != "reached"
    assert seen == {
        "given": "a jar",
        "missing": 404,
        "up": 403,
        "hidden": 403,
        "open proxy": 403,
        "tunnel": 405,
        "told out": 403,
        "told out in a name": 404,
        "other host": 421,
        "other remote": 403,
    }
    assert [(one.path, one.sha256) for one in proxy.record] == [
        ("a.jar", hashlib.sha256(b"a jar").hexdigest())
    ]
    assert {target for _, target, _, _ in upstream.asked} == {
        "/repo/a.jar",
        "/repo/none",
        "/repo/a.jar?secret=of-mine",
    }
    assert not (Path.home() / ".m2-of-mine").exists()
