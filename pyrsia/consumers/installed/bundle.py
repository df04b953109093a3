"""Proofs to take along: all that a verification asked of a node, in one ZIP file that another machine reads offline.

    pyrsia-bundle.json          {"v": 1, "made_ms": ..., "node": ..., "networks": [{"name", "digest"}]}
    proofs/<sha256>             proof files; `proofs/<sha256>-<sha256 of purl>` those of bytes with several purls
    contents/<sha256>           lists of members, by the digest of their file
    packages/<sha256 of purl>   lists of published files
    epochs/<number>             steps to later epochs

A bundle proves nothing by being one: its reader checks everything against pinned networks, as it does what a node says.
Sizes are bounded before and while members are inflated; names are looked up, and never become paths.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from pyrsia.consumers.installed.sources import Listed, Source, rows
from pyrsia.errors import Refusal
from pyrsia.units import MAX_CONTENTS_BYTES, MAX_PROOFFILE_BYTES, MAX_STEP_BYTES, Limit
from pyrsia.verify.wheel import BROKEN

MAX_BUNDLE_BYTES = Limit(4 << 30, "proofs of 20,000 files at 200 KB each")
MAX_BUNDLE_MEMBERS = Limit(100_000, "a proof and a list of members for each of 50,000 files")
# zipfile makes an object of some 500 bytes of each entry, of which 46 bytes are the shortest.
MAX_DIRECTORY_BYTES = Limit(16 << 20, "an entry has 46 bytes and a name of 80: 100,000 of them have 13 MB")
MAX_HEAD_BYTES = Limit(1 << 20, "the first member names some networks")
MAX_LIST_BYTES = Limit(32 << 20, "what one answer of a node may have")
_HEAD: Final = "pyrsia-bundle.json"
_METHODS: Final = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
)  # the others inflate further than they are asked to
_BROKEN: Final = (*BROKEN, RecursionError)  # its documents are JSON


class Recorder:
    """A source that remembers what another one answered."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.current = source.current
        self._kept: dict[str, bytes] = {}

    def proof(self, sha256: str, purl: str = "") -> bytes:
        return self._keep(_proof(sha256, purl), self._source.proof(sha256, purl))

    def contents(self, sha256: str) -> bytes:
        return self._keep(f"contents/{sha256}", self._source.contents(sha256))

    def files(self, package: str) -> Sequence[Listed]:
        found = self._source.files(package)
        self._keep(_package(package), msgspec.json.encode(found))
        return found

    def step(self, epoch: int) -> bytes | None:
        found = self._source.step(epoch)
        return None if found is None else self._keep(f"epochs/{epoch}", found)

    def file(self, listed: Listed, into: IO[bytes]) -> None:
        self._source.file(listed, into)

    def save(self, path: Path, head: dict[str, Any]) -> int:
        """Write the bundle, whole or not at all; how many answers it holds.

        Raises:
            Refusal: `too-large`; nobody could read it.
        """
        if len(self._kept) >= MAX_BUNDLE_MEMBERS.value:
            raise Refusal("too-large", what=f"a bundle would have more than {MAX_BUNDLE_MEMBERS.value} members",
                          who="your command", do="save proofs of a part at a time")  # fmt: skip
        new = path.with_name(f"{path.name}.new")
        with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_HEAD, json.dumps({"v": 1, **head}, sort_keys=True))
            for name, data in sorted(self._kept.items()):
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        new.replace(path)
        return len(self._kept)

    def _keep(self, name: str, data: bytes) -> bytes:
        self._kept[name] = data
        return data


class _Bounded(FileIO):
    """A file that gives no more at once than a sane directory has: zipfile asks for all of that in one read."""

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, os.fstat(self.fileno()).st_size - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > MAX_DIRECTORY_BYTES.value:
            raise ValueError(f"its directory has more than {MAX_DIRECTORY_BYTES.value} bytes")
        return super().read(wanted)


class FromBundle:
    """A bundle on disk; what is not in it has no proof."""

    current = False

    def __init__(self, path: Path) -> None:
        """
        Raises:
            Refusal: `bad-request`.
        """
        self._path = path
        try:
            if path.stat().st_size > MAX_BUNDLE_BYTES.value:
                raise ValueError("it is too large")
            self._file = _Bounded(path)
            self._archive = zipfile.ZipFile(self._file)
            self._names = {one.filename: one for one in self._archive.infolist()}
            if len(self._names) > MAX_BUNDLE_MEMBERS.value or len(self._names) != len(
                self._archive.infolist()
            ):
                raise ValueError("it has too many members, or two of one name")
            head = json.loads(self._read(_HEAD, MAX_HEAD_BYTES.value) or b"")
            if not isinstance(head, dict) or head.get("v") != 1:
                raise ValueError("it is of another version")
        except _BROKEN as error:
            self.close()
            raise self._refused(str(error)) from None
        self.head: dict[str, Any] = head

    def close(self) -> None:
        for one in ("_archive", "_file"):
            if hasattr(self, one):
                getattr(self, one).close()

    def proof(self, sha256: str, purl: str = "") -> bytes:
        return self._have(_proof(sha256, purl), MAX_PROOFFILE_BYTES.value, "there is no proof in the bundle")

    def contents(self, sha256: str) -> bytes:
        return self._have(
            f"contents/{sha256}", MAX_CONTENTS_BYTES.value, "the bundle does not say what it holds"
        )

    def files(self, package: str) -> Sequence[Listed]:
        found = self._member(_package(package), MAX_LIST_BYTES.value)
        return () if found is None else rows(found)

    def step(self, epoch: int) -> bytes | None:
        return self._member(f"epochs/{epoch}", MAX_STEP_BYTES.value)

    def file(self, listed: Listed, into: IO[bytes]) -> None:
        raise Refusal("no-proof", what=f"{listed.file} was only witnessed: the bundle does not hold the file itself",
                      who=str(self._path), do="check it with a node: --node URL")  # fmt: skip

    def _have(self, name: str, most: int, otherwise: str) -> bytes:
        found = self._member(name, most)
        if found is None:
            raise Refusal("no-proof", what=otherwise, who=str(self._path),
                          do="make it again for what is installed now, with --node and --save-bundle")  # fmt: skip
        return found

    def _member(self, name: str, most: int) -> bytes | None:
        try:
            return self._read(name, most)
        except _BROKEN as error:
            raise self._refused(str(error)) from None

    def _read(self, name: str, most: int) -> bytes | None:
        member = self._names.get(name)
        if member is None:
            return None
        if member.compress_type not in _METHODS or member.file_size > most:
            raise ValueError(f"{name[:80]!a} is too large, or packed by an unknown method")
        with self._archive.open(member) as opened:
            data = opened.read(most + 1)
        if len(data) > most:
            raise ValueError(f"{name[:80]!a} is too large")
        return data

    def _refused(self, why: str) -> Refusal:
        return Refusal("bad-request", what=f"{self._path} is no bundle of proofs: {why[:200]}", who="the file",
                       do="make it again: pyrsia verify ... --node URL --save-bundle FILE")  # fmt: skip


def _proof(sha256: str, purl: str) -> str:
    return f"proofs/{sha256}" + (f"-{hashlib.sha256(purl.encode()).hexdigest()}" if purl else "")


def _package(purl: str) -> str:
    return f"packages/{hashlib.sha256(purl.encode()).hexdigest()}"
