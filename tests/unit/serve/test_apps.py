"""Package pages, files, log tiles and the API of a toy node, asked as clients ask."""

import ast
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from pyrsia import status
from pyrsia.errors import ANSWERS, Malformed, Refusal
from pyrsia.ledger import entries
from pyrsia.serve.api.app import ROUTES, openapi
from pyrsia.serve.log import parse_tile
from pyrsia.serve.pypi import HTML, JSON, PLAIN_HTML, negotiate, normalise
from pyrsia.units import MAX_SUBMIT_BYTES
from tests.unit.serve.toy import MOTION, NODE, REQUEST, TOKEN, ToyNode, dial, say, serving, toy_app, toy_wheel

BEARER = {"authorization": f"Bearer {TOKEN}"}
IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    return ToyNode(tmp_path)


@asynccontextmanager
async def asking(node: ToyNode, **guard: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(toy_app(node, **guard)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            yield client


# -- names and negotiation --


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("idna", "idna"),
        ("Foo_Bar", "foo-bar"),
        ("a.-_b", "a-b"),
        ("A", "a"),
        ("", None),
        ("-a", None),
        ("a-", None),
        ("a b", None),
        ("ü", None),
        ("\u212aa", None),  # the Kelvin sign lower-cases to k
        ("a\n", None),
        ("a" * 201, None),
    ],
)
def test_project_names_have_one_ascii_spelling(name: str, normal: str | None) -> None:
    assert normalise(name) == normal


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (b"", PLAIN_HTML),
        (b"*/*", PLAIN_HTML),
        (b"text/html", PLAIN_HTML),
        (b"text/*", PLAIN_HTML),
        (JSON.encode(), JSON),
        (HTML.encode(), HTML),
        (b"application/vnd.pypi.simple.latest+json", JSON),
        (f"{JSON}, {HTML}; q=0.1, text/html; q=0.01".encode(), JSON),  # pip
        (f"{JSON}, {HTML};q=0.2, text/html;q=0.01, */*".encode(), JSON),
        (f"{JSON};q=0.1, {HTML};q=0.9".encode(), HTML),
        (f"{JSON};q=0, text/html".encode(), PLAIN_HTML),
        (b"text/html,application/xhtml+xml,*/*;q=0.8", PLAIN_HTML),
        (b"application/json", None),
        (f"{JSON};q=0".encode(), None),
        (b"text/html;q=inf", None),
        (b"nonsense", None),
    ],
)
def test_the_form_follows_accept(accept: bytes, form: str | None) -> None:
    assert negotiate(accept) == form


# -- pages --


async def test_a_project_page_in_json_has_every_field_that_installers_read(node: ToyNode) -> None:
    file = node.publish("idna-3.10-py3-none-any.whl", b"wheel", b"METADATA", agreeing=("a", "b"))

    async with asking(node) as client:
        answer = await client.get("/pypi/simple/idna/", headers={"accept": JSON})

    assert answer.headers["content-type"] == JSON
    assert answer.headers["vary"] == "Accept"
    page = answer.json()
    assert page["meta"] == {"api-version": "1.4", "tracks": ["https://pypi.org/simple/idna/"]}
    assert page["project-status"] == {"status": "active"}
    assert answer.headers["x-pyrsia-verified"] == "yes"
    assert (page["name"], page["versions"]) == ("idna", ["3.10"])
    (entry,) = page["files"]
    private = entry.pop("_pyrsia")
    assert entry == {
        "filename": "idna-3.10-py3-none-any.whl",
        "url": f"../../files/{file.sha256}/idna-3.10-py3-none-any.whl",
        "hashes": {"sha256": file.sha256},
        "size": 5,
        "upload-time": "2023-11-14T22:13:20.123Z",
        "yanked": False,
        "core-metadata": {"sha256": file.metadata_sha256},
        "requires-python": ">=3.8",
    }
    assert (private["origin"], private["log-index"]) == ("network", 7)
    assert private["verdict"] == "REPRODUCED"
    assert private["agreeing"] == ["a", "b"]
    assert private["proof"].endswith(".whl.tlog-proof")


