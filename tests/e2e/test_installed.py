"""An environment that pip and uv made from a node's files, checked against the log; then somebody changes it."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import trio

from pyrsia.builds.conan import names
from pyrsia.consumers.installed import conan_home
from pyrsia.consumers.installed import prover as provers
from pyrsia.consumers.installed import venv as environments
from pyrsia.consumers.installed.sources import FromNode
from pyrsia.keys import verify
from pyrsia.policy import rules
from pyrsia.serve.desks.views import ProjectFile
from tests.reference.story import NOW_MS
from tests.unit.consumers.made import CONAN, WHEEL, Published, idna, listed
from tests.unit.serve.toy import ToyNode, serving, toy_app

sys.path.insert(0, str(Path(__file__).parent))
import conans

pytestmark = pytest.mark.clients
BIN = Path(sys.executable).parent


class Holding(ToyNode):
    """A toy node that says what its files hold."""

    held: dict[str, bytes]

    async def contents(self, sha256: str) -> bytes | None:
        return self.held.get(sha256)


@pytest.fixture
def story():
    return idna().of(WHEEL)


@pytest.fixture
def toy(story, tmp_path):
    (tmp_path / "blobs").mkdir()
    node = Holding(tmp_path / "blobs")
    node.publish(WHEEL, story.data)
    node.proofs[story.sha256] = story.proof()
    node.held = {story.sha256: story.held[WHEEL]}
    return node


def clean():
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "VIRTUAL_ENV"))
    }
    return {key: value for key, value in kept.items() if "proxy" not in key.lower()} | {
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
    }


def made(root, url, client):
    """An environment with idna from the node, made by the client itself."""
    index = f"{url}/pypi/simple/"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True, timeout=60)
    python = root / "bin" / "python"
    if client == "uv":
        command = [
            "uv",
            "pip",
            "install",
            "-q",
            "--python",
            python,
            "--default-index",
            index,
            "--no-cache",
            "idna",
        ]
    else:
        command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-cache-dir",
                   "--disable-pip-version-check", "--index-url", index, "idna"]  # fmt: skip
    env = clean() | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(command, check=True, timeout=120, env=env, stdin=subprocess.DEVNULL)


def into_a_folder(root, url):
    """The same with `--target`."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-cache-dir", "--disable-pip-version-check",
               "--target", root, "--index-url", f"{url}/pypi/simple/", "idna"]  # fmt: skip
    subprocess.run(command, check=True, timeout=120, env=clean(), stdin=subprocess.DEVNULL)


def rows(root, url, story):
    source = FromNode(url)
    policy = rules.parse(b"", "test")
    judge = provers.Prover(source, [story.pin], now_ms=NOW_MS, verify=verify, policy=policy)
    # The story's head is an hour old by then, and no node of today signs another.
    source.current = False
    return environments.check(root, judge, source, tick=lambda *_: None)


@pytest.mark.parametrize("client", ["pip", "uv"])
def test_what_pip_and_uv_install_from_a_node_is_accepted_and_a_change_is_named(toy, story, tmp_path, client):
    if client == "uv" and shutil.which("uv", path=f"{BIN}{os.pathsep}{os.environ['PATH']}") is None:
        pytest.skip("uv is not installed")
    if client == "pip" and not (BIN / "pip").exists():
        pytest.skip("pip is not installed beside this Python")
    root = tmp_path / "venv"

    async def main():
        async with serving(toy_app(toy)) as server:
            url = f"http://127.0.0.1:{server.listeners[0].port}"

            def checks():
                made(root, url, client)
                said = rows(root, url, story)
                assert {row.outcome for row in said} == {"accepted", "generated"}, said
                assert any(row.what.endswith("bin/idna-tool") and row.outcome == "accepted" for row in said)
                (script,) = [row for row in said if row.what.endswith("bin/idna-run")]
                assert script.outcome == "accepted"
                if client == "pip":
                    into_a_folder(tmp_path / "target", url)
                    said = rows(tmp_path / "target", url, story)
                    assert {row.outcome for row in said} == {"accepted", "generated"}, said
                site = next(root.glob("lib/python3*/site-packages"))
                (site / "idna/core.py").write_text("evil\n")
                (site / "evil.pth").write_text("import os\n")
                bad = {
                    Path(row.what).name: row.why for row in rows(root, url, story) if row.outcome == "refused"
                }
                assert set(bad) == {"core.py", "evil.pth"}
                assert bad["core.py"].startswith("changed")
                assert bad["evil.pth"].startswith("additional")

            await trio.to_thread.run_sync(checks)

    trio.run(main)


