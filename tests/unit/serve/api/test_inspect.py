"""Records over HTTP: what parameters become, what the original's questions get, and CSV that no spreadsheet runs."""

import csv
import io
import json
from pathlib import Path
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.serve.desks.inspecting import FIELDS, ORIGINAL, InspectQuery, Package, Record
from pyrsia.serve.inspecting import csv as inspecting_csv
from pyrsia.serve.inspecting import names
from pyrsia.serve.inspecting.where import KNOWN, MAX_CONDITION_CHARS, OPERATORS, parse
from pyrsia.units import MAX_API_ROWS, MAX_WHERE
from tests.unit.serve.toy import ToyNode, serving, toy_app
from tests.unit.serve.toyinspector import ToyInspector, record

ARTIFACTS = "/api/v1/inspect/artifacts"
IDNA = Package(("pkg:pypi/idna",))


@pytest.fixture
def node(tmp_path: Path) -> ToyNode:
    return ToyNode(tmp_path)


async def ask(node: ToyNode, query: str = "", path: str = ARTIFACTS) -> httpx.Response:
    async with serving(toy_app(node)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            return await client.get(f"{path}?{query}")


async def post(node: ToyNode, path: str, body: object) -> httpx.Response:
    async with serving(toy_app(node)) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            return await client.post(path, content=msgspec.json.encode(body))


# -- parameters --


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({}, {}),
        ({"pip": "IDNA"}, {"package": IDNA}),
        ({"purl": "pkg:pypi/idna"}, {"package": IDNA}),
        ({"gav": "a.b:c:1"}, {"package": Package(("pkg:maven/a.b/c",), frozenset(("1",)))}),
        ({"conan": "zlib/1.3"}, {"package": Package(("pkg:conan/zlib",), frozenset(("1.3",)))}),
        (
            {"image": "alpine:3.16"},
            {"package": Package(("pkg:docker/alpine", "pkg:docker/library/alpine"), frozenset(("3.16",)))},
        ),
        ({"where": "size > 5"}, {"where": (parse("size > 5"),)}),
        ({"where": '["file ~ a;b","leaf=1"]'}, {"where": (parse("file ~ a;b"), parse("leaf=1"))}),
        ({"text": "Grüße"}, {"text": "Grüße"}),
        ({"since": 5, "until": 5}, {"since_ms": 5, "until_ms": 5}),
        ({"as_of": 7}, {"as_of": 7}),
        ({"as_of_time": 0}, {"as_of_ms": 0}),
        ({"order": "newest"}, {"newest": True}),
        ({"latest": "true"}, {"newest": True, "latest": True}),
        ({"count": 10**9}, {"count": MAX_API_ROWS.value}),
        ({"page": "1.2.3"}, {"page": "1.2.3"}),
        ({"fields": "id,leaf"}, {"advisories": False}),
        ({"fields": "advisories"}, {"advisories": True}),
    ],
)
async def test_each_parameter_becomes_what_it_says(
    node: ToyNode, parameters: dict[str, object], wanted: dict[str, object]
) -> None:
    answer = await ask(node, urlencode(parameters))

    assert answer.status_code == 200, answer.text
    assert node.inspecting.asked == [InspectQuery("artifacts", **({"count": 50} | wanted))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"wher": "x"}, "no parameter"),
        ({"fields": "id,nonsense"}, "no field 'nonsense'"),
        ({"fields": ""}, "no field ''"),
        ({"where": "nonsense = 1"}, "at character 1: there is no field 'nonsense'"),
        ({"where": "size = "}, "at character 8: no value"),
        ({"where": "[1]"}, "no list of conditions"),
        ({"where": "[" * 5_000}, "no list of conditions"),
        ({"where": json.dumps(["size=1"] * (MAX_WHERE.value + 1))}, "at most"),
        ({"text": ""}, "`text`"),
        ({"order": "sideways"}, "`order`"),
        ({"latest": "yes"}, "`latest`"),
        ({"since": 2, "until": 1}, "`since` lies after"),
        ({"as_of": 1, "as_of_time": 1}, "two ends"),
        ({"as_of": "x"}, "`as_of`"),
        ({"pip": "idna", "gav": "a:b"}, "two packages"),
        ({"pip": "idna==latest"}, "`pip`"),
        ({"gav": "a"}, "`gav`"),
        ({"gav": "a:b'; DROP TABLE TRANSPARENCYLOG; --:1"}, "`gav`"),
        ({"image": "alpine@sha256:zz"}, "`image`"),
        ({"image": "a" * 5_000}, "`image`"),
        ({"conan": "Zlib/1"}, "`conan`"),
        ({"purl": "zlib"}, "`purl`"),
    ],
)
async def test_what_cannot_be_understood_is_refused_by_name(
    node: ToyNode, parameters: dict[str, object], why: str
) -> None:
    answer = await ask(node, urlencode(parameters))

    assert answer.status_code == 400
    assert why in answer.json()["error"]["what"]
    assert node.inspecting.asked == []