async def test_a_project_page_in_html_escapes_what_strangers_wrote(node: ToyNode) -> None:
    file = node.publish("idna-3.10-py3-none-any.whl", b"wheel", b"M", yanked='<b>"bad"</b>')

    async with asking(node) as client:
        answer = await client.get("/pypi/simple/idna/")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f'href="../../files/{file.sha256}/idna-3.10-py3-none-any.whl#sha256={file.sha256}"' in answer.text
    assert 'data-requires-python="&gt;=3.8"' in answer.text
    assert f'data-core-metadata="sha256={file.metadata_sha256}"' in answer.text
    assert 'data-yanked="&lt;b&gt;&quot;bad&quot;&lt;/b&gt;"' in answer.text
    assert '<meta name="pypi:repository-version" content="1.4">' in answer.text
    assert '<meta name="pypi:tracks" content="https://pypi.org/simple/idna/">' in answer.text


async def test_the_list_of_projects_in_both_forms(node: ToyNode) -> None:
    node.publish("b_b-1-py3-none-any.whl", b"1")
    node.publish("a-1-py3-none-any.whl", b"2")

    async with asking(node) as client:
        page = (await client.get("/pypi/simple/", headers={"accept": JSON})).json()
        text = (await client.get("/pypi/simple/", headers={"accept": HTML})).text

    assert page["projects"] == [{"name": "a"}, {"name": "b-b"}]
    assert '<a href="b-b/">b-b</a>' in text


@pytest.mark.parametrize(
    ("asked", "status_code", "leads_to"),
    [
        ("/pypi/simple", 301, "/pypi/simple/"),
        ("/pypi/simple/b-b", 301, "/pypi/simple/b-b/"),
        ("/pypi/simple/B_b", 301, "/pypi/simple/b-b/"),
        ("/pypi/simple/B..b/", 301, "/pypi/simple/b-b/"),
        ("/pypi/simple/absent/", 404, ""),
        ("/pypi/simple/%C3%BC/", 404, ""),
        ("/pypi/simple/..%2f..%2fetc/", 404, ""),
        ("/pypi/simple/b-b/extra", 404, ""),
        ("/pypi/", 404, ""),
        ("/pypi/nothing", 404, ""),
    ],
)
async def test_spellings_of_a_page_lead_to_one_or_nowhere(
    node: ToyNode, asked: str, status_code: int, leads_to: str
) -> None:
    node.publish("b_b-1-py3-none-any.whl", b"1")

    async with asking(node) as client:
        answer = await client.get(asked)
        assert answer.status_code == status_code
        if leads_to:
            assert answer.next_request is not None
            assert answer.next_request.url.path == leads_to
            assert (await client.send(answer.next_request)).status_code == 200


async def test_a_page_is_revalidated_by_etag_and_changes_with_the_log(node: ToyNode) -> None:
    node.publish("a-1-py3-none-any.whl", b"1")

    async with asking(node) as client:
        first = await client.get("/pypi/simple/a/")
        same = await client.get("/pypi/simple/a/", headers={"if-none-match": first.headers["etag"]})
        node.publish("a-2-py3-none-any.whl", b"2")
        newer = await client.get("/pypi/simple/a/", headers={"if-none-match": first.headers["etag"]})

    assert (same.status_code, same.content) == (304, b"")
    assert newer.status_code == 200
    assert "a-2-py3-none-any.whl" in newer.text


async def test_a_form_that_nobody_has_is_406_and_a_post_is_405(node: ToyNode) -> None:
    async with asking(node) as client:
        assert (await client.get("/pypi/simple/", headers={"accept": "image/png"})).status_code == 406
        posted = await client.post("/pypi/simple/", headers=BEARER)

    assert posted.status_code == 405
    assert posted.headers["allow"] == "GET, HEAD"


# -- files --


async def test_a_file_is_served_whole_in_part_and_not_again(node: ToyNode) -> None:
    data = os.urandom(70_000)
    file = node.publish("a-1-py3-none-any.whl", data)
    url = f"/pypi/files/{file.sha256}/{file.filename}"

    async with asking(node) as client:
        whole = await client.get(url)
        part = await client.get(url, headers={"range": "bytes=10-19"})
        tail = await client.get(url, headers={"range": "bytes=-500"})
        resumed = await client.get(url, headers={"range": "bytes=60000-", "if-range": f'"{file.sha256}"'})
        changed = await client.get(url, headers={"range": "bytes=60000-", "if-range": '"other"'})
        beyond = await client.get(url, headers={"range": "bytes=70000-"})
        head = await client.head(url, headers={"range": "bytes=10-19"})
        held = await client.get(url, headers={"if-none-match": f'"{file.sha256}"'})

    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["cache-control"] == IMMUTABLE
    assert whole.headers["etag"] == f'"{file.sha256}"'
    assert (part.status_code, part.content) == (206, data[10:20])
    assert part.headers["content-range"] == "bytes 10-19/70000"
    assert tail.content == data[-500:]
    assert (resumed.status_code, resumed.content) == (206, data[60_000:])
    assert (changed.status_code, changed.content) == (200, data)
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */70000")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "70000", b"")
    assert (held.status_code, held.content) == (304, b"")


