"""Requests that no client makes: each has an answer of the specification, and nothing of it is stored or fetched."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.node.packages.local import LocalPackages
from pyrsia.serve.http.connection import App, ClientGone

sys.path.insert(0, str(Path(__file__).parent))
from oci_toys import PUSHES, Images, ToyUpstream, digest, image_of, shelf, whole

from tests.reference.waiting import bounded

CODES = {
    *(
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
    ),
    *("MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED"),
    *("DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"),
}
GOOD = digest(b"x")
PARTS = st.sampled_from(
    [
        *(
            "",
            ".",
            "..",
            "%00",
            "app",
            "library",
            "docker.io",
            "ghcr.io",
            "a" * 130,
            "A",
            "manifests",
            "blobs",
            "tags",
        ),
        *(
            "list",
            "referrers",
            "uploads",
            "_catalog",
            "_token",
            "1",
            GOOD,
            "sha256:short",
            "sha512:" + "0" * 128,
        ),
        *(
            "sha256:" + "G" * 64,
            "\x1b[31m",
            "\u202e",
            "ünïcode",
            "a/../b",
            "-",
            "sha256-" + "0" * 64 + ".att",
        ),
    ]
)
QUERIES = st.sampled_from(
    [
        *(
            "",
            "n=1",
            "n=-1",
            "n=99999999999",
            "n=x&last=%ff",
            "last=" + "z" * 200,
            "ns=169.254.169.254",
            "ns=%00",
        ),
        *(
            "ns=docker.io",
            "digest=" + GOOD,
            "digest=sha256%3Ax",
            "mount=" + GOOD,
            f"mount={GOOD}&from=..%2f..",
            "mount=x",
        ),
        *(
            "digest-algorithm=md5",
            "artifactType=%0d%0aX:%20y",
            "tag=../x",
            "tag=1",
            "&".join(["tag=t"] * 70),
            "%",
            "=&=",
        ),
    ]
)
HEADERS = st.sampled_from(
    [
        *(
            (),
            ((b"range", b"bytes=9-1"),),
            ((b"range", b"bytes=99999999999999999999-"),),
            ((b"accept", b"*/*;q=nonsense"),),
        ),
        *(
            ((b"content-range", b"5-1"),),
            ((b"content-range", b"0-99999999999999999"),),
            ((b"content-range", b"\xff"),),
        ),
        *(
            ((b"content-type", b"text/html\xff"),),
            ((b"if-none-match", b'"' * 9),),
            ((b"content-length", b"-1"),),
        ),
    ]
)
NAMES = st.sampled_from(
    ["app", "mine/app", "library/app", "ghcr.io/a", "docker.io/x/../y", "APP", "a//b", "n" * 300]
)
KINDS = st.sampled_from(["manifests", "blobs", "referrers", "tags", "blobs/uploads"])
PATHS = st.one_of(st.lists(PARTS, max_size=6).map("/".join), st.tuples(NAMES, KINDS, PARTS).map("/".join))
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "BREW"])
BODIES = st.sampled_from([b"", b"{}", b"x", b'{"schemaVersion":2}', b"\xff" * 64, image_of(b"c", b"l")])


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPackages]:
    with shelf(tmp_path_factory.mktemp("shelf")) as found:
        yield found


@pytest.fixture(scope="module")
def node_of(local: LocalPackages, tmp_path_factory: pytest.TempPathFactory) -> tuple[App, ToyUpstream]:
    """A node that holds `app`, and an upstream that it must not ask."""
    folder = tmp_path_factory.mktemp("node")
    node, upstream = Images(folder), ToyUpstream(folder, allowed=())
    node.image("app", "1")
    return whole(node, local, upstream), upstream


class Asked:
    """One request straight into the application; `gone`: the client leaves after its first bytes."""

    def __init__(
        self, method: str, path: str, query: str, headers: tuple[tuple[bytes, bytes], ...], body: bytes
    ):
        host = (b"host", b"localhost")
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode("latin-1"),
            "headers": [host, *headers],
            "client": ("127.0.0.1", 5),
        }
        self.body, self.gone = body, False
        self.told: list[dict[str, Any]] = []
        self._sent = False

    async def receive(self) -> dict[str, Any]:
        if self._sent:
            if not self.gone:
                await trio.sleep_forever()
            return {"type": "http.disconnect"}
        self._sent = True
        return {"type": "http.request", "body": self.body, "more_body": self.gone}

    async def send(self, event: Any) -> None:
        self.told.append(event)

    @property
    def status(self) -> int:
        return int(self.told[0]["status"])

    @property
    def answer(self) -> bytes:
        return b"".join(event.get("body", b"") for event in self.told[1:])


@given(METHODS, PATHS, QUERIES, HEADERS, BODIES, st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_asked_has_an_answer_of_the_specification(
    local: LocalPackages,
    node_of: tuple[App, ToyUpstream],
    method: str,
    path: str,
    query: str,
    headers: tuple[tuple[bytes, bytes], ...],
    body: bytes,
    token: bool,
):
    app, upstream = node_of
    sent = ((b"authorization", b"Bearer " + PUSHES.encode()),) if token else ()
    asked = Asked(method, "/v2/" + path, query, (*headers, *sent), body)

    async def ask() -> None:
        with bounded():
            await app(asked.scope, asked.receive, asked.send)

    trio.run(ask)
    assert 200 <= asked.status < 500
    for name, value in asked.told[0]["headers"]:
        assert b"\r" not in value
        assert b"\n" not in value
        assert name == name.lower()
    if asked.status >= 400 and asked.answer:
        (row,) = msgspec.json.decode(asked.answer)["errors"]
        assert row["code"] in CODES
        assert "\x1b" not in row["message"]
    if not token:
        assert method not in ("PUT", "POST", "PATCH", "DELETE") or asked.status >= 400
    assert upstream.asked == []
    for package in local.packages("pkg:"):  # what a token may store was stored under its own digest
        for kept in local.rows(package, "blobs/"):
            algorithm, _, announced = kept.key.removeprefix("blobs/").partition(":")
            place = local.path(kept.sha256)
            assert place is not None
            assert hashlib.new(algorithm, place.read_bytes()).hexdigest() == announced


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("POST", "/v2/mine/app/blobs/uploads/", f"digest={GOOD}"),
        ("PUT", "/v2/mine/app/manifests/1", ""),
    ],
)
async def test_a_client_that_vanishes_in_a_body_leaves_nothing(
    local: LocalPackages, tmp_path: Path, method: str, path: str, query: str
):
    asked = Asked(method, path, query, ((b"authorization", b"Bearer " + PUSHES.encode()),), b"half of it")
    asked.gone = True
    with pytest.raises(ClientGone):
        await whole(Images(tmp_path), local)(asked.scope, asked.receive, asked.send)

    assert asked.told == []
    assert not local.owns("pkg:docker/mine/app")
    assert not [one for one in local._uploads.values() if one.package == "pkg:docker/mine/app"]
