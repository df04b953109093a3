"""From a want to the request of an image and back to its lock, the worker in this process; and bases without form."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pyrsia.builds.environments import HostOnly
from pyrsia.builds.model import LocalSource, NamedFile, SourceMapping, Want
from pyrsia.builds.oci import bases, worker
from pyrsia.builds.oci.plugin import OciPlugin
from pyrsia.builds.sandbox import BuildLimits, Job, Outcome, Usage
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources.git import GitArchive
from pyrsia.builds.unpack import serve
from pyrsia.errors import Malformed, Refusal
from tests.unit.builds.oci.images import HELLO, packed
from tests.unit.builds.taken import taken

ENVIRONMENT = "host:" + "e" * 64
FACTS = {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.7"}
PLATFORMS = "linux/amd64,linux/arm64"
NOW_MS = 1_760_000_000_000


class Here:
    """Runs the worker's module in this process: what is tested here is the plug-in, not the sandbox."""

    isolation = "namespace"

    def python(self) -> tuple[str, ...]:
        return ("python",)

    def inside(self, path: str) -> str:
        return path

    async def run(self, job: Job) -> Outcome:
        folders = {mount.target: mount.source for mount in job.mounts}
        code = serve(worker.OPERATIONS, folders["/in"], folders["/build"])
        return Outcome(code, "exit", b"", False, Usage())


def source(folder: Path) -> LocalSource:
    data = packed(HELLO | {"more/Dockerfile": b"FROM scratch\nCOPY app /other\n"})
    path = folder / "app-1.0.tar.gz"
    path.write_bytes(data)
    return LocalSource(path.name, path, hashlib.sha256(data).hexdigest(), len(data), "0" * 64)


class Git:
    """A repository that has one version."""

    def __init__(self, given: LocalSource) -> None:
        self.given = given

    async def mapped(self, mapping: SourceMapping, *, name: str, version: str) -> GitArchive:
        file = NamedFile(self.given.file, self.given.path)
        return GitArchive(
            file, self.given.sha256, self.given.size, "c" * 40, f"v{version}", "d" * 64, 1_700_000_000
        )


def plugin(folder: Path, given: LocalSource, mapping: SourceMapping | None = None, **more: Any) -> OciPlugin:
    async def claimed(_: object) -> Path:
        return given.path

    fields: dict[str, Any] = {
        "sandbox": Here(),
        "limits": BuildLimits(),
        "scratch": folder / "scratch",
        "results": folder / "results",
        "cache": folder / "cache",
        "environments": HostOnly(ENVIRONMENT, FACTS),
        "admitted": lambda: (ENVIRONMENT,),
        "claimed": claimed,
        "mapping": lambda purl: mapping if mapping and purl == mapping.purl else None,
        "git": Git(given),
        "artifact": lambda _: None,
        "published": lambda _: None,
        "verified": lambda _: None,
    }
    return OciPlugin(cast("Shop", SimpleNamespace(**(fields | more))))


async def test_parameters_of_an_order_stand_in_the_request_as_the_log_holds_them(tmp_path: Path):
    given = source(tmp_path)
    one = plugin(tmp_path, given)
    want = Want(
        "team/app", "1.0", source=given, parameters={"platforms": PLATFORMS, "dockerfile": "more/Dockerfile"}
    )

    (planned,) = await one.plan(want, NOW_MS)

    body = taken(planned)
    assert body["recipe"]["parameters"] == [["dockerfile", "more/Dockerfile"], ["platforms", PLATFORMS]]
    assert await one.relock(body) == planned.lock
    with pytest.raises(Malformed):
        taken(replace(planned, recipe=planned.recipe | {"parameters": {"platforms": PLATFORMS}}))


async def test_parameters_of_a_mapping_bind_the_planner_and_every_builder(tmp_path: Path):
    pairs = [["platforms", PLATFORMS]]
    mapping = SourceMapping(
        "pkg:docker/team/app", "https://git.example/app.git", "v*", {"parameters": pairs}, 1
    )
    one = plugin(tmp_path, source(tmp_path), mapping)

    (planned,) = await one.plan(Want("team/app", "1.0"), NOW_MS)

    body = taken(planned)
    assert body["recipe"]["parameters"] == pairs
    assert await one.relock(body) == planned.lock
    other = body | {"recipe": body["recipe"] | {"parameters": [["platforms", "linux/amd64"]]}}
    with pytest.raises(Refusal) as caught:
        await one.relock(other)
    assert caught.value.code == "lock-mismatch"


def network(folder: Path, *documents: Any) -> tuple[Any, list[str]]:
    """A shop that has published these JSON documents, and their digests."""
    kept = {hashlib.sha256(data).hexdigest(): data for data in map(_encoded, documents)}

    for digest, data in kept.items():
        (folder / digest).write_bytes(data)

    async def bring(digest: str) -> Path:
        return folder / digest

    def artifact(digest: str) -> dict[str, Any] | None:
        data = kept.get(digest)
        if data is None:
            return None
        return {"purl": "pkg:docker/base@1", "file": f"sha256~{digest}", "size": len(data)}

    return SimpleNamespace(artifact=artifact, bring=bring), list(kept)


def _encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "config",
    [
        {"rootfs": []},
        {"rootfs": "x"},
        {"rootfs": {"diff_ids": 1}},
        {"rootfs": {"diff_ids": []}},
        {},
        [],
        "x",
        None,
    ],
)
async def test_a_published_base_without_form_is_refused_with_its_line(config: Any, tmp_path: Path):
    digest = hashlib.sha256(_encoded(config)).hexdigest()
    manifest = {"config": {"digest": f"sha256:{digest}"}, "layers": [{"digest": f"sha256:{digest}"}]}
    shop, digests = network(tmp_path, config, manifest)

    with pytest.raises(Refusal, match="line 3") as caught:
        await bases.of(shop, f"base@sha256:{digests[1]}", "linux/amd64", 3)
    assert caught.value.code == "bad-request"


@pytest.mark.parametrize("row", [[], "x", {"digest": 5}, {"digest": "md5:0"}, {}])
async def test_a_layer_of_a_base_without_a_digest_is_refused(row: Any, tmp_path: Path):
    config = {"rootfs": {"diff_ids": ["sha256:" + "1" * 64]}}
    digest = hashlib.sha256(_encoded(config)).hexdigest()
    shop, digests = network(tmp_path, config, {"config": {"digest": f"sha256:{digest}"}, "layers": [row]})

    with pytest.raises(Refusal, match="without a SHA-256"):
        await bases.of(shop, f"base@sha256:{digests[1]}", "linux/amd64", 3)