async def test_metadata_and_proof_lie_beside_the_file(node: ToyNode) -> None:
    file = node.publish("a-1-py3-none-any.whl", b"wheel", b"Metadata-Version: 2.1\n")
    url = f"/pypi/files/{file.sha256}/{file.filename}"

    async with asking(node) as client:
        assert (await client.get(url + ".metadata")).content == b"Metadata-Version: 2.1\n"
        early = await client.get(url + ".tlog-proof")
        node.proofs[file.sha256] = b"c2sp.org/tlog-proof@v1\n"
        assert (await client.get(url + ".tlog-proof")).content == b"c2sp.org/tlog-proof@v1\n"
        node.metadatas[file.sha256] = b"altered"
        altered = await client.get(url + ".metadata")

    assert (early.status_code, early.json()["error"]["code"]) == (404, "no-proof")
    assert (altered.status_code, b"altered" in altered.content) == (503, False)
    assert file.metadata_sha256 in altered.json()["error"]["do"]


@pytest.mark.parametrize(
    "path",
    [
        "{other}/a-1-py3-none-any.whl",
        "{sha}/b-1-py3-none-any.whl",
        "{sha}/a-1-py3-none-any.whl.metadata",
        "{sha}/a-1-py3-none-any.whl.asc",
        "{upper}/a-1-py3-none-any.whl",
        "{sha}/",
        "{sha}",
        "../../etc/passwd",
        "{sha}/..%2f{sha}",
    ],
)
async def test_what_does_not_exist_is_a_404(node: ToyNode, path: str) -> None:
    file = node.publish("a-1-py3-none-any.whl", b"wheel")
    filled = path.format(sha=file.sha256, other="0" * 64, upper=file.sha256.upper())

    async with asking(node) as client:
        answer = await client.get(f"/pypi/files/{filled}")

    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"code", "what", "who", "do"}


async def test_a_file_that_peers_hold_is_fetched_while_the_client_waits(node: ToyNode) -> None:
    file = node.publish("a-1-py3-none-any.whl", b"wheel")
    node.absent.add(file.sha256)
    node.arrive = trio.Event()
    url = f"/pypi/files/{file.sha256}/{file.filename}"

    async with asking(node) as client:
        assert (await client.head(url)).headers["content-length"] == "5"
        assert not node.fetching.is_set()
        async with trio.open_nursery() as nursery:
            answers: list[httpx.Response] = []

            async def get() -> None:
                answers.append(await client.get(url))

            nursery.start_soon(get)
            await node.fetching.wait()
            node.arrive.set()
        node.lost.add(file.sha256)
        lost = await client.get(url)

    assert answers[0].content == b"wheel"
    assert lost.status_code == 503
    assert lost.headers["retry-after"] == "5"
    assert "no peer has it" in lost.reason_phrase


async def test_a_client_that_leaves_ends_the_wait_for_its_file(node: ToyNode) -> None:
    file = node.publish("a-1-py3-none-any.whl", b"wheel")
    node.absent.add(file.sha256)
    node.arrive = trio.Event()

    async with serving(toy_app(node)) as server:
        stream = await dial(server)
        await stream.send_all(
            f"GET /pypi/files/{file.sha256}/{file.filename} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        await node.fetching.wait()
        await stream.aclose()
        while server.connections:
            await trio.lowlevel.checkpoint()

    assert node.fetch_cancelled


async def test_a_damaged_copy_is_never_a_whole_answer(node: ToyNode) -> None:
    file = node.publish("a-1-py3-none-any.whl", b"wheel")
    (node.folder / file.sha256).write_bytes(b"whee")
    gone = node.publish("b-1-py3-none-any.whl", b"other")
    (node.folder / gone.sha256).unlink()

    async with asking(node) as client:
        for bad in (file, gone):
            answer = await client.get(f"/pypi/files/{bad.sha256}/{bad.filename}")
            assert answer.status_code == 503
            assert answer.json()["error"]["who"] == "this node's disk"
            assert bad.sha256 in answer.json()["error"]["do"]
            assert "doctor" not in answer.json()["error"]["do"]  # it looks at the machine, not at blobs
        # What the refusal advises helps.
        (node.folder / file.sha256).write_bytes(b"wheel")
        assert (await client.get(f"/pypi/files/{file.sha256}/{file.filename}")).content == b"wheel"


@pytest.mark.clients
async def test_an_unchanged_pip_installs_with_dependencies(node: ToyNode, tmp_path: Path) -> None:
    for name, version, requires in (
        ("toyapp", "1.0", ("toylib>=2",)),
        ("toylib", "1.0", ()),
        ("toylib", "2.1", ()),
    ):
        node.publish(*toy_wheel(name, version, requires))
    target = tmp_path / "site"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    argv = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--no-input",
    ]

    async with serving(toy_app(node)) as server:
        done = await trio.run_process(
            [*argv, "--target", str(target), "--index-url", f"{server.url}/pypi/simple/", "ToyApp"],
            env={**clean, "PIP_CONFIG_FILE": "/dev/null"},
            check=False,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
        )

    assert done.returncode == 0, done.stdout.decode()
    assert (target / "toyapp.py").exists()
    assert "2.1" in (target / "toylib.py").read_text()


