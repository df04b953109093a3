"""Takes the packing away from two files, each by the normaliser of its kind; it only ever runs inside the sandbox.

Decides of what kind a file is: by its name, and where that says nothing (blobs of images have no ending) by its first
bytes. `tar@1` and `sdist@1` are one kind of content, so a tar file may be compared with a compressed one.

Source: docs/builds-how.md, "Archives"; docs/attestations.md, "Comparing two files".
"""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pyrsia.builds import members, normalise, stabilise
from pyrsia.builds.conan import names, pack
from pyrsia.builds.maven import normalise as jars
from pyrsia.builds.members import Hostile
from pyrsia.builds.members_tar import Gunzip
from pyrsia.builds.members_zip import EARLIEST
from pyrsia.builds.oci import layer

BYTES: Final = "bytes"
_GZIP: Final = b"\x1f\x8b"
_TAR_AT: Final = 257  # where `ustar` stands in a header (POSIX.1-2017, pax)
_PIECE: Final = 1 << 16
_CONAN: Final = (names.EXPORT, names.PACKAGE, names.SOURCES)
_TARS: Final = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class Stable:
    """One file without its packing.

    Attributes:
        kind: the normaliser's name, or `bytes`.
        digest: over what it left; two are comparable where `content` is the same.
        content: what kind of content it is.
        removed: `what:count`, sorted.
        ending: that tells the comparison of members how to read it.
    """

    kind: str
    digest: str
    content: str
    removed: tuple[str, ...]
    ending: str


def kind_of(name: str, path: Path) -> str:
    """The normaliser for a file that its owner calls `name`."""
    name = name.lower()
    with path.open("rb") as file:
        head = file.read(_TAR_AT + 5)
        if name.endswith((".whl", ".jar")):
            return normalise.NORMALISER if name.endswith(".whl") else jars.NORMALISER
        if name.rpartition("~")[2] in _CONAN:
            return pack.NORMALISER
        if name.endswith(_TARS):
            return stabilise.SDIST if head.startswith(_GZIP) else stabilise.TAR
        if name.endswith(".gz"):
            return stabilise.GZIP
        if head.startswith(_GZIP):
            file.seek(0)
            try:
                head = Gunzip(file).read(_TAR_AT + 5)
            except Hostile:
                return BYTES
            return layer.NORMALISER if head[_TAR_AT:] == b"ustar" else stabilise.GZIP
    return layer.NORMALISER if head[_TAR_AT:] == b"ustar" else BYTES


def stable(kind: str, path: Path, work: Path) -> Stable:
    """What `path` is without its packing.

    Args:
        work: a folder where contents pass through.

    Raises:
        Hostile: it is nothing that this normaliser takes; the text says why.
    """
    with path.open("rb") as file, tempfile.TemporaryFile(dir=work) as spool:
        return _KINDS[kind](kind, file, spool, work)


def _wheel(kind: str, file: BinaryIO, _: BinaryIO, work: Path) -> Stable:
    found = normalise.inspect(file)
    removed = normalise.removed(found, EARLIEST)
    return Stable(kind, members.stable(found.members), kind, tuple(removed), ".whl")


def _jar(kind: str, file: BinaryIO, _: BinaryIO, work: Path) -> Stable:
    found = jars.inspect(file)
    return Stable(kind, members.stable(found.canonical), kind, tuple(jars.removed(found, EARLIEST)), ".jar")


def _layer(kind: str, file: BinaryIO, spool: BinaryIO, work: Path) -> Stable:
    found = layer.normalise(file, spool, _Nowhere(), EARLIEST)  # type: ignore[arg-type]
    return Stable(kind, found.stable, kind, tuple(found.notes), ".layer")


def _conan(kind: str, file: BinaryIO, _: BinaryIO, work: Path) -> Stable:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        stream = Gunzip(file)
        items, empty = pack.read(stream, Path(folder, "items"))  # type: ignore[arg-type]
        if not stream.rest_is_zero():
            raise Hostile("trailing data behind the tar archive")
        digest = pack.stable(pack.member_list(items))
    counts = {
        "tar-empty-folder": len(empty),
        "tar-mode": sum(one.odd for one in items.values()),
        "tar-packing": 1,
    }
    removed = tuple(f"{what}:{count}" for what, count in counts.items() if count)
    return Stable(kind, digest, kind, removed, ".layer")


def _tar(kind: str, file: BinaryIO, spool: BinaryIO, work: Path) -> Stable:
    take = stabilise.sdist if kind == stabilise.SDIST else stabilise.tar
    found = take(file, _Nowhere(), spool, EARLIEST)
    ending = ".tar.gz" if kind == stabilise.SDIST else ".tar"
    return Stable(kind, found.digest, stabilise.TAR, found.removed, ending)


def _gzip(kind: str, file: BinaryIO, _: BinaryIO, work: Path) -> Stable:
    found = stabilise.gzip(file, _Nowhere())
    return Stable(kind, found.digest, kind, found.removed, ".gz")


def _bytes(kind: str, file: BinaryIO, _: BinaryIO, work: Path) -> Stable:
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return Stable(kind, digest.hexdigest(), kind, (), "")


_KINDS: Final[dict[str, Callable[[str, BinaryIO, BinaryIO, Path], Stable]]] = {
    normalise.NORMALISER: _wheel,
    jars.NORMALISER: _jar,
    pack.NORMALISER: _conan,
    layer.NORMALISER: _layer,
    stabilise.TAR: _tar,
    stabilise.SDIST: _tar,
    stabilise.GZIP: _gzip,
    BYTES: _bytes,
}


class _Nowhere:
    """Takes the canonical form that nobody asked for; its digest is enough."""

    def write(self, data: bytes, /) -> int:
        return len(data)


def laid(found: Stable, path: Path, side: str, work: Path) -> Path:
    """The file at a place whose name tells the comparison how to read it."""
    place = work / f"{side}-file{'' if found.ending == '.gz' else found.ending}"
    if found.ending != ".gz":
        place.symlink_to(path)
        return place
    with path.open("rb") as file, place.open("xb") as out:
        stream = Gunzip(file)
        while piece := stream.read(_PIECE):
            out.write(piece)
    return place
