"""Names of projects and of their files.

Source: PEP 503 (names), the specifications of binary distribution and source distribution file names (PyPA).
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from pyrsia.wire.purl import pypi_name, pypi_version

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


def same_file(filename: str, others: Iterable[str]) -> str:
    """The one of `others` that an installer takes for the same file of the same release; "" for none.

    Names and versions have several spellings, and 1.0 is 1.0.0; of a release there is one sdist, whatever packs it.
    """
    wanted = _place(filename)
    version = _version_in(filename)
    for other in others:
        if other == filename or (_version_in(other) == version and _place(other) == wanted):
            return other
    return ""


def _place(filename: str) -> tuple[object, ...] | None:
    known = release(filename)
    if known is None:
        return None
    name, version = known[0], pypi_version(known[1])
    if not filename.endswith(".whl"):
        return name, version
    _, _, build, tags = parse_wheel_filename(filename)
    return name, version, build, tags


def _version_in(filename: str) -> str:
    """The version where names of files have it, at little cost."""
    if filename.endswith(".whl"):
        return _short("".join(filename.split("-")[1:2]))
    stem = filename.removesuffix(".zip").removesuffix(".tar.gz")
    return _short(stem.rpartition("-")[2])


@lru_cache(1_024)  # a project's files share their versions
def _short(version: str) -> str:
    try:
        return pypi_version(str(Version(version)))
    except InvalidVersion:
        return ""


def kind_of(filename: str) -> bytes:
    """Content-Type of a file. Never a Content-Encoding: a client would unpack what it must hash."""
    return b"application/octet-stream" if not filename.endswith((".whl", ".zip")) else b"application/zip"
