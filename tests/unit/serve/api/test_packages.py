"""The addresses of providers: what is asked, what is refused, and who may have a withdrawal carried."""

import json
from pathlib import Path

import pytest

from pyrsia.serve.desks.knowing import AsOf
from pyrsia.serve.desks.providing import worst
from tests.unit.serve.test_apps import asking
from tests.unit.serve.toy import TOKEN, ToyNode

OVERVIEW = "/api/v1/packages/overview"
ORDER = {
    "purl": "pkg:pypi/idna@3.10",
    "sha256": "ab" * 32,
    "reason": "leaks",
    "key": "cd" * 32,
    "sig": "ef" * 64,
}


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    made = ToyNode(tmp_path)
    made.publish("idna-3.10-py3-none-any.whl", b"a wheel")
    return made


@pytest.mark.parametrize(
    ("query", "at"), [({}, AsOf()), ({"as_of": "9"}, AsOf(size=9)), ({"as_of_time": "7"}, AsOf(time_ms=7))]
)
async def test_an_overview_is_of_the_moment_that_is_named(
    node: ToyNode, query: dict[str, str], at: AsOf
) -> None:
    async with asking(node) as client:
        answer = await client.get(OVERVIEW, params={"purl": "pkg:pypi/idna", **query})
    assert answer.status_code == 200
    assert [one["version"] for one in answer.json()["versions"]] == ["3.10"]
    assert node.provider.asked == [("pkg:pypi/idna", at)]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("purl=idna", 400),
        ("purl=pkg:pypi/IDNA%20x", 400),
        ("purl=pkg:pypi/none", 404),
        ("purl=pkg:pypi/idna&as_of=1&as_of_time=1", 400),
        ("purl=pkg:pypi/idna&as_of=-1", 400),
        ("purl=pkg:pypi/idna&as_of=" + "9" * 40, 400),
        ("purl=pkg:pypi/idna&asof=1", 400),
        ("purl=pkg:pypi/idna&purl=pkg:pypi/idna", 400),
        ("purl=" + "a" * 3_000, 400),
    ],
)
async def test_what_cannot_be_answered_is_refused_in_words(node: ToyNode, query: str, status: int) -> None:
    async with asking(node) as client:
        answer = await client.get(f"{OVERVIEW}?{query}")
    assert answer.status_code == status
    assert set(answer.json()["error"]) >= {"code", "what", "who", "do"}


async def test_a_withdrawal_is_carried_for_the_operator_and_for_nobody_else(node: ToyNode) -> None:
    async with asking(node) as client:
        body = json.dumps(ORDER)
        stranger = await client.post("/api/v1/withdrawals", content=body)
        done = await client.post(
            "/api/v1/withdrawals", content=body, headers={"authorization": f"Bearer {TOKEN}"}
        )
    assert stranger.status_code == 401
    assert done.status_code == 200
    assert node.changes == [("withdraw", ORDER["purl"], ORDER["sha256"], "leaks")]


@pytest.mark.parametrize(
    "change",
    [
        {"sig": "ef" * 63},
        {"sig": "EF" * 64},
        {"key": ""},
        {"sha256": "ab" * 32 + "\n"},
        {"reason": ""},
        {"reason": "x" * 2_000},
        {"purl": ""},
        {"more": 1},
        {"sig": None},
    ],
)
async def test_an_order_of_another_shape_reaches_nobody(node: ToyNode, change: dict[str, object]) -> None:
    async with asking(node) as client:
        answer = await client.post(
            "/api/v1/withdrawals",
            content=json.dumps({**ORDER, **change}),
            headers={"authorization": f"Bearer {TOKEN}"},
        )
    assert answer.status_code == 400
    assert node.changes == []


@pytest.mark.parametrize(
    ("severities", "highest"),
    [
        ((), ""),
        (("low",), "low"),
        (("high", "unknown"), "unknown"),  # it may be anything
        (("critical", "unknown"), "critical"),
        (("nonsense", "low"), "unknown"),
    ],
)
def test_the_worst_of_some_severities(severities: tuple[str, ...], highest: str) -> None:
    assert worst(severities) == highest
