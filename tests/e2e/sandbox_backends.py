"""The backends that the sandbox's tests run on, what each needs of a machine, and a small root to run in."""

import functools
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from pyrsia.builds.sandbox import Sandbox, host, landlock
from pyrsia.builds.sandbox.bubblewrap import Bubblewrap
from pyrsia.builds.sandbox.confined import Confined
from pyrsia.builds.sandbox.unshare import Unshare

BACKENDS = ("bubblewrap", "unshare", "confined")
NAMESPACE = "bubblewrap"  # what tests of builds mean that only ask for `namespace`
WITH_WORLDS = ("bubblewrap", "unshare")  # those that can show a job another file system


def isolation(backend: str) -> str:
    return "confined" if backend == "confined" else "namespace"


def needs(backend: str) -> None:
    backend = NAMESPACE if backend == "namespace" else backend
    if backend == "bubblewrap" and not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed; apt-get install bubblewrap")
    if backend == "unshare" and not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("unshare and setpriv are not installed; apt-get install util-linux")
    if backend in WITH_WORLDS and not namespaces(backend):
        pytest.skip("namespaces are refused here; run the tests where they are allowed")
    if backend == "confined" and landlock.abi() < landlock.LEAST_ABI:
        pytest.skip("this kernel has no Landlock, or one that is too old")


@functools.cache
def namespaces(backend: str) -> bool:
    """Whether the program itself, without anything of ours, gets its namespaces from this machine."""
    argv = ["bwrap", "--unshare-user-try", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "true"]
    if backend == "unshare":
        user = [] if os.geteuid() == 0 else ["--user"]
        argv = ["unshare", *user, "--mount", "--pid", "--fork", "--net", "--uts", "true"]
    return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0


def make(backend: str) -> Sandbox:
    needs(backend)
    backend = NAMESPACE if backend == "namespace" else backend
    return {"bubblewrap": Bubblewrap, "unshare": Unshare, "confined": Confined}[backend]()


def copied_interpreter(real: Path, binary: Path, library: Path) -> None:
    """Copy the interpreter `real` to `binary` and its standard library, without its tests, to `library`."""
    shutil.copytree(
        sysconfig.get_path("stdlib"),
        library,
        ignore=shutil.ignore_patterns(
            "test", "tests", "site-packages", "dist-packages", "config-*", "__pycache__"
        ),
        ignore_dangling_symlinks=True,
    )
    binary.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(real, binary)


def small_root(root: Path) -> Path:
    """A file system in a folder: an interpreter at /usr/bin/python3, what it links to, and a mark of its own."""
    real = Path(host.interpreter())
    name = Path(sysconfig.get_path("stdlib")).name
    copied_interpreter(real, root / "usr/bin/python3", root / "usr/lib" / name)
    modules = map(str, (root / "usr/lib" / name / "lib-dynload").glob("_ctypes.*"))
    words = ["ldd", str(real), *modules]
    linked = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout
    for found in re.findall(r"(?:=> |^\t)(/\S+) ", linked, re.M):
        # The loader is called by its whole path; everything else is found in /usr/lib.
        place = (
            root / f"usr{found}"
            if Path(found).name.startswith("ld-")
            else root / "usr/lib" / Path(found).name
        )
        place = root / found[1:] if found.startswith("/usr/") and "ld-" in found else place
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, place)
    for short in ("bin", "lib", "lib64"):
        if (root / "usr" / short).exists():
            os.symlink(f"usr/{short}", root / short)
    for name, text in (("etc/mark", "of the root"), ("tmp/old", "not shown"), ("opt/tool/run", "shown")):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(text)
    return root
