"""zlib's released source by a recipe in the manner of public ones, built as two machines would; for docs/evidence/.

    python -m tests.e2e.conan_evidence STORE ARCHIVE

STORE is the folder of a node's environments (`<data>/environments`) that holds one with Conan, cmake and gcc. ARCHIVE
is zlib's source archive, of any release and compression (`apt-get source zlib` brings one). The second build differs in
backend, path, umask, time zone and order of folders.
"""

import hashlib
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import trio

sys.path.insert(0, str(Path(__file__).parent))
import conans

from pyrsia.builds.conan.planning import Bench
from pyrsia.builds.conan.remotes import Remotes
from pyrsia.builds.environments import Environment, choose, find
from pyrsia.builds.environments.store import Store
from pyrsia.builds.model import Built, Want
from pyrsia.builds.sandbox.bubblewrap import Bubblewrap
from pyrsia.builds.sandbox.unshare import Unshare

NODE: Final = "a" * 52
RECIPE: Final = """
import os

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, get, save


class Zlib(ConanFile):
    name = "zlib"
    version = "1.0"
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False]}
    default_options = {"shared": False, "fPIC": True}

    def configure(self):
        if self.options.shared:
            self.options.rm_safe("fPIC")
        self.settings.rm_safe("compiler.libcxx")
        self.settings.rm_safe("compiler.cppstd")

    def layout(self):
        cmake_layout(self, src_folder="src")

    def source(self):
        get(self, **self.conan_data["sources"], destination=self.source_folder, strip_root=True)
        save(self, os.path.join(self.source_folder, "win32", "zlib1.rc"), "")  # distributions leave it out

    def generate(self):
        CMakeToolchain(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build(target="zlib" if self.options.shared else "zlibstatic")

    def package(self):
        package = self.package_folder
        copy(self, "zlib.h", self.source_folder, os.path.join(package, "include"))
        copy(self, "zconf.h", self.build_folder, os.path.join(package, "include"))
        what = "*.so*" if self.options.shared else "*.a"
        copy(self, what, self.build_folder, os.path.join(package, "lib"), keep_path=False)

    def package_info(self):
        self.cpp_info.libs = ["z"]
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        return


class Kept(conans.Here):
    """The environments of a store, and nothing of this machine's own."""

    store = Path()

    def __init__(self) -> None:
        found = (Store(self.store).get(path.name) for path in sorted(self.store.iterdir()))
        self.all = tuple(one for one in found if one is not None and one.offers("conan", "cmake", "compiler"))
        if not self.all:
            sys.exit("no environment of this store has Conan, cmake and gcc")
        self.one = self.all[0]

    def chosen(self, admitted: Any, *tools: str, pure: bool = False) -> Environment:
        return choose(self.all, admitted, tools, pure=pure)

    async def get(self, id: str) -> Environment:
        return find(self.all, id)


async def built(home: Path, source: conans.LocalSource, remotes: Remotes, shared: str, second: bool) -> Built:
    node = conans.plugin(Unshare() if second else Bubblewrap(), home, remotes, given=source)
    want = Want("", None, source=source, generic=NODE, parameters={"option.shared": shared}, closure=False)
    (planned,) = await node.plan(want, conans.now_ms())
    request = conans.request(planned, NODE)
    inputs = await node.prefetch(request, planned.lock)
    start = time.monotonic()
    done = await node.build(request, inputs, vary=second)
    print(
        f"  {'second' if second else 'first':6} {time.monotonic() - start:6.1f} s to build and inspect",
        flush=True,
    )
    return done


async def main(archive: Path, digest: str, address: str, home: Path) -> bool:
    data = f'sources:\n  url: "{address}/{archive.name}"\n  sha256: "{digest}"\n'
    source = conans.archive(home, {"conanfile.py": RECIPE, "conandata.yml": data}, "zlib")
    print(f"{archive.name} sha256:{digest}, {Kept().one.id}\n")
    good = True
    for shared in ("False", "True"):
        print(f"shared={shared}")
        remotes = Remotes({}, {"source-0": address})
        first, second = [
            await built(home / f"{shared}-{number}", source, remotes, shared, number == 1)
            for number in (0, 1)
        ]
        same = conans.digests(first) == conans.digests(second)
        good &= same
        for one in first.outputs:
            if one.name.endswith("conan_package.tgz"):
                missing = ", ".join(one.missing)
                print(f"  {one.name}\n    {one.raw.file.size} bytes, not in the source: {missing}")
        print(f"  all {len(first.outputs)} files {'equal' if same else 'DIFFER'}\n", flush=True)
    return good


if __name__ == "__main__":
    Kept.store, given = Path(sys.argv[1]), Path(sys.argv[2])
    conans.Here = Kept  # type: ignore[misc]
    conans.bench = Bench  # the environment has it all
    serving = partial(Quiet, directory=str(given.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), serving)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    digest = hashlib.sha256(given.read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        sys.exit(not trio.run(main, given, digest, f"http://127.0.0.1:{server.server_port}", Path(folder)))
