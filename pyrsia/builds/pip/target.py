"""The interpreter that a request builds for: its markers and the wheel tags that it accepts. No I/O.

Everything here is a function of the four strings in the request, so that every builder evaluates the
same markers and ranks the same wheels, whatever machine it runs on.

Source: contracts of `build.request` (`target`); PEP 508, PEP 425, PEP 600, PEP 656.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags

from pyrsia.errors import Malformed

# Names that manylinux had before PEP 600, by the minor version of glibc that they need.
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Target:
    """Attributes:
    arch: as `uname -m` says it. libc: `glibc-2.36` or `musl-1.2`. os: `linux`. python: `3.11.7` (CPython).
    """

    arch: str
    libc: str
    os: str
    python: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"3\.\d{1,2}\.\d{1,2}", self.python):
            raise Malformed(f"the target's Python is {self.python!r}, not 3.x.y")
        if not re.fullmatch(r"(glibc|musl)-[12]\.\d{1,2}", self.libc):
            raise Malformed(f"the target's libc is {self.libc!r}")
        if not re.fullmatch(r"[a-z0-9_]{1,16}", self.arch) or self.os != "linux":
            raise Malformed(f"the target is {self.arch!r} on {self.os!r}")

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Target":
        """Raises: Malformed for anything but the four strings."""
        if set(fields) != {"arch", "libc", "os", "python"} or not all(
            isinstance(value, str) for value in fields.values()
        ):
            raise Malformed("a target has exactly arch, libc, os and python")
        return cls(**fields)

    def as_dict(self) -> dict[str, str]:
        return asdict(self)

    @property
    def version(self) -> tuple[int, int]:
        """(3, minor)."""
        return 3, int(self.python.split(".")[1])

    @cached_property
    def markers(self) -> dict[str, str]:
        """PEP 508's variables; kernel release and version are the builder's, so empty."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.arch,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.python,
            "python_version": "{}.{}".format(*self.version),
            "sys_platform": "linux",
            "extra": "",
        }

    @cached_property
    def ranks(self) -> dict[Tag, int]:
        """Accepted wheel tag -> rank, 0 the best; pip's order."""
        platforms = list(self._platforms())
        tags = [*cpython_tags(self.version, platforms=platforms)]
        tags += compatible_tags(self.version, interpreter="cp{}{}".format(*self.version), platforms=platforms)
        return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}

    def _platforms(self) -> Iterator[str]:
        family, _, version = self.libc.partition("-")
        major, minor = (int(part) for part in version.split("."))
        for step in range(minor, -1, -1):
            name = "manylinux" if family == "glibc" else "musllinux"
            yield f"{name}_{major}_{step}_{self.arch}"
            if family == "glibc" and step in _LEGACY:
                yield f"{_LEGACY[step]}_{self.arch}"
        yield f"linux_{self.arch}"
