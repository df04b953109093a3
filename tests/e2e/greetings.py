"""One small package of each ecosystem in two versions, 1.0 and 1.1, witnessed by four nodes; a fifth one serves them.

Nothing is built: witnessing takes no sandbox, and what is known of a package has nothing to do with how it was made.
Upstreams are folders on this machine, and a registry of images.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from consuming import Field, Tree
from pythons import run
from test_consumers import registry, write_image

from pyrsia.demo.network import Network
from tests.unit.serve.toy import toy_wheel

VERSIONS = ("1.0", "1.1")
PURLS = {
    "pip": "pkg:pypi/greeting",
    "maven": "pkg:maven/org.example/greeting",
    "conan": "pkg:conan/greeting",
    "docker": "pkg:docker/greeting",
}
POLICY = '[all]\nmode = "verified+witnessed"\n'
RREV, PREV = {one: one.replace(".", "") * 16 for one in VERSIONS}, {one: "ab" * 16 for one in VERSIONS}
PACKAGE_ID = "63fead0844576fc02943e16909f08fcdddd6f44b"  # of the settings below, as Conan computes it
SETTINGS = """<settings><mirrors><mirror><id>up</id><mirrorOf>*</mirrorOf><url>{}</url></mirror></mirrors></settings>"""
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId><artifactId>greeting</artifactId><version>{}</version>
</project>
"""
RECIPE = """from conan import ConanFile


class Greeting(ConanFile):
    name = "greeting"
    version = "{}"
    settings = "os", "arch"
"""


@contextlib.contextmanager
def standing(folder: Path) -> Iterator[Field]:
    """The network, with all eight packages in its log; the follower's policy takes what was witnessed."""
    folder.mkdir(exist_ok=True)
    for version in VERSIONS:
        _wheel(folder / "index", version)
        _jar(folder / "maven", version)
        _recipe(folder / "conan", version)
    index, maven, conan = (Tree(folder / name) for name in ("index", "maven", "conan"))
    home = folder / "home"
    (home / ".m2").mkdir(parents=True)
    (home / ".m2" / "settings.xml").write_text(SETTINGS.format(maven.url))
    (home / ".conan2").mkdir()
    (home / ".conan2" / "remotes.json").write_text(
        json.dumps({"remotes": [{"name": "up", "url": conan.url, "verify_ssl": True}]})
    )
    with registry(folder) as (images, _):
        for version in VERSIONS:
            layout = write_image(folder / "layouts", f"greeting-{version}", f"good day {version}\n".encode())
            words = ("-q", "--retry-times=5", "--dest-tls-verify=false", f"oci:{layout}")  # it has just begun
            run("skopeo", "copy", *words, f"docker://{images}/library/greeting:{version}")
        network = Network.create(isolation="namespace", environment="host:" + "0" * 64)
        network.variables = {
            "HOME": str(home),
            "CONAN_HOME": str(home / ".conan2"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index.url,
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "PYRSIA_BUILDS__REGISTRIES": f"http://{images}",
        }
        made = Field(network, folder)
        try:
            for node in network.nodes:
                (node.data / "policy.toml").write_text(POLICY)
            network.start_all()
            network.wait(
                lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 30, "no links"
            )
            orders = [
                {"purl": f"{purl}@{version}", "ecosystem": "witness", "closure": False}
                for purl in PURLS.values()
                for version in VERSIONS
            ]
            made.notes = made.publish(orders)
            yield made
        finally:
            network.stop_all()
            network.remove()
            for one in (index, maven, conan):
                one.cut()


def _wheel(folder: Path, version: str) -> None:
    name, data, _ = toy_wheel("greeting", version)
    place = folder / "greeting"
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(data)
    rows = [
        f'<a href="{one.name}#sha256={hashlib.sha256(one.read_bytes()).hexdigest()}">{one.name}</a>'
        for one in sorted(place.glob("*.whl"))
    ]
    (place / "index.html").write_text("<!DOCTYPE html><body>" + "\n".join(rows) + "</body>")


def _jar(folder: Path, version: str) -> None:
    place = folder / "org/example/greeting" / version
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / f"greeting-{version}.jar", "w") as jar:
        jar.writestr("greeting.txt", f"good day {version}\n")
    (place / f"greeting-{version}.pom").write_text(POM.format(version))


def _recipe(folder: Path, version: str) -> None:
    """What a remote answers, as files: a question whose answer is a list is a folder's own page."""
    rrev, prev = RREV[version], PREV[version]
    at = folder / f"v2/conans/greeting/{version}/_/_"
    package = f"revisions/{rrev}/packages/{PACKAGE_ID}"
    info = "[settings]\nos=Linux\narch=x86_64\n"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        item = tarfile.TarInfo("greeting.txt")
        item.size = 4
        tar.addfile(item, io.BytesIO(version.encode() + b"\n"))
    recipe = {"conanfile.py": RECIPE.format(version).encode(), "conanmanifest.txt": b"1700000000\n"}
    files = {
        "conaninfo.txt": info.encode(),
        "conanmanifest.txt": b"1700000000\n",
        "conan_package.tgz": packed.getvalue(),
    }
    answers = {
        "latest": {"revision": rrev, "time": "2024-05-06T07:08:09.000000+00:00"},
        f"revisions/{rrev}/search": {PACKAGE_ID: {"content": info}},
        f"revisions/{rrev}/files/index.html": {"files": {key: {} for key in recipe}},
        f"{package}/latest": {"revision": prev, "time": "2024-05-06T07:08:09.000000+00:00"},
        f"{package}/revisions/{prev}/files/index.html": {"files": {key: {} for key in files}},
    }
    written = {path: json.dumps(value).encode() for path, value in answers.items()}
    written |= {f"revisions/{rrev}/files/{name}": data for name, data in recipe.items()}
    written |= {f"{package}/revisions/{prev}/files/{name}": data for name, data in files.items()}
    for path, data in written.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_bytes(data)
