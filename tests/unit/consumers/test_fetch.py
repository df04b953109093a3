"""A download that is cut goes on where it ended; the digest decides, whatever was here before."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pyrsia.client import Client
from pyrsia.consumers import fetching
from pyrsia.errors import Refusal
from tests.reference.fakenode import FakeNode
from tests.unit.cli.conftest import home as home
from tests.unit.cli.conftest import pyrsia as pyrsia

DATA = bytes(range(256)) * 4_000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Cutting:
    """Serves DATA, at most `step` bytes a connection; `parts`: whether it knows ranges. `asked`: the ranges."""

    def __init__(self, step, *, parts=True, data=DATA):
        self.asked = []
        cutting = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                told = self.headers.get("range", "bytes=0-")
                cutting.asked.append(told)
                start = int(told.removeprefix("bytes=").rstrip("-")) if parts else 0
                self.send_response(206 if parts and start else 200)
                self.send_header("content-length", str(len(data) - start))
                self.end_headers()
                self.wfile.write(data[start : start + step])
                self.close_connection = True

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self):
        self.thread.start()
        self.node = Client(f"http://127.0.0.1:{self.server.server_address[1]}")
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def fetched(server, folder):
    return fetching.fetch(server.node, "/x", folder / "a.whl", SHA256, len(DATA), lambda have, of: None)


def test_a_download_that_is_cut_goes_on_where_it_ended(out):
    with Cutting(300_000) as server:
        assert fetched(server, out)
        assert server.asked == ["bytes=0-", "bytes=300000-", "bytes=600000-", "bytes=900000-"]
        assert (out / "a.whl").read_bytes() == DATA
        assert not fetched(server, out)
    assert [one.name for one in out.iterdir()] == ["a.whl"]


def test_what_an_earlier_call_left_is_used_and_what_is_wrong_in_it_is_thrown_away(out):
    part = out / f".a.whl.{SHA256[:16]}.part"
    part.write_bytes(DATA[:1_000])
    with Cutting(len(DATA)) as server:
        assert fetched(server, out)
        assert server.asked == ["bytes=1000-"]
        (out / "a.whl").unlink()
        for wrong in (b"x" * 1_000, b"x" * len(DATA), b"x" * (len(DATA) + 1)):
            part.write_bytes(wrong)
            assert fetched(server, out)
            assert (out / "a.whl").read_bytes() == DATA
            (out / "a.whl").unlink()


def test_a_node_without_parts_begins_anew_and_is_not_asked_forever(out):
    with Cutting(len(DATA), parts=False) as server:
        (out / f".a.whl.{SHA256[:16]}.part").write_bytes(DATA[:1_000])
        assert fetched(server, out)
    with Cutting(1_000, parts=False) as server:
        (out / "a.whl").unlink()
        with pytest.raises(Refusal) as caught:
            fetched(server, out)
        assert caught.value.code == "not-running"
        assert len(server.asked) <= fetching.MAX_TRIES.value
    with Cutting(0) as server:
        with pytest.raises(Refusal):
            fetched(server, out)
        assert len(server.asked) == 1


def test_other_bytes_are_refused_and_nothing_of_them_stays(out):
    with Cutting(len(DATA), data=DATA[:-1] + b"x") as server:
        with pytest.raises(Refusal) as caught:
            fetched(server, out)
    assert caught.value.code == "digest-mismatch"
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("owner", ["local", "network", "", None])
def test_nobody_is_told_to_ask_the_network_for_what_was_pushed_here(pyrsia, owner):
    unknown = {
        "code": "package-unknown",
        "what": "no file",
        "who": "you",
        "do": "pyrsia build request pkg:pypi/acme-lib",
    }
    answers = {"/api/v1/packages": (404, {"error": unknown})}
    if owner is not None:  # None: a node that has no such address
        answers["/api/v1/policy/facts"] = (200, {"owner": owner, "now_ms": 1, "head_age_ms": 1, "files": []})
    with FakeNode(answers) as node:
        code, out, err = pyrsia("fetch", "pkg:pypi/acme-lib@1.0", "--node", node.url)

    assert code == 1
    assert out == ""
    assert ("build request" in err, "was pushed to this node" in err) == (owner != "local", owner == "local")
