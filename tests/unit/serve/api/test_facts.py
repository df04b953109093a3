"""The rows about facts: who may ask and say, what is refused before the node is asked, lines without an end."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from pyrsia.errors import Refusal
from pyrsia.serve.api.facts import AUDITS_HELD
from pyrsia.serve.app import LIMITS
from pyrsia.serve.desks.knowing import AsOf, FactOutcome, FactTold, WebhookRow
from pyrsia.serve.desks.tokens import TokenOrder
from pyrsia.serve.guard import Guard
from pyrsia.serve.http.connection import Scope
from pyrsia.serve.http.streaming import Stored
from pyrsia.units import MAX_API_ROWS, MAX_AUDIT_BYTES, MAX_AUDITED, MAX_FACTS_BYTES, MAX_FACTS_TOLD
from tests.reference.waiting import until
from tests.unit.serve.talk import dial
from tests.unit.serve.toy import TOKEN, ToyNode, serving, toy_app
from tests.unit.serve.toyknowledge import Memory, row

CONTROL = {"authorization": f"Bearer {TOKEN}"}
FACTS, BATCH, AUDIT, FOLLOW = (
    "/api/v1/facts",
    "/api/v1/facts/batch",
    "/api/v1/audit",
    "/api/v1/facts/follow",
)


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    return ToyNode(tmp_path)


@pytest.fixture
async def client(node: ToyNode) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(toy_app(node), limits=LIMITS) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            yield client


async def test_a_page_of_facts_is_asked_for_as_it_was_written(
    node: ToyNode, client: httpx.AsyncClient
) -> None:
    query = "?of=pkg:pypi/idna@1.0&kind=advisory&as_of=12&first=3&count=7"
    answer = await client.get(FACTS + query)
    await client.get(FACTS + "?as_of_time=9")
    await client.get(FACTS + "?count=99999&first=0&order=newest")

    assert answer.status_code == 200
    assert [one["leaf"] for one in answer.json()["facts"]] == [3]
    assert node.knowledge.asked == [
        ("facts", "pkg:pypi/idna@1.0", AsOf(size=12), "advisory", 3, 7),
        ("newest", AsOf(time_ms=9), "", None, 50, ""),
        ("newest", AsOf(), "", 0, MAX_API_ROWS.value, "newest"),
    ]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("?off=x", "off"),
        ("?as_of=-1", "as_of"),
        ("?as_of=1&as_of=2", "twice"),
        ("?first=x", "first"),
        ("?order=up", "order"),
        ("?of=pkg:pypi/a&order=newest", "oldest"),
        ("?of=no%20purl", "package"),
    ],
)
async def test_a_question_that_is_none_is_refused_with_its_reason(
    client: httpx.AsyncClient, query: str, word: str
) -> None:
    answer = await client.get(FACTS + query)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["what"]


@pytest.mark.parametrize("scope", ["", "push", "read", "admin"])
async def test_who_reads_may_audit_and_only_the_operator_says_facts(
    node: ToyNode, client: httpx.AsyncClient, scope: str
) -> None:
    headers = {}
    if scope:
        made = await node.keyring.make(TokenOrder(scope, name="mine"))  # type: ignore[arg-type] # one of the three
        headers = {"authorization": f"Bearer {made.token}"}
    audit = await client.post(AUDIT, json={"purls": ["pkg:pypi/a@1"]}, headers=headers)
    said = await client.post(BATCH, json={"facts": [FACT]}, headers=headers)

    assert audit.status_code == 200
    assert audit.json()["rows"][0]["known"]["advisories"][0]["id"] == "CVE-1"
    assert said.status_code in ((200,) if scope == "admin" else (401, 403))
    assert [one[0] for one in node.knowledge.asked] == ["audit", *(["say"] if scope == "admin" else [])]


@pytest.mark.parametrize("scope", ["", "push", "read", "admin"])
async def test_only_the_operator_sees_the_webhooks(
    node: ToyNode, client: httpx.AsyncClient, scope: str
) -> None:
    hook = WebhookRow(
        "https://hooks.example/", ("advisory",), (), "high", True, "failing", 7, 3, 2, 9, "503", 0, 0
    )
    node.knowledge.hooks = (hook,)
    headers = {}
    if scope:
        made = await node.keyring.make(TokenOrder(scope, name="mine"))  # type: ignore[arg-type] # one of the three
        headers = {"authorization": f"Bearer {made.token}"}
    answer = await client.get("/api/v1/facts/webhooks", headers=headers)

    if scope == "admin":
        assert answer.json() == {"webhooks": [msgspec.json.decode(msgspec.json.encode(hook))]}
    else:
        assert answer.status_code in (401, 403)
        assert "hooks.example" not in answer.text


def _scope(path: str, method: str, *, client: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Scope:
    host = (b"host", b"localhost")
    return {
        "type": "http", "method": method, "path": path, "pyrsia.peer": "tcp", "scheme": "http",
        "client": (client, 5), "headers": [host, *headers],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "method", "code"),
    [
        (AUDIT, "POST", ""),
        (AUDIT, "PUT", "unauthenticated"),
        (AUDIT + "/", "POST", "unauthenticated"),
        (BATCH, "POST", "unauthenticated"),
    ],
)
def test_only_the_question_itself_is_let_through_as_one(path: str, method: str, code: str) -> None:
    guard = Guard(control_token="x")
    if not code:
        guard.check(_scope(path, method, client="127.0.0.1"))
        return
    with pytest.raises(Refusal) as caught:
        guard.check(_scope(path, method, client="127.0.0.1"))
    assert caught.value.code == code


def test_an_audit_from_elsewhere_needs_what_reading_needs() -> None:
    with pytest.raises(Refusal, match="reading this node"):
        Guard(control_token="x").check(_scope(AUDIT, "POST", client="192.0.2.7"))
    Guard(control_token="x", public=True).check(_scope(AUDIT, "POST", client="192.0.2.7"))


def test_a_web_page_of_another_site_asks_for_no_audit() -> None:
    foreign = ((b"origin", b"http://evil.example"),)
    with pytest.raises(Refusal, match="another site"):
        Guard(control_token="x").check(_scope(AUDIT, "POST", client="127.0.0.1", headers=foreign))


FACT = {"kind": "licence", "subject": "pkg:pypi/a", "text": "", "fields": {"expression": "MIT"}}


async def test_an_order_reaches_the_desk_and_each_row_has_its_outcome(
    node: ToyNode, client: httpx.AsyncClient
) -> None:
    node.knowledge.outcomes = [FactOutcome("same"), FactOutcome("refused", error={"code": "busy"})]
    answer = await client.post(BATCH, json={"facts": [FACT, {**FACT, "withdraw": True}]}, headers=CONTROL)

    assert answer.json()["outcomes"] == [
        {"outcome": "same", "leaf": -1, "error": None},
        {"outcome": "refused", "leaf": -1, "error": {"code": "busy"}},
    ]
    [(_, order)] = node.knowledge.asked
    told = FactTold("licence", "pkg:pypi/a", fields={"expression": "MIT"})
    assert order.facts == (
        told,
        FactTold("licence", "pkg:pypi/a", fields={"expression": "MIT"}, withdraw=True),
    )
    assert not order.dry_run


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (BATCH, b""),
        (BATCH, b'{"facts":[{"kind":"x"}]}'),
        (BATCH, json.dumps({"facts": [FACT] * (MAX_FACTS_TOLD.value + 1)}).encode()),
        (BATCH, json.dumps({"facts": [{**FACT, "more": 1}]}).encode()),
        (BATCH, b'{"facts":[' + b'{"fields":' * 5_000),
        (AUDIT, b'{"purls":[]}'),
        (AUDIT, b'{"purls":[""]}'),
        (AUDIT, json.dumps({"purls": ["pkg:pypi/a"] * (MAX_AUDITED.value + 1)}).encode()),
        (AUDIT, b'{"purls":["a"],"at":{"size":-1}}'),
    ],
)
async def test_an_order_out_of_bounds_never_reaches_the_desk(
    node: ToyNode, client: httpx.AsyncClient, path: str, body: bytes
) -> None:
    answer = await client.post(path, content=body, headers=CONTROL)
    assert (answer.status_code, node.knowledge.asked) == (400, [])


@pytest.mark.parametrize(("path", "most"), [(BATCH, MAX_FACTS_BYTES), (AUDIT, MAX_AUDIT_BYTES)])
async def test_a_body_that_is_too_long_is_refused_unread(
    node: ToyNode, client: httpx.AsyncClient, path: str, most: "object"
) -> None:
    size = most.value + 1  # type: ignore[attr-defined] # a Limit
    answer = await client.post(path, content=b" " * size, headers=CONTROL)
    assert (answer.status_code, node.knowledge.asked) == (413, [])


async def test_a_document_is_streamed_to_the_desk_and_only_by_the_operator(
    node: ToyNode, client: httpx.AsyncClient
) -> None:
    data = b"x" * 3_000_000
    assert (await client.post(f"{FACTS}/blob", content=data)).status_code == 401
    answer = await client.post(f"{FACTS}/blob", content=data, headers=CONTROL)
    assert (answer.status_code, answer.json()["size"]) == (201, len(data))
    assert node.knowledge.asked == [("keep", len(data))]


async def test_facts_come_as_lines(node: ToyNode, client: httpx.AsyncClient) -> None:
    node.knowledge.rows = [row(3), row(5, "licence")]
    async with client.stream("GET", FOLLOW + "?after=2&kind=vex&purl=pkg:pypi/*") as answer:
        lines = [json.loads(line) async for line in answer.aiter_lines() if line]

    assert answer.headers["content-type"] == "application/jsonl"
    assert [one["leaf"] for one in lines] == [3, 5]
    assert node.knowledge.asked == [("follow", 2, "vex", "pkg:pypi/*")]


async def test_what_cannot_be_followed_is_refused_before_the_first_line(client: httpx.AsyncClient) -> None:
    for query in ("?kind=nonsense", "?after=x", "?glob=x"):
        assert (await client.get(FOLLOW + query)).status_code == 400


async def test_who_follows_and_leaves_is_not_waited_for(node: ToyNode) -> None:
    node.knowledge.silent = True
    async with serving(toy_app(node), limits=LIMITS) as server:
        async with await dial(server) as stream:
            await stream.send_all(b"GET /api/v1/facts/follow HTTP/1.1\r\nhost: localhost\r\n\r\n")
            seen = b""
            while b'"leaf":3' not in seen:
                seen += await stream.receive_some()
        await until(lambda: not server.connections)
    assert b'"leaf":3' in seen


def test_the_app_takes_bodies_as_long_as_the_orders() -> None:
    routes = dict(LIMITS.body_routes)
    assert routes[BATCH] == MAX_FACTS_BYTES.value
    assert routes[AUDIT] == MAX_AUDIT_BYTES.value


async def test_the_document_of_a_fact_is_given_by_its_leaf(node: ToyNode, client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{FACTS}/blob/7")
    assert (answer.status_code, answer.content) == (200, b"a document")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["cache-control"] == "no-store"
    part = await client.get(f"{FACTS}/blob/7", headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"doc")
    assert (await client.head(f"{FACTS}/blob/7")).headers["content-length"] == "10"
    node.knowledge.asked.clear()
    for leaf in ("8", "-7", "x", "9" * 40, "\u0667"):
        assert (await client.get(f"{FACTS}/blob/{leaf}")).status_code == 404
    assert node.knowledge.asked == [("document", 8)]


async def test_a_document_goes_from_the_disk_and_is_never_held() -> None:
    """Whoever reads slowly costs a descriptor: no copy of 64 MB is kept for anybody."""
    file, sent = Memory(b"a document"), []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"method": "GET", "headers": [], "extensions": {"http.response.zerocopysend": {}}}
    await Stored(file, "application/octet-stream").send(scope, trio.sleep_forever, send)
    assert [one["type"] for one in sent] == ["http.response.start", "http.response.zerocopysend"]
    assert (sent[1]["offset"], sent[1]["count"]) == (0, 10)
    assert not file.path.exists()  # closed

    sent.clear()
    file = Memory(b"another")
    file.size = 8
    with pytest.raises(Refusal, match="its length on disk"):
        await Stored(file, "text/plain").send(scope, trio.sleep_forever, send)
    assert (sent, file.path.exists()) == ([], False)


async def test_audits_that_are_held_have_a_bound_and_end_with_who_asked(
    node: ToyNode, client: httpx.AsyncClient
) -> None:
    node.knowledge.slow = True
    order = {"purls": ["pkg:pypi/a@1"]}

    async def ask() -> None:
        await client.post(AUDIT, json=order)

    async with trio.open_nursery() as nursery:
        for _ in range(AUDITS_HELD.value):
            nursery.start_soon(ask)
        await until(lambda: node.knowledge.under_way == AUDITS_HELD.value)
        answer = await client.post(AUDIT, json=order)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "busy")
        assert int(answer.headers["retry-after"]) > 0
        assert (await client.get(FACTS)).status_code == 200
        nursery.cancel_scope.cancel()
    await until(lambda: node.knowledge.under_way == 0)
    node.knowledge.slow = False
    assert (await client.post(AUDIT, json=order)).status_code == 200
