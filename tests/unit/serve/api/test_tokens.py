"""The rows about tokens: the operator's alone, over the socket or with an admin token."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from pyrsia.serve.desks.tokens import TokenOrder
from tests.unit.serve.toy import TOKEN, ToyNode, serving, toy_app

CONTROL = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    return ToyNode(tmp_path)


@pytest.fixture
async def client(node: ToyNode) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(toy_app(node)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            yield client


async def test_a_token_is_made_told_once_listed_without_it_and_revoked(client: httpx.AsyncClient) -> None:
    order = {"scope": "push", "package": "pkg:pypi/acme-*", "name": "ci"}
    made = await client.post("/api/v1/tokens", json=order, headers=CONTROL)
    listed = await client.get("/api/v1/tokens", headers=CONTROL)
    revoked = await client.post("/api/v1/tokens/ci/revoke", headers=CONTROL)
    again = await client.post("/api/v1/tokens/ci/revoke", headers=CONTROL)

    assert made.status_code == 201
    assert made.json()["token"] == "push-ci"
    assert [row["name"] for row in listed.json()["tokens"]] == ["ci"]
    assert "push-ci" not in listed.text
    assert revoked.json()["name"] == "ci"
    assert again.status_code == 404


@pytest.mark.parametrize("scope", ["", "push", "read", "admin"])
async def test_only_the_operator_makes_sees_and_ends_tokens(
    node: ToyNode, client: httpx.AsyncClient, scope: str
) -> None:
    await node.keyring.make(TokenOrder("push", name="ci"))
    headers = {}
    if scope:
        made = await node.keyring.make(TokenOrder(scope, name="mine"))  # type: ignore[arg-type] # one of the three
        headers = {"authorization": f"Bearer {made.token}"}

    codes = [
        (
            await client.post("/api/v1/tokens", json={"scope": "admin", "name": "x"}, headers=headers)
        ).status_code,
        (await client.get("/api/v1/tokens", headers=headers)).status_code,
        (await client.post("/api/v1/tokens/ci/revoke", headers=headers)).status_code,
    ]

    assert codes == ([201, 200, 200] if scope == "admin" else [403] * 3 if scope else [401] * 3)
    assert ("ci" in node.keyring.made, "x" in node.keyring.made) == (
        (False, True) if scope == "admin" else (True, False)
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/motions", {"motion": {"kind": "member.add"}}),
        ("/authorized_node", {"peer_id": "b" * 52}),
        ("/api/v1/facts", {"kind": "mapping", "subject": "pkg:pypi/a", "text": "t"}),
        ("/api/v1/builds", {"ecosystem": "pip", "name": "idna"}),
        ("/api/v1/keys/rotate", {"purposes": ["vote"], "reason": "x"}),
    ],
)
async def test_a_push_token_admits_maps_and_requests_nothing_and_an_admin_token_does(
    node: ToyNode, client: httpx.AsyncClient, path: str, body: dict[str, object]
) -> None:
    for scope in ("read", "push", "admin"):
        made = await node.keyring.make(TokenOrder(scope, name=scope))  # type: ignore[arg-type] # one of the three
        answer = await client.post(path, json=body, auth=("anybody", made.token))
        if scope != "admin":
            assert (answer.status_code, node.changes) == (403, [])
    assert answer.status_code < 300
    assert len(node.changes) == 1


@pytest.mark.parametrize(
    "order",
    [{}, {"scope": "root"}, {"scope": "push", "expires_s": 1}, {"scope": "push", "expires_s": 10**12},
     {"scope": "push", "more": 1}, {"scope": "push", "package": "x" * 301}],
)  # fmt: skip
async def test_an_order_that_is_none_is_a_400(client: httpx.AsyncClient, order: dict[str, object]) -> None:
    assert (await client.post("/api/v1/tokens", json=order, headers=CONTROL)).status_code == 400