# -- the log --


@pytest.mark.parametrize(
    ("path", "parsed"),
    [
        ("tile/0/000", (0, 0, 256)),
        ("tile/0/001", (0, 1, 256)),
        ("tile/63/255", (63, 255, 256)),
        ("tile/1/x001/x234/067", (1, 1_234_067, 256)),
        ("tile/0/000.p/5", (0, 0, 5)),
        ("tile/0/x001/000.p/255", (0, 1000, 255)),
        ("tile/entries/000", (None, 0, 256)),
        ("tile/entries/x001/x234/067.p/1", (None, 1_234_067, 1)),
        ("tile/64/000", None),
        ("tile/00/000", None),
        ("tile/0/0", None),
        ("tile/0/1", None),
        ("tile/0/0000", None),
        ("tile/0/x000/001", None),
        ("tile/0/001/002", None),
        ("tile/0/000.p/0", None),
        ("tile/0/000.p/256", None),
        ("tile/0/000.p/05", None),
        ("tile/0/000.p", None),
        ("tile/0/000.p/", None),
        ("tile/0/x001", None),
        ("tile/data/000", None),
        ("tile/8/0/000", None),
        ("tile/0/٠٠١", None),
        ("tile/0/000\n", None),
        ("tile/-1/000", None),
    ],
)
def test_a_tile_has_exactly_one_address(path: str, parsed: tuple[int | None, int, int] | None) -> None:
    assert parse_tile(path) == parsed


async def test_the_log_is_served_bit_for_bit(node: ToyNode) -> None:
    async with asking(node) as client:
        checkpoint = await client.get("/log/checkpoint")
        held = await client.get("/log/checkpoint", headers={"if-none-match": checkpoint.headers["etag"]})
        tile = await client.get("/log/tile/2/x001/x234/067.p/7")
        full = await client.get("/log/tile/0/003")
        bundle = await client.get("/log/tile/entries/000.p/3")
        absent = await client.get("/log/tile/entries/001")
        nowhere = await client.get("/log/tile/0/1")
        genesis = await client.get("/log/genesis")
        node.note = None
        none_yet = await client.get("/log/checkpoint")

    assert checkpoint.content == b"toy/abc\n3\nAAAA\n\n"
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "no-cache"
    assert held.status_code == 304
    assert tile.content == bytes([2, 1_234_067 % 256]) * 16 * 7
    assert tile.headers["content-type"] == "application/octet-stream"
    for one in (tile, full, bundle):
        assert one.headers["cache-control"] == IMMUTABLE
    assert full.content == bytes([0, 3]) * 16 * 256
    assert bundle.content == b"\0\1x" * 3
    assert absent.status_code == nowhere.status_code == 404
    assert genesis.content == node.genesis()
    assert none_yet.status_code == 503


async def test_the_step_between_two_epochs_has_one_address(node: ToyNode) -> None:
    async with asking(node) as client:
        step = await client.get("/log/epochs/0")
        held = await client.get("/log/epochs/0", headers={"if-none-match": step.headers["etag"]})
        later = await client.get("/log/epochs/1")
        others = [await client.get(f"/log/epochs/{name}") for name in ("", "00", "-1", "x", "0/", "9" * 11)]
        posted = await client.post("/log/epochs/0")

    assert (step.status_code, step.content) == (200, b"step")
    assert step.headers["cache-control"] == "no-cache"  # another proof of the same end may take its place
    assert held.status_code == 304
    assert later.status_code == 404
    assert "epoch 1 has not ended" in later.text
    assert {one.status_code for one in others} == {404}
    assert posted.status_code in (401, 405)


