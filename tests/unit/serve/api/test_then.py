"""Every address of ours either takes a moment of the past or refuses it: none answers another question in silence."""

import re
from pathlib import Path

import pytest

from pyrsia.serve.api.app import ROUTES
from tests.unit.serve.test_apps import asking
from tests.unit.serve.toy import TOKEN, ToyNode

GETS = [row for row in ROUTES if row.method == "GET" and row.path.startswith("/api/v1/")]
NOW = [row.path for row in GETS if "as_of" not in {param.name for param in row.query}]
THEN = {row.path for row in GETS} - set(NOW)


def test_what_is_about_the_log_takes_a_moment() -> None:
    assert {
        "/api/v1/facts", "/api/v1/inspect/artifacts", "/api/v1/inspect/builds", "/api/v1/inspect/nodes",
        "/api/v1/log/entries", "/api/v1/members", "/api/v1/motions/{motion}", "/api/v1/packages/overview",
        "/api/v1/search",
    } == THEN  # fmt: skip
    for row in GETS:  # one way to name it
        names = {param.name for param in row.query}
        assert ("as_of" in names) == ("as_of_time" in names)


@pytest.mark.parametrize("path", NOW)
@pytest.mark.parametrize("query", ["as_of=3", "as_of_time=3", "as_of="])
async def test_what_tells_of_now_alone_refuses_a_moment(tmp_path: Path, path: str, query: str) -> None:
    address = re.sub(r"\{[a-z0-9]+\}", "ab" * 32, path)
    async with asking(ToyNode(tmp_path)) as client:
        answer = await client.get(f"{address}?{query}", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 400
    assert "tells of now alone" in answer.json()["error"]["what"]


async def test_the_original_s_addresses_take_what_they_are_sent(tmp_path: Path) -> None:
    async with asking(ToyNode(tmp_path)) as client:
        assert (await client.get("/status?as_of=3")).status_code == 200
