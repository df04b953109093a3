"""The addresses of the policy: rules with their origin, facts, decisions; what is no question is refused."""

import dataclasses
import json

import msgspec
import pytest

from pyrsia.policy import rules
from pyrsia.policy.evaluate import decide
from pyrsia.serve.desks.judging import FactsAnswer
from tests.unit.serve.talk import dial, read_answer
from tests.unit.serve.toy import TOKEN, ToyNode, serving, toy_app
from tests.unit.serve.toyjudge import known


@pytest.fixture
def node(tmp_path):
    made = ToyNode(tmp_path)
    made.judge.files = [
        known("pkg:pypi/idna@3.10", "idna-3.10-py3-none-any.whl", sha256="1" * 64),
        known("pkg:pypi/idna@3.11", "idna-3.11-py3-none-any.whl", status="WITNESSED", sha256="2" * 64),
    ]
    return made


async def get(node, path, more=""):
    async with serving(toy_app(node)) as server, await dial(server) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
        status, _, body = await read_answer(stream, bytearray())
        return status, json.loads(body)


async def test_the_rules_are_told_with_where_each_comes_from(node):
    node.judge.text = '[pip]\nmode = "proxy"\n'
    status, told = await get(node, "/api/v1/policy")
    assert (status, told["text"]) == (200, node.judge.text)
    pip = {row["key"]: (row["value"], row["origin"]) for row in told["rules"]["pip"]}
    assert pip["mode"] == ("proxy", "[pip]")
    assert pip["minimum"] == ("WITNESSED", "mode proxy")
    assert pip["agreeing"] == (2, "default")
    assert set(told["rules"]) == {"pip", "maven", "conan", "oci", "other"}


async def test_where_the_file_lies_is_told_to_the_operator_alone(node, monkeypatch):
    answer = msgspec.structs.replace(node.judge.policy(), path="/var/lib/pyrsia/policy.toml")
    monkeypatch.setattr(node.judge, "policy", lambda: answer)
    assert (await get(node, "/api/v1/policy"))[1]["path"] == "policy.toml"
    told = (await get(node, "/api/v1/policy", f"Authorization: Bearer {TOKEN}\r\n"))[1]
    assert told["path"] == "/var/lib/pyrsia/policy.toml"


async def test_a_check_says_of_each_file_whether_and_why(node):
    status, told = await get(node, "/api/v1/policy/check?purl=pkg:pypi/idna")
    assert (status, told["allowed"], told["owner"]) == (200, False, "network")
    assert [one["allowed"] for one in told["files"]] == [True, False]
    against = [one["rule"] for one in told["files"][1]["reasons"] if not one["allows"]]
    assert against == ["minimum"]
    status, told = await get(node, "/api/v1/policy/check?purl=pkg:pypi/idna@3.10")
    assert (told["allowed"], len(told["files"])) == (True, 1)
    status, told = await get(node, f"/api/v1/policy/check?sha256={'2' * 64}")
    assert [one["file"] for one in told["files"]] == ["idna-3.11-py3-none-any.whl"]
    assert (await get(node, "/api/v1/policy/check?purl=pkg:pypi/unknown@1"))[1]["allowed"] is False


async def test_from_the_facts_the_same_engine_comes_to_the_same_answer_elsewhere(node):
    node.judge.text = '[all]\ndeny = ["*@3.10"]\n'
    node.judge.head_age_ms = 5_000
    found = msgspec.convert((await get(node, "/api/v1/policy/facts?purl=pkg:pypi/idna"))[1], FactsAnswer)
    assert list(found.files) == node.judge.files
    policy = rules.parse(node.judge.text.encode(), "p")
    told = (await get(node, "/api/v1/policy/check?purl=pkg:pypi/idna"))[1]
    for facts, row in zip(found.files, told["files"], strict=True):
        said = decide(policy, facts, found.now_ms, found.head_age_ms)
        assert (said.allowed, [dataclasses.asdict(one) for one in said.reasons]) == (
            row["allowed"],
            row["reasons"],
        )


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?purl=",
        "?purl=idna",
        "?purl=pkg:pypi/Idna",
        "?sha256=12",
        f"?sha256={'A' * 64}",
        f"?purl=pkg:pypi/idna&sha256={'1' * 64}",
        "?purl=pkg:pypi/a&purl=pkg:pypi/b",
        "?name=idna",
        "?purl=pkg:pypi/" + "a" * 4_000,
    ],
)
@pytest.mark.parametrize("what", ["check", "facts"])
async def test_what_is_no_question_is_refused(node, what, query):
    status, told = await get(node, f"/api/v1/policy/{what}{query}")
    assert (status, told["error"]["code"]) == (400, "bad-request")


async def test_the_names_that_the_log_holds_come_in_pages(node):
    node.judge.files += [known(f"pkg:pypi/{name}@1", f"{name}-1.whl") for name in ("a", "b", "c")]
    first = (await get(node, "/api/v1/policy/names?start=pkg:pypi/"))[1]
    assert (first["packages"], first["next"]) == (["pkg:pypi/a", "pkg:pypi/b"], "pkg:pypi/b")
    rest = (await get(node, "/api/v1/policy/names?start=pkg:pypi/&after=pkg:pypi/b"))[1]
    assert (rest["packages"], rest["next"]) == (["pkg:pypi/c", "pkg:pypi/idna"], "")
    for wrong in (f"?start={'x' * 400}", "?purl=pkg:pypi/a", "?start=a&start=b"):
        assert (await get(node, f"/api/v1/policy/names{wrong}"))[0] == 400


async def test_what_was_published_lately_is_told_page_by_page(node):
    node.judge.files += [known("pkg:pypi/idna@3.12", "idna-3.12-py3-none-any.whl", sha256="3" * 64)]
    status, told = await get(node, "/api/v1/policy/recent?since=1")
    assert (status, [one["sha256"][0] for one in told["files"]], told["next"]) == (200, ["1", "2"], 2)
    told = (await get(node, "/api/v1/policy/recent?since=1&first=2"))[1]
    assert ([one["sha256"][0] for one in told["files"]], told["next"]) == (["3"], -1)
    assert (await get(node, "/api/v1/policy/recent"))[0] == 200
    for bad in ("since=soon", "since=-1", "first=1.5", "until=3"):
        assert (await get(node, f"/api/v1/policy/recent?{bad}"))[0] == 400


async def test_rules_for_single_packages_are_told_in_their_order(node):
    node.judge.text = '[[rule]]\npackages = ["pkg:pypi/a"]\nsbom = "required"\n'
    told = (await get(node, "/api/v1/policy"))[1]
    assert told["blocks"] == [
        {
            "number": 1,
            "packages": ["pkg:pypi/a"],
            "rules": [{"key": "sbom", "value": "required", "origin": "[[rule]] 1"}],
        }
    ]