# -- the API --


async def test_every_route_answers_what_its_type_says(node: ToyNode) -> None:
    file = node.publish("a-1-py3-none-any.whl", b"wheel")
    node.proofs[file.sha256] = b"proof\n"
    node.histories["pkg:pypi/a"] = b"pyrsia/history/v1\n"
    fill = {
        "{request}": REQUEST,
        "{sha256}": file.sha256,
        "{node}": NODE,
        "{motion}": MOTION.id,
        "{which}": "ci",
        "{leaf}": "7",
        "{number}": "1",
    }
    orders = {
        "/api/v1/tokens": b'{"scope":"push","name":"ci"}',
        "/api/v1/broadcasts": b'{"topic":"news/","text":"x"}',
        "/api/v1/messages": b'{"to":"v1","text":"x"}',
        "/api/v1/builds": b'{"ecosystem":"pip","name":"idna","version":"3.10"}',
        "/api/v1/facts": b'{"kind":"description","subject":"pkg:pypi/idna@3.10","text":"x"}',
        "/api/v1/entries": b'{"v":1}',
        "/api/v1/entries/batch": b'{"v":1}\n{"v":2}\n',
        "/api/v1/motions": b'{"motion":{"kind":"member.remove"}}',
        "/api/v1/keys/rotate": b'{"purposes":["vote"],"reason":"lost"}',
        "/api/v1/storage/pins": b'{"pattern":"pkg:pypi/a"}',
        "/api/v1/storage/unpin": b'{"pattern":"pkg:pypi/a"}',
        "/api/v1/storage/gc": b'{"dry":true}',
        "/api/v1/storage/scrub": b"{}",
        "/api/v1/drain": b'{"leave":true}',
        "/api/v1/facts/batch": b'{"facts":[{"kind":"licence","subject":"pkg:pypi/a"}]}',
        "/api/v1/facts/blob": b"a document",
        "/api/v1/audit": b'{"purls":["pkg:pypi/a@1"]}',
        "/api/v1/withdrawals": (
            b'{"purl":"pkg:pypi/a@1","sha256":"%b","reason":"x","key":"%b","sig":"%b"}'
            % (b"ab" * 32, b"cd" * 32, b"ef" * 64)
        ),
        "/inspect/docker": b'{"image":"alpine:3.16"}',
        "/inspect/maven": b'{"gav":"g:a:1"}',
        "/authorized_node": b'{"peer_id":"' + NODE.encode() + b'"}',
    }
    asked = 0

    async with asking(node) as client:
        for row in ROUTES:
            path = row.path
            for name, value in fill.items():
                path = path.replace(name, value)
            params = {
                "prove": {"index": "5"},
                "history": {"of": "pkg:pypi/a"},
                "sources": {"file": "a-1.tar"},
                "packages": {"purl": "pkg:pypi/a"},
                "overview": {"purl": "pkg:pypi/a"},
                "check": {"purl": "pkg:pypi/a"},
                "facts": {"purl": "pkg:pypi/a"} if path == "/api/v1/policy/facts" else None,
            }.get(path.rpartition("/")[2])
            content = orders.get(row.path) if row.method == "POST" else None
            answer = await client.request(row.method, path, params=params, content=content, headers=BEARER)
            assert answer.status_code == row.status, (row.path, answer.text)
            assert answer.headers["content-type"] == row.media
            if row.answer is not bytes:
                msgspec.json.decode(answer.content, type=row.answer)
            asked += 1

    assert asked == len(ROUTES) > 30
    assert [change[0] for change in node.changes] == [
        *("ping", "build", "source", "cancel", "prefer"),
        *("propose", "approve", "rotate", "authorize", "withdraw", "fact", "entry", "entries"),
    ]
    assert node.changes[-1][1:] == (b'{"v":1}', b'{"v":2}')


async def test_the_original_s_answers_keep_their_shape(node: ToyNode) -> None:
    async with asking(node) as client:
        assert (await client.get("/status")).json() == {
            "peers_count": 1,
            "peer_id": NODE,
            "peer_addrs": ["tcp://127.0.0.1:44000"],
        }
        assert (await client.get("/peers")).json() == ["b" * 52]


