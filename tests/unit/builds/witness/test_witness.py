"""A witness: the same lock by different ways, other bytes told as such, and images pulled digest by digest."""

import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.maven.settings import MavenSettings, Repository
from pyrsia.builds.model import Want
from pyrsia.builds.pip.config import PipConfig
from pyrsia.builds.pip.index import IndexClient
from pyrsia.builds.witness import lock
from pyrsia.builds.witness.lock import Seen
from pyrsia.builds.witness.origins import Images, Jars, Origin, Wheels
from pyrsia.builds.witness.plugin import WitnessPlugin
from pyrsia.errors import Malformed, Refusal
from tests.unit.builds.taken import taken
from tests.unit.builds.witness.registry import FakeRegistry

TARGET = {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.7"}
NOW_MS = 1_760_000_000_000
ENVIRONMENT = "host:" + "e" * 64


def files(name="demo", version="1.0", **more):
    named = {f"{name}-{version}-cp311-cp311-manylinux_2_17_x86_64.whl": b"compiled for 3.11"} | more
    return named


def index_of(folder: Path, contents: dict[str, bytes]) -> Path:
    """A folder of projects, as pip reads one from `file:`."""
    (folder / "demo").mkdir(parents=True)
    rows = []
    for name, data in contents.items():
        (folder / "demo" / name).write_bytes(data)
        rows.append(f'<a href="{name}#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>')
    (folder / "demo" / "index.html").write_text("<html><body>" + "\n".join(rows) + "</body></html>")
    return folder


def shop(folder: Path, index: IndexClient | None = None):
    return SimpleNamespace(
        results=folder / "results",
        cache=folder / "cache",
        index=index,
        admitted=lambda: (ENVIRONMENT,),
        sandbox=SimpleNamespace(isolation="namespace"),
    )


@asynccontextmanager
async def wheels(folder: Path, contents: dict[str, bytes]):
    """A witness whose index is a folder with these files."""
    place = index_of(folder / "index", contents)
    async with IndexClient(PipConfig(indexes=(place.as_uri(),)), folder / "cache") as index:
        yield WitnessPlugin(shop(folder, index), {"pypi": lambda: Wheels(index)}, TARGET)


def request(planned):
    return taken(planned)


async def test_two_witnesses_with_mirrors_of_their_own_see_the_same_and_say_so(tmp_path):
    contents = files() | {
        "demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl": b"for another Python",
        "demo-1.0-cp311-cp311-macosx_11_0_arm64.whl": b"for another system",
    }
    async with wheels(tmp_path / "a", contents) as mine, wheels(tmp_path / "b", contents) as theirs:
        (planned,) = await mine.plan(Want("pkg:pypi/demo", "1.0"), NOW_MS)
        assert (planned.purl, planned.ecosystem) == ("pkg:pypi/demo@1.0", "witness")
        seen = lock.decode(planned.lock)
        assert [one.file for one in seen] == ["demo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"]
        assert planned.source["sha256"] == hashlib.sha256(b"compiled for 3.11").hexdigest()

        assert await theirs.relock(request(planned)) == planned.lock
        inputs = await theirs.prefetch(request(planned), planned.lock)
        built = await theirs.build(request(planned), inputs)

    (output,) = built.outputs
    assert (built.outcome, built.source, output.upstream_relation) == ("built", "registry", "none")
    assert output.raw == output.canonical
    assert output.raw.file.path.read_bytes() == b"compiled for 3.11"
    assert (output.raw.file.sha256, output.stable) == (seen[0].sha256, seen[0].sha256)
    await built.discard()
    assert list((tmp_path / "b" / "results").iterdir()) == []


async def test_a_mirror_with_other_bytes_gives_another_lock(tmp_path):
    name = "demo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
    async with wheels(tmp_path / "a", files()) as mine, wheels(tmp_path / "b", {name: b"forged"}) as forged:
        (planned,) = await mine.plan(Want("pkg:pypi/demo", None), NOW_MS)
        assert await forged.relock(request(planned)) != planned.lock
        with pytest.raises(Refusal) as caught:
            await forged.prefetch(request(planned), planned.lock)
    assert caught.value.code == "digest-mismatch"


@pytest.mark.parametrize(
    "changes", [{"backend": "pip/wheel@1"}, {"cutoff_ms": 1}, {"cutoff_ms": NOW_MS}, {"sde": 1}]
)
async def test_a_recipe_that_is_no_witnesss_is_refused(tmp_path, changes):
    """Its cut-off too: an early one hides wheels, and with that of asking no two requests agree."""
    async with wheels(tmp_path, files()) as plugin:
        (planned,) = await plugin.plan(Want("pkg:pypi/demo", None), NOW_MS)
        other = replace(planned, recipe={**planned.recipe, **changes})
        with pytest.raises(Refusal) as caught:
            await plugin.relock(request(other))
    assert caught.value.code == "lock-mismatch"


class Uploads:
    """Files with upload times, by name."""

    def __init__(self, folder: Path, times: dict[str, int]) -> None:
        self.folder, self.times = folder, times

    async def files(self, package, target, cutoff_ms):
        shown = {name: at for name, at in self.times.items() if not cutoff_ms or at <= cutoff_ms}
        return [
            Origin(lock.Seen(name, "a" * 64, 1), self.folder / name, "", at) for name, at in shown.items()
        ]


async def test_the_cut_off_is_the_newest_upload_and_no_requester_picks_among_the_files(tmp_path):
    place = Uploads(tmp_path, {"a-1.0-py3-none-any.whl": 5_000, "a-1.0-cp311-none-any.whl": 9_000})
    plugin = WitnessPlugin(shop(tmp_path), {"pypi": lambda: place}, TARGET)
    (planned,) = await plugin.plan(Want("pkg:pypi/a", "1.0"), NOW_MS)
    (later,) = await plugin.plan(Want("pkg:pypi/a", "1.0"), NOW_MS + 5)
    assert (planned.recipe["cutoff_ms"], planned) == (9_000, later)
    assert await plugin.relock(request(planned)) == planned.lock
    place.times.pop("a-1.0-cp311-none-any.whl")
    (fewer,) = await plugin.plan(Want("pkg:pypi/a", "1.0"), NOW_MS)
    place.times["a-1.0-cp311-none-any.whl"] = 9_000
    assert fewer.recipe["cutoff_ms"] == 5_000
    with pytest.raises(Refusal, match="cutoff_ms"):
        await plugin.relock(request(fewer))


@pytest.mark.parametrize("name", ["demo", "pkg:npm/left-pad", "pkg:pypi/Demo"])
async def test_what_is_no_package_that_can_be_witnessed_is_refused(tmp_path, name):
    async with wheels(tmp_path, files()) as plugin:
        with pytest.raises(Refusal) as caught:
            await plugin.plan(Want(name, "1.0"), NOW_MS)
    assert caught.value.code == "bad-request"


async def test_a_version_without_a_wheel_for_this_python_is_unknown(tmp_path):
    async with wheels(tmp_path, {"demo-1.0-cp39-cp39-win_amd64.whl": b"x"}) as plugin:
        for version in ("1.0", None):
            with pytest.raises(Refusal) as caught:
                await plugin.plan(Want("pkg:pypi/demo", version), NOW_MS)
            assert caught.value.code == "version-unknown"


async def test_a_failure_is_an_answer_with_its_phase(tmp_path):
    plugin = WitnessPlugin(shop(tmp_path), {}, TARGET)
    built = await plugin.failed(Refusal("index-unreachable", what="w", who="h", do="d"), "a" * 64)
    assert (built.outcome, built.phase, built.source, built.environment) == (
        "failed", "prefetch", "registry", ENVIRONMENT,
    )  # fmt: skip


async def test_a_jar_its_pom_its_sources_and_known_further_jars_are_seen_in_a_maven_repository(tmp_path):
    place = tmp_path / "repo" / "org" / "demo" / "lib" / "1.0"
    place.mkdir(parents=True)
    for ending in (".jar", ".pom", "-sources.jar", "-no_aop.jar"):
        (place / f"lib-1.0{ending}").write_bytes(ending.encode())
    settings = MavenSettings((Repository((tmp_path / "repo").as_uri(), "", ""),), None, ())
    plugin = WitnessPlugin(shop(tmp_path), {"maven": lambda: Jars(settings, tmp_path / "cache")}, TARGET)
    (planned,) = await plugin.plan(Want("pkg:maven/org.demo/lib", "1.0"), NOW_MS)
    assert planned.coordinates == {"name": "lib", "namespace": "org.demo", "version": "1.0"}
    assert planned.source["file"] == "lib-1.0.jar"
    assert [one.file for one in lock.decode(planned.lock)] == [
        "lib-1.0-no_aop.jar", "lib-1.0-sources.jar", "lib-1.0.jar", "lib-1.0.pom",
    ]  # fmt: skip
    assert await plugin.relock(request(planned)) == planned.lock
    with pytest.raises(Refusal) as caught:
        await plugin.plan(Want("pkg:maven/org.demo/lib", "2.0"), NOW_MS)
    assert caught.value.code == "version-unknown"


# -- images --


@pytest.fixture
def registry():
    with FakeRegistry() as made:
        yield made


def images(folder: Path, registry: FakeRegistry) -> WitnessPlugin:
    return WitnessPlugin(shop(folder), {"docker": lambda: Images([registry.url], folder / "cache")}, TARGET)


@pytest.mark.parametrize("token", ["", "secret"])
async def test_an_image_is_its_index_manifest_config_and_layers_for_this_platform(tmp_path, registry, token):
    registry.token = token
    top = registry.image("library/demo", "1.0", layers=[b"one", b"two"])
    plugin = images(tmp_path, registry)
    (planned,) = await plugin.plan(Want("pkg:docker/demo", "1.0"), NOW_MS)
    seen = {one.file: one for one in lock.decode(planned.lock)}
    assert planned.source["file"] == "manifest~1.0"
    assert seen["manifest~1.0"].sha256 == top
    layer = hashlib.sha256(b"one").hexdigest()
    assert f"sha256~{layer}" in seen
    assert len(seen) == 5  # index, manifest, config, two layers
    inputs = await plugin.prefetch(request(planned), planned.lock)
    built = await plugin.build(request(planned), inputs)
    assert {one.name: one.raw.file.sha256 for one in built.outputs} == {
        name: one.sha256 for name, one in seen.items()
    }


async def test_a_tag_that_moved_is_another_lock(tmp_path, registry):
    registry.image("library/demo", "1.0", layers=[b"one"])
    plugin = images(tmp_path, registry)
    (planned,) = await plugin.plan(Want("pkg:docker/demo", "1.0"), NOW_MS)
    registry.image("library/demo", "1.0", layers=[b"other"])
    assert await plugin.relock(request(planned)) != planned.lock


async def test_an_image_by_digest_is_that_one_or_none(tmp_path, registry):
    top = registry.image("team/app", "1.0", layers=[b"one"])
    plugin = images(tmp_path, registry)
    (planned,) = await plugin.plan(Want("pkg:docker/team/app", f"sha256:{top}"), NOW_MS)
    assert planned.purl == f"pkg:docker/team/app@sha256:{top}"
    assert planned.source["file"] == f"manifest~sha256~{top}"
    registry.forged[f"/v2/team/app/manifests/sha256:{top}"] = json.dumps({"layers": []}).encode()
    with pytest.raises(Refusal) as caught:
        await plugin.relock(request(planned))
    assert caught.value.code == "digest-mismatch"


async def test_a_layer_with_other_bytes_is_a_mismatch_and_is_not_kept(tmp_path, registry):
    registry.image("team/app", "1.0", layers=[b"one"])
    digest = hashlib.sha256(b"one").hexdigest()
    registry.forged[f"/v2/team/app/blobs/sha256:{digest}"] = b"two"
    with pytest.raises(Refusal) as caught:
        await images(tmp_path, registry).plan(Want("pkg:docker/team/app", "1.0"), NOW_MS)
    assert caught.value.code == "digest-mismatch"
    assert not (tmp_path / "cache" / digest).exists()


async def test_an_image_of_another_registry_is_looked_for_there_alone(tmp_path, registry):
    top = registry.image("team/app", "1.0", layers=[b"one"])
    plugin = images(tmp_path, registry)  # at 127.0.0.1
    (planned,) = await plugin.plan(Want("pkg:docker/127.0.0.1/team/app", "1.0"), NOW_MS)
    assert planned.purl == "pkg:docker/127.0.0.1/team/app@1.0"
    assert {one.sha256 for one in lock.decode(planned.lock)} >= {top}
    with pytest.raises(Refusal) as caught:
        await plugin.plan(Want("pkg:docker/ghcr.io/team/app", "1.0"), NOW_MS)
    assert caught.value.code == "package-unknown"


async def test_an_image_that_nobody_has_is_unknown_and_one_without_a_tag_is_asked_for_exactly(
    tmp_path, registry
):
    plugin = images(tmp_path, registry)
    for version, code in (("9", "package-unknown"), (None, "version-unknown")):
        with pytest.raises(Refusal) as caught:
            await plugin.plan(Want("pkg:docker/nothing", version), NOW_MS)
        assert caught.value.code == code


@pytest.mark.parametrize(
    "document",
    [b"[]", b"no json", b'{"config": {}}', b'{"config": {"digest": "md5:1", "size": 1}, "layers": []}',
     b'{"manifests": []}', b'{"config": {"digest": "sha256:' + b"0" * 64 + b'", "size": -1}}',
     json.dumps({"config": None, "layers": [{"digest": f"sha256:{n:064}", "size": 1} for n in range(60)]}).encode()],
)  # fmt: skip
async def test_a_manifest_that_makes_no_sense_is_a_refusal(tmp_path, registry, document):
    registry.forged["/v2/library/odd/manifests/1"] = document
    with pytest.raises(Refusal):
        await images(tmp_path, registry).plan(Want("pkg:docker/odd", "1"), NOW_MS)


# -- the lock --

SEEN = st.builds(
    Seen,
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,40}", fullmatch=True),
    st.from_regex("[0-9a-f]{64}", fullmatch=True),
    st.integers(0, 10**9),
)


@given(st.lists(SEEN, min_size=1, max_size=8, unique_by=lambda one: one.file))
def test_a_lock_is_read_back_and_the_order_of_files_does_not_matter(seen):
    data = lock.encode("demo", "1.0", seen)
    assert sorted(lock.decode(data), key=lambda one: one.file) == sorted(seen, key=lambda one: one.file)
    assert lock.encode("demo", "1.0", reversed(seen)) == data


@given(st.data())
def test_a_lock_with_any_byte_changed_is_refused_or_means_something_else(data):
    seen = data.draw(st.lists(SEEN, min_size=1, max_size=4, unique_by=lambda one: one.file))
    good = lock.encode("demo", "1.0", seen)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        found = lock.decode(bad)
    except Malformed:
        return
    assert found != tuple(seen) or bad[: len(good)] != good


@pytest.mark.parametrize(
    "bad", [[], [Seen("a", "0" * 64, 1)] * 2, [Seen(f"f{n}", "0" * 64, 1) for n in range(25)]]
)
def test_a_lock_of_no_file_of_one_twice_or_of_too_many_is_the_callers_bug(bad):
    with pytest.raises(ValueError, match="a witness sees"):
        lock.encode("demo", "1.0", bad)
