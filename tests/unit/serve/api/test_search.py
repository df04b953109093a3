"""The address that finds packages, at a moment: what is asked of the node, and what is refused before."""

from pathlib import Path

import pytest

from pyrsia.serve.desks.knowing import AsOf
from tests.unit.serve.test_apps import asking
from tests.unit.serve.toy import ToyNode

SEARCH = "/api/v1/search"


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    made = ToyNode(tmp_path)
    made.publish("idna-3.10-py3-none-any.whl", b"a wheel")
    made.publish("idna_ssl-1.1-py3-none-any.whl", b"another")
    return made


async def test_a_search_is_of_the_moment_that_is_named(node: ToyNode) -> None:
    async with asking(node) as client:
        now = (await client.get(SEARCH, params={"q": "idna"})).json()
        then = (await client.get(SEARCH, params={"q": "idna", "as_of": "8"})).json()
        time = (await client.get(SEARCH, params={"q": "idna", "as_of_time": "7"})).json()
    assert (now["size"], len(now["packages"])) == (-1, 2)
    assert (then["size"], [one["purl"] for one in then["packages"]]) == (8, ["pkg:pypi/idna"])
    assert (time["time_ms"], node.provider.asked) == (7, [("", AsOf(size=8)), ("", AsOf(time_ms=7))])


@pytest.mark.parametrize(
    "query", ["as_of=1&as_of_time=1", "as_of=-1", "as_of=x", "asof=1", "as_of=121", "as_of=9&ecosystem=npm"]
)
async def test_what_names_no_moment_is_refused(node: ToyNode, query: str) -> None:
    async with asking(node) as client:
        answer = await client.get(f"{SEARCH}?q=idna&{query}")
    assert answer.status_code == 400
    assert set(answer.json()["error"]) >= {"code", "what", "who", "do"}
