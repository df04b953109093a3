"""Every door of a node's one port, knocked at with the same tricks: paths that climb, and bodies of a wrong type.

Nothing outside is given, nothing is stored, upstream is not asked, and each answer is a no in that door's own form.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrsia.node.packages.local import LocalPackages
from tests.unit.serve.oci_toys import PUSHES, Images, ToyUpstream, shelf, whole
from tests.unit.serve.talk import say, serving

SECRET = b"what lies beside the packages"
DIGEST = "ab" * 32
BASIC = b"authorization: Basic " + base64.b64encode(f"ci:{PUSHES}".encode()) + b"\r\n"
DOORS = (
    "/pypi/simple/", f"/pypi/files/{DIGEST}/", f"/pypi/local/acme/{DIGEST}/", f"/pypi/proxied/acme/{DIGEST}/",
    "/maven2/", "/maven2/org/acme/lib/1.0/", "/conan/v2/conans/", "/conan/v2/conans/zlib/1.3/_/_/revisions/1/files/",
    "/v2/", "/v2/app/manifests/", "/v2/app/blobs/", "/log/", "/log/tile/", "/log/tile/entries/", "/witness/",
    "/builds/", "/packages/", "/entries/", "/static/", "/api/v1/", "/api/v1/artifacts/", "/api/v1/builds/", "/",
)  # fmt: skip
CLIMBS = (
    "../secret", "../../secret", "../../../../../../secret", "..%2fsecret", "..%2F..%2Fsecret", "%2e%2e/secret",
    "%2e%2e%2f%2e%2e%2fsecret", "..%5c..%5csecret", "....//secret", ".//../secret", "x/../../secret",
    "%252e%252e/secret",
    "..%00/secret", "%c0%ae%c0%ae/secret", "/secret", "//secret", "file:///secret",
)  # fmt: skip


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalPackages]:
    with shelf(tmp_path / "data") as found:
        yield found


@pytest.fixture
def node(tmp_path: Path) -> Images:
    (tmp_path / "data").mkdir(exist_ok=True)
    blobs = tmp_path / "data" / "blobs"
    blobs.mkdir()
    for folder in (tmp_path, tmp_path / "data", blobs):
        (folder / "secret").write_bytes(SECRET)
    found = Images(blobs)
    found.image("app", "1")
    return found


def everything(folder: Path) -> dict[str, bytes]:
    """What lies below it, but for the database's own files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "database" not in path.parts
    }


@pytest.mark.parametrize("door", DOORS)
async def test_no_path_climbs_out_of_a_door(
    node: Images, local: LocalPackages, tmp_path: Path, door: str
) -> None:
    upstream = ToyUpstream(tmp_path, allowed=("pkg:",))
    before = everything(tmp_path)
    answers: dict[str, bytes] = {}
    async with serving(whole(node, local, upstream)) as server:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            for climb in CLIMBS:
                head = f"{method} {door}{climb} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n".encode()
                body = b"content-length: 1\r\n\r\nx" if method == "PUT" else b"\r\n"
                answers[f"{method} {climb}"] = await say(server, head + BASIC + body)

    assert [asked for asked, answer in answers.items() if SECRET in answer] == []
    assert [asked for asked, answer in answers.items() if not 400 <= int(answer[9:12] or b"0") < 500] == []
    assert [
        path for path in upstream.asked if ".." in path or "%" in path or "secret" in path.split("/")[:1]
    ] == []
    assert everything(tmp_path) == before


TYPES = (
    b"", b"text/html", b"application/x-www-form-urlencoded", b"multipart/form-data", b"multipart/form-data; boundary=",
    b"application/json; charset=utf-16", b"image/png", b"x", b"\xff/\xff", b"a/b, c/d",
    b"multipart/form-data; boundary=" + b"b" * 300,
)  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/pypi/legacy/"),
        ("PUT", "/v2/mine/app/manifests/1"),
        ("PUT", "/conan/v2/conans/x/1/_/_/revisions/1"),
    ],
)
async def test_a_body_of_a_wrong_type_is_refused_and_leaves_nothing(
    node: Images, local: LocalPackages, tmp_path: Path, method: str, path: str, kind: bytes
) -> None:
    before = everything(tmp_path)
    typed = b"content-type: " + kind + b"\r\n" if kind else b""
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 7\r\n".encode()
    )
    async with serving(whole(node, local)) as server:
        answer = await say(server, head + BASIC + typed + b'\r\n{"a":1}')

    assert 400 <= int(answer[9:12]) < 500, answer
    assert everything(tmp_path) == before
    assert list(local.packages("pkg:")) == []