async def test_the_log_s_entries_come_in_pages(node: ToyNode) -> None:
    async with asking(node) as client:
        newest = (await client.get("/api/v1/log/entries")).json()
        page = (await client.get("/api/v1/log/entries", params={"first": 0, "count": 100})).json()
        rest = (await client.get("/api/v1/log/entries", params={"first": page["next"], "count": 100})).json()
        beyond = (await client.get("/api/v1/log/entries", params={"first": 500})).json()

    assert (newest["first"], newest["next"]) == (70, -1)
    assert [entry["index"] for entry in page["entries"] + rest["entries"]] == list(range(120))
    assert (page["next"], rest["next"]) == (100, -1)
    assert (beyond["entries"], beyond["next"]) == ([], -1)


async def test_a_snapshot_is_what_the_dashboard_decodes(node: ToyNode) -> None:
    async with asking(node) as client:
        snapshot = status.decode((await client.get("/api/v1/snapshot")).content)

    assert snapshot.node.node_id == NODE
    assert len(snapshot.entries) == 50


async def test_readiness_fails_with_its_reasons(node: ToyNode) -> None:
    node.why_not = ("the log's head is 20 minutes old",)

    async with asking(node) as client:
        ready = await client.get("/readyz")
        healthy = await client.get("/healthz")

    assert (ready.status_code, ready.json()["why_not"]) == (503, ["the log's head is 20 minutes old"])
    assert healthy.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "content", "status_code", "code"),
    [
        ("GET", "/api/v1/nothing", b"", 404, "not-found"),
        ("GET", "/api/v1/status/", b"", 404, "not-found"),
        ("GET", "/nothing", b"", 404, "not-found"),
        ("DELETE", "/api/v1/status", b"", 405, "bad-request"),
        ("POST", "/", b"", 405, "bad-request"),
        ("GET", "/api/v1/builds/xyz", b"", 404, "not-found"),
        ("GET", "/api/v1/builds/" + "0" * 64, b"", 404, "not-found"),
        ("GET", "/api/v1/artifacts/" + "0" * 64, b"", 404, "not-found"),
        ("GET", "/api/v1/artifacts/" + "0" * 64 + "/proof", b"", 404, "no-proof"),
        ("GET", "/api/v1/log/prove", b"", 400, "bad-request"),
        ("GET", "/api/v1/log/prove?index=-1", b"", 400, "bad-request"),
        ("GET", "/api/v1/log/prove?index=%D9%A3", b"", 400, "bad-request"),
        ("GET", "/api/v1/log/prove?index=" + "9" * 5000, b"", 400, "bad-request"),
        ("GET", "/api/v1/log/prove?index=500", b"", 404, "not-found"),
        ("GET", "/api/v1/log/entries?first=x", b"", 400, "bad-request"),
        ("POST", "/api/v1/builds", b"", 400, "bad-request"),
        ("POST", "/api/v1/builds", b"[" * 60_000, 400, "bad-request"),
        ("POST", "/api/v1/builds", b'{"ecosystem":"pip"}', 400, "bad-request"),
        ("POST", "/api/v1/builds", b'{"ecosystem":"pip","name":"a","colour":1}', 400, "bad-request"),
        ("POST", "/api/v1/builds", b'{"ecosystem":"pip","name":"nothing"}', 404, "package-unknown"),
        ("POST", "/api/v1/entries", b"", 400, "bad-request"),
        ("POST", "/api/v1/entries", b"x" * 60_001, 413, "too-large"),
        ("POST", "/api/v1/entries", b"x" * 70_000, 413, "too-large"),
        ("POST", "/api/v1/entries/batch", b"", 400, "bad-request"),
        ("POST", "/api/v1/entries/batch", b"{}\n" * 257, 400, "bad-request"),
        ("POST", "/api/v1/entries/batch", b"x" * (MAX_SUBMIT_BYTES.value + 1), 413, "too-large"),
        ("POST", "/api/v1/peers/nobody/ping", b"", 400, "bad-request"),
        ("GET", "/api/v1/motions/" + "0" * 64, b"", 404, "not-found"),
        ("POST", "/api/v1/motions/xyz/approve", b"", 404, "not-found"),
        ("POST", "/api/v1/motions", b'{"motion":[]}', 400, "bad-request"),
        ("POST", "/api/v1/motions", b'{"motion":{},"colour":1}', 400, "bad-request"),
        ("POST", "/api/v1/keys/rotate", b'{"purposes":[],"reason":"x"}', 400, "bad-request"),
        ("POST", "/api/v1/keys/rotate", b'{"purposes":["vote"],"reason":""}', 400, "bad-request"),
        ("POST", "/authorized_node", b'{"peer_id":""}', 400, "bad-request"),
        ("POST", "/authorized_node", b"[" * 8_000, 400, "bad-request"),
    ],
)
async def test_every_no_says_what_who_and_what_to_do(
    node: ToyNode, method: str, path: str, content: bytes, status_code: int, code: str
) -> None:
    async with asking(node) as client:
        answer = await client.request(method, path, content=content, headers=BEARER)

    assert answer.status_code == status_code, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert all(error[field] for field in ("what", "who", "do"))
    assert node.changes == []


