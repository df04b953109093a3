"""A package of each ecosystem, built by three nodes and installed from a fourth one by its own unchanged client.

docs/builds.md is run as it stands: the commands of its four sections in a maintainer's folder, and what they print is
what the page shows, but for ids, the node's address and the wheel's tags. Builds run in environments made from Debian's
packages; Maven plans with the operator's own remote.
"""

import concurrent.futures
import json
import os
import re
import shlex
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
PAGE = Path(__file__).parents[2] / "docs" / "builds.md"
BLOCK = re.compile(r"^```(sh|text) (pip|maven|conan|oci)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ASKED = re.compile(r"^asked: \S+ \(([0-9a-f]{16})\)$", re.MULTILINE)
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
SETUP = "from setuptools import Extension, setup\nsetup(ext_modules=[Extension('greeter._c', ['greeter/_c.c'])])\n"
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
            '[project]\nname = "greeter"\nversion = "1.0"\n[tool.setuptools]\npackages = ["greeter"]\n',
            "setup.py": SETUP,
            "greeter/__init__.py": "VALUE = 42\n",
            "greeter/_c.c": C_MODULE,
        },
    }
    for kind, texts in files.items():
        for name, text in texts.items():
            path = folder / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return {kind: folder / kind for kind in files}


def page(form: str) -> dict[str, str]:
    """Kind -> what the page's section has in its block of this form: `sh` commands, `text` what they print."""
    return {
        kind: text for found, kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")) if found == form
    }


def pyrsia(network: Network, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """As the maintainer whose node is the first one."""
    return subprocess.run(
        [sys.executable, "-m", "pyrsia", *words],
        cwd=folder,
        env=os.environ | {"PYRSIA_NODE": str(network.nodes[0].data)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def as_the_page(network: Network, told: str) -> str:
    """What a command printed, with the page's own ids, address and wheel."""
    told = told.replace(network.nodes[0].http.removeprefix("http://"), "127.0.0.1:7888")
    told = told.replace(owner(network), "NODEID").replace(owner(network)[:8], "h3ehcmyl")
    told = re.sub(r"\([0-9a-f]{16}\)$", "(ID)", told, flags=re.MULTILINE)
    return re.sub(r"-[a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+\.whl", "-py3-none-any.whl", told)


@pytest.fixture(scope="module")
def built(made_roots, tmp_path_factory):
    """The network, what it says of each ecosystem's build, and what the page's last command printed."""
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
    try:
        network.start_all()
        network.wait(
            lambda: all(network.status(node)["peers"] >= 3 for node in network.nodes), 30, "no links"
        )

        def carried_out(kind: str) -> str:
            told = ""
            for line in page("sh")[kind].splitlines():
                program, *words = shlex.split(line)
                assert program == "pyrsia"
                done = pyrsia(network, *words, folder=folders[kind])
                if done.returncode:
                    pytest.fail(f"{line}: {done.stdout[-3_000:]}\n{done.stderr[-3_000:]}", pytrace=False)
                told = done.stdout
            return told

        with concurrent.futures.ThreadPoolExecutor(len(folders)) as pool:
            printed = dict(zip(folders, pool.map(carried_out, folders), strict=True))
        said = {
            kind: json.loads(pyrsia(network, "build", "show", ASKED.findall(told)[-1], "--json").stdout)
            for kind, told in printed.items()
        }
        yield network, said, printed
    finally:
        network.stop_all()
        network.remove()


def owner(network: Network) -> str:
    return network.nodes[0].node_id


@pytest.mark.parametrize("kind", ["pip", "maven", "conan", "oci"])
def test_the_commands_of_the_page_print_what_the_page_shows(built, kind):
    network, _, printed = built
    shown = re.sub(r"\([0-9a-f]{16}\)$", "(ID)", page("text")[kind], flags=re.MULTILINE)
    assert as_the_page(network, printed[kind]) == shown


@pytest.mark.parametrize("kind", ["pip", "maven", "conan", "oci"])
def test_three_builders_agree_bit_for_bit(built, kind):
    network, said, _ = built
    one = said[kind]
    assert (one["verdict"], len(one["builders"]), one["dissenting"]) == ("REPRODUCED", 3, [])
    assert len(one["agreeing"]) == 3
    assert one["purl"].startswith(f"pkg:generic/{owner(network)}/")


def test_an_unchanged_pip_installs_the_compiled_wheel_from_the_node_that_built_nothing(built, tmp_path):
    network, said, _ = built
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
            "greeter==1.0",
        ],
        check=True,
        timeout=120,
        env=os.environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"},
    )
    assert (tmp_path / "greeter" / "__init__.py").read_text() == "VALUE = 42\n"
    assert list((tmp_path / "greeter").glob("_c.*.so"))
    assert said["pip"]["file"].endswith("linux_x86_64.whl")


def test_an_unchanged_maven_resolves_the_jar_from_the_node_that_built_nothing(built, tmp_path):
    if shutil.which("mvn") is None:
        pytest.skip("this machine has no mvn; apt-get install maven")
    network, _, _ = built
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
    network, said, _ = built

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
    network, _, _ = built
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
    network, said, _ = built
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
