"""Names of projects and of their files.

Source: PEP 503 (names), the specifications of binary distribution and source distribution file names (PyPA).
"""

import re
from typing import Final

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion

from pyrsia.wire.purl import pypi_name

PURL: Final = "pkg:pypi/"
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_MAX_NAME: Final = 200
_MAX_VERSION: Final = 200


def normalise(name: str) -> str | None:
    """PEP 503's normal form of `name`; None if it is no project name (ASCII only)."""
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        return None
    return pypi_name(name)


def release(filename: str) -> tuple[str, str] | None:
    """(normalised name, version in its normal form) of which a file is by its name.

    None for what is neither a wheel nor an sdist: installers of today pass over it.
    """
    try:
        if filename.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(filename)
        elif filename.endswith((".tar.gz", ".zip")):
            name, version = parse_sdist_filename(filename)
        else:
            return None
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    found = normalise(name)
    return (found, str(version)) if found is not None and len(str(version)) <= _MAX_VERSION else None


def kind_of(filename: str) -> bytes:
    """Content-Type of a file. Never a Content-Encoding: a client would unpack what it must hash."""
    return b"application/octet-stream" if not filename.endswith((".whl", ".zip")) else b"application/zip"
