"""`maven-metadata.xml` at its three levels: written, read from others, and merged. No I/O.

A list is made of what is here each time and is never kept as somebody sent it, so it cannot tell of files that are not
there. `latest` is the newest version in Maven's order, `release` the newest that is no snapshot; where upstream adds
versions to a package of the network, both are the network's, so that nobody gets an unverified one without naming it.

Source: the schema of Maven's repository metadata 1.1.0; docs/adr/0052.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape

from pyrsia.builds.maven import versions
from pyrsia.builds.maven.coordinates import plain
from pyrsia.builds.maven.poms import Element, read_xml
from pyrsia.builds.members import Hostile
from pyrsia.errors import Malformed
from pyrsia.serve.desks.views import ProjectFile
from pyrsia.serve.maven import snapshots
from pyrsia.serve.maven.paths import SNAPSHOT
from pyrsia.serve.maven.snapshots import Part
from pyrsia.units import Limit

_ROWS: Final = Limit(
    20_000, "versions or plug-ins that a list of others may have; the longest known has 4,000"
)
LIST_BYTES: Final = Limit(2 << 20, "the longest known list has 200 KB")
_ELEMENTS: Final = Limit(100_000, "20,000 plug-ins of four elements; a quarter of a second")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MAVENS_OWN: Final = re.compile(r"maven-(.+)-plugin")
_OTHERS: Final = re.compile(r"(.+)-maven-plugin")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plug-in of a group, and the word that stands for it on a command line."""

    prefix: str
    artifact: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a `maven-metadata.xml` says, as far as it matters here."""

    versions: tuple[str, ...] = ()
    plugins: tuple[Plugin, ...] = ()
    snapshot: bool = False
    updated: str = ""


def prefix_of(artifact: str) -> str:
    """The prefix that Maven gives a plug-in of this name; "" for what is named like no plug-in."""
    if artifact == "maven-plugin-plugin":
        return "plugin"
    found = _MAVENS_OWN.fullmatch(artifact) or _OTHERS.fullmatch(artifact)
    return found[1] if found else ""


def stamp(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%Y%m%d%H%M%S}"


def metadata(group: str, artifact: str, files: Sequence[ProjectFile]) -> bytes:
    """The list of an artifact's versions, in the order in which the log published them; `files` are not empty."""
    listed = tuple(dict.fromkeys(file.version for file in files))
    return package(group, artifact, listed, stamp(max(file.upload_time_ms for file in files)))


def package(
    group: str,
    artifact: str,
    listed: Sequence[str],
    updated: str,
    *,
    preferred: Sequence[str] = (),
    plugins: Sequence[Plugin] = (),
) -> bytes:
    """The list of a package's versions, and of the plug-ins of the group that has the same path.

    Args:
        preferred: versions of which `latest` and `release` are, where they are not the newest of all.
    """
    among = list(preferred or listed)
    last = versions.newest(among)
    released = [version for version in among if not version.endswith(SNAPSHOT)]
    rows = [f"  <groupId>{escape(group)}</groupId>", f"  <artifactId>{escape(artifact)}</artifactId>"]
    rows += ["  <versioning>", f"    <latest>{escape(last)}</latest>"]
    if released:
        rows.append(f"    <release>{escape(versions.newest(released))}</release>")
    rows += [
        "    <versions>",
        *(f"      <version>{escape(version)}</version>" for version in listed),
        "    </versions>",
        f"    <lastUpdated>{escape(updated)}</lastUpdated>",
        "  </versioning>",
        *_plugin_rows(plugins),
    ]
    return _document(rows)


def group(plugins: Sequence[Plugin]) -> bytes:
    """The list of a group's plug-ins."""
    return _document(_plugin_rows(plugins))


