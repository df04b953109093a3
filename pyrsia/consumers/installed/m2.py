"""A Maven repository on this machine: every file that Maven took from elsewhere, by its digest and its place.

The path says which package a file must be of; the proof says which it is. What Maven keeps for itself is left out.
Files that `mvn install` put there came from nowhere, and have no proof.

Source: Maven's repository layout; `_remote.repositories` of maven-resolver's enhanced local repository manager.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pyrsia.consumers.installed import walking
from pyrsia.consumers.installed.prover import Prover
from pyrsia.consumers.installed.rows import ACCEPTED, NO_PROOF, REFUSED, Row
from pyrsia.errors import Malformed, Refusal
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl
from pyrsia.wire.text import safe

_KEPT: Final = re.compile(
    r"_remote\.repositories|_maven\.repositories|resolver-status\.properties|archetype-catalog.*\.xml"
    r"|.*\.lastUpdated|.*\.(sha1|md5|sha256|sha512|asc)|.*\.lock|\.locks|.*\.part"
)
_LISTS: Final = re.compile(r"maven-metadata(-[^/]*)?\.xml")
_OWN_FOLDERS: Final = (".cache", ".index", ".locks", ".meta")  # of plug-ins; no group is called so
_NEVER_RUN: Final = ("-sources.jar", "-javadoc.jar")  # often the same empty jar, of which a proof names one
Tick = Callable[[int, int, str], None]


def check(root: Path, prover: Prover, *, tick: Tick) -> list[Row]:
    """A row for each artifact file of a local repository.

    Raises:
        Refusal: `not-found`; `too-large`.
    """
    folder = root / "repository" if (root / "repository").is_dir() else root
    if not folder.is_dir():
        raise Refusal("not-found", what=f"{folder} is no folder", who="your command",
                      do="name the folder that holds Maven's local repository, as ~/.m2")  # fmt: skip
    found = [one for one in walking.walk(folder) if not _kept(one.rel)]
    rows = []
    for number, one in enumerate(found):
        tick(number, len(found), one.rel)
        rows.append(_row(folder, one, prover))
    return rows


def _kept(rel: str) -> bool:
    """What Maven writes for itself: sums, lists of versions, where a file came from."""
    first, name = rel.partition("/")[0], rel.rpartition("/")[2]
    if first in _OWN_FOLDERS or _KEPT.fullmatch(name) is not None:
        return True
    return _LISTS.fullmatch(name) is not None and not _package(rel)


def _row(folder: Path, one: walking.Found, prover: Prover) -> Row:
    package = _package(one.rel)
    if one.odd:
        return Row(one.rel, package, REFUSED, why=f"{one.odd}, where an artifact belongs", do=_AGAIN)
    digest = walking.digest(one.path)
    if not digest:
        return Row(one.rel, package, REFUSED, why="it cannot be read", do="make it readable and check again")
    if not package:
        return Row(one.rel, "", REFUSED, digest, why="no artifact belongs at this place", do=_AGAIN)
    row = prover.row(one.rel, digest, package)
    if row.outcome == NO_PROOF and _own(one):
        return Row(one.rel, package, NO_PROOF, digest, why="it was put there by `mvn install` on this machine",
                   do="nobody else can prove it; leave it out by checking another folder")  # fmt: skip
    told = prover.prove(digest, package).finding.file if row.outcome == ACCEPTED else ""
    if row.outcome == ACCEPTED and not _is(told, one.path.name):
        return Row(
            one.rel,
            package,
            REFUSED,
            digest,
            why=f"these bytes are {safe(told)}, put in its place",
            do=_AGAIN,
        )
    return row


def _is(proven: str, name: str) -> bool:
    """Whether a file of the right package and version is this one, and not another of them."""
    return proven == name or (proven.endswith(_NEVER_RUN) and name.endswith(_NEVER_RUN))


_AGAIN: Final = "delete it, and let Maven fetch it from the node"


def _package(rel: str) -> str:
    """`org/example/lib/1.0/lib-1.0.jar` -> `pkg:maven/org.example/lib@1.0`; "" for any other place."""
    if rel.count("/") < 3:
        return ""
    *group, artifact, version, name = rel.split("/")
    if not name.startswith(f"{artifact}-"):
        return ""
    try:
        return str(purls.parse(str(Purl("maven", ".".join(group), artifact, version))))
    except Malformed:
        return ""


def _own(one: walking.Found) -> bool:
    """Whether Maven noted that the file came from no repository: `lib-1.0.jar>=`."""
    told = walking.text(one.path.with_name("_remote.repositories"), 1 << 20) or b""
    return f"{one.path.name}>=".encode() in told.splitlines()
