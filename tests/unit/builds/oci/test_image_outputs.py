"""What is read back from the sandbox: by digest, plain, through no link; and what a request's parameters may be."""

import hashlib
import os
from pathlib import Path

import pytest

from pyrsia.builds import members
from pyrsia.builds.model import PhaseFailed
from pyrsia.builds.oci import names, outputs, rules
from pyrsia.errors import Refusal

DATA = b"a blob"
SEVEN = ",".join(
    f"linux/{arch}" for arch in ["arm/v5", "arm/v6", "arm/v7", "386", "s390x", "ppc64le", "arm64"]
)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A folder that a sandbox left, with one blob in it; `result` beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "result").mkdir()
    (folder / DIGEST).write_bytes(DATA)
    return folder


def test_a_blob_is_taken_under_its_digest(left: Path):
    path = outputs.take(left, left.parent / "result", DIGEST, "x")

    assert path.read_bytes() == DATA
    found = outputs.document(left.parent / "result", f"sha256~{DIGEST}", DIGEST)
    assert (found.name, found.raw.file.sha256, found.containment) == (f"sha256~{DIGEST}", DIGEST, "full")
    (row,) = members.decode(found.raw.members.path.read_bytes())
    assert (row.path, row.size) == (f"sha256~{DIGEST}", len(DATA))


@pytest.mark.parametrize("name", ["../secret", "x", "", DIGEST.upper(), f"{DIGEST}/../x"])
def test_a_blob_that_is_called_otherwise_is_refused_before_it_is_opened(left: Path, name: str):
    with pytest.raises(PhaseFailed, match="not called by a digest"):
        outputs.take(left, left.parent / "result", name, "x")
    assert list((left.parent / "result").iterdir()) == []


@pytest.mark.parametrize("kind", ["other", "link", "pipe", "absent"])
def test_a_blob_that_is_another_thing_is_refused(left: Path, kind: str):
    path = left / DIGEST
    path.unlink()
    if kind == "other":
        path.write_bytes(b"other")
    elif kind == "link":
        (left / "real").write_bytes(DATA)
        path.symlink_to(left / "real")
    elif kind == "pipe":
        os.mkfifo(path)

    with pytest.raises(PhaseFailed):
        outputs.take(left, left.parent / "result", DIGEST, "x")


def test_parameters_of_an_image_are_a_path_and_platforms():
    told = {"platforms": "linux/arm/v7,linux/amd64", "dockerfile": "docker/Dockerfile"}

    assert list(rules.parameters(told)) == ["dockerfile", "platforms"]
    assert rules.parameters({}) == {}


@pytest.mark.parametrize(
    "told",
    [
        {"build-arg": "x"},
        {"platforms": "windows/amd64"},
        {"platforms": "linux/amd64,linux/amd64"},
        {"platforms": ""},
        {
            "platforms": ",".join(f"linux/arm/v{n}" for n in (5, 6, 7))
            + ",linux/386,linux/s390x,linux/ppc64le,linux/arm64"
        },
        {"dockerfile": "../Dockerfile"},
        {"dockerfile": "/etc/passwd"},
        {"dockerfile": ""},
    ],
)
def test_another_parameter_is_refused(told: dict[str, str]):
    with pytest.raises(Refusal) as caught:
        rules.parameters(told)
    assert caught.value.code == "bad-request"


@pytest.mark.parametrize(
    ("name", "version"), [("Team/app", "1"), ("app", None), ("app", ""), ("a//b", "1"), ("app", "-x")]
)
def test_what_is_no_image_is_refused(name: str, version: str | None):
    with pytest.raises(Refusal) as caught:
        names.purl(name, version)
    assert caught.value.code == "bad-request"


def test_an_image_s_name_is_its_purl_and_its_coordinates():
    found = names.purl("team/tools/app", "1.0")

    assert str(found) == "pkg:docker/team/tools/app@1.0"
    assert names.coordinates(found) == {"name": "app", "namespace": "team/tools", "version": "1.0"}
    assert names.native("x86_64") == "linux/amd64"
    assert [names.inner(one) for one in ("a.zip", "a-1.tar.gz", "a.tar", "a")] == [
        "source.zip",
        "source.tar.gz",
        "source.tar",
        "source.tar.gz",
    ]
