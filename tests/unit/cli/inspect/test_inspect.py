"""`inspect-log` as people type it, answered out of a real log."""

import csv
import io
import json

import pytest

from pyrsia.serve.desks.inspecting import FIELDS
from tests.reference.inspected import InspectedNode
from tests.reference.pasts import Eventful
from tests.unit.serve.toyinspector import record

EVIL = "\x1b[31m\u202eevil\x07"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = Eventful(tmp_path_factory.mktemp("inspect"))
    yield made
    made.close()


@pytest.fixture
def inspected(world):
    with InspectedNode(world) as made:
        yield made


@pytest.fixture
def inspect(pyrsia, inspected):
    def call(*arguments):
        return pyrsia("inspect-log", *arguments, "--node", inspected.url)

    return call


def rows(told):
    code, out, err = told
    assert (code, err) == (0, "")
    return json.loads(out)


def test_json_is_a_list_of_records_with_every_field(inspect):
    found = rows(inspect("pip", "idna"))
    assert [tuple(row) for row in found] == [FIELDS] * 7
    assert found == rows(inspect("pip", "--package", "IDNA")) == rows(inspect("artifacts"))
    assert rows(inspect("maven", "--gav", "a:b")) == rows(inspect("docker", "--image", "alpine:3.16")) == []
    assert rows(inspect("conan", "zlib/1.3")) == []
    assert [row["operation"] for row in rows(inspect("pip", "idna==2.0", "2.0.TAR"))] == ["AddArtifact"]
    assert len(rows(inspect("pip", "2.0.tar", "--package", "idna"))) == 1


def test_fields_are_those_that_were_named_in_their_order(inspect):
    assert rows(inspect("pip", "idna==3.0", "--fields", "operation,leaf,operation")) == [
        {"operation": "AddArtifact", "leaf": 76}, {"operation": "RemoveArtifact", "leaf": 101},
    ]  # fmt: skip
    code, _, err = inspect("pip", "idna", "--fields", "leaf,nonsense")
    assert code == 2
    assert "'nonsense'" in err
    assert all(name in err for name in FIELDS)


def test_csv_is_read_by_others(inspect):
    code, out, _ = inspect("nodes", "--format", "csv", "--fields", "leaf,node_name,roles,package_type")
    found = list(csv.DictReader(io.StringIO(out, newline="")))
    assert (code, len(found)) == (0, 15)
    assert found[-1] == {"leaf": "107", "node_name": "node new", "roles": "builder", "package_type": ""}
    assert out.count("\r\n") == 16


def test_a_table_shows_what_people_look_for(inspect):
    code, out, _ = inspect("artifacts", "--format", "table", "--where", "operation = RemoveArtifact")
    head, *lines = out.splitlines()
    assert (code, head.split()[:2], len(lines)) == (0, ["time", "operation"], 2)
    assert lines[0].startswith("2025-10-")
    assert "WITHDRAWN" in lines[0]


def test_a_table_without_a_record_says_so_beside_its_head(inspect):
    code, out, err = inspect("pip", "nobody-built-this", "--format", "table")
    assert (code, len(out.splitlines())) == (0, 1)
    assert "the log has no such record at size " in err
    assert inspect("pip", "nobody-built-this") == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        (("docker",), "--image"),
        (("maven",), "--gav"),
        (("pip",), "name the package: NAME[==V]"),
        (("conan",), "NAME[/VERSION[@USER/CHANNEL]]"),
    ],
)
def test_what_lacks_is_said_in_a_line_and_not_by_the_whole_help(pyrsia, words, lacks):
    code, out, err = pyrsia("inspect-log", *words)
    assert (code, out) == (2, "")
    assert "Error: " in err
    assert lacks in err.partition("Error: ")[2]
    assert len(err.splitlines()) < 8


def test_a_comparison_is_told_how_a_version_is_named(inspect):
    for text in ("idna>=3", "idna<3", "idna~=3.1", "idna!=3", "idna=3", "idna>2,<=3"):
        code, out, err = inspect("pip", text)
        assert (code, out) == (2, "")
        assert "one version is named by ==" in err
    code, out, err = inspect("conan", "zlib/[>1]")
    assert (code, out) == (2, "")
    assert "one version is named as it is" in err


def test_the_latest_record_is_the_newest_with_the_others_of_its_build(inspect, world):
    found = rows(inspect("pip", "idna==2.0", "--latest"))
    assert {row["build_id"] for row in found} == {world.other.id}
    assert len(found) == 2
    where = ("--where", "operation = AddArtifact")
    [latest] = rows(inspect("pip", "idna==1.0", "--latest", *where))
    assert latest["build_id"] == world.second.id