async def test_nodes_have_no_package_and_only_the_fields_that_were_asked_for_are_told(node: ToyNode) -> None:
    assert (await ask(node, "pip=idna", "/api/v1/inspect/nodes")).status_code == 400
    told = (await ask(node, "fields=leaf,id", "/api/v1/inspect/nodes")).json()
    assert told["rows"] == [{"leaf": 5, "id": f"{5:064x}"}]
    assert (told["size"], told["next"], told["whole"]) == (100, "", True)
    assert (await ask(node, "", "/api/v1/inspect/builds")).json()["rows"][0].keys() == set(FIELDS)
    assert [query.what for query in node.inspecting.asked] == ["nodes", "builds"]


# -- the original's questions --


async def test_the_originals_question_about_an_image_gets_its_thirteen_fields(node: ToyNode) -> None:
    answer = await post(node, "/inspect/docker", {"image": "alpine:3.16"})
    [row] = answer.json()
    assert tuple(row) == ORIGINAL
    assert (row["package_type"], row["operation"], row["timestamp"]) == (
        "Docker",
        "AddArtifact",
        1_700_000_000,
    )
    [query] = node.inspecting.asked
    assert (query.package, query.latest) == (names.image("alpine:3.16"), False)


async def test_the_originals_output_parameters_choose_fields_format_and_the_newest(node: ToyNode) -> None:
    body = {
        "gav": "a:b:1",
        "output_params": {"format": "CSV", "content": {"fields": ["artifact_hash", "operation"]}},
        "latest": True,
    }
    answer = await post(node, "/inspect/maven", body)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text == f"artifact_hash,operation\r\n{'ab' * 32},AddArtifact\r\n"
    assert node.inspecting.asked[0].latest


async def test_all_pages_are_one_answer_for_who_knows_no_pages(node: ToyNode) -> None:
    node.inspecting = ToyInspector([(record(1),), (), (record(2), record(3))])
    answer = await post(
        node, "/inspect/docker", {"image": "alpine", "output_params": {"content": {"fields": ["leaf"]}}}
    )
    assert answer.json() == [{"leaf": 1}, {"leaf": 2}, {"leaf": 3}]
    assert [query.page for query in node.inspecting.asked] == ["", "100.0.0", "100.1.0"]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"image": ""}, {"image": "x" * 500}, {"image": 5}, [], {"image": "a b"}, {"image": "' OR '1'='1"},
        {"image": "alpine", "output_params": {"format": "XML"}}, {"image": "alpine", "latest": "yes"},
        {"image": "alpine", "output_params": {"content": {"fields": ["nonsense"]}}},
    ],
)  # fmt: skip
async def test_a_question_that_the_original_would_have_pasted_into_sql_is_a_plain_400(
    node: ToyNode, body: object
) -> None:
    answer = await post(node, "/inspect/docker", body)
    assert (answer.status_code, node.inspecting.asked) == (400, [])


# -- conditions --


_SHAPED = st.builds(
    "{} {} {}".format, st.sampled_from(sorted(KNOWN)), st.sampled_from(OPERATORS), st.text(max_size=40)
)


def read(text: str) -> Refusal | None:
    """The no that a text gets, or None where it is a condition, which then answers."""
    try:
        found = parse(text)
    except Refusal as refusal:
        return refusal
    assert isinstance(found.holds(getattr(record(), found.field)), bool)
    return None


