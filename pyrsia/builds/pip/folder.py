"""`file:` indexes: folders of this machine, read as pages and files of an index."""

import hashlib
from collections.abc import AsyncGenerator, Collection
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import trio

from pyrsia.builds.pip import simple
from pyrsia.builds.pip.refusals import too_large, unreachable
from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.errors import Malformed
from pyrsia.units import MAX_INDEX_PAGE_BYTES


def path_of(url: str) -> Path:
    """The path that a file: URL names."""
    return Path(unquote(urlsplit(url).path))


def below(url: str, folders: Collection[Path]) -> Path:
    """The path of a file: URL; an http page must not make us read other files of this machine.

    Raises:
        Refusal: `index-unreachable`, it is below none of `folders`, which are resolved.
    """
    path = path_of(url).resolve()
    if not any(path.is_relative_to(folder) for folder in folders):
        raise unreachable(url, "the file is not below a configured file: index")
    return path


def read_page(root: Path, name: str, index: str) -> Project | None:
    """A `file:` index: `root/name/index.html` where there is one, else the folder's own files."""
    if not root.is_dir():
        raise unreachable(index, "the folder does not exist")
    folder = root / name
    if not folder.is_dir():
        return None
    page = folder / "index.html"
    if page.is_file():
        if page.stat().st_size > MAX_INDEX_PAGE_BYTES.value:
            raise too_large(index, MAX_INDEX_PAGE_BYTES.value)
        try:
            listed = simple.parse(page.read_bytes(), "text/html", page.resolve().as_uri(), name, index)
        except Malformed as error:
            raise unreachable(index, str(error)) from error
        files = tuple(_hashed(file, folder) for file in listed.files)
        return replace(listed, files=files)
    files = tuple(
        IndexFile(path.name, path.resolve().as_uri(), _sha256(path), path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file() and simple.plain_name(path.name)
    )
    return Project(name, index, files)


def _hashed(file: IndexFile, folder: Path) -> IndexFile:
    path = folder / file.filename
    if file.sha256 or not path.is_file():
        return file
    return replace(file, sha256=_sha256(path), size=path.stat().st_size)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def read_file(path: Path) -> AsyncGenerator[bytes, None]:
    try:
        async with await trio.open_file(path, "rb") as file:
            while chunk := await file.read(1 << 20):
                yield chunk
    except OSError as error:
        raise unreachable(path.as_uri(), error.strerror or "it cannot be read") from error
