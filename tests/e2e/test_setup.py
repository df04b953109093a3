"""What `pyrsia setup` wrote, read by the clients themselves: each then asks the node, and with --strict nobody else.

The node is a server that has nothing and remembers what it was asked; one package comes from a real one.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from tests.reference.fakenode import FakeNode
from tests.unit.serve.toy import ToyNode, serving, toy_app, toy_wheel

pytestmark = pytest.mark.clients

BIN = Path(sys.executable).parent


def need(name: str) -> str:
    found = shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class User:
    """A home of its own, without what this machine says about indexes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {key: value for key, value in os.environ.items()
                    if not key.startswith(("PIP_", "UV_", "XDG_", "PYRSIA_", "CONAN_", "MAVEN_", "VIRTUAL_ENV"))
                    and "proxy" not in key.lower()}  # fmt: skip
        self.env |= {"HOME": str(home), "UV_CACHE_DIR": str(home / "uv"),
                     "MAVEN_OPTS": f"-Duser.home={home} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
                     "PIP_CACHE_DIR": str(home / "pip"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}  # fmt: skip

    def run(self, *command: object, code: int | None = 0) -> str:
        done = subprocess.run([str(one) for one in command], cwd=self.home, env=self.env, capture_output=True,
                              text=True, timeout=120, stdin=subprocess.DEVNULL)  # fmt: skip
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def setup(self, *arguments: object) -> str:
        return self.run(sys.executable, "-m", "pyrsia", "setup", *arguments)


@pytest.fixture
def user(tmp_path):
    return User(tmp_path)


@pytest.fixture
def node():
    """Has nothing; `seen` has what it was asked."""
    with FakeNode({"/v2/": (200, {}), "/conan/v1/ping": (200, {})}) as made:
        yield made


def asked(node, start):
    return [path for _, path, *_ in node.seen if path.startswith(start)]


def test_pip_and_uv_download_from_the_node_that_setup_names(user, tmp_path):
    uv, pip = need("uv"), BIN / "pip"
    if not pip.exists():
        pytest.skip("pip is not installed beside this Python")
    toy = ToyNode(tmp_path / "blobs")
    toy.folder.mkdir()
    name, data, metadata = toy_wheel("tiny", "1.0")
    toy.publish(name, data, metadata)

    async def main():
        async with serving(toy_app(toy)) as server:
            url = f"http://127.0.0.1:{server.listeners[0].port}"

            def clients():
                user.setup("pip", "--node", url, "--strict")
                user.setup("uv", "--node", url, "--strict")
                told = user.run(pip, "config", "list")
                assert f"global.index-url='{url}/pypi/simple/'" in told
                user.run(pip, "download", "--no-deps", "-q", "-d", tmp_path / "got", "tiny")
                assert (tmp_path / "got" / name).read_bytes() == data
                user.run(uv, "pip", "install", "--python", sys.executable, "--target", tmp_path / "t", "tiny")
                assert (tmp_path / "t/tiny.py").exists()

            await trio.to_thread.run_sync(clients)

    trio.run(main)


def test_an_empty_value_in_the_users_pip_conf_hides_the_systems_extra_index(user, node):
    """What --strict relies on: pip merges its files key by key."""
    pip = BIN / "pip"
    if not pip.exists():
        pytest.skip("pip is not installed beside this Python")
    with FakeNode() as other:
        system = user.home / "etc/pip/pip.conf"
        system.parent.mkdir(parents=True)
        system.write_text(f"[global]\nextra-index-url = {other.url}/simple/\n")
        user.env["XDG_CONFIG_DIRS"] = str(user.home / "etc")
        user.setup("pip", "--node", node.url, "--strict")
        user.run(pip, "download", "--no-deps", "--retries", "0", "tiny", code=1)
        assert asked(node, "/pypi/simple/tiny/")
        assert other.seen == []


def test_uv_asks_nobody_but_the_node_with_strict(user, node):
    uv = need("uv")
    with FakeNode() as other:
        config = user.home / ".config/uv/uv.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'# mine\n[[index]]\nname = "other"\nurl = "{other.url}/simple/"\n')
        user.setup("uv", "--node", node.url)
        install = (uv, "pip", "install", "--python", sys.executable, "--target", user.home / "t", "tiny")
        user.run(*install, code=1)
        assert other.seen, "the other index comes first: that is the hole that setup names"
        other.seen.clear()
        user.setup("uv", "--node", node.url, "--strict")
        user.run(*install, code=1)
        assert (bool(asked(node, "/pypi/simple/tiny/")), other.seen) == (True, [])
        user.setup("uv", "--undo")
        assert config.read_text() == f'# mine\n[[index]]\nname = "other"\nurl = "{other.url}/simple/"\n'


def test_maven_asks_the_node_for_plugins_projects_and_profiles(user, node):
    mvn = need("mvn")
    with FakeNode() as other:
        settings = user.home / ".m2/settings.xml"
        settings.parent.mkdir()
        settings.write_text(
            f"<settings><mirrors><mirror><id>w</id><url>{other.url}</url><mirrorOf>central</mirrorOf></mirror></mirrors>"
            "</settings>"
        )
        user.setup("maven", "--node", node.url, "--strict")
        (user.home / "pom.xml").write_text(
            "<project><modelVersion>4.0.0</modelVersion><groupId>g</groupId><artifactId>a</artifactId><version>1</version>"
            f"<repositories><repository><id>own</id><url>{other.url}</url></repository></repositories>"
            "<parent><groupId>org.example</groupId><artifactId>parent</artifactId><version>7</version></parent></project>"
        )
        user.run(mvn, "-B", "-ntp", "package", code=1)
        assert asked(node, "/maven2/org/example/parent/7/parent-7.pom")
        assert other.seen == []


def test_gradle_asks_the_node_first_and_alone_with_strict(user, node):
    gradle = need("gradle")
    user.env["GRADLE_USER_HOME"] = str(user.home / "gradle")  # Java takes the home from elsewhere
    project = user.home / "project"
    project.mkdir()
    with FakeNode() as other:
        (project / "settings.gradle").write_text("rootProject.name = 'project'\n")
        (project / "build.gradle").write_text(
            f"apply plugin: 'java'\nrepositories {{ maven {{ url '{other.url}' }} }}\n"
            "configurations { wanted }\ndependencies { wanted 'org.example:lib:1.0' }\n"
            "task show { doLast { configurations.wanted.files } }\n"
        )
        for strict in ((), ("--strict",)):
            user.setup("gradle", "--node", node.url, *strict)
            other.seen.clear()
            user.run(gradle, "--no-daemon", "-p", project, "--refresh-dependencies", "show", code=1)
            assert asked(node, "/maven2/org/example/lib/1.0/lib-1.0.pom")
            assert bool(other.seen) == (not strict)


def test_conan_asks_the_node_first_and_alone_with_strict(user, node):
    conan = need("conan")
    home = user.home / "conan"
    user.env["CONAN_HOME"] = str(home)
    user.setup("conan", "--node", node.url)
    told = user.run(conan, "remote", "list")
    assert told.index("pyrsia: ") < told.index("conancenter: ")
    assert "Enabled: False" not in told
    user.setup("conan", "--node", node.url, "--strict")
    told = user.run(conan, "remote", "list")
    assert "Enabled: False" in told.partition("conancenter")[2]
    user.run(conan, "search", "tiny*", code=None)
    assert asked(node, "/conan/v1/ping")


def test_skopeo_goes_to_the_node_for_docker_io(user, node):
    skopeo = need("skopeo")
    user.setup("podman", "--node", node.url, "--strict")
    told = user.run(skopeo, "inspect", "docker://docker.io/library/alpine:3", code=1)
    assert asked(node, "/v2/docker.io/library/alpine/manifests/3")
    assert "registry-1.docker.io" not in told


def test_containerd_goes_to_the_node_for_every_registry(user, node):
    containerd, ctr = need("containerd"), need("ctr")
    if os.geteuid():
        pytest.skip("containerd runs as root")
    user.setup("containerd", "--node", node.url, "--strict", "--root", user.home / "root")
    hosts = user.home / "root/etc/containerd/certs.d"
    with tempfile.TemporaryDirectory(prefix="pyrsia-ctr-") as short:  # a socket's path is at most 107 bytes
        config = Path(short) / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{short}/root"\nstate = "{short}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{short}/c.sock"\n'
        )
        daemon = subprocess.Popen(
            [containerd, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            assert daemon.stderr is not None
            for line in daemon.stderr:
                if b"containerd successfully booted" in line:
                    break
            for image in ("docker.io/library/alpine:3", "quay.io/team/app:1"):
                user.run(
                    ctr, "-a", f"{short}/c.sock", "content", "fetch", "--hosts-dir", hosts, image, code=1
                )
        finally:
            daemon.kill()
            daemon.communicate()
    assert asked(node, "/v2/library/alpine/manifests/3?ns=docker.io")
    assert asked(node, "/v2/team/app/manifests/1?ns=quay.io")


def test_all_is_as_before_after_two_setups_and_an_undo_of_each(user, node):
    """Byte for byte, folders included: two setups, then one undo each."""
    before = sorted(str(one) for one in user.home.rglob("*"))
    for name in ("pip", "maven"):
        user.setup(name, "--node", node.url)
        user.setup(name, "--node", "http://127.0.0.1:1", "--strict")
    for name in ("pip", "maven"):
        user.run(sys.executable, "-m", "pyrsia", "setup", name, "--undo")
    left = [one for one in user.home.rglob("*") if ".local" not in one.parts]
    assert sorted(str(one) for one in left) == before
