"""A Conan package as its remote serves it, seen file by file."""

import hashlib
import json
from types import SimpleNamespace

import pytest

from pyrsia.builds.model import Want
from pyrsia.builds.witness import lock
from pyrsia.builds.witness.plugin import WitnessPlugin
from pyrsia.builds.witness.recipes import Recipes
from pyrsia.errors import Refusal
from tests.unit.builds.witness.registry import FakeRegistry

TARGET = {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.7"}
RREV, PREV = "b8bc2603263cf7eccbd6e17e66b0ed76", "1a" * 16
MINE, OTHER = "11" * 20, "00" * 20
AT = f"/v2/conans/zlib/1.3.1/_/_/revisions/{RREV}"


@pytest.fixture
def remote():
    with FakeRegistry() as made:
        say(made, "/v2/conans/zlib/1.3.1/_/_/latest", {"revision": RREV, "time": "2024-02-22"})
        say(made, f"{AT}/files", {"files": {"conanmanifest.txt": {}, "conanfile.py": {}}})
        say(made, f"{AT}/search", {MINE: settings("x86_64"), OTHER: settings("armv8")})
        say(made, f"{AT}/packages/{MINE}/latest", {"revision": PREV})
        say(made, f"{AT}/packages/{MINE}/revisions/{PREV}/files", {"files": {"conan_package.tgz": {}}})
        made.forged[f"{AT}/files/conanfile.py"] = b"recipe"
        made.forged[f"{AT}/files/conanmanifest.txt"] = b"manifest"
        made.forged[f"{AT}/packages/{MINE}/revisions/{PREV}/files/conan_package.tgz"] = b"package"
        yield made


def say(remote, path, value):
    remote.forged[path] = json.dumps(value).encode()


def settings(arch):
    return {"settings": {"os": "Linux", "arch": arch}, "options": {}}


def witness(folder, remote):
    shop = SimpleNamespace(
        results=folder / "results",
        cache=folder / "cache",
        admitted=lambda: ("host:" + "e" * 64,),
        sandbox=SimpleNamespace(isolation="namespace"),
    )
    return WitnessPlugin(shop, {"conan": lambda: Recipes((remote.url,), folder / "cache")}, TARGET)


async def test_the_newest_recipe_and_its_packages_for_this_platform_are_seen(tmp_path, remote):
    plugin = witness(tmp_path, remote)
    (planned,) = await plugin.plan(Want("pkg:conan/zlib", "1.3.1"), 1_760_000_000_000)
    seen = {one.file: one.sha256 for one in lock.decode(planned.lock)}
    assert seen == {
        f"{RREV}~conanfile.py": hashlib.sha256(b"recipe").hexdigest(),
        f"{RREV}~conanmanifest.txt": hashlib.sha256(b"manifest").hexdigest(),
        f"{RREV}~{MINE}~{PREV}~conan_package.tgz": hashlib.sha256(b"package").hexdigest(),
    }
    assert planned.source["file"] == f"{RREV}~conanfile.py"
    request = {
        "purl": planned.purl,
        "recipe": planned.recipe,
        "source": planned.source,
        "target": planned.target,
    }
    assert await plugin.relock(request) == planned.lock
    remote.forged[f"{AT}/files/conanfile.py"] = b"another"
    assert await plugin.relock(request) != planned.lock


INFO = "[settings]\narch={arch}\nos=Linux\n[options]\narch=x86_64\n"


async def test_a_remote_that_gives_settings_as_text_and_files_beside_the_package_is_understood(
    tmp_path, remote
):
    """As conan_server does, and a node of ours."""
    told = {MINE: {"content": INFO.format(arch="x86_64")}, OTHER: {"content": INFO.format(arch="armv8")}}
    say(remote, f"{AT}/search", told)
    files = {"conanfile.py": {}, "metadata/sign/pyrsia.json": {}}
    say(remote, f"{AT}/files", {"files": files})

    (planned,) = await witness(tmp_path, remote).plan(Want("pkg:conan/zlib", "1.3.1"), 1)

    seen = {one.file for one in lock.decode(planned.lock)}
    assert seen == {f"{RREV}~conanfile.py", f"{RREV}~{MINE}~{PREV}~conan_package.tgz"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/v2/conans/zlib/1.3.1/_/_/latest", {"revision": "../../x"}),
        ("/v2/conans/zlib/1.3.1/_/_/latest", []),
        (f"{AT}/files", {"files": {"../evil": {}}}),
        (f"{AT}/files", {"files": {}}),
        (f"{AT}/files", {"files": {f"f{n}": {} for n in range(100)}}),
        (f"{AT}/packages/{MINE}/latest", {"revision": 7}),
    ],
)
async def test_an_answer_that_makes_no_sense_is_a_refusal(tmp_path, remote, path, value):
    say(remote, path, value)
    with pytest.raises(Refusal) as caught:
        await witness(tmp_path, remote).plan(Want("pkg:conan/zlib", "1.3.1"), 1)
    assert caught.value.code == "index-unreachable"


async def test_a_recipe_that_no_remote_has_is_unknown_and_a_version_is_needed(tmp_path, remote):
    for version in ("9", None):
        with pytest.raises(Refusal) as caught:
            await witness(tmp_path, remote).plan(Want("pkg:conan/zlib", version), 1)
        assert caught.value.code == "version-unknown"
