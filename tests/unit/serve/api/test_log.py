"""The parameters of /api/v1/log/entries: what they become, and the no for what they cannot be."""

from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from pyrsia.ledger.matching import PurlGlob
from pyrsia.serve.api.app import openapi
from pyrsia.serve.desks.views import LogQuery
from pyrsia.units import MAX_API_ROWS
from tests.unit.serve.toy import NODE, ToyNode, serving, toy_app

ENTRIES = "/api/v1/log/entries"


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    return ToyNode(tmp_path)


async def ask(node: ToyNode, query: str, path: str = ENTRIES) -> httpx.Response:
    async with serving(toy_app(node)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            return await client.get(f"{path}?{query}")


@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ({}, LogQuery(count=50)),
        ({"first": 7, "count": 3}, LogQuery(first=7, count=3)),
        ({"count": 10**9}, LogQuery(count=MAX_API_ROWS.value)),
        ({"count": 0}, LogQuery(count=1)),
        ({"order": "newest"}, LogQuery(count=50, order="newest")),
        ({"type": "fact.add"}, LogQuery(count=50, kinds=frozenset(["fact.add"]))),
        (
            {"type": "build.verdict,artifact.add", "verdict": "DIVERGED,FAILED"},
            LogQuery(
                count=50,
                kinds=frozenset(["artifact.add", "build.verdict"]),
                verdicts=frozenset(["DIVERGED", "FAILED"]),
            ),
        ),
        ({"author": NODE}, LogQuery(count=50, author=NODE)),
        ({"author": "node 2"}, LogQuery(count=50, author="node 2")),
        ({"purl": "pkg:pypi/idna@3.*"}, LogQuery(count=50, purl=PurlGlob.parse("pkg:pypi/idna@3.*"))),
        ({"text": "Grüße & <b>"}, LogQuery(count=50, text="Grüße & <b>")),
        ({"since": 5, "until": 5}, LogQuery(count=50, since_ms=5, until_ms=5)),
        ({"as_of": 100}, LogQuery(count=50, as_of=100)),
        ({"as_of_time": 0}, LogQuery(count=50, as_of_ms=0)),
    ],
)
async def test_each_parameter_becomes_what_it_says(
    node: ToyNode, parameters: dict[str, object], query: LogQuery
) -> None:
    answer = await ask(node, urlencode(parameters))

    assert answer.status_code == 200, answer.text
    assert node.queries == [query]
    assert set(answer.json()) == {"size", "root", "first", "entries", "next", "scanned"}


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ("first=-1", "first"),
        ("first=", "first"),
        ("first=+5", "first"),
        ("first=%D9%A3", "first"),
        ("count=1.0", "count"),
        ("count=" + "9" * 500, "count"),
        ("order=sideways", "order"),
        ("order=", "order"),
        ("type=fact", "type"),
        ("type=", "type"),
        ("type=fact.add,", "type"),
        ("verdict=reproduced", "verdict"),
        ("author=", "author"),
        ("author=" + "a" * 65, "author"),
        ("purl=", "purl"),
        ("purl=idna", "purl"),
        ("purl=pkg:%00", "purl"),
        ("purl=" + "*" * 17, "purl"),
        ("text=", "text"),
        ("text=" + "x" * 201, "text"),
        ("since=now", "since"),
        ("since=9&until=8", "since"),
        ("until=-5", "until"),
        ("as_of=0", "as_of"),
        ("as_of=0x10", "as_of"),
        ("as_of=" + str(2**63), "as_of"),
        ("as_of=5&as_of_time=5", "as_of"),
        ("as_of_time=yesterday", "as_of_time"),
        ("colour=red", "colour"),
        ("types=fact.add", "types"),
        ("text=a&text=b", "text"),
    ],
)
async def test_what_a_parameter_cannot_be_is_a_no_that_names_it(
    node: ToyNode, parameters: str, named: str
) -> None:
    answer = await ask(node, parameters)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "bad-request")
    assert f"`{named}`" in error["what"] or "size 0" in error["what"]
    assert error["do"]
    assert node.queries == []


def test_the_openapi_document_has_every_parameter_with_its_meaning() -> None:
    (operation,) = openapi()["paths"][ENTRIES].values()
    told = {one["name"]: one for one in operation["parameters"]}

    assert set(told) == {
        "first", "count", "order", "type", "author", "purl", "verdict", "text", "since", "until", "as_of", "as_of_time",
    }  # fmt: skip
    assert all(one["description"] and one["in"] == "query" for one in told.values())
    assert told["order"]["schema"]["enum"] == ["oldest", "newest"]
    assert told["first"]["schema"] == {"type": "integer", "minimum": 0}
    assert told["text"]["schema"] == {"type": "string"}
    assert {"200", "400"} <= set(operation["responses"])


async def test_a_history_is_asked_for_by_package_or_digest(node: ToyNode) -> None:
    node.histories |= {"pkg:pypi/idna": b"of a package\n", "ab" * 32: b"of a digest\n"}
    path = "/api/v1/log/history"
    for of, body in (("pkg:pypi/idna@3.10", b"of a package\n"), ("sha256:" + "ab" * 32, b"of a digest\n")):
        answer = await ask(node, urlencode({"of": of}), path)
        assert (answer.status_code, answer.content) == (200, body)
    for query in ("", "of=idna", "of=" + "AB" * 32, "of=pkg:pypi/idna&more=1"):
        answer = await ask(node, query, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad-request")
    assert "names nothing that has a history: " in (await ask(node, "of=idna", path)).json()["error"]["what"]
    assert (await ask(node, "of=pkg:pypi/other", path)).json()["error"]["code"] == "no-proof"
