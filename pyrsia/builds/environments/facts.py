"""What a rootfs offers, as a function of its lock: nobody runs a tool to learn its version.

It runs inside the sandbox as well: only the standard library.
Source: docs/environments.md, "Facts".
"""

import json
import re
from typing import Final

from pyrsia.builds.environments.lock import RootfsLock

FACTS_FILE: Final = "etc/pyrsia-environment.json"
_ARCHES: Final = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armhf": "armv7l",
    "i386": "i686",
    "riscv64": "riscv64",
}
# fact -> the packages whose version is that of the tool, the newest name first
_PACKAGES: Final = {
    "python": r"libpython3\.\d+-minimal",
    "jdk": r"openjdk-\d+-jre-headless",
    "maven": r"libmaven3-core-java",
    "compiler": r"gcc-\d+",
    "cmake": r"cmake",
    "ninja": r"ninja-build",
    "conan": r"conan",
}


def facts(lock: RootfsLock) -> dict[str, str]:
    """`arch`, `libc`, `os`, and the tools that are there with their upstream versions."""
    found = {"os": "linux"}
    for part in lock.parts:
        if part.debian:
            arch = part.file.removesuffix(".deb").rpartition("_")[2]
            if arch in _ARCHES:
                found["arch"] = _ARCHES[arch]
        if part.name == "libc6":
            found["libc"] = "glibc-" + ".".join(_upstream(part.version).split(".")[:2])
        for fact, pattern in _PACKAGES.items():
            if re.fullmatch(pattern, part.name):
                found[fact] = _upstream(part.version)
    if "compiler" in found:
        found["compiler"] = f"gcc-{found['compiler']}"
    return found


def facts_bytes(lock: RootfsLock) -> bytes:
    """The file that a rootfs carries: sorted, compact JSON and a newline."""
    return json.dumps(facts(lock), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _upstream(version: str) -> str:
    """`1:3.8.7-1` -> `3.8.7`: without Debian's epoch and revision, up to the first word that is no number."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return match[1] if match else version