@given(st.text(max_size=60) | _SHAPED)
def test_any_text_is_a_condition_that_answers_or_a_refusal_with_a_place(text: str) -> None:
    refusal = read(text)
    assert refusal is None or ("at character" in refusal.what and "field op value" in refusal.do)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("operation = AddArtifact", True),
        ('operation="AddArtifact"', True),
        ("operation != AddArtifact", False),
        ("file ~ MANIFEST", True),
        ("file glob *.json", True),
        ("file glob *.jso", False),
        ("package_specific_artifact_id glob alpine@sha256:*", True),
        ("timestamp >= 2023-11-14", True),
        ("timestamp < 2023-11-14T22:13:20", False),
        ("timestamp <= 2023-11-14T23:13:20+01:00", True),
        ("time_ms > 2023-11-14T22:13:20", True),
        ("time_ms = 1700000000123", True),
        ("size<101", True),
        ("agreeing = " + "b" * 52, True),
        ("agreeing != " + "b" * 52, False),
        ("dissenting != x", True),
        ("dissenting = null", True),
        ("dissenting != null", False),
        ('dissenting = ""', True),
        ('dissenting != ""', False),
        ("dissenting ~ x", False),
        ("agreeing != null", True),
        ('agreeing = ""', False),
        ("package_type = null", False),
        ("package_type != null", True),
        ('reason = ""', True),
        ("file glob [a-z]*", False),
    ],
)
def test_a_condition_compares_numbers_as_numbers_and_times_as_times(text: str, holds: bool) -> None:
    found = parse(text)
    assert found.holds(getattr(record(), found.field)) is holds


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", 1),
        ("   ", 4),
        ("nonsense = 1", 1),
        ("size", 5),
        ("size like 5", 6),
        ("size ~ 5", 6),
        ("size glob 5", 6),
        ("size = five", 8),
        ("size = 1e9", 8),
        ("size = " + "9" * 30, 8),
        ("timestamp > tomorrow", 13),
        ("timestamp > 99999-01-01", 13),
        ("file globx", 6),
        ('file = "open', 8),
        ("file > null", 8),
        ("file glob " + "*a" * 30, 11),
        ("file = " + "x" * MAX_CONDITION_CHARS.value, MAX_CONDITION_CHARS.value + 1),
        ("__class__ = 1", 1),
    ],
)
def test_a_wrong_condition_is_pointed_at(text: str, place: int) -> None:
    with pytest.raises(Refusal) as refused:
        parse(text)
    assert f"at character {place}:" in refused.value.what


def test_every_field_has_a_type_that_conditions_know() -> None:
    assert frozenset(FIELDS) == KNOWN
    assert tuple(Record.__struct_fields__[:13]) == ORIGINAL


# -- CSV --


def test_csv_is_read_back_as_it_was_and_numbers_are_numbers() -> None:
    row = {"a": 'with "quotes", and\ncommas', "b": -5, "c": None, "d": ("x", "y"), "e": {"node": "ab"}}
    text = inspecting_csv.written([row], list("abcde"))
    head, line = csv.reader(io.StringIO(text, newline=""))
    assert head == list("abcde")
    assert line == ['with "quotes", and\\x0acommas', "-5", "", "x y", "node:ab"]
    assert text.endswith("\r\n")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d"])
def test_no_cell_of_text_begins_a_formula(start: str) -> None:
    assert inspecting_csv.cell(f"{start}cmd|'/c calc'!A0") == f"'{start}cmd|'/c calc'!A0"
    assert inspecting_csv.cell((f"{start}1", "2")) == f"'{start}1 2"


@given(st.text(max_size=40))
def test_a_cell_is_one_line_without_anything_that_hides_or_runs(text: str) -> None:
    cell = inspecting_csv.cell(text)
    assert not cell.startswith(("=", "+", "-", "@"))
    assert all(character >= " " for character in cell)
    assert list(csv.reader(io.StringIO(inspecting_csv.written([{"a": text}], ["a"]), newline="")))[1:] in (
        [[cell]],
        [[]],
    )
