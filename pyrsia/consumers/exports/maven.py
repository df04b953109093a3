"""Trusted checksums: Maven 3.9 and later compare what they resolve with this file, and refuse what it does not list.

The file is named by the id of the repository that an artifact came from, which behind `mirrorOf *` is the mirror's.
Its digests are SHA-256: the log names no other.

Source: Maven Resolver 1.9, "Expected checksums" (summary file: a checksum, two spaces, the path in the local
repository; lines with # are comments); docs/exports.md.
"""

import re
from collections.abc import Sequence
from typing import Final

from pyrsia.consumers.exports.choosing import Version
from pyrsia.errors import Malformed
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

ALGORITHM: Final = "SHA-256"
_COORDINATES: Final = re.compile(r"([^:@\s]+):([^:@\s]+)(?::([^:@\s]+))?")
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


def coordinates(text: str) -> Purl | None:
    """`group:artifact[:version]`; None for what is none."""
    found = _COORDINATES.fullmatch(text)
    if found is None:
        return None
    try:
        return purls.parse(str(Purl("maven", found[1], found[2], found[3] or "")))
    except Malformed:
        return None


def file_name(repository: str) -> str:
    return f"checksums-{repository}.sha256"


def is_repository_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None and text.strip(".") != ""


def render(found: Sequence[Version]) -> str:
    """The summary file, sorted by path; of two files of one path the log has offered one."""
    paths: dict[str, str] = {}
    for one in found:
        folder = f"{one.purl.namespace.replace('.', '/')}/{one.purl.name}/{one.purl.version}"
        for each in one.files:
            paths.setdefault(f"{folder}/{each.file}", each.sha256)
    return "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(paths.items()))


def options(folder: str) -> tuple[str, ...]:
    """What .mvn/maven.config needs, a line each."""
    source, check = (
        "aether.trustedChecksumsSource.summaryFile",
        "aether.artifactResolver.postProcessor.trustedChecksums",
    )
    return (
        f"-D{source}=true",
        f"-D{source}.basedir={folder}",
        f"-D{check}=true",
        f"-D{check}.checksumAlgorithms={ALGORITHM}",
        f"-D{check}.failIfMissing=true",
    )