def test_an_image_that_skopeo_copied_has_the_digests_that_are_looked_up(tmp_path):
    """What `--image` reads of real tools: an OCI layout, `dir:`, and a `docker-archive:` of one image."""
    skopeo, umoci = shutil.which("skopeo"), shutil.which("umoci")
    if skopeo is None or umoci is None:
        pytest.skip("skopeo or umoci is not installed")
    from pyrsia.consumers.installed import images

    layout = tmp_path / "oci"
    subprocess.run([umoci, "init", "--layout", layout], check=True, timeout=60, capture_output=True)
    subprocess.run([umoci, "new", "--image", f"{layout}:1"], check=True, timeout=60, capture_output=True)
    (tmp_path / "file").write_text("hi\n")
    subprocess.run([umoci, "insert", "--rootless", "--image", f"{layout}:1", tmp_path / "file", "/file"], check=True,
                   timeout=60, capture_output=True)  # fmt: skip
    for target in (
        f"dir:{tmp_path}/dir",
        f"docker-archive:{tmp_path}/saved.tar:a:1",
        f"oci-archive:{tmp_path}/oci.tar",
    ):
        subprocess.run([skopeo, "--insecure-policy", "copy", f"oci:{layout}:1", target], check=True, timeout=60,
                       capture_output=True)  # fmt: skip

    class Asked:
        """A prover that proves nothing and remembers what it was asked."""

        def __init__(self):
            self.digests = []

        def row(self, what, sha256, package=""):
            self.digests.append(sha256)
            return provers.Row(what, package, "accepted", sha256)

    def looked_up(image):
        asked = Asked()
        said = images.check(str(image), asked, None, tick=lambda *_: None)
        assert {row.outcome for row in said} == {"accepted"}
        return asked.digests

    index = json.loads((layout / "index.json").read_text())
    manifest = index["manifests"][0]["digest"].removeprefix("sha256:")
    document = json.loads((layout / "blobs/sha256" / manifest).read_text())
    parts = [one["digest"].removeprefix("sha256:") for one in (document["config"], *document["layers"])]
    assert looked_up(layout) == [manifest, *parts]
    assert sorted(looked_up(tmp_path / "oci.tar")) == sorted([manifest, *parts])
    assert (
        looked_up(tmp_path / "dir")[0]
        == hashlib.sha256((tmp_path / "dir/manifest.json").read_bytes()).hexdigest()
    )
    assert len(looked_up(tmp_path / "saved.tar")) == len(parts)


RECIPE = """
from conan import ConanFile


class Recipe(ConanFile):
    name = "tiny"
    version = "1.0"
    settings = "os", "arch"
    exports = "NOTES"
    exports_sources = "payload"

    def package(self):
        from conan.tools.files import copy
        copy(self, "payload", self.source_folder, self.package_folder + "/lib")
        import os
        os.symlink("payload", self.package_folder + "/lib/link")
"""


