"""One layer: what it holds, its canonical form `oci-layer@1`, and whether all of it comes from what it should.

Canonical: an uncompressed tar of ours, members sorted by path, owner 0:0, one time, modes 0755 and 0644. No compressor
takes part, since no two of them write the same bytes. Refused: devices, setuid, names that climb out, members behind
the end, a name that stands twice.

It runs inside the sandbox: only the standard library.
Source: docs/builds-oci.md; OCI image-spec, layer.md.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, BinaryIO, Final, NamedTuple

from pyrsia.builds.environments.tarball import TarWriter
from pyrsia.builds.members import Hostile, Member, Names, shown

NORMALISER: Final = "oci-layer@1"
_CHUNK: Final = 1 << 18


class Entry(NamedTuple):
    """Attributes:
    kind: `file`, `folder` or `link`. mode: as the archive has it.
    contents: of a plain file; must be read before the next entry.
    """

    path: str
    kind: str
    mode: int
    size: int
    target: str
    time: int
    owner: tuple[int, int]
    contents: IO[bytes] | None


def entries(file: BinaryIO) -> Iterator[Entry]:
    """The members of a layer, plain or gzip, in its order.

    Raises:
        Hostile: something that no layer of ours may hold.
    """
    names, seen = Names(), set()
    try:
        with tarfile.open(fileobj=file, mode="r|*", errorlevel=2) as archive:
            for item in archive:
                name = item.name.removeprefix("./").rstrip("/")
                if item.isdir() and name in ("", "."):
                    continue
                kind = "folder" if item.isdir() else "link" if item.issym() else "file"
                if not (item.isdir() or item.issym() or (item.isreg() and not item.issparse())):
                    raise Hostile(f"{shown(name)} is a hard link, device, pipe or sparse file")
                if item.mode & 0o6000:
                    raise Hostile(f"{shown(name)} is setuid or setgid")
                path = names.admit(name, item.size, folder=item.isdir())
                if path in seen:
                    raise Hostile(f"{shown(path)} stands twice")
                seen.add(path)
                contents = archive.extractfile(item) if kind == "file" else None
                owner = (item.uid, item.gid)
                yield Entry(path, kind, item.mode, item.size, item.linkname, int(item.mtime), owner, contents)
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, zlib.error) as error:
        raise Hostile(f"not a tar archive: {error}") from error


class Normalised(NamedTuple):
    """Attributes:
    stable: digest over sorted (path, kind, exec, content or target): times, owners and order take no part.
    notes: what was taken away, as a reveal lists it.
    """

    members: list[Member]
    links: dict[str, str]
    stable: str
    notes: list[str]


def normalise(file: BinaryIO, spool: BinaryIO, out: BinaryIO, mtime: int) -> Normalised:
    """Write the canonical form of the layer `file` into `out`; `spool` is an empty file for contents.

    Raises:
        Hostile: as `entries`.
    """
    found: dict[str, tuple[Any, ...]] = {}
    members, counts, last, end = [], dict.fromkeys(("mode", "order", "owner", "time"), 0), "", 0
    for one in entries(file):
        executable = bool(one.mode & 0o111)
        counts["order"] += one.path < last
        counts["owner"] += one.owner != (0, 0)
        counts["time"] += one.time != mtime
        counts["mode"] += one.mode & 0o777 != _mode(one.kind, executable=executable)
        last, digest, start = one.path, hashlib.sha256(), end
        while one.contents is not None and (piece := one.contents.read(_CHUNK)):
            digest.update(piece)
            spool.write(piece)
            end += len(piece)
        if one.kind == "file":
            members.append(Member(one.path, digest.hexdigest(), one.size, executable))
        found[one.path] = (one.kind, executable, digest.hexdigest(), one.target, start, one.size)
    writer, stable = TarWriter(out, mtime), hashlib.sha256(b"pyrsia/oci-layer/v1\0")
    for path, (kind, executable, digest_hex, target, start, size) in sorted(found.items()):
        content = digest_hex if kind == "file" else target
        for field in (path, kind, str(int(executable and kind == "file")), content):
            data = field.encode()
            stable.update(len(data).to_bytes(4, "big") + data)
        if kind == "folder":
            writer.folder(path)
        elif kind == "link":
            writer.link(path, target)
        else:
            writer.file(path, _mode(kind, executable=executable), size, _pieces(spool, start, size))
    writer.close()
    links = {path: row[3] for path, row in found.items() if row[0] == "link"}
    notes = [f"oci-{word}:{count}" for word, count in sorted(counts.items()) if count]
    return Normalised(sorted(members), links, stable.hexdigest(), notes)


def _mode(kind: str, *, executable: bool) -> int:
    return 0o777 if kind == "link" else 0o755 if executable or kind == "folder" else 0o644


def _pieces(spool: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    spool.seek(start)
    while size and (piece := spool.read(min(size, _CHUNK))):
        size -= len(piece)
        yield piece
