"""A real build environment: made from Debian's packages by the command, the same bytes twice, and work done in it."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pyrsia.builds.environments import Environment, lock
from pyrsia.builds.environments.making import Maker
from pyrsia.builds.environments.store import Kept, Store
from pyrsia.builds.environments.tarball import TarWriter
from pyrsia.builds.inside import Inside
from pyrsia.builds.model import LocalSource, Want
from pyrsia.builds.oci.plugin import PROGRAM, OciPlugin
from pyrsia.builds.pip import host
from pyrsia.builds.sandbox import BuildLimits, Job

sys.path.insert(0, str(Path(__file__).parent))
import sdists
from test_sandbox_escapes import make

pytestmark = pytest.mark.builds
MAKE_S = 300.0  # seconds of work; the rest is a slow line


def command(*words: str, data: Path, umask: int = 0o022, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", "build", "environment", *words, "--data", str(data)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        umask=umask,
        timeout=MAKE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-800:]
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the environment `python`, and its lock beside it."""
    if shutil.which("apt-get") is None:
        pytest.skip("build environments are made of Debian's packages, and there is no apt-get")
    make("bubblewrap")
    folder = tmp_path_factory.mktemp("environments")
    folder.chmod(0o755)
    command("plan", "python", "-o", str(folder / "lock"), data=folder)
    command("make", str(folder / "lock"), data=folder)
    return folder


def only(data: Path) -> Any:
    (found,) = Store(data / "environments").here()
    return found


def test_a_lock_names_every_file_by_digest_and_no_address(data: Path):
    text = (data / "lock").read_text()
    found = lock.decode(text.encode())

    assert {"libc6", "python3-minimal"} <= {one.name for one in found.parts}
    assert all(len(one.sha256) == 64 for one in found.parts)
    assert "://" not in text


def test_the_same_lock_makes_the_same_bytes_under_another_umask_and_zone(data: Path, tmp_path: Path):
    first = only(data)
    digest = first.id.removeprefix("rootfs:")
    other = tmp_path / "other"
    (other / "environments").mkdir(parents=True)
    (other / "environments" / "parts").symlink_to(data / "environments" / "parts")

    answer = command("make", str(data / "lock"), "--json", data=other, umask=0o077, env={"TZ": "Asia/Tokyo"})

    assert json.loads(answer)["id"] == first.id
    with (other / "environments" / digest / "rootfs.tar").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest


def test_the_command_shows_what_is_here_and_makes_nothing_twice(data: Path):
    found = only(data)

    listed = json.loads(command("list", "--json", data=data))
    shown = json.loads(command("show", found.id[:20], "--json", data=data))
    again = json.loads(command("make", str(data / "lock"), "--json", data=data))

    assert listed["environments"] == [{"id": found.id, "facts": dict(found.facts)}]
    assert {one["name"] for one in listed["definitions"]} == {"c", "jvm", "python"}
    assert shown["facts"] == again["facts"] == dict(found.facts)
    assert shown["archive_bytes"] > 10 << 20
    assert command("show", found.id, "--lock", data=data) == (data / "lock").read_text()


async def test_a_program_in_the_root_sees_that_root_alone(data: Path):
    found = only(data)
    sandbox = make("bubblewrap")
    text = (
        "import os, sys; print(sys.version.split()[0], sorted(os.listdir('/home')), os.path.exists('/work'))"
    )
    job = Job(
        ("/usr/bin/python3", "-I", "-c", text), limits=BuildLimits(wall_s=60), root=found.root, cwd="/tmp"
    )

    outcome = await sandbox.run(job)

    assert outcome.good, outcome.log
    assert outcome.log.decode().split(" ")[0] == found.facts["python"]
    assert b"[] False" in outcome.log


@pytest.fixture
def source(data: Path, tmp_path: Path) -> Path:
    """A source without a Dockerfile."""
    tmp_path.chmod(0o755)
    path = tmp_path / "source.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(data / "lock", "source/lock")
    return path


async def test_our_worker_runs_under_the_root_s_own_interpreter(data: Path, source: Path, tmp_path: Path):
    inside = Inside(make("bubblewrap"), tmp_path / "scratch", PROGRAM, BuildLimits(wall_s=60))
    job = {
        "operation": "read",
        "source": "source.tar",
        "dockerfile": "Dockerfile",
        "platforms": ["linux/amd64"],
    }

    async with inside.run(
        job, {"source.tar": source}, phase="metadata", who="x", environment=only(data)
    ) as answer:
        assert "has no such file" in answer.value["dockerfile"]["what"]


@pytest.fixture
def image(tmp_path: Path) -> LocalSource:
    """A source of an image, with names that interpreters could sort or write differently."""
    path = tmp_path / "image-1.tar.gz"
    files = {
        "Dockerfile": b"FROM scratch\nCOPY files /\n",
        "files/\u00e4/\u00fc": b"u",
        "files/a-b": b"1",
        "files/a/b": b"2",
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            item = tarfile.TarInfo(f"image/{name}")
            item.size, item.mtime = len(content), 1_700_000_000
            archive.addfile(item, io.BytesIO(content))
    data = path.read_bytes()
    return LocalSource(path.name, path, hashlib.sha256(data).hexdigest(), len(data), "0" * 64)


async def test_an_image_has_the_same_bytes_under_the_root_s_python_and_under_this_one(
    data: Path, image: LocalSource, tmp_path: Path
):
    found = only(data)
    kept = Kept(Environment(host.environment(), None, host.facts()), Store(data / "environments"))

    async def claimed(_: Mapping[str, Any]) -> Path:
        return image.path

    shop = sdists.shop(make("bubblewrap"), tmp_path, None, environments=kept, claimed=claimed)  # type: ignore[arg-type]
    results = []
    for name in (found.id, host.environment()):
        plugin = OciPlugin(shop)
        (planned,) = await plugin.plan(Want("image", "1", source=image, environment=name), sdists.now_ms())
        request = sdists.request(planned)
        built = await plugin.build(request, await plugin.prefetch(request, await plugin.relock(request)))
        assert built.environment == name
        results.append({one.name: one.raw.file.sha256 for one in built.outputs})

    assert len(results[0]) == 3
    assert results[0] == results[1]


@pytest.mark.parametrize("backend", ["bubblewrap", "confined"])
async def test_an_archive_from_a_peer_is_unpacked_though_only_the_node_may_read_it(
    archive: tuple[Path, str], backend: str, tmp_path: Path
):
    """As `Catalog.blob` gives it: a file of the node's own store. Any sandbox can unpack; only some can show a root."""
    path, digest = archive
    store = Store(tmp_path / "store")
    own = Environment(host.environment(), None, host.facts())

    async def fetch(sha256: str) -> Path:
        assert sha256 == digest
        return path

    maker = Maker(make(backend), store, tmp_path / "scratch", tmp_path / "parts")
    found = await Kept(own, store, fetch, maker.adopt).get(f"rootfs:{digest}")

    assert found.facts["python"] == "3.11.2"
    assert [one.id for one in store.here()] == [f"rootfs:{digest}"]
    assert sorted(os.listdir(found.root or "")) == ["etc", "usr"]


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, str]:
    """A small root in a file of mode 0600, and its digest."""
    tmp_path.chmod(0o755)
    path = tmp_path / "blob"
    with path.open("wb") as file:
        writer = TarWriter(file, 315_532_800)
        for folder in ("etc", "usr"):
            writer.folder(folder)
        data = b'{"arch":"x86_64","python":"3.11.2"}\n'
        writer.file("etc/pyrsia-environment.json", 0o644, len(data), [data])
        writer.close()
    path.chmod(0o600)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()
