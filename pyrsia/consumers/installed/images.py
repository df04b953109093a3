"""An image: its manifests, configurations and layers, each by its digest.

Read are an OCI layout and an archive of one, what `skopeo copy ... dir:` writes, what `docker save` and `podman save`
write, and a name at a node (its manifests only: the layers stay there). Nothing is unpacked: a digest is computed, and
documents of at most 4 MiB are read to learn which digests belong to them.

Source: OCI image-spec, "Image Layout"; the archives of `docker save`.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol

from pyrsia.consumers.installed import walking
from pyrsia.consumers.installed.prover import Prover
from pyrsia.consumers.installed.rows import ACCEPTED, REFUSED, Row
from pyrsia.consumers.installed.sources import FromNode
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_IMAGE_DOCUMENT_BYTES, Limit
from pyrsia.wire import purl as purls

MAX_BLOBS = Limit(10_000, "blobs of one layout: a hundred images of a hundred layers")
MAX_ARCHIVE_MEMBERS = Limit(50_000, "members of one archive of images, folders and links among them")
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
        self._tar = tarfile.open(path, "r:")  # noqa: SIM115  (open as long as the object)
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            for number, one in enumerate(self._tar):
                if number >= MAX_ARCHIVE_MEMBERS.value:
                    raise Malformed("it has too many members")
                if one.isreg():
                    self._members[one.name.removeprefix("./")] = one
        except BaseException:
            self._tar.close()
            raise

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


def _plain(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


def check(image: str, prover: Prover, node: FromNode | None, *, tick: Tick) -> list[Row]:
    """A row for each blob of an image.

    Args:
        image: a path, with or without skopeo's `oci:`, `dir:`, `oci-archive:`, `docker-archive:`, or a name at a node.

    Raises:
        Refusal: `not-found`, `bad-request`; `too-large`.
    """
    kind, _, rest = image.partition(":")
    named = rest if kind in ("oci", "dir", "oci-archive", "docker-archive") else image
    path = Path(named) if Path(named).exists() else Path(named.rpartition(":")[0] or named)
    if not path.exists() or image.startswith("docker://"):
        return _at_node(image.removeprefix("docker://"), prover, node)
    rows = []
    for number, row in enumerate(_local(path, prover)):
        tick(number, 0, row.what)
        rows.append(row)
    return rows


def _local(path: Path, prover: Prover) -> Iterator[Row]:
    try:
        files: Files = _Folder(path) if path.is_dir() else _Archive(path)
        with closing(files):
            yield from _blobs(files, prover)
    except (tarfile.TarError, EOFError, Malformed, OSError, ValueError, RecursionError) as error:
        raise Refusal("bad-request", what=f"{path} is no image that can be read: {error}", who="the file",
                      do="save it with `skopeo copy --preserve-digests SOURCE oci:FOLDER`") from None  # fmt: skip


def _blobs(files: Files, prover: Prover) -> Iterator[Row]:
    index, saved = files.read("index.json"), files.read("manifest.json")
    if index is not None:
        yield from _tree(files, _digests(index), prover)
    elif saved is None:
        raise Malformed("it has neither an index.json nor a manifest.json")
    elif isinstance(_json(saved), list):
        yield from _saved(files, saved, prover)
    else:  # skopeo's dir:
        yield prover.row("manifest.json", hashlib.sha256(saved).hexdigest())
        for digest in _digests(saved):
            yield _blob(files, digest, digest, prover)


def _tree(files: Files, first: list[str], prover: Prover) -> Iterator[Row]:
    """Every blob below the index, which is a list of names and stands in no log."""
    waiting, seen = list(reversed(first)), set()
    while waiting:
        digest = waiting.pop()
        if digest in seen:
            continue
        seen.add(digest)
        if len(seen) > MAX_BLOBS.value:
            raise Malformed("it has too many blobs")
        row = _blob(files, f"blobs/sha256/{digest}", digest, prover)
        yield row
        data = files.read(f"blobs/sha256/{digest}")
        if data is not None and data[:1] == b"{" and hashlib.sha256(data).hexdigest() == digest:
            waiting += reversed([one for one in _digests(data) if one not in seen])


def _blob(files: Files, name: str, digest: str, prover: Prover) -> Row:
    found = files.digest(name)
    what = f"sha256:{digest}"
    if not found:
        return Row(what, "", REFUSED, digest, why="missing, or no plain file", do=_AGAIN)
    if found != digest:
        return Row(what, "", REFUSED, found, why=f"changed: its bytes are sha256:{found}", do=_AGAIN)
    return prover.row(what, digest)


def _saved(files: Files, manifest: bytes, prover: Prover) -> Iterator[Row]:
    """What `docker save` wrote: no manifest of a registry, and layers unpacked to plain tars."""
    for image in _json(manifest):
        names = [image.get("Config"), *image.get("Layers", [])] if isinstance(image, dict) else []
        if not names or not all(isinstance(one, str) for one in names):
            raise Malformed("its manifest.json names no configuration")
        for name in names[: MAX_BLOBS.value]:
            digest = files.digest(name)
            if digest:
                yield prover.row(name, digest)
            else:
                yield Row(name, "", REFUSED, why="missing: manifest.json names it", do=_AGAIN)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Malformed("a document of it is no JSON") from None


def _digests(data: bytes) -> list[str]:
    """The digests that a manifest or index names, of SHA-256; a blob's own JSON names none."""
    found = _json(data)
    if not isinstance(found, dict):
        return []
    rows = [found.get("config"), *_list(found.get("layers")), *_list(found.get("manifests"))]
    told = [_DIGEST.fullmatch(str(one.get("digest"))) for one in rows if isinstance(one, dict)]
    return [one[1] for one in told if one is not None]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _at_node(name: str, prover: Prover, node: FromNode | None) -> list[Row]:
    """An image by its name: its manifest as the node gives it, and every digest that this names."""
    if node is None:
        raise Refusal("not-found", what=f"{name} is no file here, and no node is asked", who="your command",
                      do="name a folder or archive, or a node with --node")  # fmt: skip
    repository, tag = _reference(name)
    try:
        manifest = node.raw(f"/v2/{repository}/manifests/{tag}", MAX_IMAGE_DOCUMENT_BYTES.value)
    except Refusal as refusal:
        if refusal.code == "not-running":
            raise
        raise Refusal("no-proof", what=f"the node gives no {name}: {refusal.what}", who=refusal.who,
                      do=refusal.do) from None  # fmt: skip
    digest = hashlib.sha256(manifest).hexdigest()
    rows = [_named(prover.row(f"sha256:{digest}", digest), repository)]
    try:
        rows += [prover.row(f"sha256:{one}", one) for one in _digests(manifest)[: MAX_BLOBS.value]]
    except Malformed as error:
        raise Refusal("bad-request", what=str(error), who="the node", do="ask another node") from None
    return rows


def _reference(name: str) -> tuple[str, str]:
    repository, at, digest = name.partition("@")
    if not at:
        repository, colon, digest = name.rpartition(":")
        if not colon or "/" in digest:
            repository, digest = name, "latest"
    if not re.fullmatch(r"[A-Za-z0-9._/:-]{1,255}", repository) or not re.fullmatch(
        r"[A-Za-z0-9._:-]{1,140}", digest
    ):
        raise Refusal("usage", what=f"{name} is no name of an image", who="your command", do="write NAME:TAG")
    parts = repository.split("/")
    if len(parts) > 1 and (":" in parts[0] or parts[0] in ("docker.io", "localhost")):
        repository = "/".join(parts[1:])
    return repository, digest


def _named(row: Row, repository: str) -> Row:
    """A proven manifest of another image is not the one that was asked for."""
    if row.outcome != ACCEPTED:
        return row
    found = purls.parse(row.package).package
    has = "/".join(part for part in (found.namespace, found.name) if part)
    if has.removeprefix("library/") == repository.removeprefix("library/") or has.endswith(repository):
        return row
    return Row(row.what, row.package, REFUSED, row.sha256, why=f"these bytes are {has}, not {repository}",
               do="ask another node, and do not trust this one")  # fmt: skip
