"""The facts about a machine and a checkout that a figure means nothing without."""

import datetime
import os
import platform
import ssl
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from pyrsia._native import merkle

ROOT: Final = Path(__file__).resolve().parents[2]
# What our kernels choose by, and what hashlib and BLAKE3 do.
FLAGS: Final = ("sha_ni", "avx2", "avx512f", "sha2")


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a row was measured.

    Attributes:
        cpu: the maker's name for it.
        kind: maker and family, the same for all machines whose ratios may be compared.
        flags: those of the processor's abilities that matter here.
        kernel: which SHA-256 kernel the tree used.
        load: runnable processes in the minute before; above `cores` the wall clock is not ours alone.
    """

    cpu: str
    kind: str
    cores: int
    flags: list[str]
    kernel: str
    linux: str
    python: str
    openssl: str
    load: float

    @property
    def group(self) -> str:
        """Machines under one name of which share recorded ratios."""
        return f"{self.kind}, {self.cores} cores"


def machine() -> Machine:
    """This machine, now."""
    cpu = _cpuinfo()
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    maker = cpu.get("vendor_id") or cpu.get("CPU implementer") or platform.machine()
    family = cpu.get("cpu family") or cpu.get("CPU architecture") or "?"
    return Machine(
        cpu=cpu.get("model name", platform.machine()),
        kind=f"{maker} family {family}",
        cores=len(os.sched_getaffinity(0)),
        flags=[flag for flag in FLAGS if flag in flags],
        kernel=kernel(),
        linux=platform.release().partition("-")[0],
        python=platform.python_version(),
        openssl=ssl.OPENSSL_VERSION.split()[1],
        load=round(os.getloadavg()[0], 2),
    )


def kernel() -> str:
    """Which SHA-256 kernel the tree uses; a build with one alone has nothing to choose."""
    chosen = getattr(merkle, "kernel", None)
    return "portable" if chosen is None else str(chosen())


def commit() -> str:
    """The commit that is measured, with a `+` where the checkout differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else ""

    head = git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "pyrsia", "bench", "pyproject.toml")
    return head + ("+" if changed else "")


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    first, _, _ = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