def inside(data: bytes) -> bytes:
    """The list of members of a .tgz."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return listed({one.name: archive.extractfile(one).read() for one in archive if one.isreg()})


class Conan:
    """A real Conan with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        folder.mkdir()
        self.folder, self.env = folder, conans.clean(self.home)
        (folder / "profile").write_text("[settings]\nos=Linux\narch=x86_64\n")

    def run(self, *words: str) -> str:
        done = subprocess.run([conans.conan(), *words], env=self.env, cwd=self.folder, capture_output=True, text=True,
                              timeout=120, stdin=subprocess.DEVNULL)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def made(self, url: str) -> dict[str, bytes]:
        """Create tiny/1.0 and pack it as an upload to `url` would: published name -> bytes."""
        for name, text in (("conanfile.py", RECIPE), ("payload", "bytes\n"), ("NOTES", "notes\n")):
            (self.folder / name).write_text(text)
        self.run("create", ".", "-pr:a", str(self.folder / "profile"))
        self.run("remote", "add", "nowhere", f"{url}/conan")
        self.run("upload", "tiny/1.0", "-r", "nowhere", "-c", "--dry-run")
        (reference,) = json.loads(self.run("list", "tiny/1.0#*:*#*", "--format=json"))["Local Cache"].values()
        ((rrev, recipe),) = reference["revisions"].items()
        ((package, row),) = recipe["packages"].items()
        (prev,) = row["revisions"]
        files = {}
        for start, ref in (
            ((rrev,), f"tiny/1.0#{rrev}"),
            ((rrev, package, prev), f"tiny/1.0#{rrev}:{package}#{prev}"),
        ):
            base = Path(self.run("cache", "path", ref).strip()).parent
            there = {path.name: path for path in base.glob("[dep]/*") if path.is_file()}
            wanted = names.PACKAGE_FILES if len(start) > 1 else names.RECIPE_FILES
            files |= {"~".join((*start, one)): there[one].read_bytes() for one in wanted if one in there}
        return files


def test_a_home_that_conan_filled_from_a_node_is_accepted_and_a_change_is_named(tmp_path):
    conans.conan()  # or the test is skipped
    (tmp_path / "blobs").mkdir()
    toy = Holding(tmp_path / "blobs")
    toy.held = {}

    def publish(url):
        """What Conan packed, as a network would publish it."""
        made = Conan(tmp_path / "maker").made(url)
        assert sum(name.endswith(".tgz") for name in made) == 3, sorted(made)
        held = {name: inside(data) for name, data in made.items() if name.endswith(".tgz")}
        story = Published(made, held, asked=CONAN)
        for name, data in made.items():
            one = story.of(name)
            toy.proofs[one.sha256] = one.proof()
            toy.held[one.sha256] = story.held[name]
            (toy.folder / one.sha256).write_bytes(data)
            toy.published[one.sha256] = ProjectFile(
                filename=name, sha256=one.sha256, size=len(data), upload_time_ms=1_700_000_000_000,
                purl=CONAN["purl"], name="pkg:conan/tiny", version="1.0", verdict="REPRODUCED", log_index=7,
            )  # fmt: skip
        return story

    async def main():
        async with serving(toy_app(toy)) as server:
            url = f"http://127.0.0.1:{server.listeners[0].port}"

            def checks():
                story = publish(url)
                user = Conan(tmp_path / "user")
                user.home.mkdir(exist_ok=True)
                remotes = {"remotes": [{"name": "pyrsia", "url": f"{url}/conan", "verify_ssl": True}]}
                (user.home / "remotes.json").write_text(json.dumps(remotes))
                user.run(
                    "install", "--requires=tiny/1.0", "-pr:a", str(user.folder / "profile"), "--build=never"
                )

                def said():
                    source = FromNode(url)
                    source.current = False
                    judge = provers.Prover(source, [story.pin], now_ms=NOW_MS, verify=verify,
                                           policy=rules.parse(b"", "test"))  # fmt: skip
                    return conan_home.check(user.home, judge, source, tick=lambda *_: None)

                rows = said()
                assert {row.outcome for row in rows} == {"accepted"}, [
                    row for row in rows if row.outcome != "accepted"
                ]
                assert any(row.what.endswith("lib/payload") for row in rows)
                assert any(row.what.endswith("NOTES") for row in rows)
                (payload,) = user.home.glob("p/*/p/lib/payload")
                payload.chmod(0o644)
                payload.write_text("evil\n")
                bad = [row for row in said() if row.outcome != "accepted"]
                # The link that leads to it is no better than what it leads to.
                assert {row.what.rpartition(" ")[2] for row in bad} == {"lib/payload", "lib/link"}

            await trio.to_thread.run_sync(checks)

    trio.run(main)
