"""The original's log, as its users asked it: each test names one item. See README.md beside this file."""

import csv
import io
import json

import httpx
import pytest

from pyrsia.cli.main import cli
from pyrsia.cli.tell import run
from tests.reference.inspected import InspectedNode
from tests.reference.pasts import Eventful, Mixed

COLUMNS = (
    "id", "package_type", "package_specific_id", "num_artifacts", "package_specific_artifact_id", "artifact_hash",
    "source_hash", "artifact_id", "source_id", "timestamp", "operation", "node_id", "node_public_key",
)  # fmt: skip
ALPINE = {"image": "alpine:3.16.0"}
CODEC = "commons-codec:commons-codec:1.15"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = Mixed(tmp_path_factory.mktemp("parity"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def eventful(tmp_path_factory):
    made = Eventful(tmp_path_factory.mktemp("parity"))
    yield made
    made.close()


@pytest.fixture
def node(world):
    with InspectedNode(world) as made:
        yield made


def told(capsys, node, *arguments):
    """What `inspect-log` prints."""
    code = run(cli, ["inspect-log", *arguments, "--node", node.url])
    output = capsys.readouterr()
    assert (code, output.err) == (0, "")
    return output.out


@pytest.fixture
def inspect_log(capsys, node):
    return lambda *arguments: told(capsys, node, *arguments)


def posted(node, path, body):
    with httpx.Client(base_url=node.url, timeout=20) as client:
        return client.post(path, json=body)


# -- commands --


def test_inspect_log_docker_by_tag_and_by_digest(inspect_log, world):
    by_tag = json.loads(inspect_log("docker", "--image", "alpine:3.16.0"))
    assert {row["package_specific_id"] for row in by_tag} == {"alpine:3.16.0"}
    assert len(by_tag) == 4
    sha256 = world.builds["oci"].artifacts[0].body["sha256"]
    [by_digest] = json.loads(inspect_log("docker", "--image", f"alpine@sha256:{sha256}"))
    assert by_digest["package_specific_artifact_id"] == f"alpine@sha256:{sha256}"


def test_inspect_log_maven_by_gav(inspect_log):
    found = json.loads(inspect_log("maven", "--gav", CODEC))
    assert {row["package_specific_id"] for row in found} == {CODEC}
    assert found[0]["package_specific_artifact_id"].startswith("commons-codec/commons-codec/1.15/")


def test_the_two_ecosystems_that_the_original_only_named_are_asked_the_same_way(inspect_log):
    [pip, *_] = json.loads(inspect_log("pip", "idna==1.0"))
    [conan, *_] = json.loads(inspect_log("conan", "zlib/1.3.1@team/stable"))
    assert (pip["package_type"], pip["package_specific_id"]) == ("Pypi", "idna==1.0")
    assert (conan["package_type"], conan["package_specific_id"]) == ("Conan", "zlib/1.3.1@team/stable")


# -- options --


@pytest.mark.parametrize("command", ["docker", "maven"])
def test_without_arguments_it_is_told_what_is_missing_and_where_help_is(capsys, command):
    code = run(cli, ["inspect-log", command])
    output = capsys.readouterr().err
    assert code == 2
    assert {"docker": "'--image'", "maven": "'--gav'"}[command] in output
    assert f"pyrsia inspect-log {command} --help" in output
    assert run(cli, ["inspect-log", command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("Usage", "Options", "--format", "--fields", "--latest"))


def test_json_is_the_format_without_an_option_and_csv_the_other(inspect_log):
    plain = inspect_log("maven", "--gav", CODEC)
    assert plain == inspect_log("maven", "--gav", CODEC, "--format", "json")
    lines = list(csv.DictReader(io.StringIO(inspect_log("maven", "--gav", CODEC, "--format", "csv"))))
    assert [one["artifact_hash"] for one in lines] == [one["artifact_hash"] for one in json.loads(plain)]


@pytest.mark.parametrize("column", COLUMNS)
def test_each_of_the_thirteen_fields_can_be_asked_for_alone(inspect_log, column):
    found = json.loads(inspect_log("maven", "--gav", CODEC, "--fields", column))
    assert [tuple(row) for row in found] == [(column,), (column,)]


def test_latest_is_what_was_done_last(inspect_log, world):
    [latest] = json.loads(inspect_log("docker", "--image", "alpine:3.16.0", "--latest"))
    assert (latest["operation"], latest["build_id"]) == ("RemoveArtifact", world.again.id)


def test_nothing_is_found_before_a_build_and_no_error(inspect_log):
    assert json.loads(inspect_log("docker", "--image", "alpine:9")) == []


# -- columns --


def test_the_columns_are_the_originals_by_name_and_order(inspect_log):
    for row in json.loads(inspect_log("artifacts")):
        assert tuple(row)[:13] == COLUMNS


def test_no_value_is_made_up_where_the_original_had_random_ones_or_none(inspect_log, world):
    """source_hash was always empty; node_id, node_public_key, source_id and artifact_id were random UUIDs."""
    build = world.builds["maven"]
    body = build.artifacts[0].body
    row = json.loads(inspect_log("maven", "--gav", CODEC))[0]
    assert row["source_hash"] == build.request.body["source"]["sha256"]
    assert row["source_id"] == f"file:{build.request.body['source']['file']}"
    assert (row["artifact_id"], row["artifact_hash"]) == (body["manifest"], body["sha256"])
    assert row["node_id"] == build.verdict.body["agreeing"][0]
    assert row["node_public_key"] in {one.public.hex() for one in world.nodes}
    assert (row["timestamp"], row["num_artifacts"]) == (body["time_ms"] // 1000, 2)
    again = json.loads(inspect_log("maven", "--gav", CODEC))[0]
    assert again == row


def test_package_types_are_spelled_as_the_original_spelled_them(inspect_log):
    types = [row["package_type"] for row in json.loads(inspect_log("artifacts", "--fields", "package_type"))]
    assert set(types) == {"Docker", "Maven2", "Pypi", "Conan"}
    nodes = json.loads(inspect_log("nodes", "--fields", "package_type"))
    assert {row["package_type"] for row in nodes} == {None}


def test_all_four_operations_are_written_where_the_original_wrote_two(capsys, eventful):
    found = set()
    with InspectedNode(eventful) as node:
        for what in ("artifacts", "nodes"):
            found |= {row["operation"] for row in json.loads(told(capsys, node, what))}
    assert found >= {"AddArtifact", "RemoveArtifact", "AddNode", "RemoveNode"}


# -- endpoints --


def test_post_inspect_docker_answers_a_list_of_the_thirteen(node):
    found = posted(node, "/inspect/docker", ALPINE).json()
    assert [tuple(row) for row in found] == [COLUMNS] * 4


def test_post_inspect_maven_takes_output_params(node):
    output = {"format": "CSV", "content": {"fields": ["artifact_hash", "timestamp"]}}
    text = posted(node, "/inspect/maven", {"gav": CODEC, "output_params": output, "latest": True}).text
    head, *lines = text.splitlines()
    assert (head, len(lines)) == ("artifact_hash,timestamp", 2)


# -- wishes --


def test_1548_artifacts_and_nodes_are_listed(inspect_log, world):
    assert len(json.loads(inspect_log("artifacts"))) == 10
    assert len(json.loads(inspect_log("nodes"))) == len(world.genesis.members)


def test_1549_any_field_is_asked_by_field_op_value(inspect_log):
    found = json.loads(
        inspect_log("artifacts", "--where", "package_type = Maven2", "--where", "file glob *-2")
    )
    assert [row["file"] for row in found] == ["maven-2"]


def test_1550_records_have_the_id_of_their_build_and_are_grouped_by_it(inspect_log, world):
    groups = json.loads(inspect_log("artifacts", "--group-by", "build"))
    wanted = [one.id for one in (*world.builds.values(), world.again)]
    assert [group["build_id"] for group in groups] == wanted
    assert [row["id"] for row in json.loads(inspect_log("builds"))] == wanted


def test_1399_text_is_found_in_any_field(inspect_log):
    assert {row["package_type"] for row in json.loads(inspect_log("artifacts", "TEAM/stable"))} == {"Conan"}


# -- defects --


def test_the_latest_is_not_the_oldest(inspect_log, world):
    """The original sorted upwards and took the first."""
    add = ("--where", "operation = AddArtifact")
    found = json.loads(inspect_log("docker", "--image", "alpine:3.16.0", "--latest", *add))
    assert {row["build_id"] for row in found} == {world.again.id}


@pytest.mark.parametrize(
    "image", ["alpine' OR '1'='1", "alpine'; DROP TABLE TRANSPARENCYLOG; --", 'alpine" UNION SELECT 1']
)
def test_what_a_stranger_sends_is_never_part_of_a_query_language(node, image):
    assert posted(node, "/inspect/docker", {"image": image}).status_code == 400
    assert len(posted(node, "/inspect/docker", ALPINE).json()) == 4
