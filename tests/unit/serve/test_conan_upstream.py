"""Conan packages of upstream's in the mode `proxy`: marked, read anew, and never mixed into what another owns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.conan import names
from pyrsia.builds.conan.names import Place
from pyrsia.errors import Refusal
from pyrsia.serve.conan import ConanApp
from pyrsia.serve.desks.supply import Document, NoLocal, Supply
from pyrsia.serve.desks.views import Refused
from tests.unit.serve.toy import ToyNode

RREV, PREV, PID = "a1" * 16, "b2" * 16, "c3" * 20
R = "v2/conans/zlib/1.3/_/_"
AT = f"{R}/revisions/{RREV}"
ROW = {"revision": RREV, "time": "2024-01-02T03:04:05.000+0000"}


@dataclass
class Bytes:
    path: Path
    size: int
    sha256: str = ""
    closed: bool = False

    async def ready(self, offset: int) -> int:
        await trio.lowlevel.checkpoint()
        return self.size

    def close(self) -> None:
        self.closed = True


@dataclass
class Upstream:
    """A remote of dicts; `asked` are the paths that reached it."""

    documents: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    mine: tuple[str, ...] = ("pkg:conan/secret",)
    asked: list[str] = field(default_factory=list)

    def takes(self, package: str) -> bool:
        return package not in self.mine

    async def document(
        self, package: str, path: str, *, accept: str = "", most: int = 8 << 20
    ) -> Document | None:
        assert self.takes(package)
        self.asked.append(path)
        data = self.documents.get(path)
        return None if data is None else Document(data, "application/json")

    async def file(self, package: str, path: str, *, sha256: str = "", sha512: str = "") -> Bytes | None:
        assert self.takes(package)
        self.asked.append(path)
        found = self.files.get(path)
        return None if found is None else Bytes(found, found.stat().st_size)

    def kept(self, package: str, path: str) -> Path | None:
        return None


class Owned(NoLocal):
    """A shelf on which one name stands, and nothing that Conan could show."""

    def owns(self, package: str) -> bool:
        return package in ("pkg:conan/ours", "pkg:conan/acme/mine")


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    file = tmp_path / "packed"
    file.write_bytes(b"upstream's bytes")
    whole = {
        f"{R}/latest": ROW,
        f"{R}/revisions": {"revisions": [ROW]},
        f"{AT}/files": {
            "files": {one: {} for one in (*names.RECIPE_FILES, "../../etc/x", "metadata/sign/a")}
        },
        f"{AT}/search?list_only=False": {PID: {"settings": {"os": "Linux"}, "secret": 1}, "nonsense": {}},
        f"{AT}/packages/{PID}/latest": {**ROW, "revision": PREV},
        "v2/conans/search?q=zlib%2F%2A": {"results": ["zlib/1.3", "zlib/1.2@_/_", "secret/1", "NO", 7]},
    }
    return Upstream(
        {path: json.dumps(value).encode() for path, value in whole.items()},
        {f"{AT}/packages/{PID}/revisions/{PREV}/files/conan_package.tgz": file},
    )


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    (tmp_path / "toy").mkdir()
    return ToyNode(tmp_path / "toy")


async def get(
    node: ToyNode, upstream: Upstream, path: str, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    address, _, query = path.partition("?")
    scope = {
        "type": "http", "method": method, "path": f"/conan/{address}", "query_string": query.encode(), "headers": [],
    }  # fmt: skip
    status, head, said = 0, {}, b""

    async def receive() -> Mapping[str, Any]:
        await trio.sleep_forever()
        raise AssertionError

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal status, said
        if message["type"] == "http.response.start":
            status = message["status"]
            head.update({name.decode(): text.decode() for name, text in message["headers"]})
        else:
            said += message.get("body", b"")

    await ConanApp(Supply(node, Owned(), upstream))(scope, receive, send)
    return status, head, said


def publish(node: ToyNode, version: str, *, refused: bool = False) -> None:
    """A whole recipe of zlib in the log."""
    for file in names.RECIPE_FILES:
        made = node.publish(f"{file}-{version}", f"{file} {version}".encode())
        row = replace(
            made, name="pkg:conan/zlib", purl=f"pkg:conan/zlib@{version}", version=version,
            filename=str(Place("d4" * 16, file)),
        )  # fmt: skip
        node.published[made.sha256] = row
        if refused:
            why = Refusal("denied", what="nobody may have it", who="policy.toml", do="ask")
            node.kept_back[made.sha256] = Refused(row, why)


async def test_upstreams_answers_are_read_anew_and_marked(node: ToyNode, upstream: Upstream):
    expected: dict[str, Any] = {
        f"{R}/latest": ROW,
        f"{R}/revisions": {"revisions": [ROW]},
        f"{AT}/files": {"files": {one: {} for one in (*names.RECIPE_FILES, "metadata/sign/a")}},
        f"{AT}/search?list_only=False": {PID: {"settings": {"os": "Linux"}}},
        f"{AT}/packages/{PID}/latest": {**ROW, "revision": PREV},
        "v2/conans/search?q=zlib/*": {"results": ["zlib/1.2", "zlib/1.3"]},
    }
    for path, value in expected.items():
        status, headers, body = await get(node, upstream, path)
        assert (status, json.loads(body)) == (200, value), path
        assert headers["x-pyrsia-verified"] == "no"
        assert headers["content-type"] == "application/json"


async def test_upstreams_files_are_marked(node: ToyNode, upstream: Upstream):
    path = f"{AT}/packages/{PID}/revisions/{PREV}/files/conan_package.tgz"

    status, headers, body = await get(node, upstream, path)

    assert (status, body, headers["content-length"]) == (200, b"upstream's bytes", "16")
    assert headers["x-pyrsia-verified"] == "no"
    assert (await get(node, upstream, f"{AT}/files/conanfile.py"))[0] == 404


async def test_a_version_that_the_log_holds_is_never_taken_from_upstream(node: ToyNode, upstream: Upstream):
    publish(node, "1.3")
    package = f"{AT}/packages/{PID}"

    status, headers, body = await get(node, upstream, f"{R}/latest")

    assert (status, json.loads(body)["revision"], headers["x-pyrsia-verified"]) == (200, "d4" * 16, "yes")
    for path in (f"{AT}/files", f"{package}/latest", f"{package}/revisions/{PREV}/files/conan_package.tgz"):
        assert (await get(node, upstream, path))[0] == 404
    assert upstream.asked == []


async def test_nor_is_one_that_the_policy_refuses(node: ToyNode, upstream: Upstream):
    publish(node, "1.3", refused=True)

    status, _, body = await get(node, upstream, f"{R}/latest")

    assert (status, body) == (403, b"nobody may have it; ask")
    assert upstream.asked == []


async def test_upstream_adds_versions_to_a_name_of_the_network(node: ToyNode, upstream: Upstream):
    publish(node, "1.2")

    status, headers, body = await get(node, upstream, f"{R}/latest")
    _, _, found = await get(node, upstream, "v2/conans/search?q=zlib/*")

    assert (status, json.loads(body), headers["x-pyrsia-verified"]) == (200, ROW, "no")
    assert json.loads(found) == {"results": ["zlib/1.2", "zlib/1.3"]}


async def test_a_name_that_was_pushed_here_is_not_asked_for(node: ToyNode, upstream: Upstream):
    status, _, _ = await get(node, upstream, "v2/conans/ours/1.0/_/_/latest")

    assert (status, upstream.asked) == (404, [])
    for pattern in ("ours", "ours/*", "ours/1.0", "mine/*@acme", "mine/*@acme/*"):
        await get(node, upstream, f"v2/conans/search?q={pattern}")
    assert upstream.asked == []


@pytest.mark.parametrize("code", ["denied", "index-unreachable"])
async def test_a_search_of_many_names_gives_what_there_is_and_one_of_one_name_says_why_it_cannot(
    node: ToyNode, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, code: str
):
    async def refuse(*_: Any, **__: Any) -> None:
        raise Refusal(code, what="upstream says nothing", who="upstream", do="wait")

    publish(node, "1.2")
    monkeypatch.setattr(upstream, "document", refuse)

    status, _, body = await get(node, upstream, "v2/conans/search?q=zl*")
    one, _, said = await get(node, upstream, "v2/conans/search?q=zlib/*")

    assert (status, json.loads(body)) == (200, {"results": ["zlib/1.2"]})
    assert (one, said) == (403 if code == "denied" else 502, b"upstream says nothing; wait")


@pytest.mark.parametrize(
    "path",
    [
        "v2/conans/secret/1.0/_/_/latest", "v2/conans/search?q=*", "v2/conans/search?q=secret/*",
        "v2/conans/search?q=z?ib/*", "v2/conans/search?q=zlib/*" + "x" * 300, "v2/conans/search?q=zl*b",
        f"{R}/revisions/..%2f/files", f"{R}/revisions/x?y/files", f"{AT}/files/../../x", f"{AT}/files/other",
        f"{R}/revisions/{RREV} /files", f"{AT}/packages/x/latest", f"{'b' * 51}a/{R}/latest",
    ],
)  # fmt: skip
async def test_what_upstream_need_not_know_it_is_not_asked(node: ToyNode, upstream: Upstream, path: str):
    status, _, _ = await get(node, upstream, path)

    assert status in (200, 404)
    assert upstream.asked == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    path=st.sampled_from(
        [
            f"{R}/latest",
            f"{R}/revisions",
            f"{AT}/files",
            f"{AT}/search?list_only=False",
            "v2/conans/search?q=zlib",
        ]
    ),
    said=st.binary(max_size=40)
    | _JSON.map(lambda one: json.dumps(one).encode())
    | st.sampled_from(["revision", "revisions", "files", "results", PID]).flatmap(
        lambda key: _JSON.map(lambda one: json.dumps({key: one, "time": one}).encode())
    ),
)
def test_whatever_upstream_says_the_answer_is_of_the_known_form_or_a_no(path: str, said: bytes):
    node, upstream = ToyNode(Path("/nonexistent")), Upstream({path: said})

    status, headers, body = trio.run(get, node, upstream, path)

    assert status in (200, 502)
    if status == 502:
        assert headers["content-type"] == "text/plain; charset=utf-8"
        return
    value = json.loads(body)
    assert isinstance(value, dict)
    for row in [value, *value.get("revisions", [])]:
        assert row.get("revision", RREV).isalnum()
    assert all(".." not in one for one in value.get("files", {}))