def test_conditions_all_hold_and_a_wrong_one_is_pointed_at_before_anybody_is_asked(inspect, inspected):
    where = ("--where", "status = REPRODUCED", "--where", "file ~ TAR")
    assert [row["file"] for row in rows(inspect("artifacts", *where))] == ["idna-2.0.tar.gz"]
    asked = len(inspected.seen)
    code, _, err = inspect("artifacts", "--where", "sise > 5")
    assert (code, len(inspected.seen)) == (2, asked)
    assert "at character 1: there is no field 'sise'" in err


def test_pages_go_on_where_the_one_before_ended(inspect):
    whole, token, found = rows(inspect("nodes")), None, []
    while True:
        more = () if token is None else ("--page", token)
        told = json.loads(inspect("nodes", "--limit", 4, "--json", *more)[1])
        found += told["rows"]
        token = told["next"]
        if not token:
            break
    assert found == whole
    code, _, err = inspect("nodes", "--limit", 4)
    assert (code, "there is more: --page" in err) == (0, True)
    code, _, err = inspect("nodes", "--page", "5")
    assert (code, "--page" in err) == (2, True)


def test_the_command_follows_pages_of_little_work_to_the_end(pyrsia, world):
    with InspectedNode(world, work=3) as node:
        assert len(rows(pyrsia("inspect-log", "artifacts", "--node", node.url))) == 7
        assert len(node.seen) > 5
        [latest] = rows(pyrsia("inspect-log", "nodes", "--latest", "--node", node.url))
        assert latest["operation"] == "RemoveNode"


def test_as_of_a_size_or_a_time_the_log_is_as_it_was(inspect, world):
    disputed = next(size for size in world.ends if size > world.second.verdict.leaf)
    found = rows(inspect("pip", "idna==1.0", "--as-of", disputed))
    assert [row["status"] for row in found] == ["DISPUTED", "REPRODUCED"]
    code, _, err = inspect("artifacts", "--as-of", "2025-01-01")
    assert (code, "the log began later" in err) == (2, True)
    code, _, err = inspect("artifacts", "--as-of", 10**6)
    assert (code, "--as-of" in err) == (2, True)


def test_builds_are_grouped_by_their_id(inspect, world):
    found = rows(inspect("artifacts", "--group-by", "build", "--fields", "file,operation"))
    assert [group["build_id"] for group in found] == [
        world.first.id, world.other.id, world.second.id, world.third.id,
    ]  # fmt: skip
    assert [len(group["records"]) for group in found] == [2, 2, 1, 2]
    assert found[0]["records"][0] == {"file": "idna-1.0-py3-none-any.whl", "operation": "AddArtifact"}
    told = json.loads(inspect("artifacts", "--group-by", "build", "--json")[1])
    assert len(told["groups"]) == 4
    code, out, _ = inspect("artifacts", "--group-by", "build", "--format", "csv", "--fields", "file")
    assert (code, out.splitlines()[0], len(out.splitlines())) == (0, "build_id,file", 8)


def test_a_package_is_named_once(inspect):
    for arguments in (("pip", "--limit", "1"), ("pip", "a", "b", "--package", "c")):
        code, _, err = inspect(*arguments)
        assert (code, "name the package" in err) == (2, True)
    code, _, err = inspect("pip", "idna==?")
    assert (code, "the package is not understood" in err) == (2, True)


def test_nothing_of_strangers_reaches_a_terminal_raw(pyrsia, node):
    evil = record(reason=EVIL, file=f"={EVIL}")
    told = {name: getattr(evil, name) for name in FIELDS}
    page = {"size": 9, "time_ms": 1, "rows": [told], "next": "", "scanned": 1, "whole": True}
    node.answers["/api/v1/inspect/artifacts"] = (200, page)
    for form in ("json", "csv", "table"):
        code, out, _ = pyrsia(
            "inspect-log", "artifacts", "--format", form, "--fields", "file,reason", "--node", node.url
        )
        assert code == 0
        assert not any(character in out for character in EVIL if not character.isalnum() and character != "[")
    assert "'=" in pyrsia("inspect-log", "artifacts", "--format", "csv", "--node", node.url)[1]


@pytest.mark.parametrize(
    "page",
    [
        {"size": "x"},
        {"size": 1, "time_ms": 1, "rows": [5], "next": "", "scanned": 1},
        {"size": 1, "time_ms": 1, "rows": [{}], "next": "", "scanned": 1},
        {"size": 1, "time_ms": 1, "rows": [], "next": "again", "scanned": 1},
    ],
)
def test_a_node_that_answers_nonsense_or_in_circles_ends_nobody(pyrsia, node, page):
    node.answers["/api/v1/inspect/artifacts"] = (200, page)
    for form in ("json", "csv", "table"):
        code, _, err = pyrsia("inspect-log", "artifacts", "--format", form, "--node", node.url)
        circles = page.get("next") == "again"
        assert (code, "whatever listens at that address" in err) == ((0, False) if circles else (1, True))
