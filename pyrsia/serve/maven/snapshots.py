"""Builds of a snapshot: which one is newest, what a client finds under its moving name, and what may go. No I/O.

A file of a snapshot is called `tool-1.0-20260102.030405-7-sources.jar`: the client gives the time and the number, the
number being one more than that of our list. So the number decides which build is newer, and the time only between two
clients that pushed at once: clocks differ. Files under the moving name itself (`tool-1.0-SNAPSHOT.jar`), as some
clients push them, count where no build has such a file.

Source: the layout of Maven 2 repositories; the schema of its repository metadata 1.1.0.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pyrsia.serve.maven.paths import SNAPSHOT
from pyrsia.units import Limit

BUILDS_KEPT: Final = Limit(
    20, "builds of one snapshot: a working day of pushes; who needs one for longer releases it"
)
STEP: Final = Limit(
    1_000, "builds between two that come here; a build from nowhere would stay the newest for ever"
)
AHEAD_S: Final = Limit(86_400, "a client's clock and time zone")
_BUILD: Final = re.compile(r"([0-9]{8}\.[0-9]{6})-(0|[1-9][0-9]{0,8})(?=[.-])")
# Endings of two parts; others are what follows the last dot, since classifiers may have dots (`-jdk1.5.jar`).
_DOUBLE: Final = re.compile(r"\.((?:tar\.)?[A-Za-z0-9]+\.(?:asc|sigstore|sigstore\.json)|tar\.[a-z0-9]+)$")


@dataclass(frozen=True, slots=True, order=True)
class Build:
    """One push of a snapshot, in the order of pushes."""

    number: int
    time: str

    def value(self, base: str) -> str:
        """What stands in the place of `-SNAPSHOT` and before it."""
        return f"{base}-{self.time}-{self.number}"


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a snapshot: `build` None under the moving name."""

    name: str
    build: Build | None
    classifier: str
    extension: str

    @property
    def kind(self) -> tuple[str, str]:
        return self.classifier, self.extension


def part(artifact: str, version: str, name: str) -> Part | None:
    """What the file `name` of the snapshot `version` is; None for one that no client makes."""
    base = version.removesuffix(SNAPSHOT)
    start = f"{artifact}-{base}-"
    if not name.startswith(start):
        return None
    rest = name[len(start) :]
    found = _BUILD.match(rest)
    if found is not None:
        build, rest = Build(int(found[2]), found[1]), rest[found.end() :]
    elif rest.startswith(("SNAPSHOT.", "SNAPSHOT-")):
        build, rest = None, rest.removeprefix("SNAPSHOT")
    else:
        return None
    if rest.startswith("."):
        classifier, extension = "", rest[1:]
    else:
        double = _DOUBLE.search(rest)
        at = double.start() if double else rest.rfind(".")
        classifier, extension = rest[1:at], rest[at + 1 :]
        if at < 2:
            return None
    return Part(name, build, classifier, extension) if extension else None


def newest(parts: Iterable[Part]) -> Build | None:
    return max((one.build for one in parts if one.build is not None), default=None)


def believable(build: Build, before: Build | None, now_s: float) -> bool:
    """Whether a client may push this build after those that are here."""
    try:
        made = datetime.strptime(f"{build.time}+0000", "%Y%m%d.%H%M%S%z")
    except ValueError:
        return False
    last = before.number if before is not None else 0
    return made.timestamp() <= now_s + AHEAD_S.value and build.number <= last + STEP.value


def current(parts: Iterable[Part]) -> Mapping[tuple[str, str], Part]:
    """For each (classifier, extension) the file that a client should have."""
    found: dict[tuple[str, str], Part] = {}
    for one in parts:
        other = found.get(one.kind)
        if other is None or _rank(one) > _rank(other):
            found[one.kind] = one
    return found


def _rank(one: Part) -> tuple[int, str]:
    return (one.build.number, one.build.time) if one.build is not None else (-1, "")


def outdated(parts: Iterable[Part], keep: int = BUILDS_KEPT.value) -> list[Part]:
    """Files of all builds but the newest `keep`."""
    listed = [one for one in parts if one.build is not None]
    builds = sorted({one.build for one in listed if one.build is not None}, reverse=True)
    gone = set(builds[keep:])
    return [one for one in listed if one.build in gone]
