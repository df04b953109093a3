"""Sources of images packed by hand, and the worker's operations over them without a sandbox."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyrsia.builds.oci import worker

SDE = 1_700_000_000
SCRATCH: dict[str, Any] = {"layers": [], "settings": {}, "history": [], "merged": False}
HELLO = {"Dockerfile": b"FROM scratch\nCOPY app /app\n", "app": b"#!/bin/sh\n"}


def packed(files: Mapping[str, bytes], *, executable: Sequence[str] = (), time: int = SDE) -> bytes:
    """A .tar.gz with one top folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in files.items():
            item = tarfile.TarInfo(f"src/{path}")
            item.size, item.mtime, item.mode = len(content), time, 0o755 if path in executable else 0o644
            archive.addfile(item, io.BytesIO(content))
    return buffer.getvalue()


class Desk:
    """The worker in folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.inputs, self.work = folder / "in", folder / "work"
        self.inputs.mkdir(parents=True)
        self.work.mkdir()
        self.artifacts: dict[str, str] = {}
        self.answer: dict[str, Any] = {}

    def artifact(self, name: str, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (self.inputs / digest).write_bytes(data)
        self.artifacts[digest] = name
        return digest

    def job(self, data: bytes, platforms: Sequence[str] = ("linux/amd64",), **more: Any) -> dict[str, Any]:
        (self.inputs / "source.tar.gz").write_bytes(data)
        return {
            "artifacts": self.artifacts,
            "bases": dict.fromkeys(platforms, SCRATCH),
            "dockerfile": "Dockerfile",
            "platforms": list(platforms),
            "sde": SDE,
            "source": "source.tar.gz",
        } | more

    def composed(
        self, data: bytes, platforms: Sequence[str] = ("linux/amd64",), **more: Any
    ) -> dict[str, Any]:
        self.answer = worker.make(self.job(data, platforms, **more), self.inputs, self.work)
        return self.answer

    def document(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.work / "out" / digest.removeprefix("sha256:")).read_bytes())
        return found

    @property
    def manifest(self) -> dict[str, Any]:
        return self.document(self.answer["top"])

    @property
    def config(self) -> dict[str, Any]:
        return self.document(self.manifest["config"]["digest"])

    def layer(self, number: int = 0) -> dict[str, tarfile.TarInfo]:
        with self.opened(number) as archive:
            return {item.name: item for item in archive}

    def content(self, path: str, number: int = 0) -> bytes:
        with self.opened(number) as archive:
            file = archive.extractfile(path)
            assert file is not None
            return file.read()

    def opened(self, number: int) -> tarfile.TarFile:
        digest = self.manifest["layers"][number]["digest"].removeprefix("sha256:")
        return tarfile.open(self.work / "out" / digest)

    def placed(self, dockerfile: str, files: Mapping[str, bytes]) -> list[str]:
        """The files of all layers of an image whose Dockerfile has these lines below FROM scratch."""
        lines = f"FROM scratch\n{dockerfile}\n".encode()
        self.composed(packed({"Dockerfile": lines} | dict(files)))
        found = []
        for number in range(len(self.manifest["layers"])):
            found += [name for name, item in self.layer(number).items() if item.isreg()]
        return sorted(found)
