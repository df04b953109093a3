"""The jar normaliser `jar@1`: one canonical packing for one set of members, and the digest that is compared.

All of the ZIP form is normalised as for wheels; besides, the manifest, `pom.properties` and `git.properties` lose what
only tells of the build, and signatures go, since they vouch for bytes that are no more. What went is listed with its
number, never hidden. Exec bits stay. Folders stand before their files, since class loaders look packages up by them,
and the manifest comes first, since `JarInputStream` looks for it there.

It runs inside the sandbox and imports only the standard library.

Source: docs/builds-maven.md, "Normalising, `jar@1`"; the JAR file specification.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from pyrsia.builds import members_zip
from pyrsia.builds.maven import texts
from pyrsia.builds.members import Hostile, Member, shown
from pyrsia.builds.members_zip import ZipMember
from pyrsia.builds.zips import Writer, dos_time
from pyrsia.units import MAX_METADATA_BYTES

NORMALISER: Final = "jar@1"
MANIFEST: Final = "META-INF/MANIFEST.MF"
_POM_PROPERTIES: Final = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
_GIT: Final = re.compile(r"(?:.+/)?git\.properties")
_SIGNATURE: Final = re.compile(r"META-INF/(?:[^/]+\.(?:SF|RSA|DSA|EC)|SIG-[^/]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Jar:
    """A jar that was read whole.

    Attributes:
        records: as packed, in directory order.
        members: its files with their digests, sorted by path.
        rewritten: path -> bytes of the members that the canonical form has in another form.
        canonical: the files of the canonical form, sorted by path.
        removed: what the texts lost, by name; counts.
    """

    records: tuple[ZipMember, ...]
    members: tuple[Member, ...]
    rewritten: dict[str, bytes]
    canonical: tuple[Member, ...]
    removed: dict[str, int]


def inspect(file: BinaryIO) -> Jar:
    """Read and check a jar, every byte of it.

    Raises:
        Hostile: it may not be published; the text says why.
    """
    records = members_zip.read(file, strict=True)
    files = [one for one in records if not one.folder]
    if not files:
        raise Hostile("a jar without any file")
    signed = any(one.path.upper().endswith(".SF") and _SIGNATURE.fullmatch(one.path) for one in files)
    members, canonical, rewritten, removed = [], [], {}, dict[str, int]()
    for one in files:
        name = _special(one.path)
        digest, kept = hashlib.sha256(), bytearray()
        if name and one.size > MAX_METADATA_BYTES.value:
            raise Hostile(f"{shown(one.path)} has {one.size} bytes")
        for piece in members_zip.content(file, one):
            digest.update(piece)
            if name:
                kept += piece
        member = Member(one.path, digest.hexdigest(), one.size, one.exec)
        members.append(member)
        if signed and _SIGNATURE.fullmatch(one.path):
            removed["jar-signature"] = removed.get("jar-signature", 0) + 1
            continue
        if name:
            data, count = _rewritten(name, bytes(kept), signed=signed)
            if data != kept:
                # Another order alone is a change, too; it counts as none taken away and is listed all the same.
                removed[name] = removed.get(name, 0) + count
                rewritten[one.path] = data
                member = Member(one.path, hashlib.sha256(data).hexdigest(), len(data), one.exec)
        canonical.append(member)
    return Jar(tuple(records), tuple(sorted(members)), rewritten, tuple(sorted(canonical)), removed)


def _special(path: str) -> str:
    if path == MANIFEST:
        return "jar-manifest"
    if _POM_PROPERTIES.fullmatch(path):
        return "jar-pom-properties"
    return "jar-git-properties" if _GIT.fullmatch(path) else ""


def _rewritten(name: str, data: bytes, *, signed: bool) -> tuple[bytes, int]:
    if name == "jar-manifest":
        return texts.manifest(data, signed=signed)
    return texts.pom_properties(data) if name == "jar-pom-properties" else texts.git_properties(data)


def rewrite(file: BinaryIO, jar: Jar, out: BinaryIO, time_s: int) -> None:
    """Write the canonical form of `jar`, whose bytes are `file`, to `out`.

    Args:
        time_s: the one time of every member (the build's SOURCE_DATE_EPOCH).
    """
    by_path = {one.path: one for one in jar.records if not one.folder}
    packed = Writer(out, time_s)
    for path, member in _layout(jar.canonical):
        if member is None:
            packed.folder(path)
            continue
        data = jar.rewritten.get(path)
        if data is None:
            source = by_path[path]
            pieces = members_zip.content(file, source)
            packed.add(path, source.size, source.crc, pieces, executable=member.exec)
        else:
            packed.add(path, len(data), zlib.crc32(data), (data,), executable=member.exec)
    packed.finish()


def _layout(members: Sequence[Member]) -> Iterator[tuple[str, Member | None]]:
    """(path, file or None for a folder): the manifest first, then by path, each folder before what is in it."""
    seen: set[str] = set()
    for one in sorted(members, key=lambda one: (one.path != MANIFEST, one.path)):
        parts = one.path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in seen:
                seen.add(folder)
                yield folder, None
        yield one.path, one


def removed(jar: Jar, time_s: int) -> list[str]:
    """What the canonical form lost against the jar, as `what:count`; sorted."""
    files = [one for one in jar.records if not one.folder]
    order = [one.path for one in files]
    wanted = [path for path, one in _layout(jar.members) if one is not None]
    folders = {one.path for one in jar.records if one.folder}
    needed = {path for path, one in _layout(jar.members) if one is None}
    counts = {
        "zip-compression": sum(one.method != 0 for one in files),
        "zip-folders": len(folders ^ needed),
        "zip-mode": sum(one.mode != (0o755 if one.exec else 0o644) for one in files),
        "zip-order": int(order != wanted),
        "zip-time": sum(dos_time(one.time) != dos_time(time_s) for one in jar.records),
    }
    listed = [f"{what}:{count}" for what, count in counts.items() if count]
    return sorted([*listed, *(f"{what}:{count}" for what, count in jar.removed.items())])
