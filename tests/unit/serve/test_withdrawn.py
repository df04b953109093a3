"""What is withdrawn, at each door: nobody who chooses is offered it, and whoever names the bytes gets it."""

from dataclasses import replace
from pathlib import Path

import pytest

from pyrsia.builds.conan.names import INFO, PACKAGE, PACKAGE_FILES, RECIPE_FILES, Place
from pyrsia.builds.maven.poms import read_xml
from pyrsia.errors import Refusal
from pyrsia.serve.desks.views import ProjectFile, Refused
from pyrsia.serve.pypi import JSON
from tests.unit.serve import maven_toys, pypi_toys
from tests.unit.serve import oci_toys as oci
from tests.unit.serve.test_conan import PID, PREV, RREV, Node, R, get, keep_back, value
from tests.unit.serve.toy import ToyNode

WHY = "the artifact's status is WITHDRAWN: its key leaked"


def withdraw(node: ToyNode, file: ProjectFile, *, exact: bool = True) -> None:
    """As the node's catalogue says it. `exact`: whether policy gives it by digest."""
    refusal = Refusal("withdrawn", what=WHY, who="the network's members", do="take another version")
    node.kept_back[file.sha256] = Refused(replace(file, yanked=WHY if exact else ""), refusal, exact)


# -- pip --


async def test_a_withdrawn_wheel_is_yanked_with_its_reason_and_its_address_has_a_digest(
    tmp_path: Path,
) -> None:
    async with pypi_toys.place(tmp_path, proxy=False) as here:
        here.node.publish("a-1-py3-none-any.whl", b"one")
        gone = here.node.publish("a-2-py3-none-any.whl", b"two", b"METADATA")
        withdraw(here.node, gone)
        page = await here.page("a")
        html = (await here.client.get("/pypi/simple/a/")).text
        got = await here.client.get(f"/pypi/files/{gone.sha256}/{gone.filename}")
        metadata = await here.client.get(f"/pypi/files/{gone.sha256}/{gone.filename}.metadata")

    assert [(one["filename"], one["yanked"]) for one in page["files"]] == [
        ("a-1-py3-none-any.whl", False),
        ("a-2-py3-none-any.whl", WHY),
    ]
    assert f'data-yanked="{WHY.replace(chr(39), "&#x27;")}"' in html
    assert (got.content, got.headers["x-pyrsia-withdrawn"]) == (b"two", WHY)
    assert metadata.content == b"METADATA"
    assert page["files"][1]["_pyrsia"]["by-digest"] is True


@pytest.mark.parametrize("exact", [True, False])
async def test_a_project_of_withdrawn_files_alone_has_only_yanked_ones_unless_nobody_gets_them(
    tmp_path: Path, exact: bool
) -> None:
    """Unyanked they would be what a range chooses; refused they have to be chosen, to be told why."""
    async with pypi_toys.place(tmp_path, proxy=False) as here:
        files = [here.node.publish(f"a-{at}-py3-none-any.whl", b"%d" % at) for at in (1, 2)]
        for file in files:
            withdraw(here.node, file, exact=exact)
        page = await here.page("a")
        got = await here.client.get(f"/pypi/files/{files[0].sha256}/{files[0].filename}")

    assert [one["yanked"] for one in page["files"]] == [WHY if exact else False] * 2
    assert page["project-status"]["status"] == ("active" if exact else "quarantined")
    assert (got.status_code, got.content == b"1") == ((200, True) if exact else (410, False))


async def test_another_withdrawn_file_of_the_version_that_nobody_gets_leads_no_pin_to_it(
    tmp_path: Path,
) -> None:
    """A pin takes a yanked file only where there is no other."""
    async with pypi_toys.place(tmp_path, proxy=False) as here:
        withdraw(here.node, here.node.publish("a-1-py3-none-any.whl", b"one"))
        withdraw(here.node, here.node.publish("a-1-1-py3-none-any.whl", b"later"), exact=False)
        denied = here.node.publish("a-2-py3-none-any.whl", b"two")
        pypi_toys.refuse(here.node, denied)
        page = await here.page("a")

    assert [one["yanked"] for one in page["files"]] == [WHY, WHY, False]