def snapshot(group: str, artifact: str, version: str, parts: Sequence[Part], updated_ms: int) -> bytes:
    """The builds of one snapshot; `parts` are not empty."""
    base = version.removesuffix(SNAPSHOT)
    build = snapshots.newest(parts)
    rows = [f"  <groupId>{escape(group)}</groupId>", f"  <artifactId>{escape(artifact)}</artifactId>"]
    rows += [f"  <version>{escape(version)}</version>", "  <versioning>"]
    if build is not None:
        rows += ["    <snapshot>", f"      <timestamp>{build.time}</timestamp>"]
        rows += [f"      <buildNumber>{build.number}</buildNumber>", "    </snapshot>"]
    rows += [f"    <lastUpdated>{stamp(updated_ms)}</lastUpdated>", "    <snapshotVersions>"]
    for (classifier, extension), one in sorted(snapshots.current(parts).items()):
        rows.append("      <snapshotVersion>")
        if classifier:
            rows.append(f"        <classifier>{escape(classifier)}</classifier>")
        value = one.build.value(base) if one.build is not None else version
        updated = one.build.time.replace(".", "") if one.build is not None else stamp(updated_ms)
        rows += [
            f"        <extension>{escape(extension)}</extension>",
            f"        <value>{escape(value)}</value>",
        ]
        rows += [f"        <updated>{updated}</updated>", "      </snapshotVersion>"]
    rows += ["    </snapshotVersions>", "  </versioning>"]
    return _document(rows, ' modelVersion="1.1.0"')


def added(theirs: Listed, held: Collection[str]) -> list[str]:
    """The versions that upstream adds to those that are `held`, given or not."""
    return [version for version in theirs.versions if version not in held]


def merged_plugins(*lists: Iterable[Plugin]) -> tuple[Plugin, ...]:
    """All of them: of two with one prefix or one artifact, that of the earlier list."""
    found: list[Plugin] = []
    prefixes: set[str] = set()
    artifacts: set[str] = set()
    for plugins in lists:
        for one in plugins:
            if one.prefix in prefixes or one.artifact in artifacts:
                continue
            prefixes.add(one.prefix)
            artifacts.add(one.artifact)
            found.append(one)
    return tuple(found)


def read(data: bytes) -> Listed:
    """What a list of somebody else says; names that no repository could have are left out.

    Raises:
        Malformed: not XML, or no list.
    """
    try:
        root = read_xml(data, most=_ELEMENTS.value)
    except Hostile as error:
        raise Malformed(f"not a list of a Maven repository: {error}") from None
    if root.name != "metadata":
        raise Malformed("not a list of a Maven repository: its root is not <metadata>")
    found = [one.text.strip() for one in root.all("versioning/versions/version")[: _ROWS.value]]
    plugins = [_plugin(one) for one in root.all("plugins/plugin")[: _ROWS.value]]
    return Listed(
        tuple(dict.fromkeys(one for one in found if _VERSION.fullmatch(one) and ".." not in one)),
        tuple(one for one in plugins if one is not None),
        bool(root.all("versioning/snapshot") or root.all("versioning/snapshotVersions")),
        "".join(char for char in root.get("versioning/lastUpdated") if char in "0123456789")[:14],
    )


def _plugin(one: Element) -> Plugin | None:
    prefix, artifact = one.get("prefix"), one.get("artifactId")
    if not (_PREFIX.fullmatch(prefix) and plain(artifact)):
        return None
    return Plugin(prefix, artifact, one.get("name")[:200])


def _plugin_rows(plugins: Sequence[Plugin]) -> list[str]:
    rows = []
    for one in plugins:
        rows.append("    <plugin>")
        if one.name:
            rows.append(f"      <name>{escape(one.name)}</name>")
        rows += [f"      <prefix>{escape(one.prefix)}</prefix>"]
        rows += [f"      <artifactId>{escape(one.artifact)}</artifactId>", "    </plugin>"]
    return ["  <plugins>", *rows, "  </plugins>"] if rows else []


def _document(rows: Sequence[str], attributes: str = "") -> bytes:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<metadata{attributes}>\n'
    return (text + "".join(f"{row}\n" for row in rows) + "</metadata>\n").encode()
