"""The server on a job's loopback: the lock, and nothing but the lock."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrsia.builds.conan import desk, names
from pyrsia.builds.conan.names import Place, Ref

RREV, PREV, PID = "a1" * 16, "b2" * 16, "c3" * 20
ZLIB = Ref("zlib", "1.3")
SHA256 = "d" * 64


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    files = {}
    places = [Place(RREV, name) for name in names.RECIPE_FILES]
    for place in [*places, *(Place(RREV, name, PID, PREV) for name in names.PACKAGE_FILES)]:
        path = tmp_path / str(place)
        path.write_text(f"this is {place.file}")
        files[str(place)] = path
    (tmp_path / "source").write_bytes(b"code")
    server = desk.serve(desk.Stock({ZLIB: files}, {SHA256: tmp_path / "source"}), 0)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def get(url: str) -> tuple[int, bytes, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the desk's own
            return answer.status, answer.read(), answer.headers["content-type"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers["content-type"]


def test_it_is_a_remote_that_has_the_lock(base: str):
    r = f"{base}/locked/v2/conans/zlib/1.3/_/_"

    assert get(f"{base}/locked/v1/ping")[0] == 200
    status, body, kind = get(f"{r}/latest")
    assert (status, kind) == (200, "application/json")
    found = json.loads(body)
    assert found["revision"] == RREV
    assert not found["time"].startswith("1970")  # which Conan would take for no time at all
    assert get(f"{r}/revisions/{RREV}/files/conanfile.py")[1] == b"this is conanfile.py"
    settings = json.loads(get(f"{r}/revisions/{RREV}/search")[1])
    assert settings == {PID: {"content": "this is conaninfo.txt"}}


def test_it_gives_sources_by_digest_with_the_record_that_conan_asks_for(base: str):
    assert get(f"{base}/sources/{SHA256}")[:2] == (200, b"code")
    assert json.loads(get(f"{base}/sources/{SHA256}.json")[1]) == {"references": {}, "timestamp": 0}


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/locked/v2/conans/other/1/_/_/latest", "/sources/" + "e" * 64, "/sources/../source"),
        *(f"/other/{SHA256}", "/locked/../source", "/sources/%2e%2e/source"),
    ],
)
def test_it_has_nothing_else(base: str, path: str):
    assert get(base + path)[0] == 404