@pytest.mark.parametrize("code", sorted(ANSWERS))
async def test_every_refusal_code_is_told_over_http(
    node: ToyNode, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    refusal = Refusal(code, what="the lock is not the same", who="builder \x1b amber", do="ask again")

    async def refuse() -> None:
        raise refusal

    monkeypatch.setattr(node, "status", refuse)
    async with asking(node) as client:
        answer = await client.get("/api/v1/status")
        as_text = await client.get("/api/v1/status", headers={"accept": "text/plain"})

    assert answer.status_code == as_text.status_code == ANSWERS[code].http
    assert answer.reason_phrase == as_text.reason_phrase == "the lock is not the same"
    assert answer.json() == {"error": refusal.as_dict()}
    assert as_text.text == "the lock is not the same\nwho: builder \\x1b amber\ndo:  ask again\n"
    assert ("retry-after" in answer.headers) == (ANSWERS[code].http in (429, 503))


async def test_busy_says_when_there_will_be_room(node: ToyNode, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: bytes) -> None:
        raise Refusal("busy", what="full", who="load", do="send it again in 17 s", retry_s=17)

    monkeypatch.setattr(node, "submit_entry", refuse)
    async with asking(node) as client:
        answer = await client.post("/api/v1/entries", content=b"{}", headers=BEARER)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "17")
    assert answer.json()["error"]["retry_s"] == 17


async def test_a_name_that_no_project_has_is_not_advised_to_be_built(node: ToyNode) -> None:
    async with asking(node) as client:
        answer = await client.get("/pypi/simple/a%20b/")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "package-unknown")
    assert "pyrsia" not in answer.json()["error"]["do"]


async def test_a_person_with_a_browser_gets_a_refusal_as_text(node: ToyNode) -> None:
    async with asking(node) as client:
        answer = await client.get("/pypi/simple/absent/", headers={"accept": "text/html,*/*;q=0.8"})

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "do:  ask the network to build it: pyrsia build request absent" in answer.text
    assert answer.reason_phrase == "the log holds no package named 'absent'"


async def test_changes_over_tcp_need_the_token_and_a_rebound_name_reaches_nothing(node: ToyNode) -> None:
    order = {"ecosystem": "pip", "name": "idna"}
    async with asking(node) as client:
        bare = await client.post("/api/v1/builds", json=order)
        foreign = await client.post(
            "/api/v1/builds", json=order, headers={**BEARER, "origin": "http://evil.example"}
        )
        rebound = await client.get("/api/v1/status", headers={"host": "evil.example"})
        assert node.changes == []
        own = await client.post("/api/v1/builds", json=order, headers=BEARER)

    assert (bare.status_code, foreign.status_code) == (401, 403)
    assert bare.headers["www-authenticate"] == 'Basic realm="pyrsia"'
    assert (rebound.status_code, rebound.json()["error"]["code"]) == (421, "wrong-host")
    assert "access-control-allow-origin" not in own.headers
    asked = {"request": REQUEST, "purl": "pkg:pypi/idna@", "ecosystem": "", "known": False, "note": ""}
    assert (own.status_code, own.json()) == (202, {"requests": [asked], "plans": []})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/authorized_node", {"peer_id": NODE}),
        ("/api/v1/motions", {"motion": {"kind": "member.remove"}}),
        (f"/api/v1/motions/{MOTION.id}/approve", {}),
        ("/api/v1/keys/rotate", {"purposes": ["vote"], "reason": "x"}),
    ],
)
async def test_nobody_governs_without_the_token(node: ToyNode, path: str, body: dict[str, object]) -> None:
    async with asking(node) as client:
        bare = await client.post(path, json=body)
        wrong = await client.post(path, json=body, headers={"authorization": "Bearer guessed"})

    assert (bare.status_code, wrong.status_code) == (401, 401)
    assert node.changes == []


