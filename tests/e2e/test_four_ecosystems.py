"""A package of each ecosystem, built by three nodes and installed from a fourth one by its own unchanged client.

The words are those of docs/builds.md: a maintainer's folder is asked for with `pyrsia build request --source`. Builds
run in environments made from Debian's packages; Maven plans with the operator's own remote.
"""

import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyrsia.builds.pip import host
from pyrsia.demo.network import Network
from tests.e2e import sdists

pytestmark = [pytest.mark.processes, pytest.mark.builds]

PATIENCE_S = 400.0
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId><artifactId>greeting</artifactId><version>1.0</version>
  <properties>
    <maven.compiler.release>17</maven.compiler.release>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <build><plugins>
    <plugin><groupId>org.apache.maven.plugins</groupId><artifactId>maven-jar-plugin</artifactId><version>3.3.0</version></plugin>
    <plugin><groupId>org.apache.maven.plugins</groupId><artifactId>maven-compiler-plugin</artifactId><version>3.10.1</version></plugin>
    <plugin><groupId>org.apache.maven.plugins</groupId><artifactId>maven-resources-plugin</artifactId><version>3.3.0</version></plugin>
  </plugins></build>
</project>
"""
JAVA = 'package org.example; public class Greeting { public static String of() { return "good day"; } }\n'
CONANFILE = """from conan import ConanFile
from conan.tools.cmake import CMake, cmake_layout


class Tiny(ConanFile):
    name = "tiny"
    version = "1.0"
    settings = "os", "arch", "compiler", "build_type"
    exports_sources = "CMakeLists.txt", "src/*"
    generators = "CMakeToolchain"

    def layout(self):
        cmake_layout(self)

    def build(self):
        made = CMake(self)
        made.configure()
        made.build()

    def package(self):
        CMake(self).install()

    def package_info(self):
        self.cpp_info.libs = ["tiny"]
"""
CMAKE = """cmake_minimum_required(VERSION 3.15)
project(tiny C)
add_library(tiny src/tiny.c)
install(TARGETS tiny)
install(FILES src/tiny.h DESTINATION include)
"""
DOCKERFILE = 'FROM scratch\nCOPY greeting.txt /greeting.txt\nLABEL org.example=yes\nCMD ["/greeting.txt"]\n'
SETUP = (
    "from setuptools import Extension, setup\nsetup(ext_modules=[Extension('answer._c', ['answer/_c.c'])])\n"
)
C_MODULE = """#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_c", __FILE__, -1, NULL};
PyMODINIT_FUNC PyInit__c(void) { return PyModule_Create(&module); }
"""


def projects(folder: Path, setuptools: str) -> dict[str, Path]:
    """A maintainer's folder of each ecosystem."""
    files = {
        "maven": {"pom.xml": POM, "src/main/java/org/example/Greeting.java": JAVA},
        "conan": {
            "conanfile.py": CONANFILE,
            "CMakeLists.txt": CMAKE,
            "src/tiny.c": "int tiny(void) { return 42; }\n",
            "src/tiny.h": "int tiny(void);\n",
        },
        "oci": {"Dockerfile": DOCKERFILE, "greeting.txt": "good day\n"},
        "pip": {
            "pyproject.toml": f'[build-system]\nrequires = ["setuptools=={setuptools}"]\n'
            'build-backend = "setuptools.build_meta"\n'
            '[project]\nname = "answer"\nversion = "1.0"\n[tool.setuptools]\npackages = ["answer"]\n',
            "setup.py": SETUP,
            "answer/__init__.py": "VALUE = 42\n",
            "answer/_c.c": C_MODULE,
        },
    }
    for kind, texts in files.items():
        for name, text in texts.items():
            path = folder / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return {kind: folder / kind for kind in files}


def pyrsia(network: Network, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyrsia", *words, "--node", str(network.nodes[0].data)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def built(made_roots, tmp_path_factory):
    """The network, and what `build request --wait --json` said of each ecosystem; asked for by a validator."""
    folder = tmp_path_factory.mktemp("four")
    index = folder / "index"
    folders = projects(folder, sdists.setuptools_wheel(index))
    network = Network.create(
        isolation="namespace", environment=host.environment(), roots=made_roots.ids, shared=made_roots.folder
    )
    network.variables = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index.as_uri(),
        "PIP_EXTRA_INDEX_URL": "",
    }
    names = {"oci": ["team/greeting==1.0"]}
    try:
        network.start_all()
        network.wait(
            lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 30, "no links"
        )

        def ask(kind: str) -> subprocess.CompletedProcess[str]:
            words = ["--source", str(folders[kind]), "--as", kind, "--wait", "--json"]
            return pyrsia(network, "build", "request", *names.get(kind, []), *words)

        with concurrent.futures.ThreadPoolExecutor(len(folders)) as pool:
            done = dict(zip(folders, pool.map(ask, folders), strict=True))
        said = {}
        for kind, one in done.items():
            if one.returncode:
                pytest.fail(f"{kind}: {one.stdout[-3_000:]}\n{one.stderr[-3_000:]}", pytrace=False)
            (said[kind],) = json.loads(one.stdout)["builds"]
        yield network, said
    finally:
        network.stop_all()
        network.remove()


