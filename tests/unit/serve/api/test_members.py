"""The addresses of members and motions at a moment: what goes to the node, and what is refused before."""

from pathlib import Path

import pytest

from tests.unit.serve.test_apps import asking
from tests.unit.serve.toy import MOTION, ToyNode

MEMBERS = "/api/v1/members"


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    return ToyNode(tmp_path)


@pytest.mark.parametrize(
    ("query", "size", "time_ms"), [("", -1, 0), ("?as_of=9", 9, 5), ("?as_of_time=7", 9, 7)]
)
async def test_members_are_of_the_moment_that_is_named(
    node: ToyNode, query: str, size: int, time_ms: int
) -> None:
    async with asking(node) as client:
        answer = (await client.get(MEMBERS + query)).json()
    assert (answer["size"], answer["time_ms"], len(answer["members"])) == (size, time_ms, 1)


async def test_a_motion_is_told_as_it_was_and_not_before_it_was_proposed(node: ToyNode) -> None:
    async with asking(node) as client:
        for query, status in (("", 200), ("?as_of=9", 200), ("?as_of=8", 404)):
            answer = await client.get(f"/api/v1/motions/{MOTION.id}{query}")
            assert answer.status_code == status, query
    assert "at that moment" in answer.json()["error"]["what"]


@pytest.mark.parametrize(
    "query", ["as_of=1&as_of_time=1", "as_of=-1", "as_of=x", "asof=1", "as_of=1&as_of=2"]
)
async def test_what_names_no_moment_is_refused(node: ToyNode, query: str) -> None:
    async with asking(node) as client:
        for path in (MEMBERS, f"/api/v1/motions/{MOTION.id}"):
            answer = await client.get(f"{path}?{query}")
            assert answer.status_code == 400, path
            assert set(answer.json()["error"]) >= {"code", "what", "who", "do"}
