"""Whose recipe: a remote's, a mapped repository's, or the requester's own."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pyrsia.builds.conan.origins import Origins, kind_of
from pyrsia.builds.model import LocalSource, NamedFile, SourceMapping, Want
from pyrsia.builds.sources.git import GitArchive
from pyrsia.errors import Refusal

RREV = "a1" * 16
NODE = "a" * 52
GIVEN = LocalSource("tiny-1.0.tar.gz", Path("/given"), "1" * 64, 10, manifest="2" * 64)
GIT = GitArchive(NamedFile("tiny-1.0.tar", Path("/mapped")), "3" * 64, 20, "4" * 40, "v1.0", "5" * 64, 7)


@dataclass
class Repositories:
    archive: GitArchive = GIT

    async def mapped(self, mapping: SourceMapping, *, name: str, version: str) -> GitArchive:
        assert (mapping.repository, name, version) == ("https://code.example/tiny", "tiny", "1.0")
        return self.archive


@dataclass
class Shop:
    """As much of a shop as origins use."""

    mappings: dict[str, SourceMapping] = field(default_factory=dict)
    git: Repositories = field(default_factory=Repositories)

    def mapping(self, purl: str) -> SourceMapping | None:
        return self.mappings.get(purl)

    async def claimed(self, request: dict[str, Any]) -> Path:
        return Path("/brought")


def mapped(**recipe: Any) -> Shop:
    mapping = SourceMapping("pkg:conan/tiny", "https://code.example/tiny", "v{version}", recipe, 1)
    return Shop({"pkg:conan/tiny": mapping})


def request(source: dict[str, Any], purl: str = "pkg:conan/tiny@1.0", **recipe: Any) -> dict[str, Any]:
    return {
        "purl": purl,
        "coordinates": {"name": "tiny", "version": "1.0"},
        "source": source,
        "recipe": {"parameters": [], **recipe},
    }


REGISTRY = {"file": f"tiny-1.0-{RREV}.tar.gz", "sha256": "6" * 64, "size": 5}
COMMIT = GIT.as_source()["git"]
CLAIMED = {"file": GIVEN.file, "sha256": GIVEN.sha256, "size": GIVEN.size, "manifest": GIVEN.manifest}


async def test_a_recipe_of_a_remote_is_wanted_by_version_alone_and_got_by_revision():
    origins = Origins(Shop())

    wanted = await origins.wanted(Want("tiny", "1.0"))
    again = await origins.of(request(REGISTRY))

    assert (wanted.kind, wanted.rrev, wanted.folder, wanted.source) == ("registry", "", None, None)
    assert (again.kind, again.rrev, again.folder) == ("registry", RREV, None)
    assert wanted.parameters == again.parameters == {"build_type": "Debug Release"}


async def test_parameters_of_a_requester_count_under_its_own_name_only():
    told = [["option.shared", "True"]]
    origins = Origins(Shop())

    known = await origins.of(request(REGISTRY, parameters=told))
    own = await origins.of(request(REGISTRY, f"pkg:generic/{NODE}/conan/tiny@1.0", parameters=told))

    assert "option.shared" not in known.parameters  # so the recipe disagrees: lock-mismatch
    assert own.parameters["option.shared"] == "True"


async def test_a_source_that_was_given_along_is_claimed_and_may_say_its_version():
    origins = Origins(Shop())

    wanted = await origins.wanted(Want("tiny", None, source=GIVEN, parameters={"subdir": "conan"}))
    again = await origins.of(request(CLAIMED, parameters=[["subdir", "conan"]]))

    assert (wanted.kind, wanted.ref.version, wanted.folder, wanted.source) == ("claimed", "", GIVEN, CLAIMED)
    assert (again.kind, again.folder.path) == ("claimed", Path("/brought"))
    assert wanted.parameters == again.parameters == {"build_type": "Debug Release", "subdir": "conan"}


async def test_a_mapping_gives_commit_parameters_and_environment():
    shop = mapped(parameters=[["build_type", "Release"]], environment="rootfs:" + "9" * 64)
    origins = Origins(shop)

    wanted = await origins.wanted(Want("tiny", "1.0", parameters={"build_type": "Debug"}))
    again = await origins.of(request(GIT.as_source()))

    assert wanted.kind == again.kind == "mapping"
    assert wanted.source == GIT.as_source()
    assert wanted.folder == LocalSource("tiny-1.0.tar", Path("/mapped"), "3" * 64, 20)
    assert wanted.environment == "rootfs:" + "9" * 64
    assert wanted.parameters == again.parameters == {"build_type": "Release"}


@pytest.mark.parametrize(
    ("shop", "body", "code"),
    [
        (Shop(), request(GIT.as_source()), "lock-mismatch"),
        (mapped(), request(REGISTRY), "lock-mismatch"),
        (mapped(), request({**GIT.as_source(), "sha256": "7" * 64}), "digest-mismatch"),
        (mapped(), request({**GIT.as_source(), "git": {**COMMIT, "commit": "7" * 40}}), "digest-mismatch"),
        (Shop(), request(CLAIMED, parameters=[["subdir", "../up"]]), "bad-request"),
    ],
    ids=["no mapping", "passes the mapping by", "another archive", "another commit", "leads out"],
)  # fmt: skip
async def test_a_request_whose_source_is_not_the_one_here_is_refused(shop, body, code):
    with pytest.raises(Refusal) as caught:
        await Origins(shop).of(body)

    assert caught.value.code == code


@pytest.mark.parametrize(
    "want",
    [
        Want("Tiny", "1.0"),
        Want("tiny", None),
        Want("tiny", "1 0"),
        Want("tiny", "1.0", parameters={"x": "y"}),
    ],
)
async def test_a_want_that_is_none_is_refused(want):
    with pytest.raises(Refusal) as caught:
        await Origins(Shop()).wanted(want)

    assert caught.value.code == "bad-request"


def test_a_requests_kind_is_what_its_source_says():
    kinds = [kind_of(request(source)) for source in (REGISTRY, CLAIMED, GIT.as_source())]

    assert kinds == ["registry", "claimed", "mapping"]
