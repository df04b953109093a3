"""What a Maven artifact is called: as a person asks for it, in a repository, and as a purl.

Only releases have a name here: a version that ends in `-SNAPSHOT`, a range or a word such as `LATEST` means another
file tomorrow.

Source: docs/builds-maven.md; the repository layout of Maven 2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyrsia.errors import Refusal
from pyrsia.wire.purl import Purl

_PART: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_MAX_PART: Final = 100
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}")
_MOVING: Final = ("LATEST", "RELEASE")
METADATA: Final = "maven-metadata.xml"


@dataclass(frozen=True, slots=True, order=True)
class Artifact:
    """One release of one artifact."""

    group: str
    name: str
    version: str

    @property
    def folder(self) -> str:
        """Where its files stand in a repository, without slashes at the ends."""
        return f"{self.group.replace('.', '/')}/{self.name}/{self.version}"

    def file(self, ending: str) -> str:
        """The name of a file: `ending` is `.jar`, `-sources.jar`, `.pom`."""
        return f"{self.name}-{self.version}{ending}"

    def path(self, ending: str) -> str:
        return f"{self.folder}/{self.file(ending)}"

    @property
    def coordinates(self) -> dict[str, str]:
        """As a request names it."""
        return {"name": self.name, "namespace": self.group, "version": self.version}

    def purl(self, generic: str = "") -> str:
        """
        Args:
            generic: node id of the requester under whose own name the result stands; "" for the package's own.
        """
        if generic:
            return str(Purl("generic", f"{generic}/maven/{self.group}", self.name, self.version))
        return str(Purl("maven", self.group, self.name, self.version))

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"


def parse_name(text: str) -> tuple[str, str]:
    """(group, artifact) of `group:artifact` or `group/artifact`.

    Raises:
        Refusal: `bad-request`.
    """
    group, _, name = text.replace("/", ":").partition(":")
    if not (plain(group) and plain(name)):
        raise Refusal(
            "bad-request",
            what=f"{text[:80]!r} does not name a Maven artifact",
            who="your request",
            do="write it as group:artifact, for instance org.example:tool",
        )
    return group, name


def of_request(request: Mapping[str, Any]) -> Artifact:
    """The artifact that a request's coordinates name.

    Raises:
        Refusal: `bad-request` for coordinates that Maven could not have.
    """
    found = request["coordinates"]
    group, name = parse_name(f"{found.get('namespace', '')}:{found['name']}")
    return Artifact(group, name, release(found["version"]))


def plain(part: str) -> bool:
    """Whether `part` can be a group or an artifact id: no empty step in it once its dots are slashes."""
    return len(part) <= _MAX_PART and _PART.fullmatch(part) is not None


def release(version: str) -> str:
    """`version` where it names one release for ever.

    Raises:
        Refusal: `version-unknown`.
    """
    if is_release(version):
        return version
    raise Refusal(
        "version-unknown",
        what=f"{version[:64]!r} is no release: it names another file from day to day, or none",
        who="your request",
        do="name an exact version, for instance 1.2.3",
    )


def is_release(version: str) -> bool:
    moving = version.upper().endswith("-SNAPSHOT") or version in _MOVING
    return _VERSION.fullmatch(version) is not None and ".." not in version and not moving


def of_path(path: str) -> Artifact | None:
    """The artifact whose file stands at a repository's `path`; None for metadata and what lies elsewhere."""
    parts = path.split("/")
    if len(parts) < 4:
        return None
    *groups, name, version, file = parts
    group = ".".join(groups)
    whole = all(plain(part) for part in groups) and plain(name) and is_release(version)
    if not whole or not file.startswith(f"{name}-{version}") or not re.fullmatch(r"[A-Za-z0-9_.+~-]+", file):
        return None
    return Artifact(group, name, version)
