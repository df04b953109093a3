"""The rows about broadcasts and messages: who may, what is refused before the node is asked, what is passed on."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from pyrsia.serve.app import LIMITS
from pyrsia.serve.desks.messages import MAX_WAIT_S, MessageOrder
from pyrsia.serve.desks.tokens import TokenOrder
from pyrsia.units import MAX_API_ROWS, MAX_MAIL_BYTES
from tests.unit.serve.toy import TOKEN, ToyNode, serving, toy_app

CONTROL = {"authorization": f"Bearer {TOKEN}"}
ALL = MAX_API_ROWS.value


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    return ToyNode(tmp_path)


@pytest.fixture
async def client(node: ToyNode) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(toy_app(node)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            yield client


@pytest.mark.parametrize("scope", ["", "push", "read", "admin"])
async def test_only_the_operator_says_writes_and_reads_what_was_written(
    node: ToyNode, client: httpx.AsyncClient, scope: str
) -> None:
    headers = {}
    if scope:
        made = await node.keyring.make(TokenOrder(scope, name="mine"))  # type: ignore[arg-type] # one of the three
        headers = {"authorization": f"Bearer {made.token}"}

    codes = [
        (await client.request(method, path, json=body, headers=headers)).status_code
        for method, path, body in (
            ("POST", "/api/v1/broadcasts", {"topic": "news/", "text": "x"}),
            ("POST", "/api/v1/messages", {"to": "v1", "text": "x"}),
            ("POST", "/api/v1/messages/1/delete", {}),
            ("POST", "/api/v1/messages/sent/1/delete", {}),
            ("GET", "/api/v1/messages", None),
            ("GET", "/api/v1/messages/sent", None),
        )
    ]
    heard = await client.get("/api/v1/broadcasts", headers=headers)

    if scope == "admin":
        assert codes == [201, 201, 200, 200, 200, 200]
    else:
        assert set(codes) <= {401, 403}
        assert [ask[0] for ask in node.mailroom.asked] == ["heard"]
    assert heard.status_code == 200  # what was said to everybody is read like the log


async def test_an_order_reaches_the_desk_as_it_was_written(node: ToyNode, client: httpx.AsyncClient) -> None:
    order = {"to": "v1", "text": "a\u20ac\n", "seal": True, "keep": True, "expires_s": 90}
    assert (await client.post("/api/v1/messages", json=order, headers=CONTROL)).status_code == 201
    await client.post("/api/v1/broadcasts", json={"topic": "t/", "text": "\u202ex"}, headers=CONTROL)
    await client.get("/api/v1/messages?after=7&count=3&wait_s=2", headers=CONTROL)
    await client.get("/api/v1/broadcasts?topic=t/&after=9&wait_s=9999")

    assert node.mailroom.asked == [
        ("send", MessageOrder("v1", "a\u20ac\n", seal=True, keep=True, expires_s=90)),
        ("broadcast", "t/", "\u202ex"),
        ("inbox", 7, 3, 2),
        ("heard", "t/", 9, ALL, MAX_WAIT_S),
    ]


@pytest.mark.parametrize("letter", ["a", "\u20ac", "\U0001f600", "\x01"])
@pytest.mark.parametrize("ascii_only", [False, True])
async def test_the_longest_text_is_taken_in_every_alphabet_however_its_json_is_written(
    node: ToyNode, letter: str, ascii_only: bool
) -> None:
    text = letter * (MAX_MAIL_BYTES.value // len(letter.encode()))
    body = json.dumps({"to": "v1", "text": text}, ensure_ascii=ascii_only).encode()
    async with serving(toy_app(node), limits=LIMITS) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            answer = await client.post("/api/v1/messages", content=body, headers=CONTROL)
            over = await client.post("/api/v1/messages", content=b" " * 210_000, headers=CONTROL)
    assert answer.status_code == 201
    assert node.mailroom.asked == [("send", MessageOrder("v1", text))]
    assert over.status_code == 413


async def test_what_the_desk_refuses_is_told_with_its_reason(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/messages", json={"to": "away", "text": "x"}, headers=CONTROL)
    assert answer.status_code == 503
    assert answer.json()["error"]["do"] == "keep it"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/messages", {}),
        ("/api/v1/messages", {"to": "v1"}),
        ("/api/v1/messages", {"to": "v1", "text": ""}),
        ("/api/v1/messages", {"to": "", "text": "x"}),
        ("/api/v1/messages", {"to": "v1", "text": "x", "expires_s": 0}),
        ("/api/v1/messages", {"to": "v1", "text": "x", "expires_s": 2**60}),
        ("/api/v1/messages", {"to": "v1", "text": "x", "cc": "v2"}),
        ("/api/v1/broadcasts", {"topic": "t/"}),
        ("/api/v1/messages/none/delete", {}),
        ("/api/v1/messages/-1/delete", {}),
        ("/api/v1/messages/sent/99999999999999999999/delete", {}),
    ],
)
async def test_what_is_no_order_never_reaches_the_desk(
    node: ToyNode, client: httpx.AsyncClient, path: str, body: dict[str, object]
) -> None:
    answer = await client.post(path, json=body, headers=CONTROL)
    assert answer.status_code == 400
    assert node.mailroom.asked == []


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", b"\\ud800"])
async def test_text_that_is_no_text_is_a_bad_request(
    node: ToyNode, client: httpx.AsyncClient, text: bytes
) -> None:
    body = b'{"to":"v1","text":"' + text + b'"}'
    answer = await client.post("/api/v1/messages", content=body, headers=CONTROL)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")
    assert node.mailroom.asked == []


@pytest.mark.parametrize("query", ["after=x", "wait_s=-1", "count=1.5", "after=1&after=2", "nonsense=1"])
async def test_a_question_that_is_none_is_refused(
    node: ToyNode, client: httpx.AsyncClient, query: str
) -> None:
    for path in ("/api/v1/broadcasts", "/api/v1/messages"):
        assert (await client.get(f"{path}?{query}", headers=CONTROL)).status_code == 400
    assert node.mailroom.asked == []
