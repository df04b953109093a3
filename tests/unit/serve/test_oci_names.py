"""One image, one name: every form in which clients and their mirrors write it, and none that reaches elsewhere."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.serve.oci import names
from pyrsia.serve.oci.errors import Problem

sys.path.insert(0, str(Path(__file__).parent))
from oci_toys import PUSHES, Images, ToyUpstream, client, code_of, digest, push_image, shelf
from toy import NODE


@pytest.mark.parametrize(
    ("asked", "space", "package"),
    [
        ("alpine", "", "pkg:docker/alpine"),
        ("library/alpine", "", "pkg:docker/alpine"),
        ("library/alpine", "docker.io", "pkg:docker/alpine"),
        ("alpine", "registry-1.docker.io", "pkg:docker/alpine"),
        ("docker.io/library/alpine", "", "pkg:docker/alpine"),
        ("dockerhub/library/alpine", "", "pkg:docker/alpine"),
        ("dockerhub/alpine", "docker.io", "pkg:docker/alpine"),
        ("team/app", "docker.io", "pkg:docker/team/app"),
        ("docker.io/team/app", "", "pkg:docker/team/app"),
        ("docker.io/docker.io/alpine", "", "pkg:docker/alpine"),
        ("dockerhub/registry-1.docker.io/team/app", "", "pkg:docker/team/app"),
        ("index.docker.io/dockerhub/docker.io/library/alpine", "docker.io", "pkg:docker/alpine"),
        ("docker.io/dockerhub", "", "pkg:docker/dockerhub"),
        ("org/app", "ghcr.io", "pkg:docker/ghcr.io/org/app"),
        ("org/app", "GHCR.io", "pkg:docker/ghcr.io/org/app"),
        ("ghcr.io/org/app", "", "pkg:docker/ghcr.io/org/app"),
        ("ghcr.io/org/app", "ghcr.io", "pkg:docker/ghcr.io/org/app"),
        ("library/app", "ghcr.io", "pkg:docker/ghcr.io/library/app"),
        ("pause", "registry.k8s.io", "pkg:docker/registry.k8s.io/pause"),
        ("library", "", "pkg:docker/library"),
        ("dockerhub", "", "pkg:docker/dockerhub"),
        (f"{NODE}/team/app", "", f"pkg:generic/{NODE}/docker/team/app"),
    ],
)
def test_every_form_of_a_name_is_one_package(asked: str, space: str, package: str):
    assert names.read(asked, space).package == package


@pytest.mark.parametrize(
    ("package", "there"),
    [
        ("pkg:docker/alpine", "alpine"),
        ("pkg:docker/team/app", "team/app"),
        ("pkg:docker/ghcr.io/org/app", "org/app"),
    ],
)
def test_a_registry_is_asked_for_its_own_name(package: str, there: str):
    assert names.at_registry(package) == there


@pytest.mark.parametrize(
    ("asked", "space"),
    [
        ("APP", ""),
        ("a//b", ""),
        ("../app", ""),
        ("app/", ""),
        ("a" * 256, ""),
        ("app", "127.0.0.1:22"),
        ("app", "http://169.254.169.254/"),
        ("app", "localhost"),
        ("app", "ghcr.io/../../x"),
        ("app", "user@ghcr.io"),
        ("app", "ghcr.io#"),
        ("app", "[::1]"),
        ("app", "doc\u212aer.io"),  # the Kelvin sign is lower-cased into k
    ],
)
def test_what_is_no_name_or_no_registry_is_refused(asked: str, space: str):
    with pytest.raises(Problem) as caught:
        names.read(asked, space)
    assert (caught.value.status, caught.value.code) == (400, "NAME_INVALID")


@given(st.text(max_size=30), st.text(max_size=20))
def test_a_name_is_refused_or_a_purl_of_its_own_registry(asked: str, space: str):
    try:
        name = names.read(asked, space)
    except Problem:
        return
    again = names.read(name.asked, name.space)
    assert again.package == name.package
    if space and "docker" not in space.lower():
        assert name.package.startswith(f"pkg:docker/{space.lower()}/"), (
            "another registry's image is never Docker Hub's"
        )


@given(st.from_regex("[a-z0-9]{1,8}(/[a-z0-9]{1,8})?", fullmatch=True))
def test_a_mirror_s_folder_changes_nothing(plain: str):
    wanted = names.read(plain).package
    for folder in ("docker.io", "dockerhub", "index.docker.io"):
        assert names.read(f"{folder}/{plain}").package == wanted
        assert names.read(f"{folder}/{plain}", "docker.io").package == wanted


async def test_mirror_forms_lead_to_one_image_and_say_whose_name_it_was(tmp_path: Path):
    node = Images(tmp_path)
    made = node.image("library/alpine", "3")
    forms = ("alpine", "library/alpine", "dockerhub/library/alpine", "docker.io/alpine")
    async with client(node) as web:
        answers = [await web.get(f"/v2/{form}/manifests/3") for form in forms]
        spaced = await web.get("/v2/library/alpine/manifests/3?ns=docker.io")
        other = await web.get("/v2/library/alpine/manifests/3?ns=quay.io")
        listed = await web.get("/v2/_catalog")

    assert [one.content for one in (*answers, spaced)] == [made["manifest"]] * 5
    assert spaced.headers["oci-namespace"] == "docker.io"
    assert "oci-namespace" not in answers[0].headers
    assert code_of(other) == (404, "NAME_UNKNOWN")
    assert listed.json() == {"repositories": ["alpine"]}


async def test_two_spellings_that_the_log_holds_are_one_image_and_the_first_entry_stays(tmp_path: Path):
    node = Images(tmp_path)
    first = node.image("library/alpine", "3", layer=b"first")
    node.image("alpine", "3", layer=b"later")
    node.image("alpine", "4")
    async with client(node) as web:
        tags = await web.get("/v2/alpine/tags/list")
        manifest = await web.get("/v2/alpine/manifests/3")

    assert tags.json()["tags"] == ["3", "4"]
    assert manifest.content == first["manifest"]


async def test_nobody_pushes_to_a_name_of_the_network_in_any_spelling_and_a_local_name_stays_local(
    tmp_path: Path,
):
    node = Images(tmp_path)
    node.image("library/alpine", "3")
    with shelf(tmp_path) as local:
        async with client(node, local, token=PUSHES) as web:
            refused = [
                await web.post(f"/v2/{form}/blobs/uploads/?ns={space}")
                for form, space in (("alpine", ""), ("dockerhub/alpine", ""), ("library/alpine", "docker.io"))
            ]
            mine = await push_image(web, "docker.io/team/app", "1", b"mine")
            node.image("team/app", "1", layer=b"the network's, later")
            node.image("team/app", "2", layer=b"the network's, later")
            here = await web.get("/v2/team/app/manifests/1")
            other = await web.get("/v2/team/app/manifests/2")
            tags = await web.get("/v2/team/app/tags/list?ns=docker.io")

    assert [code_of(one) for one in refused] == [(403, "DENIED")] * 3
    assert "another name" in refused[0].json()["errors"][0]["message"]
    assert (here.content, here.headers["x-pyrsia-verified"]) == (mine, "local")
    assert code_of(other) == (404, "MANIFEST_UNKNOWN")
    assert tags.json()["tags"] == ["1"]


async def test_ns_makes_the_node_ask_nobody_but_its_own_registries(tmp_path: Path):
    node, upstream = Images(tmp_path), ToyUpstream(tmp_path, allowed=("pkg:docker/ghcr.io/",))
    made = upstream.image("org/app", "1")
    async with client(node, upstream=upstream) as web:
        good = await web.get("/v2/org/app/manifests/1?ns=ghcr.io")
        inner = [
            await web.get(f"/v2/org/app/manifests/1?ns={space}")
            for space in (
                "169.254.169.254",
                "internal.corp",
                "127.0.0.1:8080",
                "evil.example/ghcr.io",
                "docker.io",
            )
        ]

    assert (good.content, good.headers["oci-namespace"]) == (made["manifest"], "ghcr.io")
    assert [one.status_code for one in inner] == [404, 404, 400, 400, 404]
    assert upstream.asked == ["v2/org/app/manifests/1"]
    assert digest(made["manifest"]) == good.headers["docker-content-digest"]
