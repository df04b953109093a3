"""What a rootfs offers, as a function of its lock: nobody runs a tool to learn its version.

It runs inside the sandbox as well: only the standard library.
Source: docs/environments.md, "Facts".
"""

import json
import re
from collections.abc import Iterable
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
    return _of(
        (part.name, part.version, part.file.removesuffix(".deb").rpartition("_")[2] if part.debian else "")
        for part in lock.parts
    )


def of_status(text: str) -> dict[str, str]:
    """The same from dpkg's own list (`var/lib/dpkg/status`) of a root that another tool made."""
    rows = []
    for paragraph in text.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in paragraph.split("\n") if not line.startswith(" "))
        rows.append((fields.get("Package", ""), fields.get("Version", ""), fields.get("Architecture", "")))
    return _of(rows)


def written(found: dict[str, str]) -> bytes:
    """The file that a rootfs carries: sorted, compact JSON and a newline."""
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _of(packages: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Args: packages: (name, version, architecture in Debian's words or "")."""
    found = {"os": "linux"}
    for name, version, arch in packages:
        if arch in _ARCHES:
            found["arch"] = _ARCHES[arch]
        if name == "libc6":
            found["libc"] = "glibc-" + ".".join(_upstream(version).split(".")[:2])
        for fact, pattern in _PACKAGES.items():
            if re.fullmatch(pattern, name):
                found[fact] = _upstream(version)
    if "compiler" in found:
        found["compiler"] = f"gcc-{found['compiler']}"
    return found


def _upstream(version: str) -> str:
    """`1:3.8.7-1` -> `3.8.7`: without Debian's epoch and revision, up to the first word that is no number."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return match[1] if match else version
