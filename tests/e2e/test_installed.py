"""An environment that pip and uv made from a node's files, checked against the log; then somebody changes it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from pyrsia.consumers.installed import prover as provers
from pyrsia.consumers.installed import venv as environments
from pyrsia.consumers.installed.sources import FromNode
from pyrsia.keys import verify
from pyrsia.policy import rules
from tests.reference.story import NOW_MS
from tests.unit.consumers.made import WHEEL, idna
from tests.unit.serve.toy import ToyNode, serving, toy_app

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
                assert script.outcome == "generated"
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
