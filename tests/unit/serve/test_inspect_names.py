"""Names of ecosystems: what people write becomes packages of the log, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.serve.desks.inspecting import Package
from pyrsia.serve.inspecting import names
from pyrsia.wire import purl as purls

OWNER = "a" * 52
DIGEST = "ab" * 32
READERS = (names.image, names.gav, names.pip, names.conan_ref, names.purl)


@pytest.mark.parametrize(
    ("purl", "version", "file"),
    [
        ("pkg:docker/alpine@3.16", "alpine:3.16", f"alpine@sha256:{DIGEST}"),
        ("pkg:docker/library/alpine@3.16", "alpine:3.16", f"alpine@sha256:{DIGEST}"),
        ("pkg:docker/ghcr.io/org/app@1", "ghcr.io/org/app:1", f"ghcr.io/org/app@sha256:{DIGEST}"),
        (f"pkg:docker/app@sha256:{DIGEST}", f"app@sha256:{DIGEST}", f"app@sha256:{DIGEST}"),
        ("pkg:maven/org.demo/lib@1.0", "org.demo:lib:1.0", "org/demo/lib/1.0/f.jar"),
        ("pkg:pypi/idna@1.0", "idna==1.0", "idna/1.0/f.jar"),
        ("pkg:conan/zlib@1.3", "zlib/1.3", "zlib/1.3/f.jar"),
        ("pkg:conan/team/zlib@1.3", "zlib/1.3@team", "zlib/1.3@team/f.jar"),
        (f"pkg:generic/{OWNER}/pypi/idna@1.0", f"{OWNER}/idna==1.0", f"{OWNER}/idna/1.0/f.jar"),
        (f"pkg:generic/{OWNER}/docker/app@1", f"{OWNER}/app:1", f"{OWNER}/app@sha256:{DIGEST}"),
        ("pkg:pypi/idna", "idna", None),
        ("pkg:generic/x@1", "pkg:generic/x@1", "x/1/f.jar"),
    ],
)
def test_versions_and_files_are_written_as_their_ecosystems_write_them(purl, version, file):
    assert names.package_id(purl) == version
    assert file is None or names.artifact_id(purl, "f.jar", DIGEST) == file


@pytest.mark.parametrize(
    "image", ["alpine", "library/alpine", "docker.io/library/alpine", "docker.io/alpine"]
)
def test_every_name_of_an_image_is_one_package(image):
    both = ("pkg:docker/alpine", "pkg:docker/library/alpine")
    assert names.image(image) == Package(both)
    assert names.image(f"{image}:3.16") == Package(both, frozenset(("3.16",)))
    wanted = Package(both, frozenset((f"sha256:{DIGEST}",)), DIGEST)
    assert names.image(f"{image}@sha256:{DIGEST}") == names.image(f"{image}:3.16@sha256:{DIGEST}") == wanted


def test_a_python_version_is_the_same_with_and_without_zeros():
    for text in ("IDNA==1.0", "idna == 1", "Idna==v1.0.0"):
        found = names.pip(text)
        assert found.purls == ("pkg:pypi/idna",)
        assert {"1", "1.0", "1.0.0"} <= found.versions


def test_a_conan_reference_has_its_home_behind_it():
    assert names.conan_ref("zlib/1.3@team/stable") == names.purl("pkg:conan/team/stable/zlib@1.3")


@given(st.text(max_size=80), st.sampled_from(READERS))
def test_whatever_is_written_it_is_a_package_or_a_refusal(text, reader):
    try:
        found = reader(text)
    except Refusal:
        return
    assert all(str(purls.parse(one)) == one for one in found.purls)