async def test_upstream_fills_no_version_that_is_withdrawn(tmp_path: Path) -> None:
    async with pypi_toys.place(tmp_path) as here:
        withdraw(here.node, here.node.publish("a-1.0-py3-none-any.whl", b"ours"))
        here.upstream.list("a", a_1_0=b"theirs", a_2_0=b"new")
        page = (await here.client.get("/pypi/simple/a/", headers={"accept": JSON})).json()
        sha256 = pypi_toys.digest(b"theirs")
        dodged = await here.client.get(f"/pypi/proxied/a/{sha256}/a-1.0-py3-none-any.whl")

    assert [(one["filename"], one["yanked"]) for one in page["files"]] == [
        ("a-1.0-py3-none-any.whl", WHY),
        ("a-2.0-py3-none-any.whl", False),
    ]
    assert dodged.status_code == 404


# -- Maven --


async def test_a_withdrawn_version_of_maven_is_not_listed_and_its_path_says_why(tmp_path: Path) -> None:
    node = ToyNode(tmp_path)
    maven_toys.publish(node, maven_toys.tool("1.0"), ".jar", b"one")
    maven_toys.publish(node, maven_toys.tool("2.0"), ".pom", b"<project/>")
    gone = maven_toys.publish(node, maven_toys.tool("2.0"), ".jar", b"two")
    withdraw(node, gone)
    with maven_toys.shelf(tmp_path) as local:
        async with maven_toys.asking(node, local) as client:
            listed = await client.get("/org/example/tool/maven-metadata.xml")
            by_path = await client.get("/org/example/tool/2.0/tool-2.0.jar")
            root = str(client.base_url).removesuffix("maven2/")
            by_digest = await client.get(f"{root}pypi/files/{gone.sha256}/{gone.filename}")

    versions = [one.text for one in read_xml(listed.content).all("versioning/versions/version")]
    assert versions == ["1.0"]  # of 2.0 a file is left, and nobody is led to it
    assert read_xml(listed.content).get("versioning/release") == "1.0"
    assert (by_path.status_code, WHY in by_path.reason_phrase) == (403, True)
    assert (by_digest.content, by_digest.headers["x-pyrsia-withdrawn"]) == (b"two", WHY)


@pytest.mark.parametrize("code", ["disputed", "denied"])
async def test_of_maven_a_version_of_which_a_file_is_kept_back_is_led_to_by_nothing(
    tmp_path: Path, code: str
) -> None:
    """Its pom alone would make it the latest, and a range would end at a 403."""
    node = ToyNode(tmp_path)
    maven_toys.publish(node, maven_toys.tool("1.0"), ".jar", b"one")
    maven_toys.publish(node, maven_toys.tool("2.0"), ".pom", b"<project/>")
    gone = maven_toys.publish(node, maven_toys.tool("2.0"), ".jar", b"two")
    node.kept_back[gone.sha256] = Refused(gone, Refusal(code, what="no", who="policy", do="use another"))
    with maven_toys.shelf(tmp_path) as local:
        async with maven_toys.asking(node, local) as client:
            listed = read_xml((await client.get("/org/example/tool/maven-metadata.xml")).content)
            pom = await client.get("/org/example/tool/2.0/tool-2.0.pom")
    assert [one.text for one in listed.all("versioning/versions/version")] == ["1.0"]
    assert [listed.get(f"versioning/{one}") for one in ("latest", "release")] == ["1.0", "1.0"]
    assert pom.status_code == 200  # who names it gets what is given


# -- Conan --


