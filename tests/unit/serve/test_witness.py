"""The witness protocol as clients speak it: status, body and content type of every answer, and its bounds."""

import contextlib
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pyrsia import keys
from pyrsia.config import WitnessSection
from pyrsia.log import note
from pyrsia.log.note import SignedNote, VerifierKey
from pyrsia.node.witness.witnessing import Witnessing, open_witnessing
from pyrsia.serve.app import build_app
from pyrsia.serve.desks.supply import of_log
from pyrsia.serve.guard import Guard
from pyrsia.status import EvidenceRow, WitnessStatus
from pyrsia.store.rocks import Database
from pyrsia.units import MAX_WITNESS_REQUEST_BYTES
from tests.reference.toylog import ORIGIN, ToyLog
from tests.unit.serve.toy import TOKEN, ToyNode, dial, read_to_end, say, serving, toy_app

LOG = ToyLog()
HASH = hashlib.sha256(ORIGIN.encode()).hexdigest()
ADD = "/witness/add-checkpoint"


class Face:
    """A real witness as the view of a toy node."""

    def __init__(self, own: Witnessing) -> None:
        self.own = own

    async def add_checkpoint(self, body: bytes) -> bytes | int:
        return await self.own.add_checkpoint(body)

    def checkpoint(self, origin_hash: str) -> bytes | None:
        return self.own.checkpoint(origin_hash)

    def status(self) -> WitnessStatus:
        return WitnessStatus("toy", str(self.own.verifier), self.own.stopped, self.own.watched(), ())

    def evidence(self, origin_hash: str) -> tuple[str, Any] | None:
        return self.own.evidence(origin_hash)


@asynccontextmanager
async def witness(folder: Path, **guard: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Witnessing, Any]]:
    database = Database.open(folder / "db")
    (folder / "keys").mkdir()
    settings = WitnessSection(logs=(str(LOG.vkeys[0]),))
    own = open_witnessing(folder / "keys", settings, database, clock=lambda: 1_800_000_000.5, notices=[])
    assert own is not None
    toy = ToyNode(folder)
    app = build_app(
        guard=Guard(control_token=TOKEN, **guard),
        supply=of_log(toy),
        log_view=toy,
        admin=toy,
        witnessing=Face(own),
    )
    try:
        async with serving(app) as server:
            async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
                yield client, own, server
    finally:
        database.close()


async def test_a_whole_conversation_has_the_protocol_s_answers(tmp_path: Path) -> None:
    async with witness(tmp_path) as (client, own, _):
        assert (await client.get(f"/witness/{HASH}/checkpoint")).status_code == 404

        first = await client.post(ADD, content=LOG.request(0, 5).encode())
        assert first.status_code == 200
        # As the protocol suggests: the answer behind the checkpoint is a note that the witness signed.
        whole = SignedNote.parse(LOG.note(5).encode() + first.content)
        signers = note.verify_note(whole, [*LOG.vkeys, own.verifier], keys.verify)
        assert [one.time_s for one in signers] == [None, 1_800_000_000]

        stale = await client.post(ADD, content=LOG.request(0, 9).encode())
        assert (stale.status_code, stale.content) == (409, b"5\n")
        assert stale.headers["content-type"] == "text/x.tlog.size"

        for request, code in [
            (LOG.request(5, 9, proof=[]), 422),
            (LOG.request(5, 5, fork=1), 422),
            (LOG.request(9, 5, proof=[]), 400),
            (ToyLog(seed=200).request(5, 9), 403),
            (ToyLog("other.example").request(5, 9), 404),
        ]:
            answer = await client.post(ADD, content=request.encode())
            assert (answer.status_code, answer.headers["content-type"]) == (code, "application/json")
            assert set(answer.json()["error"]) == {"code", "what", "who", "do"}
        grown = await client.post(ADD, content=LOG.request(5, 9).encode())
        assert grown.status_code == 200

        served = await client.get(f"/witness/{HASH}/checkpoint")
        assert served.headers["content-type"] == "text/plain; charset=utf-8"
        assert served.content == LOG.note(9).encode() + grown.content
        again = await client.get(
            f"/witness/{HASH}/checkpoint", headers={"if-none-match": served.headers["etag"]}
        )
        assert again.status_code == 304


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"old 5",
        b"junk" * 1_000,
        LOG.request(0, 5).encode()[:-1],
        LOG.request(0, 5).encode().replace(b"old 0", b"old 00"),
        LOG.request(0, 5).encode().replace(b"old 0", b"old 9223372036854775808"),
        LOG.request(0, 5).encode().replace(b"\n", b"\r\n"),
        bytes(MAX_WITNESS_REQUEST_BYTES.value),
    ],
)
async def test_what_is_no_request_is_400(tmp_path: Path, body: bytes) -> None:
    async with witness(tmp_path) as (client, own, _):
        answer = await client.post(ADD, content=body)
        assert answer.status_code == 400
        assert own.watched()[0].size == -1


