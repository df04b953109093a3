"""Recipes, remotes and plug-ins for tests of the conan plug-in; Conan itself is the one of the tests' environment."""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from pyrsia.builds.conan import names
from pyrsia.builds.conan.planning import Bench
from pyrsia.builds.conan.plugin import ConanPlugin
from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.environments import Environment, choose, find
from pyrsia.builds.model import Built, LocalSource, Planned, SourceMapping
from pyrsia.builds.pip import host
from pyrsia.builds.sandbox import BuildLimits, Sandbox
from pyrsia.builds.sandbox.model import Mount
from pyrsia.builds.shop import Shop
from pyrsia.builds.sources.git import GitHosts
from pyrsia.errors import Unavailable
from pyrsia.serve.desks.views import ProjectFile
from tests.unit.builds.taken import taken

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "serve"))
from toy import LIMITS, ToyNode, listen_tcp, serve, toy_app

EPOCH = 1_700_000_000
CONANFILE = """
from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, CMakeDeps, cmake_layout


class Recipe(ConanFile):
    name = {name!r}
    version = "1.0"
    license = "MIT"
    settings = "os", "arch", "compiler", "build_type"
    options = {{"shared": [True, False], "fPIC": [True, False]}}
    default_options = {{"shared": False, "fPIC": True}}
    exports_sources = "CMakeLists.txt", "src/*"
    requires = {requires!r}

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeToolchain(self).generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()

    def package_info(self):
        self.cpp_info.libs = [{name!r}]
"""
CMAKELISTS = """
cmake_minimum_required(VERSION 3.15)
project({name} C)
{find}
add_library({name} src/{name}.c)
set_target_properties({name} PROPERTIES PUBLIC_HEADER src/{name}.h VERSION 1.2.3 SOVERSION 1)
{link}
install(TARGETS {name})
"""


def library(name: str = "tiny", requires: tuple[str, ...] = ()) -> dict[str, str]:
    """The files of a C library; it asserts, so that Debug differs, and tells the path of its own source."""
    needs = [one.partition("/")[0] for one in requires]
    return {
        "conanfile.py": CONANFILE.format(name=name, requires=requires),
        "CMakeLists.txt": CMAKELISTS.format(
            name=name,
            find="".join(f"find_package({one} REQUIRED)\n" for one in needs),
            link="".join(f"target_link_libraries({name} PUBLIC {one}::{one})\n" for one in needs),
        ),
        f"src/{name}.h": f"int {name}_add(int a, int b);\nconst char *{name}_file(void);\n",
        f"src/{name}.c": "#include <assert.h>\n"
        + f'#include "{name}.h"\n'
        + "".join(f'#include "{one}.h"\n' for one in needs)
        + f"int {name}_add(int a, int b) {{ assert(a > -1000); return "
        + " + ".join(["a", "b", *(f"{one}_add(0, 0)" for one in needs)])
        + f"; }}\nconst char *{name}_file(void) {{ return __FILE__; }}\n",
    }


def archive(folder: Path, files: Mapping[str, str], name: str = "tiny-1.0") -> LocalSource:
    """A source archive as a provider gives it along."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as out:
        for path, text in sorted(files.items()):
            info = tarfile.TarInfo(f"{name}/{path}")
            info.size, info.mtime = len(text.encode()), EPOCH
            out.addfile(info, io.BytesIO(text.encode()))
    path = folder / f"{name}.tar.gz"
    path.write_bytes(gzip.compress(raw.getvalue(), mtime=0))
    data = path.read_bytes()
    return LocalSource(path.name, path, hashlib.sha256(data).hexdigest(), len(data), manifest="ab" * 32)


def repository(place: Path, folder: str, files: Mapping[str, str]) -> Path:
    """A git repository with one commit and the tag v1.0; the recipe stands in `folder`."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed; apt-get install git")
    for path, text in files.items():
        (place / folder / path).parent.mkdir(parents=True, exist_ok=True)
        (place / folder / path).write_text(text)
    me = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "one"), ("tag", "v1.0")):
        subprocess.run(["git", *me, *words], cwd=place, check=True)
    return place


def conan() -> Path:
    """The `conan` of the tests' environment, or of PATH."""
    beside = Path(sys.executable).parent / "conan"
    found = beside if beside.exists() else shutil.which("conan")
    if found is None:
        pytest.skip("conan is not installed; pip install conan")
    return Path(found)


