"""An image: its manifests, configurations and layers, each by its digest.

Read are an OCI layout and an archive of one, what `skopeo copy ... dir:` writes, what `docker save` and `podman save`
write, and a name at a node (its manifests only: the layers stay there). Nothing is unpacked: a digest is computed, and
documents of at most 4 MiB are read to learn which digests belong to them.

Source: OCI image-spec, "Image Layout"; the archives of `docker save`.
"""

import hashlib
import io
import json
import os
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

from pyrsia.consumers.installed import image_names, walking
from pyrsia.consumers.installed.prover import Prover
from pyrsia.consumers.installed.rows import ACCEPTED, REFUSED, Row
from pyrsia.consumers.installed.sources import FromNode
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_IMAGE_DOCUMENT_BYTES, Limit
from pyrsia.wire.purl import Purl
from pyrsia.wire.text import safe

MAX_BLOBS = Limit(10_000, "blobs of one layout: a hundred images of a hundred layers")
MAX_ARCHIVE_MEMBERS = Limit(50_000, "members of one archive of images, folders and links among them")
_INDEX: Final = "index.json"
_SAVED: Final = "manifest.json"
_FORMS: Final = {"oci": _INDEX, "oci-archive": _INDEX, "dir": _SAVED, "docker-archive": _SAVED}
_DIGEST: Final = re.compile("sha256:([0-9a-f]{64})")
_AGAIN: Final = "pull it again from the node"
Tick = Callable[[int, int, str], None]


class Files(Protocol):
    """The files of an image on disk, by name."""

    def read(self, name: str) -> bytes | None: ...
    def digest(self, name: str) -> str: ...
    def close(self) -> None: ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> bytes | None:
        return walking.text(self._root / name, MAX_IMAGE_DOCUMENT_BYTES.value) if _plain(name) else None

    def digest(self, name: str) -> str:
        return walking.digest(self._root / name) if _plain(name) else ""

    def close(self) -> None:
        """Nothing stays open."""


class _Archive:
    """A tar that is read in place; a member is found by its exact name, and links in it lead nowhere."""

    def __init__(self, path: Path) -> None:
        self._file = _Sparing(path.open("rb"))
        try:
            self._tar = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115  (open as long as the object)
            self._members = self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> dict[str, tarfile.TarInfo]:
        """Of two members of one name some programs take the first and others the last, so none may have two."""
        found: dict[str, tarfile.TarInfo] = {}
        seen: set[str] = set()
        for number, one in enumerate(self._tar):
            name = posixpath.normpath(one.name).lstrip("/")
            if number >= MAX_ARCHIVE_MEMBERS.value:
                raise Malformed("it has too many members")
            if one.isdir():
                continue
            if name in seen or name.split("/")[0] == ".." or one.issparse():
                raise Malformed(f"its member {name[:80]!a} is there twice, climbs out or has holes")
            seen.add(name)
            if one.isreg():
                found[name] = one
        return found

    def read(self, name: str) -> bytes | None:
        member = self._members.get(name)
        if member is None or member.size > MAX_IMAGE_DOCUMENT_BYTES.value:
            return None
        opened = self._tar.extractfile(member)
        return None if opened is None else opened.read(MAX_IMAGE_DOCUMENT_BYTES.value)

    def digest(self, name: str) -> str:
        member = self._members.get(name)
        opened = self._tar.extractfile(member) if member else None
        if opened is None:
            return ""
        made = hashlib.sha256()
        while piece := opened.read(1 << 20):
            made.update(piece)
        return made.hexdigest()

    def close(self) -> None:
        self._tar.close()
        self._file.close()


class _Sparing(io.FileIO):
    """A file that gives no more at once than a document has: a header of a tar may say that it has gigabytes."""

    def __init__(self, opened: IO[bytes]) -> None:
        super().__init__(os.dup(opened.fileno()), "rb")
        opened.close()

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= 2 * MAX_IMAGE_DOCUMENT_BYTES.value:
            raise Malformed("a header in it is too long")
        return super().read(size) or b""