async def test_ten_megabytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    async with witness(tmp_path) as (client, _, server):
        head = f"POST {ADD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n".encode()
        stream = await dial(server)
        async with stream:
            await stream.send_all(head)  # and not one byte of the body
            answer = await read_to_end(stream)
        assert answer.startswith(b"HTTP/1.1 413 ")
        # Without a length it ends as soon as it is too long.
        chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
        chunked = f"POST {ADD} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        assert b" 413 " in (await say(server, chunked + chunk * 3, half_close=False)).partition(b"\r\n")[0]
        assert (await client.post(ADD, content=LOG.request(0, 5).encode())).status_code == 200


async def test_any_server_that_stands_in_is_held_to_the_same_bound(tmp_path: Path) -> None:
    async with witness(tmp_path) as (_, own, _):
        app = build_app(
            guard=Guard(control_token=TOKEN),
            supply=of_log(ToyNode(tmp_path)),
            log_view=ToyNode(tmp_path),
            admin=ToyNode(tmp_path),
            witnessing=Face(own),
        )
        sent: list[Any] = []
        fed = 0

        async def receive() -> dict[str, Any]:
            nonlocal fed
            fed += 1
            return {"type": "http.request", "body": bytes(10_000), "more_body": True}  # for ever

        async def send(event: Any) -> None:
            sent.append(event)

        scope = {
            "type": "http", "method": "POST", "path": ADD, "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1), "query_string": b"",
        }  # fmt: skip
        await app(scope, receive, send)
        assert (sent[0]["status"], fed) == (413, 7)


# -- who may --


async def test_the_log_s_signature_is_the_permission_and_the_rest_needs_the_token(tmp_path: Path) -> None:
    async with witness(tmp_path) as (client, _, _):
        assert (await client.post(ADD, content=LOG.request(0, 5).encode())).status_code == 200
        assert (await client.post("/witness/", content=b"x")).status_code == 401
        assert (await client.post(f"/witness/{HASH}/checkpoint", content=b"x")).status_code == 401
        assert (await client.put(ADD, content=b"x")).status_code == 401
        assert (await client.delete(ADD)).status_code == 401
        for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
            answer = await client.post(ADD, content=LOG.request(5, 5).encode(), headers=headers)
            assert answer.status_code == 403
        assert (await client.post(ADD, content=b"x", headers={"host": "evil.example"})).status_code == 421


@pytest.mark.parametrize(
    ("public", "token", "code"), [(False, "", 403), (True, "", 200), (False, TOKEN, 200)]
)
def test_from_elsewhere_a_checkpoint_is_taken_where_reading_is_open(
    public: bool, token: str, code: int
) -> None:
    guard = Guard(control_token=TOKEN, names=("node.example",), public=public)
    headers = [(b"host", b"node.example")]
    if token:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    scope = {
        "type": "http", "method": "POST", "path": ADD, "headers": headers, "client": ("192.0.2.7", 9),
        "pyrsia.peer": "tcp",
    }  # fmt: skip
    refused = contextlib.nullcontext() if code == 200 else pytest.raises(Exception, match="token")
    with refused:
        guard.check(scope)
    assert scope.get("pyrsia.admin") is (code == 200 and bool(token))


# -- addresses --


@pytest.mark.parametrize(
    "path",
    [
        "/witness/x",
        f"/witness/{HASH}",
        f"/witness/{HASH}/",
        f"/witness/{HASH}/checkpoint/",
        f"/witness/{HASH.upper()}/checkpoint",
        f"/witness/{'0' * 64}/checkpoint",
        f"/witness/{'0' * 64}/evidence",
        f"/witness/{HASH[:-1]}/checkpoint",
        f"/witness/{HASH}/tile/0/000",
    ],
)
async def test_other_addresses_are_404(tmp_path: Path, path: str) -> None:
    async with witness(tmp_path) as (client, _, _):
        await client.post(ADD, content=LOG.request(0, 5).encode())
        assert (await client.get(path)).status_code == 404


async def test_methods_are_told(tmp_path: Path) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    async with witness(tmp_path) as (client, _, _):
        answer = await client.get(ADD)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        answer = await client.post("/witness/", headers=bearer)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_people_see_what_is_watched_and_the_evidence(tmp_path: Path) -> None:
    async with witness(tmp_path) as (client, own, _):
        await client.post(ADD, content=LOG.request(0, 5).encode())
        await client.post(ADD, content=LOG.request(5, 5, fork=1).encode())
        status = (await client.get("/witness/")).json()
        assert VerifierKey.parse(status["vkey"]) == own.verifier
        (row,) = status["logs"]
        assert (row["origin"], row["hash"], row["size"], row["evidence"]) == (ORIGIN, HASH, 5, 1)
        found = (await client.get(f"/witness/{HASH}/evidence")).json()
        assert found["origin"] == ORIGIN
        assert EvidenceRow(**found["evidence"][0]).kind == "fork"


async def test_a_node_that_is_no_witness_has_no_such_address(tmp_path: Path) -> None:
    async with serving(toy_app(ToyNode(tmp_path))) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            assert (await client.post(ADD, content=LOG.request(0, 5).encode())).status_code == 404
            assert (await client.get("/witness/")).status_code == 404
