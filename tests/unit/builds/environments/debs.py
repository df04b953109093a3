"""Debian packages made by hand, member by member, honest and not."""

import hashlib
import io
import lzma
import tarfile
from collections.abc import Sequence
from pathlib import Path

from pyrsia.builds.environments import lock, worker
from pyrsia.builds.environments.lock import Part

PYTHON = ("usr/bin/python3", b"#!/bin/sh\n", 0o755)
Row = tuple[str, bytes | str | None, int]


def data_tar(rows: Sequence[Row | tarfile.TarInfo], start: str = "./") -> bytes:
    """`(path, bytes, mode)` is a file, `(path, None, mode)` a folder, `(path, "target", 0)` a symbolic link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for row in rows:
            if isinstance(row, tarfile.TarInfo):
                archive.addfile(row)
                continue
            path, content, mode = row
            item = tarfile.TarInfo(start + path)
            item.mode, item.mtime, item.uid = mode, 1_700_000_000, 7
            if content is None:
                item.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                item.type, item.linkname = tarfile.SYMTYPE, content
            else:
                item.size = len(content)
            archive.addfile(item, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def deb(
    rows: Sequence[Row | tarfile.TarInfo], *, member: str = "data.tar.xz", packed: bytes | None = None
) -> bytes:
    data = lzma.compress(data_tar(rows)) if packed is None else packed
    out = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", lzma.compress(b"")),
        (member, data),
    ):
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{0o100644:<8o}{len(content):<10}`\n".encode()
        out += head + content + b"\n" * (len(content) % 2)
    return out


def special(path: str, kind: bytes, target: str = "", start: str = "./") -> tarfile.TarInfo:
    item = tarfile.TarInfo(start + path)
    item.type, item.linkname = kind, target
    return item


class Kitchen:
    """Files by digest, and the worker's `make` over them."""

    def __init__(self, folder: Path) -> None:
        self.parts = folder / "parts"
        self.inputs = folder / "in"
        self.work = folder / "work"
        for path in (self.parts, self.inputs, self.work):
            path.mkdir(parents=True, exist_ok=True)

    def part(self, name: str, data: bytes, version: str = "1.0-1", file: str = "") -> Part:
        digest = hashlib.sha256(data).hexdigest()
        (self.parts / digest).write_bytes(data)
        return Part(name, version, file or f"{name}_{version}_amd64.deb", digest, len(data))

    def make(self, parts: Sequence[Part], rules: Sequence[tuple[str, ...]] = ()) -> dict[str, object]:
        (self.inputs / "lock").write_bytes(lock.encode(parts, rules))
        return worker.make({"parts": str(self.parts)}, self.inputs, self.work)

    def made(
        self, rows: Sequence[Row | tarfile.TarInfo], rules: Sequence[tuple[str, ...]] = ()
    ) -> dict[str, tarfile.TarInfo]:
        """The members of the root of one package with these rows and a python3."""
        self.make([self.part("one", deb([PYTHON, *rows]))], rules)
        return self.members()

    def members(self) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(self.work / "rootfs.tar") as archive:
            return {item.name: item for item in archive}

    def content(self, path: str) -> bytes:
        with tarfile.open(self.work / "rootfs.tar") as archive:
            file = archive.extractfile(path)
            assert file is not None
            return file.read()