def _plain(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


def check(image: str, prover: Prover, node: FromNode | None, *, expected: str = "", tick: Tick) -> list[Row]:
    """A row for each blob of an image.

    Args:
        image: a path, with or without skopeo's `oci:`, `dir:`, `oci-archive:`, `docker-archive:`, or a name at a node.
        expected: the purl that it must be; "" for any.

    Raises:
        Refusal: `not-found`, `bad-request`, `usage`; `too-large`.
    """
    kind, _, rest = image.partition(":")
    if kind not in _FORMS:
        kind, rest = "", image
    path = _path(rest)
    wanted = image_names.wanted(expected)
    if kind and path is None:
        raise Refusal("not-found", what=f"{rest} is not there", who="your command",
                      do="name the folder or archive that holds the image")  # fmt: skip
    if path is None or image.startswith("docker://"):
        return _at_node(image.removeprefix("docker://"), prover, node, wanted)
    rows = []
    for number, row in enumerate(_local(path, kind, prover, wanted)):
        tick(number, 0, row.what)
        rows.append(row)
    return rows


def _path(named: str) -> Path | None:
    """Behind the path skopeo may write a name, and a tag behind that."""
    for _ in range(3):
        if Path(named).exists():
            return Path(named)
        named, colon, _rest = named.rpartition(":")
        if not colon:
            break
    return None


def _local(path: Path, kind: str, prover: Prover, wanted: Purl | None) -> Iterator[Row]:
    try:
        files: Files = _Folder(path) if path.is_dir() else _Archive(path)
        with closing(files):
            yield from _blobs(files, kind, prover, wanted)
    except (tarfile.TarError, EOFError, Malformed, OSError, ValueError, RecursionError) as error:
        raise Refusal("bad-request", what=f"{path} is no image that can be read: {error}", who="the file",
                      do="save it with `skopeo copy --preserve-digests SOURCE oci:FOLDER`") from None  # fmt: skip


def _blobs(files: Files, kind: str, prover: Prover, wanted: Purl | None) -> Iterator[Row]:
    """What every document in it leads to: which of two is read is up to the program that will load it."""
    index, saved = files.read(_INDEX), files.read(_SAVED)
    for name, found in ((_INDEX, index), (_SAVED, saved)):
        if found is None and _FORMS.get(kind) == name:
            raise Malformed(f"it has no {name}")
    if index is None and saved is None:
        raise Malformed("it has neither an index.json nor a manifest.json")
    if index is not None:
        yield from _tree(files, [_Named(one) for one in _named_by(index)[0]], prover, _of_layout, wanted)
    if saved is None:
        return
    if isinstance(_json(saved), list):
        if kind == "dir":
            raise Malformed("its manifest.json is that of docker save")
        yield from _saved(files, saved, prover, wanted)
        return
    if kind == "docker-archive":
        raise Malformed("its manifest.json is not that of docker save")
    yield from _tree(files, [_Named("", _SAVED)], prover, _of_dir, wanted)


@dataclass(frozen=True, slots=True)
class _Named:
    """What a document leads to. `digest`: as it is written there, "" where only the file is known."""

    digest: str
    file: str = ""
    manifest: bool = True


def _of_layout(named: _Named, sha256: str) -> str:
    return f"blobs/sha256/{sha256}"


def _of_dir(named: _Named, sha256: str) -> str:
    """skopeo's `dir:`; a manifest of another platform has a name of its own."""
    return named.file or (f"{sha256}.manifest.json" if named.manifest else sha256)


def _tree(
    files: Files,
    first: list[_Named],
    prover: Prover,
    place: Callable[[_Named, str], str],
    wanted: Purl | None,
) -> Iterator[Row]:
    """Every blob below the index, which is a list of names and stands in no log."""
    if not first:
        raise Malformed("it names no manifest")
    waiting, seen = list(reversed(first)), set()
    while waiting:
        one = waiting.pop()
        if (one.digest, one.manifest) in seen:
            continue
        seen.add((one.digest, one.manifest))
        if len(seen) > MAX_BLOBS.value:
            raise Malformed("it has too many blobs")
        told = _DIGEST.fullmatch(one.digest)
        if told is None and not one.file:
            yield Row(safe(one.digest[:80]) or "a blob without a digest", "", REFUSED, do=_AGAIN,
                      why="its digest is no SHA-256, and the log knows no other")  # fmt: skip
            continue
        file = place(one, told[1] if told else "")
        sha256 = told[1] if told else files.digest(file)
        row = _blob(files, file, sha256, prover)
        yield image_names.bound(row, wanted) if one in first else row
        if not one.manifest:
            continue
        data = files.read(file)
        if data is None and row.outcome == ACCEPTED:
            raise Malformed(f"{file} is too large for a manifest")
        if data is not None and hashlib.sha256(data).hexdigest() == sha256:
            manifests, blobs = _named_by(data)
            waiting += [_Named(name, manifest=False) for name in reversed(blobs)]
            waiting += [_Named(name) for name in reversed(manifests)]


def _blob(files: Files, name: str, digest: str, prover: Prover) -> Row:
    found = files.digest(name)
    what = f"sha256:{digest}"
    if not found:
        return Row(what, "", REFUSED, digest, why="missing, or no plain file", do=_AGAIN)
    if found != digest:
        return Row(what, "", REFUSED, found, why=f"changed: its bytes are sha256:{found}", do=_AGAIN)
    return prover.row(what, digest)


def _saved(files: Files, manifest: bytes, prover: Prover, wanted: Purl | None) -> Iterator[Row]:
    """What `docker save` wrote: no manifest of a registry, and layers unpacked to plain tars."""
    listed = _json(manifest)
    if not listed:
        raise Malformed("its manifest.json names no image")
    for image in listed:
        layers = image.get("Layers") if isinstance(image, dict) else None
        names = [image.get("Config"), *(layers or [])] if isinstance(image, dict) else []
        if not names or not all(isinstance(one, str) for one in names) or len(names) > MAX_BLOBS.value:
            raise Malformed("its manifest.json names no configuration, or too many layers")
        for name in names:
            digest = files.digest(posixpath.normpath(name))
            if digest:
                row = prover.row(safe(name), digest)
                yield (
                    image_names.bound(row, wanted) if name is names[0] else row
                )  # the configuration names the layers
            else:
                yield Row(safe(name), "", REFUSED, why="missing: manifest.json names it", do=_AGAIN)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Malformed("a document of it is no JSON") from None


def _named_by(data: bytes) -> tuple[list[str], list[str]]:
    """The digests that a manifest or index names, as they are written: of manifests, and of other blobs.

    Raises:
        Malformed: it is none.
    """
    found = _json(data)
    if not isinstance(found, dict):
        raise Malformed("a document of it is no object")
    config = [found["config"]] if found.get("config") is not None else []
    manifests = _list(found, "manifests")
    blobs = [*config, *_list(found, "layers"), *_list(found, "blobs")]
    old = [one.get("blobSum") if isinstance(one, dict) else None for one in _list(found, "fsLayers")]
    return [_digest(one) for one in manifests], [_digest(one) for one in blobs] + [str(one) for one in old]


def _digest(descriptor: object) -> str:
    """ "" for what is no descriptor: its row says that."""
    return str(descriptor.get("digest", "")) if isinstance(descriptor, dict) else ""


def _list(found: dict[str, Any], key: str) -> list[Any]:
    value = found.get(key)
    if value is not None and not isinstance(value, list):
        raise Malformed(f"{key} of a document of it is no list")
    return value or []


def _at_node(name: str, prover: Prover, node: FromNode | None, wanted: Purl | None) -> list[Row]:
    """An image by its name: its manifest as the node gives it, and every digest that this names."""
    if node is None:
        raise Refusal("not-found", what=f"{name} is no file here, and no node is asked", who="your command",
                      do="name a folder or archive, or a node with --node")  # fmt: skip
    repository, tag = image_names.reference(name)
    try:
        manifest = node.raw(f"/v2/{repository}/manifests/{tag}", MAX_IMAGE_DOCUMENT_BYTES.value)
    except Refusal as refusal:
        if refusal.code == "not-running":
            raise
        raise Refusal("no-proof", what=f"the node gives no {name}: {refusal.what}", who=refusal.who,
                      do=refusal.do) from None  # fmt: skip
    digest = hashlib.sha256(manifest).hexdigest()
    rows = [
        image_names.bound(
            image_names.as_asked(prover.row(f"sha256:{digest}", digest), repository, tag), wanted
        )
    ]
    try:
        named = [one for some in _named_by(manifest) for one in some]
        if len(named) > MAX_BLOBS.value:
            raise Malformed("the manifest names too many blobs")
        rows += [_remote(one, prover) for one in named]
    except Malformed as error:
        raise Refusal("bad-request", what=str(error), who="the node", do="ask another node") from None
    return rows


def _remote(digest: str, prover: Prover) -> Row:
    told = _DIGEST.fullmatch(digest)
    if told is None:
        return Row(safe(digest[:80]), "", REFUSED, why="its digest is no SHA-256, and the log knows no other",
                   do=_AGAIN)  # fmt: skip
    return prover.row(digest, told[1])