def needed() -> None:
    conan()
    for tool in ("cmake", "gcc", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed; apt-get install cmake gcc make")


def bench() -> Bench:
    """Conan's own virtual environment, where it is, in front of the host's tools."""
    program = conan()
    words = subprocess.run(
        [program.read_text().split("\n")[0][2:].strip(), "-c", "import sys; print(sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    prefix = Path(words.stdout.strip())
    return Bench(f"{prefix}/bin", (Mount(prefix, str(prefix)),))


class Here:
    """Environments with one in it: the host's tools, named as a file system would be."""

    def __init__(self) -> None:
        major = subprocess.run(
            ["gcc", "-dumpversion"], capture_output=True, text=True, check=True
        ).stdout.strip()
        self.one = Environment(
            "rootfs:" + "c" * 64,
            None,
            {**host.facts(), "os": "linux", "compiler": f"gcc-{major}", "cmake": "3", "conan": "2"},
        )

    def here(self) -> tuple[Environment, ...]:
        return (self.one,)

    def chosen(self, admitted: Any, *tools: str, pure: bool = False) -> Environment:
        return choose(self.here(), admitted, tools, pure=True)

    async def get(self, id: str) -> Environment:
        return find(self.here(), id)


def plugin(
    sandbox: Sandbox,
    home: Path,
    remotes: Remotes | None = None,
    *,
    limits: BuildLimits | None = None,
    given: LocalSource | None = None,
    published: Mapping[str, int] | None = None,
    mapping: SourceMapping | None = None,
    repositories: Path | None = None,
) -> ConanPlugin:
    """A node's plug-in below `home`; `given` is what its peers give as a claimed source.

    Args:
        repositories: folder that stands for `https://code.example/`.
    """
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)

    async def claimed(request: Mapping[str, Any]) -> Path:
        if given is None or given.sha256 != request["source"]["sha256"]:
            raise Unavailable("nobody has it")
        return given.path

    here = Here()
    shop = Shop(
        sandbox=sandbox,
        limits=limits or BuildLimits(),
        scratch=home / "scratch",
        results=home / "results",
        cache=home / "cache",
        index=None,  # type: ignore[arg-type]
        environments=here,
        admitted=lambda: (here.one.id,),
        claimed=claimed,
        mapping=lambda _: mapping,
        published=(published or {}).get,
        verified=(published or {}).get,
        git_hosts=GitHosts.configured(
            (), (f"https://code.example/ = {repositories.as_uri()}/",) if repositories else ()
        ),
    )
    return ConanPlugin(shop, remotes or Remotes({}, {}), bench())


def request(planned: Planned, owner: str = "") -> dict[str, Any]:
    """The body that the node authors from a plan; under its own name where the source was given along."""
    if owner:
        planned = replace(
            planned,
            purl=planned.purl.replace("pkg:conan/", f"pkg:generic/{owner}/conan/"),
            source={**planned.source, "manifest": "ab" * 32},
        )
    return taken(planned)


def digests(built: Built) -> dict[str, str]:
    """Output name -> SHA-256 of the published bytes."""
    assert built.outcome == "built", built.why + built.log.path.read_text()[-3000:]
    return {one.name: one.raw.file.sha256 for one in built.outputs}


def kinds(built: Built) -> list[str]:
    return sorted(names.place(one.name).file for one in built.outputs)


def unpacked(path: Path) -> dict[str, bytes | str]:
    """The members of an archive: contents, or the target of a link."""
    found: dict[str, bytes | str] = {}
    with tarfile.open(path) as tar:
        for one in tar:
            file = tar.extractfile(one) if one.isreg() else None
            found[one.name] = file.read() if file else one.linkname
    return found


def now_ms() -> int:
    return int(time.time() * 1000)


def clean(home: Path) -> dict[str, str]:
    """The environment of a client that has nothing but an empty Conan home."""
    return {
        "CONAN_HOME": str(home),
        "HOME": str(home),
        "PATH": f"{conan().parent}:{os.defpath}",
        "NO_PROXY": "127.0.0.1",
        "LC_ALL": "C.UTF-8",
    }


def publish(node: Any, built: Built, purl: str = "pkg:conan/tiny", version: str = "1.0") -> None:
    """Put what was built into a toy node's catalogue, as the log would."""
    for one in built.outputs:
        data = one.raw.file.path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        (node.folder / sha256).write_bytes(data)
        node.published[f"{purl} {one.name}"] = ProjectFile(
            filename=one.name,
            sha256=sha256,
            size=len(data),
            upload_time_ms=EPOCH * 1000,
            purl=f"{purl}@{version}",
            name=purl,
            version=version,
            verdict="REPRODUCED",
            log_index=len(node.published),
        )


class Published(ToyNode):
    """A toy node whose catalogue knows packages of every ecosystem."""

    def packages(self, start: str) -> list[str]:
        return sorted({file.name for file in self.published.values() if file.name.startswith(start)})

    def file(self, sha256: str) -> ProjectFile | None:
        return next((file for file in self.published.values() if file.sha256 == sha256), None)


@asynccontextmanager
async def gateway(node: ToyNode) -> AsyncIterator[str]:
    """Serve `node` on a free port; its address. A client that compiles may take its time."""
    async with trio.open_nursery() as nursery:
        listener = await listen_tcp("127.0.0.1", 0)

        async def run(*, task_status: Any) -> None:
            await serve(toy_app(node), [listener], limits=LIMITS, task_status=task_status)

        await nursery.start(run)
        yield f"http://127.0.0.1:{listener.port}"
        nursery.cancel_scope.cancel()
