"""The conan normaliser `conan@1`: one packing for one set of files, and revisions recomputed from what is packed.

A recipe or package becomes the files that the Conan 2 server API knows. Archives are tar inside gzip with members
sorted, one time, modes 0644 or 0755, links kept, and *stored*: no compressor and no library version takes part.
Manifests are written anew with the build's own time; recipe revision, package id and package revision are computed
here as Conan computes them, so nothing that a build says of itself is taken over.

It runs inside the sandbox and imports only the standard library and modules that say the same of themselves.

Source: docs/builds-conan.md; Conan 2, `conan/internal/model/manifest.py` (manifest and revisions),
`conan/internal/model/info.py` (package id); RFC 1951 section 3.2.4, RFC 1952.
"""

import hashlib
import io
import posixpath
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, Final

from pyrsia.builds.conan import names
from pyrsia.builds.members import Hostile, Member, Names, checked_name, encode, shown

NORMALISER: Final = "conan@1"
_PIECE: Final = 1 << 16
_BLOCK: Final = 65_535  # the most that one stored block holds
_ARROW: Final = " -> "
_MAX_HOPS: Final = 40  # links on the way to one file, as Linux counts them
_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Item:
    """One file or link of a recipe or package.

    Attributes:
        data: where its bytes are; None for a link.
        link: target of a link, "" for a file.
        odd: its mode was neither 0644 nor 0755.
    """

    path: str
    data: Path | None
    exec: bool = False
    link: str = ""
    odd: bool = False


def read(file: BinaryIO | IO[bytes], into: Path) -> tuple[dict[str, Item], list[str]]:
    """The files and links of a tar stream, contents written below `into` under numbers; and the empty folders.

    Raises:
        Hostile: a name, link or kind of member that may not be packed, or a broken archive.
    """
    items: dict[str, Item] = {}
    folders: list[str] = []
    admitted = Names()
    into.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fileobj=file, mode="r|", errorlevel=2) as archive:
            for one in archive:
                name = one.name.removeprefix("./")
                if one.isdir():
                    if name not in ("", "."):
                        folders.append(admitted.admit(name, 0, folder=True))
                    continue
                if one.issparse() or not (one.isreg() or one.issym()):
                    raise Hostile(f"{shown(one.name)} is a hard link, device, pipe or sparse file")
                if _ARROW in name:
                    raise Hostile(f"{shown(one.name)} reads like a link")
                if one.isreg() and one.mode & 0o6000:
                    raise Hostile(f"{shown(one.name)} is setuid or setgid")
                path = admitted.admit(name, one.size if one.isreg() else 0, folder=False)
                if one.issym():
                    items[path] = Item(path, None, link=_target(path, one.linkname))
                    continue
                place = into / str(len(items))
                contents = archive.extractfile(one)
                with place.open("xb") as out:
                    while contents is not None and (piece := contents.read(_PIECE)):
                        out.write(piece)
                odd = one.mode & 0o777 not in (0o644, 0o755)
                items[path] = Item(path, place, bool(one.mode & 0o111), odd=odd)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, UnicodeError) as error:
        raise Hostile(f"not a tar archive: {error}") from error
    for path in items:
        if any(above in items for above in _aboves(path)):
            raise Hostile(f"{shown(path)} lies below a link or file")
    filled = {above for path in (*items, *folders) for above in _aboves(path)}
    return items, [folder for folder in folders if folder not in filled]


def _aboves(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _target(path: str, target: str) -> str:
    """`target` of the link at `path`, when it stays inside."""
    if not target or target.startswith("/") or _ARROW in target:
        raise Hostile(f"the link {shown(path)} leads outside")
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if whole == ".." or whole.startswith("../"):
        raise Hostile(f"the link {shown(path)} leads outside")
    if whole != ".":
        checked_name(whole)
    if posixpath.normpath(target) != target.removesuffix("/") or target.endswith("/"):
        raise Hostile(f"the link {shown(path)} is written in an unusual way")
    return target


def is_folder_link(items: Mapping[str, Item], path: str) -> bool:
    """Whether the link at `path` leads to a folder; Conan's manifest leaves such links out."""
    for _ in range(_MAX_HOPS):
        found = items.get(path)
        if found is None:
            return path == "." or any(other.startswith(f"{path}/") for other in items)
        if not found.link:
            return False
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), found.link))
    return False


# -- manifests and revisions --


def sums(items: Mapping[str, Item], prefix: str = "") -> dict[str, str]:
    """path -> MD5, as Conan's manifest lists them."""
    found = {}
    for path, one in items.items():
        if one.link:
            if not is_folder_link(items, path):
                found[prefix + path] = _md5(one.link.encode())
        elif one.data is not None:
            with one.data.open("rb") as file:
                found[prefix + path] = hashlib.file_digest(file, _new_md5).hexdigest()
    return found