def owner(network: Network) -> str:
    return network.nodes[0].node_id


@pytest.mark.parametrize("kind", ["pip", "maven", "conan", "oci"])
def test_three_builders_agree_bit_for_bit(built, kind):
    network, said = built
    one = said[kind]
    assert (one["verdict"], len(one["builders"]), one["dissenting"]) == ("REPRODUCED", 3, [])
    assert len(one["agreeing"]) == 3
    assert one["purl"].startswith(f"pkg:generic/{owner(network)}/")


def test_an_unchanged_pip_installs_the_compiled_wheel_from_the_node_that_built_nothing(built, tmp_path):
    network, said = built
    url = f"{network.follower.http}/pypi/{owner(network)}/simple/"
    words = ["--no-deps", "--only-binary", ":all:", "--python-version", "3.11", "--platform", "linux_x86_64"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--target",
            tmp_path,
            *words,
            "--index-url",
            url,
            "answer==1.0",
        ],
        check=True,
        timeout=120,
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"},
    )
    assert (tmp_path / "answer" / "__init__.py").read_text() == "VALUE = 42\n"
    assert list((tmp_path / "answer").glob("_c.*.so"))
    assert said["pip"]["file"].endswith("linux_x86_64.whl")


def test_an_unchanged_maven_resolves_the_jar_from_the_node_that_built_nothing(built, tmp_path):
    if shutil.which("mvn") is None:
        pytest.skip("this machine has no mvn; apt-get install maven")
    network, _ = built
    (tmp_path / "settings.xml").write_text(
        f"""<settings><mirrors><mirror><id>pyrsia</id><mirrorOf>greetings</mirrorOf>
        <url>{network.follower.http}/maven2/{owner(network)}/</url></mirror></mirrors></settings>"""
    )
    (tmp_path / "pom.xml").write_text(
        """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
        <groupId>user</groupId><artifactId>user</artifactId><version>1</version><packaging>pom</packaging>
        <repositories><repository><id>greetings</id><url>http://unused.invalid/</url></repository></repositories>
        <dependencies><dependency><groupId>org.example</groupId><artifactId>greeting</artifactId>
        <version>1.0</version></dependency></dependencies></project>"""
    )
    done = subprocess.run(
        ["mvn", "-B", "-q", "-gs", "settings.xml", "-Dmaven.repo.local=repo", "dependency:copy-dependencies"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:]
    assert (tmp_path / "target" / "dependency" / "greeting-1.0.jar").stat().st_size > 500


def test_an_unchanged_conan_installs_release_and_debug_from_the_node_that_built_nothing(built, tmp_path):
    program = Path(sys.executable).parent / "conan"
    found = str(program) if program.exists() else shutil.which("conan")
    if found is None:
        pytest.skip("conan is not installed; pip install conan")
    network, said = built

    def conan(*words: str) -> str:
        done = subprocess.run(
            [found, *words],
            cwd=tmp_path,
            env=os.environ | {"CONAN_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-3_000:]
        return done.stdout

    conan("remote", "add", "pyrsia", f"{network.follower.http}/conan/{owner(network)}")
    conan("remote", "disable", "conancenter")
    (tmp_path / "profile").write_text(
        "[settings]\nos=Linux\narch=x86_64\ncompiler=gcc\ncompiler.version=12\ncompiler.libcxx=libstdc++11\n"
        "compiler.cppstd=gnu17\nbuild_type={{ os.getenv('KIND', 'Release') }}\n"
    )
    for kind in ("Release", "Debug"):
        words = (
            "install",
            "--requires",
            "tiny/1.0",
            "-r",
            "pyrsia",
            "-pr:a",
            "profile",
            "--deployer",
            "direct_deploy",
        )
        conan(*words, "-s", f"build_type={kind}", "--output-folder", kind)
        assert list((tmp_path / kind).rglob("libtiny.a")), kind
    assert said["conan"]["verdict"] == "REPRODUCED"


def test_an_unchanged_registry_client_pulls_the_image_from_the_node_that_built_nothing(built, tmp_path):
    if shutil.which("skopeo") is None:
        pytest.skip("this machine has no skopeo; apt-get install skopeo")
    network, _ = built
    place = network.follower.http.removeprefix("http://")
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false",
         f"docker://{place}/{owner(network)}/team/greeting:1.0", f"dir:{tmp_path}/image"],
        check=True,
        timeout=60,
    )  # fmt: skip
    manifest = json.loads((tmp_path / "image" / "manifest.json").read_bytes())
    assert len(manifest["layers"]) == 1
    configuration = json.loads(
        (tmp_path / "image" / manifest["config"]["digest"].partition(":")[2]).read_bytes()
    )
    assert configuration["config"]["Labels"] == {"org.example": "yes"}


def test_the_node_that_served_them_all_built_nothing_and_holds_the_same_log(built):
    network, said = built
    moved = network.status(network.follower)["transfer"]
    assert moved["artifacts_built"] == 0
    network.wait(
        lambda: len({network.status(node)["log"]["root"] for node in network.nodes}) == 1,
        30,
        "the logs differ",
    )
    for one in said.values():
        with network.follower.client() as client:
            assert client.get(f"/api/v1/builds/{one['request']}")["verdict"] == "REPRODUCED"