async def test_head_and_the_home_page(node: ToyNode) -> None:
    async with asking(node) as client:
        home = await client.get("/")
        head = await client.head("/api/v1/status")

    assert "pyrsia setup pip" in home.text
    assert (head.status_code, head.content) == (200, b"")


async def test_a_fault_of_the_node_is_a_500_that_tells_nothing(
    node: ToyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise KeyError("/secret/path")

    monkeypatch.setattr(node, "projects", broken)
    async with serving(toy_app(node)) as server:
        answer = await say(server, b"GET /pypi/simple/ HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer


def test_the_openapi_document_has_every_route_and_resolves_every_reference() -> None:
    document = openapi()
    found = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    text = msgspec.json.encode(document).decode()
    references = {part.partition('"')[0] for part in text.split('"$ref":"#/components/schemas/')[1:]}

    assert found == {(row.method, row.path) for row in ROUTES}
    assert references <= set(document["components"]["schemas"])
    assert len(references) >= 10
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))
    assert all(code in ANSWERS for row in ROUTES for code in row.refusals)


def test_the_openapi_document_names_every_no_that_ordering_a_build_may_get() -> None:
    answers = openapi()["paths"]["/api/v1/builds"]["post"]["responses"]
    named = {status: answer["description"] for status, answer in answers.items()}
    for code in (
        "package-unknown", "version-unknown", "no-sdist", "unresolvable", "index-unreachable", "no-sandbox",
        "unavailable", "build-failed", "bad-request", "forbidden", "too-few-builders", "digest-mismatch",
        "unauthenticated",
    ):  # fmt: skip
        assert code in named[str(ANSWERS[code].http)], code


@pytest.mark.parametrize("module", ["builds/pip/refusals.py", "builds/pip/index.py", "builds/pip/resolve.py",
                                    "builds/pip/config.py", "node/builds/requests.py", "node/log/submission.py",
                                    "node/builds/names.py"])  # fmt: skip
def test_the_openapi_document_names_what_planning_raises(module: str) -> None:
    (row,) = [row for row in ROUTES if (row.method, row.path) == ("POST", "/api/v1/builds")]
    tree = ast.parse((Path(status.__file__).parent / module).read_text())
    raised = {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "Refusal" and call.args
        if isinstance(call.args[0], ast.Constant)
    }
    assert raised
    assert raised <= set(row.refusals)


@pytest.mark.parametrize(("length", "fits"), [(300, True), (301, False)])
async def test_a_facts_subject_is_as_long_as_the_ledger_takes(node: ToyNode, length: int, fits: bool) -> None:
    order = {"kind": "description", "subject": "pkg:generic/".ljust(length, "x"), "text": "y"}
    async with asking(node) as client:
        answer = await client.post("/api/v1/facts", json=order, headers=BEARER)
    assert (answer.status_code == 200) is fits
    body = {**order, "valid_from": 1}
    if fits:
        entries.AUTHORED["fact.add"](body)
    else:
        with pytest.raises(Malformed):
            entries.AUTHORED["fact.add"](body)


def test_the_toy_wheel_is_what_its_digest_says() -> None:
    _, data, metadata = toy_wheel("a", "1")
    assert len(hashlib.sha256(data).digest()) == 32
    assert b"Name: a\n" in metadata


@pytest.mark.parametrize(
    "path",
    [
        "/pypi/simple/none/",
        "/maven2/org/none/none/1/none-1.pom",
        "/v2/none/manifests/1",
        "/conan/v2/conans/none/1.0/_/_/latest",
    ],
)
async def test_a_node_that_catches_up_says_not_yet_instead_of_not_here(node: ToyNode, path: str) -> None:
    async with asking(node) as client:
        surely = await client.get(path)
        node.judge.why_stale = "the log's head is 20 minutes old"
        alone = await client.get(path)  # nothing comes: a push begins with asking for what is not there
        node.publish("other-1.0-py3-none-any.whl", b"what came")
        behind = await client.get(path)
        page = await client.get("/packages/pkg:pypi/none")

    assert (surely.status_code, alone.status_code) == (404, 404)
    assert (behind.status_code, behind.headers["retry-after"]) == (503, "10")
    assert "20 minutes old" in behind.reason_phrase
    assert page.status_code == 404
