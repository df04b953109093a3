"""Which program packed upstream's wheel: its version is pinned among the tools that build the same source again.

Tools of the source's period come from the cut-off; the exact one is written into every wheel. It is taken where the
tools' own requirements allow it, and left out where they do not. It says nothing else about the build.

Source: docs/builds-pip.md, "The lock"; the wheel format (PEP 427, `Generator` in WHEEL).
"""

import re
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

# What a program calls itself in WHEEL, where its project on an index has another name.
_PROJECTS: Final = {"bdist-wheel": "wheel", "flit": "flit-core", "mesonpy": "meson-python", "uv": "uv-build"}
# `setuptools (75.1.0)`, `flit 3.9.0`, `poetry-core 1.9.1`: a name, and a version with or without brackets.
_FORM: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,60})[ ]+\(?([A-Za-z0-9.!+_-]{1,60})\)?")


def pin(generator: str) -> Requirement | None:
    """The requirement `project==version` for the text behind `Generator:`; None where it names no version."""
    match = _FORM.fullmatch(generator.strip())
    if match is None:
        return None
    try:
        version = Version(match[2])
    except InvalidVersion:
        return None
    if version.local:  # of somebody's own checkout: no index has it
        return None
    name = canonicalize_name(match[1])
    return Requirement(f"{_PROJECTS.get(name, name)}=={version}")
