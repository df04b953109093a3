"""Whole images: planned, composed in the sandbox by several builders, pulled by other people's tools and unpacked."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from pyrsia.builds import members
from pyrsia.builds.environments import Environment
from pyrsia.builds.environments.store import Kept, Store
from pyrsia.builds.model import Built, LocalSource, PhaseFailed, Want
from pyrsia.builds.oci import lock
from pyrsia.builds.oci.plugin import OciPlugin
from pyrsia.builds.pip import host
from pyrsia.builds.sandbox import Sandbox, survey
from pyrsia.demo.network import Network as Demo
from pyrsia.errors import Refusal
from pyrsia.serve.desks.views import ProjectFile
from pyrsia.wire import purl as purls
from pyrsia.wire.text import b32

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "serve"))
import sdists
from test_sandbox_escapes import make
from toy import ToyNode, serving, toy_app

pytestmark = pytest.mark.builds
OWNER = b32(b"\7" * 32)
TIME_S = 1_700_000_000


def wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("greeting/__init__.py", "word = 'hello'\n")
        archive.writestr(
            "greeting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n"
        )
    return buffer.getvalue()


WHEEL = wheel()
DIGEST = hashlib.sha256(WHEEL).hexdigest()
DOCKERFILE = f"""FROM scratch
ARG TARGETARCH
WORKDIR /srv
COPY app.sh ./
COPY bin-$TARGETARCH /usr/bin/tool
COPY --from=sha256:{DIGEST} . /usr/lib/python3/dist-packages/
ENV GREETING=hello
ENTRYPOINT ["/srv/app.sh"]
LABEL org.opencontainers.image.title="An app"
EXPOSE 8080
"""
FILES = {"Dockerfile": DOCKERFILE.encode(), "app.sh": b"#!/bin/sh\n", "bin-amd64": b"a", "bin-arm64": b"b"}


def given(folder: Path, files: Mapping[str, bytes] = FILES) -> LocalSource:
    """A source archive of these files, as the command packs one."""
    path = folder / "app-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            item = tarfile.TarInfo(f"app/{name}")
            item.size, item.mtime, item.mode = len(content), TIME_S, 0o755 if name.endswith(".sh") else 0o644
            archive.addfile(item, io.BytesIO(content))
    data = path.read_bytes()
    return LocalSource(path.name, path, hashlib.sha256(data).hexdigest(), len(data), "0" * 64)


class Network:
    """What a builder learns from the log: published files, each in a folder under its digest."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755)
        self.folder = folder
        self.bodies: dict[str, dict[str, Any]] = {}
        self.publish("pkg:pypi/greeting@1.0", "greeting-1.0-py3-none-any.whl", WHEEL)

    def publish(self, purl: str, file: str, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        self.bodies[digest] = {"purl": purl, "file": file, "size": len(data), "sha256": digest}

    async def bring(self, sha256: str) -> Path:
        return self.folder / sha256


def plugin(sandbox: Sandbox, home: Path, network: Network, source: LocalSource, **more: Any) -> OciPlugin:
    home.mkdir(mode=0o755)

    async def claimed(_: Mapping[str, Any]) -> Path:
        return source.path

    shop = sdists.shop(sandbox, home, None, claimed=claimed, **more)  # type: ignore[arg-type]
    return OciPlugin(
        replace(
            shop,
            artifact=network.bodies.get,
            bring=network.bring,
            published=lambda _: 7,
            verified=lambda _: 7,
        )
    )


@pytest.fixture
def sandbox() -> Sandbox:
    return make("namespace")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


@contextmanager
def another_machine() -> Iterator[None]:
    """Another umask and time zone than the usual ones."""
    before, zone = os.umask(0o077), os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    try:
        yield
    finally:
        os.umask(before)
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone
        time.tzset()


BOTH = {"platforms": "linux/amd64,linux/arm64"}


async def built(one: OciPlugin, request: dict[str, Any], locked: bytes, *, vary: bool = False) -> Built:
    assert await one.relock(request) == locked
    return await one.build(request, await one.prefetch(request, locked), vary=vary)


def files(result: Built) -> dict[str, str]:
    assert result.outcome == "built", result.why
    return {one.name: one.raw.file.sha256 for one in result.outputs}


async def test_builders_with_other_umask_zone_path_and_order_agree_bit_for_bit(
    sandbox: Sandbox, folder: Path
):
    source, network = given(folder), Network(folder / "net")
    planner = plugin(sandbox, folder / "p", network, source)
    want = Want("team/app", "1.0", source=source, parameters=BOTH)
    (planned,) = await planner.plan(want, sdists.now_ms())
    request = sdists.request(planned)

    first = await built(plugin(sandbox, folder / "a", network, source), request, planned.lock)
    with another_machine():
        second = await built(
            plugin(sandbox, folder / "another-path", network, source), request, planned.lock, vary=True
        )

    assert files(first) == files(second)
    assert planned.purl == "pkg:docker/team/app@1.0"
    assert planned.linked == (("greeting-1.0-py3-none-any.whl", 7),)
    assert [one.sha256 for one in lock.decode(planned.lock)] == [DIGEST]
    assert sum(name.startswith("manifest~sha256~") for name in files(first)) == 2
    assert "manifest~1.0" in files(first)
    assert {one.containment for one in first.outputs} == {"full"}
    assert {one.upstream_relation for one in first.outputs} == {"none"}
    for one in first.outputs:
        listed = members.decode(one.raw.members.path.read_bytes())
        assert listed
        assert one.name.startswith("manifest~") or one.name == f"sha256~{one.raw.file.sha256}"
    await first.discard()
    assert list((folder / "a" / "results").iterdir()) == []
    assert list((folder / "a" / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("FROM scratch\nCOPY app.sh /\nRUN touch /x\n", "'Dockerfile', line 3: RUN is not taken"),
        ("FROM debian:12\n", "line 1: the base 'debian:12' is not fixed by a digest"),
        (f"FROM scratch\nCOPY --from=sha256:{'0' * 64} . /x/\n", "published no file"),
        (f"FROM x@sha256:{'0' * 64}\nCOPY app.sh /\n", "published no file"),
        (f"FROM rootfs:{'0' * 64}\nCOPY app.sh /\n", "is not on this machine"),
    ],
)
async def test_what_cannot_be_composed_is_refused_before_anything_is_asked_for(
    sandbox: Sandbox, folder: Path, text: str, why: str
):
    source, network = given(folder, FILES | {"Dockerfile": text.encode()}), Network(folder / "net")

    with pytest.raises(Refusal) as caught:
        await plugin(sandbox, folder / "p", network, source).plan(
            Want("app", "1", source=source), sdists.now_ms()
        )
    assert why in caught.value.what
    assert caught.value.do


async def test_another_recipe_than_the_rules_give_is_refused(sandbox: Sandbox, folder: Path):
    source, network = given(folder), Network(folder / "net")
    one = plugin(sandbox, folder / "p", network, source)
    (planned,) = await one.plan(Want("app", "1", source=source, parameters=BOTH), sdists.now_ms())
    request = sdists.request(planned)
    request["recipe"] = request["recipe"] | {"sde": request["recipe"]["sde"] + 1}

    with pytest.raises(PhaseFailed) as caught:
        await one.relock(request)
    assert caught.value.code == "lock-mismatch"


async def test_a_copy_that_matches_nothing_is_a_failed_build(sandbox: Sandbox, folder: Path):
    text = b"FROM scratch\nCOPY nowhere /x\n"
    source, network = given(folder, FILES | {"Dockerfile": text}), Network(folder / "net")
    one = plugin(sandbox, folder / "p", network, source)
    (planned,) = await one.plan(Want("app", "1", source=source), sdists.now_ms())

    result = await built(one, sdists.request(planned), planned.lock)

    assert (result.outcome, result.phase, result.outputs) == ("failed", "build", ())
    assert "line 2" in result.why


async def test_a_root_is_the_first_layer_as_it_is(sandbox: Sandbox, folder: Path):
    """By its digest, without being read: what is in it, its lock says."""
    data = b"the bytes of an archive"
    digest = hashlib.sha256(data).hexdigest()
    (folder / "root" / "usr").mkdir(parents=True)
    (folder / "rootfs.tar").write_bytes(data)
    store = Store(folder / "store")
    facts = {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.2"}
    store.keep(digest, folder / "rootfs.tar", folder / "root", facts)
    kept = Kept(Environment(host.environment(), None, host.facts()), store)
    text = f'FROM rootfs:{digest}\nCOPY app.sh /bin/app\nCMD ["/bin/app"]\n'.encode()
    source, network = given(folder, FILES | {"Dockerfile": text}), Network(folder / "net")
    one = plugin(sandbox, folder / "p", network, source, environments=kept)
    want = Want("app", "1", source=source, parameters={"platforms": "linux/amd64"})
    (planned,) = await one.plan(want, sdists.now_ms())

    result = await built(one, sdists.request(planned), planned.lock)

    assert files(result)[f"sha256~{digest}"] == digest
    top = next(row for row in result.outputs if row.name == "manifest~1")
    manifest = json.loads(top.raw.file.path.read_bytes())
    assert manifest["layers"][0]["digest"] == f"sha256:{digest}"
    second = next(
        row for row in result.outputs if f"sha256:{row.raw.file.sha256}" == manifest["layers"][1]["digest"]
    )
    assert [row.path for row in members.decode(second.raw.members.path.read_bytes())] == ["usr/bin/app"]
    with pytest.raises(Refusal, match=r"line 1 .* is for linux/amd64"):
        await one.plan(replace(want, parameters={"platforms": "linux/arm64"}), sdists.now_ms())


class Shelf(ToyNode):
    """A node that has published one result."""

    def take(self, result: Built, purl: str) -> None:  # type: ignore[override]
        self.found = []
        package = purls.parse(purl)
        for one in result.outputs:
            file = one.canonical.file
            shutil.copyfile(file.path, self.folder / file.sha256)
            row = (one.name, file.sha256, file.size, 0, purl, package.name, package.version, "REPRODUCED", 1)
            self.found.append(ProjectFile(*row))

    def files(self, name: str) -> list[ProjectFile]:
        return [one for one in self.found if str(purls.parse(one.purl).versionless) == name]

    def file(self, sha256: str) -> ProjectFile | None:
        return next((one for one in self.found if one.sha256 == sha256), None)


async def run(*words: str) -> str:
    done = await trio.run_process(list(words), capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-800:]
    return done.stdout.decode()


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; apt-get install {program}")


async def test_skopeo_pulls_what_builders_agreed_on_and_umoci_unpacks_the_wheel_in_it(
    sandbox: Sandbox, folder: Path
):
    needs("skopeo", "umoci")
    source, network = given(folder), Network(folder / "net")
    one = plugin(sandbox, folder / "p", network, source)
    (planned,) = await one.plan(Want("team/app", "1.0", source=source, parameters=BOTH), sdists.now_ms())
    result = await built(one, sdists.request(planned), planned.lock)
    (folder / "shelf").mkdir()
    shelf = Shelf(folder / "shelf")
    shelf.take(result, str(purls.under(OWNER, purls.parse(planned.purl))))

    async with serving(toy_app(shelf)) as server:
        address = f"docker://127.0.0.1:{server.listeners[0].port}/{OWNER}/team/app:1.0"
        told = json.loads(
            await run("skopeo", "inspect", "--tls-verify=false", "--override-arch=arm64", address)
        )
        layout = folder / "layout"
        await run(
            "skopeo",
            "--insecure-policy",
            "--override-arch=arm64",
            "copy",
            "--src-tls-verify=false",
            address,
            f"oci:{layout}:app",
        )
    bundle = folder / "bundle"
    await run("umoci", "unpack", "--rootless", "--image", f"{layout}:app", str(bundle))

    assert (told["Architecture"], told["RepoTags"]) == ("arm64", ["1.0"])
    assert told["Labels"] == {"org.opencontainers.image.title": "An app"}
    root = bundle / "rootfs"
    assert (root / "usr/bin/tool").read_bytes() == b"b"
    assert (root / "srv/app.sh").stat().st_mode & 0o777 == 0o755
    site = str(root / "usr/lib/python3/dist-packages")
    said = await run(
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {site!r}); import greeting; print(greeting.word)",
    )
    assert said == "hello\n"


async def test_an_image_stands_on_another_one_that_was_published(sandbox: Sandbox, folder: Path):
    network, base = Network(folder / "net"), given(folder)
    maker = plugin(sandbox, folder / "base", network, base)
    (planned,) = await maker.plan(Want("base", "1", source=base, parameters=BOTH), sdists.now_ms())
    result = await built(maker, sdists.request(planned), planned.lock)
    for one in result.outputs:
        network.publish("pkg:docker/base@1", one.name, one.canonical.file.path.read_bytes())
    top = files(result)["manifest~1"]
    text = f"FROM base@sha256:{top}\nCOPY app.sh /second\n".encode()
    (folder / "second").mkdir()
    source = given(folder / "second", FILES | {"Dockerfile": text})
    second = plugin(sandbox, folder / "b", network, source)
    want = Want("app", "1", source=source, parameters={"platforms": "linux/arm64"})
    (again,) = await second.plan(want, sdists.now_ms())

    found = await built(second, sdists.request(again), again.lock)

    documents = {one.raw.file.sha256: one.raw.file.path for one in found.outputs}
    manifest = json.loads(documents[files(found)["manifest~1"]].read_bytes())
    layers = [one["digest"].removeprefix("sha256:") for one in manifest["layers"]]
    assert len(layers) == 4
    assert set(layers) <= set(documents)
    config = json.loads(documents[manifest["config"]["digest"].removeprefix("sha256:")].read_bytes())
    assert config["config"]["Entrypoint"] == ["/srv/app.sh"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{one}" for one in layers]


@pytest.fixture
def running() -> Iterator[Demo]:
    """Four builders and a follower that admit this machine's own interpreter."""
    net = Demo.create(isolation=trio.run(survey).isolation, environment=host.environment())
    try:
        net.start_all()
        yield net
    finally:
        net.stop_all()
        net.remove()


@pytest.mark.processes
def test_a_network_agrees_on_an_image_and_a_follower_gives_it_to_skopeo(running: Demo, folder: Path):
    """As a maintainer does it: one folder with a Dockerfile, one command, one pull."""
    needs("skopeo")
    (folder / "app").mkdir()
    (folder / "app" / "Dockerfile").write_text(
        'FROM scratch\nCOPY app.sh /srv/\nENTRYPOINT ["/srv/app.sh"]\n'
    )
    (folder / "app" / "app.sh").write_text("#!/bin/sh\n")
    (folder / "app" / "app.sh").chmod(0o755)
    node = running.follower
    words = ("build", "request", "team/app==1.0", "--source", str(folder / "app"), "--as", "oci", "--wait")

    command(sys.executable, "-m", "pyrsia", *words, "--node", str(node.data))

    address = f"docker://127.0.0.1:{node.http_port}/{node.node_id}/team/app:1.0"
    told = json.loads(command("skopeo", "inspect", "--config", "--tls-verify=false", address))
    assert told["config"]["Entrypoint"] == ["/srv/app.sh"]
    command(
        "skopeo",
        "--insecure-policy",
        "copy",
        "--preserve-digests",
        "--src-tls-verify=false",
        address,
        f"oci:{folder / 'layout'}:app",
    )
    (row,) = json.loads((folder / "layout" / "index.json").read_bytes())["manifests"]
    with node.client() as client:
        (build,) = client.get("/api/v1/builds")["builds"]
        published = client.get_bytes(f"/v2/{node.node_id}/team/app/manifests/{row['digest']}")
    assert f"sha256:{hashlib.sha256(published).hexdigest()}" == row["digest"]
    assert (build["purl"], build["verdict"]) == (
        f"pkg:generic/{node.node_id}/docker/team/app@1.0",
        "REPRODUCED",
    )


def command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr[-800:]
    return done.stdout
