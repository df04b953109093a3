"""The pages for users of package clients, tried line for line: what stands there in a `sh` block is run by a shell.

A node of its own, in a home of its own; only the node's address, the token and names that a reader puts in are changed.
Left out is what needs root, another network or Maven's plug-ins (`test_consumers.py` has Maven, docker's kin
`test_oci_clients.py`); that each line is one that the command understands is `test_docs_commands.py`'s.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrsia.demo.network import Network, Node
from pyrsia.errors import Refusal
from tests.unit.serve.toy import toy_wheel

pytestmark = [pytest.mark.processes, pytest.mark.clients]

DOCS = Path(__file__).parents[2] / "docs"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A follower of four others, whose log says nothing of what is pushed to it."""
    made = Network.create(isolation="namespace", environment="host:" + "0" * 64)
    try:
        made.start_all()
        made.wait_ready(made.follower)
        made.wait(lambda: ready(made.follower), 60, "there is no signed head of the log")
        yield made.follower
    finally:
        made.stop_all()
        made.remove()


def ready(node: Node) -> bool:
    try:
        with node.client(5.0) as client:
            client.get("/readyz")
    except Refusal:
        return False
    return True


def block(page: str, heading: str, at: int = 0, kind: str = "sh") -> str:
    """A block of code below a heading of a page, as it is written."""
    text = (DOCS / page).read_text(encoding="utf-8")
    part = re.split(rf"^## {re.escape(heading)}$", text, maxsplit=1, flags=re.MULTILINE)[1]
    part = re.split(r"^## ", part, maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"^```(.*?)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    return str([text for named, text in blocks if named == kind][at])


def lines(text: str, *starts: str) -> str:
    """Those lines of a block; each must be there."""
    found = [line for line in text.splitlines() if line.startswith(starts)]
    assert len(found) >= len(starts), (starts, text)
    return "\n".join(found)


class Reader:
    """Who reads a page and types what stands there."""

    def __init__(self, home: Path, node: Node) -> None:
        self.home, self.node = home, node
        self.token = ""
        hidden = ("PIP_", "UV_", "XDG_", "PYRSIA_", "CONAN_", "TWINE_", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        self.env = kept | {
            "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "PYRSIA_NODE": str(node.data), "NO_COLOR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1", "COLUMNS": "300",
        }  # fmt: skip

    def types(self, text: str, **names: str) -> str:
        """Run it in a shell that stops at the first failure; all that was printed."""
        text = text.replace("127.0.0.1:7888", self.node.http.removeprefix("http://")).replace(
            "TOKEN", self.token
        )
        for name, value in names.items():
            assert name in text, f"{name} stands no more in:\n{text}"
            text = text.replace(name, value)
        done = subprocess.run(
            ["bash", "-e", "-c", text], cwd=self.home, env=self.env, capture_output=True, text=True, timeout=120,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def takes_token(self, page: str) -> None:
        """By the command that the page names for it."""
        text = (DOCS / page).read_text(encoding="utf-8")
        (command,) = re.findall(r"pyrsia keys token --scope push --package '[^']+'", text)
        self.token = json.loads(self.types(f"{command} --json"))["token"]


@pytest.fixture
def reader(tmp_path: Path, node: Node) -> Reader:
    for name in ("pip", "uv", "twine", "conan", "skopeo", "curl"):
        if shutil.which(name, path=f"{BIN}:{os.environ['PATH']}") is None:
            pytest.skip(f"{name} is not installed")
    return Reader(tmp_path, node)


the_wheel = functools.cache(
    toy_wheel
)  # a file never changes, and one that is packed anew has another time in it


def wheel(reader: Reader, name: str, version: str) -> None:
    filename, data, _ = the_wheel(name, version)
    shutil.rmtree(reader.home / "dist", ignore_errors=True)
    (reader.home / "dist").mkdir()
    (reader.home / "dist" / filename).write_bytes(data)


def test_pip_and_uv_are_set_up_push_and_install_as_their_page_says(reader: Reader) -> None:
    page = "consumers-pip.md"
    reader.types(block(page, "Set up"))
    by_setup = reader.types("pip config list")
    reader.types("pyrsia setup pip --undo && pyrsia setup uv --undo")
    by_hand = reader.types(f"{block(page, 'Set up', 1)}\npip config list\necho $UV_DEFAULT_INDEX")
    reader.takes_token(page)
    push = block(page, "Push")
    wheel(reader, "acme_one", "1.0")
    reader.types(lines(push, "twine"))
    wheel(reader, "acme_two", "1.0")
    reader.types(lines(push, "uv publish"))
    reader.types("uv venv -q .venv && pip --python .venv/bin/python install -q acme-one")
    reader.types(f"{lines(block(page, 'Set up', 1), 'export')}\nuv pip install acme-two")
    site = {path.name for path in (reader.home / ".venv").rglob("acme_*.py")}
    (taken_back,) = re.findall(r"`(curl -X DELETE [^`]+)`", (DOCS / page).read_text(encoding="utf-8"))
    ours = taken_back.replace("acme-lib/acme_lib-1.0.tar.gz", "acme-one/acme_one-1.0-py3-none-any.whl")
    reader.types(ours.replace("curl", "curl -sf"))

    shown = f"global.index-url='{reader.node.http}/pypi/simple/'"
    host = reader.node.http.removeprefix("http://")
    assert [shown in text.splitlines() for text in (by_setup, by_hand)] == [True, True]
    assert [text.count(f"global.trusted-host='{host}'") for text in (by_setup, by_hand)] == [1, 1]
    assert by_hand.splitlines()[-1] == f"{reader.node.http}/pypi/simple/"
    assert site == {"acme_one.py", "acme_two.py"}
    assert "acme-one" not in reader.types(f"curl -s {reader.node.http}/pypi/simple/")


def test_the_first_lines_for_everybody_hold_and_undo_leaves_nothing(reader: Reader) -> None:
    begin = block("consumers.md", "Begin")
    reader.token = json.loads(reader.types("pyrsia keys token --scope push --json"))["token"]
    wheel(reader, "idna", "3.10")
    reader.types(lines(block("consumers-pip.md", "Push"), "twine"))
    reader.types("uv venv -q .venv")
    pip = reader.home / "shim" / "pip"  # stands for the environment's own, which takes seconds to put there
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\nexec {BIN}/python -m pip --python {reader.home}/.venv/bin/python "$@"\n')
    pip.chmod(0o755)
    listed = reader.types(lines(begin, "pyrsia setup   "))
    reader.types(lines(begin, "pyrsia setup pip --node"))
    reader.types(f"PATH={pip.parent}:$PATH\n{lines(begin, 'pip install')}")
    genesis = hashlib.sha256((reader.node.data / "genesis.json").read_bytes()).hexdigest()
    reader.types(lines(begin, "pyrsia trust add"), **{"sha256:...": f"sha256:{genesis}"})
    verify = lines(begin, "pyrsia verify").partition(" #")[0]
    verified = reader.types(f"{verify} || test $? -eq 3")  # what was pushed to one node has no proof
    reader.types(lines(begin, "pyrsia setup pip --undo"))

    assert [name for name in ("pip", "uv", "docker", "containerd", "podman", "maven", "gradle", "conan")
            if name not in listed] == []  # fmt: skip
    assert list((reader.home / ".venv").rglob("idna.py"))
    assert re.search(r"idna-3\.10\S*.*no.proof", verified), verified
    assert not (reader.home / ".config" / "pip").exists()


def test_conan_is_set_up_pushes_and_takes_back_as_its_page_says(reader: Reader) -> None:
    page = "consumers-conan.md"
    (reader.home / "conanfile.py").write_text(
        "from conan import ConanFile\n\n\nclass Lib(ConanFile):\n    name = 'mylib'\n    version = '1.0'\n"
    )
    reader.types("conan profile detect")
    by_hand = reader.types(f"{block(page, 'Set up', 1)}\nconan remote list")
    reader.takes_token(page)
    push = block(page, "Push")
    reader.types(lines(push, "conan create", "conan remote login", "conan upload"))
    there = reader.types("conan list 'mylib/*@acme' -r pyrsia")
    reader.types(lines(push, "conan remove"))
    gone = reader.types("conan list 'mylib/*@acme' -r pyrsia || true")
    by_setup = reader.types(f"conan remote remove pyrsia\n{block(page, 'Set up')}")

    assert re.search(rf"^pyrsia: {reader.node.http}/conan ", by_hand, re.MULTILINE)
    assert re.search("^conancenter: .*Enabled: False", by_hand, re.MULTILINE)
    assert "mylib/1.0@acme" in there
    assert "mylib/1.0@acme" not in gone
    assert f"conan now gets packages from {reader.node.http}" in by_setup


def test_skopeo_pushes_pulls_and_lists_as_its_page_says(reader: Reader) -> None:
    page = "consumers-oci.md"
    section = "Podman, Buildah, skopeo"
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{}}'
    layout(reader.home / "app", config, b"a layer")
    reader.takes_token(page)
    push = lines(block(page, section, 1), "skopeo")
    reader.types(push)
    reader.token = json.loads(reader.types("pyrsia keys token --scope push --json"))["token"]
    reader.types(push, **{"team/app:1": "library/alpine:3.20"})
    pulls = lines(block(page, section), "skopeo")
    listed = reader.types(pulls)

    assert json.loads((reader.home / "alpine" / "manifest.json").read_text())["schemaVersion"] == 2
    assert '"3.20"' in listed


def layout(folder: Path, config: bytes, layer: bytes) -> None:
    """An OCI layout of one image, `latest`."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def keep(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": keep(config, "config.v1+json"), "layers": [keep(layer, "layer.v1.tar")]}  # fmt: skip
    listed = keep(json.dumps(manifest).encode(), "manifest.v1+json")
    listed["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))


def test_maven_s_settings_by_hand_are_those_that_setup_writes(reader: Reader) -> None:
    page = "consumers-maven.md"
    reader.types(block(page, "Set up"))
    written = (reader.home / ".m2" / "settings.xml").read_text()
    by_hand = block(page, "Set up", kind="xml")
    reader.takes_token(page)

    def mirror(text: str) -> dict[str, list[str]]:
        return {name: re.findall(rf"<{name}>(.*?)</{name}>", text) for name in ("id", "mirrorOf", "url")}

    assert mirror(by_hand) == {"id": ["pyrsia"], "mirrorOf": ["*"], "url": ["http://127.0.0.1:7888/maven2/"]}
    assert mirror(written) == mirror(by_hand) | {"url": [f"{reader.node.http}/maven2/"]}
    assert reader.token


# -- refusals --


def as_shown(line: str, node: Node, **names: str) -> re.Pattern[str]:
    """A line of a page as what a client may print: `...` and words in <> stand for anything."""
    line = line.replace("127.0.0.1:7888", node.http.removeprefix("http://"))
    for name, value in names.items():
        assert name in line
        line = line.replace(name, value)
    parts = [re.escape(" ".join(part.split())) for part in re.split(r"\.\.\.|<[^>]+>", line)]
    return re.compile(r"\s?.+?\s?".join(parts))


def denied(node: Node, *globs: str) -> None:
    """The node's policy denies these, and no others, as soon as this returns."""
    (node.data / "policy.toml").write_text(f"[all]\ndeny = {json.dumps(globs)}\n")

    def taken_over() -> bool:
        with node.client(5.0) as client:
            return bool(client.get("/api/v1/policy")["text"].count("pkg:") >= len(globs))

    end_s = time.monotonic() + 30
    while not taken_over():
        assert time.monotonic() < end_s, "the node did not take its policy over"
        time.sleep(0.1)


def test_a_refusal_reads_as_the_pages_show_it(reader: Reader) -> None:
    node = reader.node
    reader.token = json.loads(reader.types("pyrsia keys token --scope push --json"))["token"]
    wheel(reader, "idna", "3.10")
    reader.types(lines(block("consumers-pip.md", "Push"), "twine"))
    layout(
        reader.home / "app",
        b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
        b"1",
    )
    reader.types(lines(block("consumers-oci.md", "Podman, Buildah, skopeo", 1), "skopeo"))
    (reader.home / "conanfile.py").write_text(
        "from conan import ConanFile\n\n\nclass Z(ConanFile):\n    name = 'zlib'\n    version = '1.3.1'\n"
    )
    reader.types("conan profile detect && conan create . && conan remote disable conancenter")
    reader.types(
        "conan remote add pyrsia http://127.0.0.1:7888/conan && conan remote login pyrsia ci -p TOKEN"
    )
    reader.types(
        "conan upload zlib/1.3.1 -r pyrsia -c && conan remove 'zlib/*' -c && conan remote logout pyrsia"
    )
    denied(node, "pkg:pypi/idna", "pkg:docker/team/app", "pkg:conan/zlib")
    index = f"{node.http}/pypi/simple/"
    said = {
        "pip": reader.types(
            f"! pip install --target t --no-cache-dir --retries 0 --index-url {index} idna 2>&1"
        ),
        "uv": reader.types(f"! uv pip install --target t --no-cache --default-index {index} idna 2>&1"),
        "skopeo": reader.types(
            "! skopeo copy --src-tls-verify=false docker://127.0.0.1:7888/team/app:1 dir:d 2>&1"
        ),
        "conan": reader.types("! conan install --requires=zlib/1.3.1 2>&1"),
    }
    pip, uv = block("consumers-pip.md", "What a refusal looks like", kind="").splitlines()
    image = " ".join(block("consumers-oci.md", "Podman, Buildah, skopeo", kind="").split())
    shown = {
        "pip": as_shown(pip, node, **{"/files/": "/local/"}),
        "uv": as_shown(uv.partition("cause: ")[2], node),
        "skopeo": as_shown(image.removeprefix("Error: "), node),
        "conan": as_shown(block("consumers-conan.md", "What a refusal looks like", kind="").strip(), node),
    }
    flat = {name: " ".join(text.split()) for name, text in said.items()}
    assert {name: text for name, text in flat.items() if not shown[name].search(text)} == {}
    assert [name for name, text in flat.items() if "deny names it" not in text] == []