def _new_md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)  # Conan's own choice; our digests are SHA-256


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def revision(md5s: Mapping[str, str]) -> str:
    """The revision that Conan gives to files with these sums: MD5 over their sorted lines."""
    return _md5("".join(f"{path}: {md5}\n" for path, md5 in sorted(md5s.items())).encode())


def manifest(md5s: Mapping[str, str], time_s: int) -> bytes:
    """The text of conanmanifest.txt."""
    return "".join([f"{time_s}\n", *(f"{path}: {md5}\n" for path, md5 in sorted(md5s.items()))]).encode()


def timeless(text: bytes) -> bytes:
    """A manifest without its first line, the time; what is no manifest stays as it is."""
    first, _, rest = text.partition(b"\n")
    return rest if first.isdigit() else text


def package_id(info: bytes) -> str:
    """The package id that Conan gives to this conaninfo.txt."""
    return hashlib.sha1(info, usedforsecurity=False).hexdigest()


# -- packing --


def member_list(items: Mapping[str, Item]) -> list[Member]:
    """The members of an archive with these items; a link stands as `path -> target`, which no file is called."""
    found = []
    for path, one in items.items():
        if one.data is None:
            found.append(Member(f"{path}{_ARROW}{one.link}", _EMPTY_SHA256, 0, exec=False))
        else:
            with one.data.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(Member(path, digest, one.data.stat().st_size, one.exec))
    return sorted(found)


def stable(members: Iterable[Member]) -> str:
    """The digest that ignores packing: path, size, exec bit and content of every member, nothing left out."""
    return hashlib.sha256(b"pyrsia/stable/conan/v1\0" + encode(members)).hexdigest()


def archive(items: Mapping[str, Item], out: BinaryIO, time_s: int) -> None:
    """Write the one .tgz of `items`."""
    with _Stored(out) as gzip, tarfile.open(fileobj=gzip, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(items):
            one = items[path]
            info = tarfile.TarInfo(path)
            info.mtime, info.mode = time_s, 0o755 if one.exec else 0o644
            if one.data is None:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, one.link, 0o777
                tar.addfile(info)
            else:
                info.size = one.data.stat().st_size
                with one.data.open("rb") as file:
                    tar.addfile(info, file)


class _Stored(io.RawIOBase):
    """A gzip stream of stored blocks: the same bytes whichever zlib is there."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._buffer = bytearray()
        self._crc = self._size = 0
        out.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._buffer += data
        while len(self._buffer) > _BLOCK:
            self._block(_BLOCK, last=False)
        return len(data)

    def _block(self, size: int, *, last: bool) -> None:
        self._out.write(struct.pack("<BHH", last, size, size ^ 0xFFFF) + self._buffer[:size])
        del self._buffer[:size]

    def close(self) -> None:
        if not self.closed:
            self._block(len(self._buffer), last=True)
            self._out.write(struct.pack("<2L", self._crc, self._size & 0xFFFF_FFFF))
        super().close()


@dataclass(frozen=True, slots=True)
class Made:
    """One output: where it is, its members, its stable digest, and what was taken away."""

    place: names.Place
    path: Path
    members: tuple[Member, ...]
    stable: str
    normalised: tuple[str, ...]


def of_file(place: names.Place, path: Path, notes: Iterable[str] = ()) -> Made:
    """An output that is one file, whose digest leaves a manifest's time out."""
    data = path.read_bytes()
    whole = Member(place.file, hashlib.sha256(data).hexdigest(), len(data), exec=False)
    kept = timeless(data) if place.file == names.MANIFEST else data
    digest = hashlib.sha256(b"pyrsia/stable/conan/v1\0" + place.file.encode() + b"\0" + kept).hexdigest()
    return Made(place, path, (whole,), digest, tuple(notes))


def of_archive(place: names.Place, items: Mapping[str, Item], path: Path, time_s: int, lost: int) -> Made:
    """An output that is an archive, written to `path`. `lost`: empty folders, which are not kept."""
    with path.open("xb") as out:
        archive(items, out, time_s)
    found = member_list(items)
    counts = {"tar-empty-folder": lost, "tar-mode": sum(one.odd for one in items.values()), "tar-packing": 1}
    notes = tuple(f"{what}:{count}" for what, count in counts.items() if count)
    return Made(place, path, tuple(found), stable(found), notes)


def below(items: Mapping[str, Item], top: str) -> dict[str, Item]:
    """The items below the folder `top`, by their paths within it."""
    found = {}
    for path, one in items.items():
        if path.startswith(f"{top}/"):
            inner = path[len(top) + 1 :]
            if one.link:  # a link that stayed within the whole may still leave this folder
                _target(inner, one.link)
            found[inner] = replace(one, path=inner)
    return found
