"""What a path below `/maven2/` names: a file of a version, a list, or something beside one of them. No I/O.

Only the path's form is judged. `maven-metadata.xml` below `org/example/tool` may be the list of `org.example:tool` and
that of the plug-ins of the group `org.example.tool`; it is both at once, as in other repositories.

Source: the layout of Maven 2 repositories.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from pyrsia.builds.maven.coordinates import METADATA, plain
from pyrsia.errors import Refusal
from pyrsia.serve.answers import not_found
from pyrsia.serve.bringing import PROOF_SUFFIX
from pyrsia.serve.maven.sums import SUMS
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl
from pyrsia.wire.text import NODE_ID

BUNDLE_SUFFIX: Final = ".intoto.jsonl"
SNAPSHOT: Final = "-SNAPSHOT"
PREFIXES: Final = ".meta/prefixes.txt"
UNKNOWN: Final = "there is no such artifact"
_READ: Final = Limit(8_192, "paths that are known as read: 4 MB; a large build asks for some thousand")
_PART: Final = re.compile(r"[A-Za-z0-9._+~-]{1,200}")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}")


@dataclass(frozen=True, slots=True)
class FilePath:
    """A file of one version, or what is made of it.

    Attributes:
        root: node id text where the path is below what that node claims, else "".
        name: of the file itself.
        package: versionless purl.
        beside: "" for the file, else the ending of what stands beside it (`.sha1`, `.tlog-proof`).
    """

    root: str
    group: str
    artifact: str
    version: str
    name: str
    beside: str = ""

    package: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "package", package_of(self.group, self.artifact, self.root))

    @property
    def key(self) -> str:
        """As the shelf knows it."""
        return f"{self.version}/{self.name}"

    @property
    def whole(self) -> str:
        """The path of the file itself below the root."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"


@dataclass(frozen=True, slots=True)
class ListPath:
    """A `maven-metadata.xml` or a checksum of it (`beside`)."""

    root: str
    folders: tuple[str, ...]
    beside: str = ""

    @property
    def group(self) -> str:
        """The group whose plug-ins it may list; "" where the last folder can only be an artifact."""
        return ".".join(self.folders) if _is_group(self.folders) else ""

    @property
    def artifact(self) -> tuple[str, str] | None:
        """(group, artifact) whose versions it may list."""
        return (".".join(self.folders[:-1]), self.folders[-1]) if len(self.folders) >= 2 else None

    @property
    def snapshot(self) -> tuple[str, str, str] | None:
        """(group, artifact, version) of the snapshot whose builds it lists."""
        if len(self.folders) < 3 or not self.folders[-1].endswith(SNAPSHOT):
            return None
        return ".".join(self.folders[:-2]), self.folders[-2], self.folders[-1]

    @property
    def whole(self) -> str:
        return "/".join((*self.folders, METADATA))


def package_of(group: str, artifact: str, root: str = "") -> str:
    """The versionless purl, of the network or below a node's own name."""
    package = Purl("maven", group, artifact, "")
    return str(purls.under(root, package) if root else package)


@lru_cache(_READ.value)
def read(path: str) -> FilePath | ListPath:
    """What the text after `/maven2/` names.

    Raises:
        Refusal: `not-found`: no file of a Maven repository could have this name.
    """
    if not path or path.endswith("/"):
        raise not_found(
            "folders of this repository have no pages",
            do="files are at /maven2/<group>/<artifact>/<version>/; packages can be looked for at /",
        )
    first, _, rest = path.partition("/")
    root = first if NODE_ID.fullmatch(first) else ""
    *folders, name = (rest if root else path).split("/")
    if not all(_PART.fullmatch(part) for part in (*folders, name)):
        raise unknown()
    beside = next((ending for ending in (*SUMS, PROOF_SUFFIX, BUNDLE_SUFFIX) if name.endswith(ending)), "")
    name = name.removesuffix(beside)
    if name == METADATA and folders and beside in ("", *SUMS):
        listed = ListPath(root, tuple(folders), beside)
        *groups, artifact = folders[:-1] if listed.snapshot else folders
        if plain(artifact) and (not groups or _is_group(groups)):
            return listed
    if not name.strip("."):
        raise unknown()
    if len(folders) < 3:
        raise not_found(UNKNOWN, do="artifacts are at /maven2/<group>/<artifact>/<version>/")
    *groups, artifact, version = folders
    group = ".".join(groups)
    if not (_is_group(groups) and plain(artifact) and _VERSION.fullmatch(version)) or ".." in version:
        raise unknown()
    return FilePath(root, group, artifact, version, name, beside)


def _is_group(folders: Sequence[str]) -> bool:
    """A dot in a folder would be a second spelling of two folders."""
    return plain(".".join(folders)) and all("." not in one for one in folders)


def unknown(package: str = "", version: str = "") -> Refusal:
    """Nobody here has it; how a user gets it built."""
    if not package:
        return not_found(UNKNOWN)
    named = f"{package}@{version}" if version else package
    return not_found(
        "neither the log nor this node's shelf has this artifact",
        do=f"check the name; `pyrsia build request {named}` asks the network to build it",
    )