@pytest.fixture
def conan(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    node.package("pkg:conan/tiny")
    return node


def withdraw_conan(node: Node, *names: str, exact: bool = True) -> None:
    for file in list(node.published.values()):
        if file.filename in names:
            withdraw(node, file, exact=exact)


RECIPE = tuple(str(Place(RREV, one)) for one in RECIPE_FILES)
BINARY = tuple(str(Place(RREV, one, PID, PREV)) for one in PACKAGE_FILES)


async def test_a_withdrawn_revision_of_conan_is_found_by_who_writes_it_out(conan: Node) -> None:
    withdraw_conan(conan, *RECIPE, *BINARY)
    recipe = f"{R}/revisions/{RREV}"
    package = f"{recipe}/packages/{PID}"

    for path in (f"{R}/latest", f"{recipe}/search", f"{R}/search", f"{package}/latest"):
        status, _, body = await get(conan, f"/conan{path}")
        assert (status, body.decode().partition(";")[0]) == (403, WHY), path
    # Who was given a revision finds it among all of them.
    assert [one["revision"] for one in (await value(conan, f"{R}/revisions"))["revisions"]] == [RREV]
    assert [one["revision"] for one in (await value(conan, f"{package}/revisions"))["revisions"]] == [PREV]
    assert set(RECIPE_FILES) < set((await value(conan, f"{recipe}/files"))["files"])
    status, headers, body = await get(conan, f"/conan{package}/revisions/{PREV}/files/{PACKAGE}")
    assert (status, body) == (200, f"package's {PACKAGE}".encode())
    assert headers["x-pyrsia-withdrawn"] == WHY


async def test_where_policy_refuses_what_is_withdrawn_no_revision_leads_to_it(conan: Node) -> None:
    withdraw_conan(conan, *RECIPE, *BINARY, exact=False)
    for path in (
        f"{R}/revisions", f"{R}/revisions/{RREV}/files", f"{R}/revisions/{RREV}/packages/{PID}/revisions",
        f"{R}/revisions/{RREV}/packages/{PID}/revisions/{PREV}/files/{INFO}",
    ):  # fmt: skip
        assert (await get(conan, f"/conan{path}"))[0] == 403, path


async def test_a_withdrawn_revision_of_which_a_file_is_denied_is_given_to_nobody(conan: Node) -> None:
    withdraw_conan(conan, *RECIPE, *BINARY)
    keep_back(conan, str(Place(RREV, PACKAGE, PID, PREV)))

    assert (await get(conan, f"/conan{R}/revisions/{RREV}/packages/{PID}/revisions"))[0] == 403
    assert [one["revision"] for one in (await value(conan, f"{R}/revisions"))["revisions"]] == [RREV]


async def test_a_newer_version_of_conan_is_found_and_a_withdrawn_one_is_not(conan: Node) -> None:
    withdraw_conan(conan, *RECIPE, *BINARY)
    conan.package("pkg:conan/tiny", "0.9")
    for file in list(conan.published.values()):
        if file.version == "0.9":  # the packages' bytes are the same but for the recipe's
            conan.kept_back.pop(file.sha256, None)

    assert (await value(conan, "/v2/conans/search?q=tiny/*"))["results"] == ["tiny/0.9"]


# -- images --


async def test_a_withdrawn_image_has_no_tag_and_its_digest_leads_to_all_of_it(tmp_path: Path) -> None:
    node = oci.Images(tmp_path)
    node.image("app", "1", layer=b"an older layer")
    made = node.image("app", "2")
    for part in ("manifest", "layer"):
        node.refuse(made[part], "withdrawn", WHY)
        node.exact.add(oci.sha(made[part]))
    async with oci.client(node) as web:
        tags = (await web.get("/v2/app/tags/list")).json()["tags"]
        by_tag = await web.get("/v2/app/manifests/2")
        by_digest = await web.get(f"/v2/app/manifests/{oci.digest(made['manifest'])}")
        blobs = [await web.get(f"/v2/app/blobs/{oci.digest(made[part])}") for part in ("config", "layer")]

    assert tags == ["1"]
    assert (oci.code_of(by_tag), WHY in by_tag.json()["errors"][0]["message"]) == ((403, "DENIED"), True)
    assert by_digest.content == made["manifest"]
    assert [one.content for one in blobs] == [made["config"], made["layer"]]


async def test_a_layer_that_is_withdrawn_is_no_manifest_by_its_digest(tmp_path: Path) -> None:
    node = oci.Images(tmp_path)
    made = node.image("app", "2")
    node.refuse(made["layer"], "withdrawn", WHY)
    node.exact.add(oci.sha(made["layer"]))
    async with oci.client(node) as web:
        answer = await web.get(f"/v2/app/manifests/{oci.digest(made['layer'])}")

    assert oci.code_of(answer) == (403, "DENIED")
