"""Where proofs come from: a node, or a bundle that was made with one. Neither is believed; `prover.py` checks."""

from collections.abc import Sequence
from typing import IO, Protocol
from urllib.parse import quote, urlencode

import msgspec

from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.units import MAX_CONTENTS_BYTES, MAX_FILE_BYTES, MAX_PROOFFILE_BYTES, MAX_STEP_BYTES
from pyrsia.verify.epochs import FOLDER


class Listed(msgspec.Struct, frozen=True):
    """A published file, as a node lists it."""

    file: str
    sha256: str
    version: str


class Source(Protocol):
    """Answers of somebody who is not believed. `current`: they are as of now."""

    current: bool

    def proof(self, sha256: str, purl: str = "") -> bytes:
        """As published under `purl`, where the bytes are of several packages. Raises `Refusal`: `no-proof`."""
        ...

    def contents(self, sha256: str) -> bytes:
        """The list of members of a published file. Raises `Refusal`: `no-proof`."""
        ...

    def files(self, package: str) -> Sequence[Listed]:
        """What is published under a versionless purl; nothing where the package is unknown."""
        ...

    def step(self, epoch: int) -> bytes | None:
        """The step that ends an epoch."""
        ...

    def file(self, listed: Listed, into: IO[bytes]) -> None:
        """Write the published file itself. Raises `Refusal`: `no-proof` where it cannot be had."""
        ...


class FromNode:
    """A running node."""

    current = True

    def __init__(self, target: str | None) -> None:
        self._node = Client(target)

    @property
    def target(self) -> str:
        return self._node.target

    def proof(self, sha256: str, purl: str = "") -> bytes:
        path = f"/api/v1/artifacts/{sha256}/proof" + (f"?{urlencode({'purl': purl})}" if purl else "")
        try:
            return self._node.get_bytes(path, most=MAX_PROOFFILE_BYTES.value)
        except Refusal as refusal:
            raise as_no_proof(refusal) from None

    def contents(self, sha256: str) -> bytes:
        try:
            return self._node.get_bytes(f"/api/v1/artifacts/{sha256}/contents", most=MAX_CONTENTS_BYTES.value)
        except Refusal as refusal:
            raise as_no_proof(refusal) from None

    def files(self, package: str) -> Sequence[Listed]:
        query = urlencode({"purl": package})
        try:
            return rows(self._node.get_bytes(f"/api/v1/packages?{query}"))
        except Refusal as refusal:
            if refusal.code in ("package-unknown", "not-found", "denied", "bad-request"):
                return ()
            raise

    def step(self, epoch: int) -> bytes | None:
        try:
            return self._node.get_bytes(f"/log/{FOLDER}/{epoch}", most=MAX_STEP_BYTES.value)
        except Refusal as refusal:
            if refusal.code == "not-found":
                return None
            raise

    def file(self, listed: Listed, into: IO[bytes]) -> None:
        path = f"/pypi/files/{listed.sha256}/{quote(listed.file, safe='')}"
        try:
            self._node.get_into(path, into, most=MAX_FILE_BYTES.value, tick=lambda _: None)
        except Refusal as refusal:
            raise as_no_proof(refusal) from None

    def raw(self, path: str, most: int) -> bytes:
        return self._node.get_bytes(path, most=most)


def rows(data: bytes) -> tuple[Listed, ...]:
    """A list of published files.

    Raises:
        Refusal: `unavailable`; it is none.
    """
    try:
        return msgspec.json.decode(data, type=tuple[Listed, ...])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal(
            "unavailable",
            what=f"the answer is no list of files: {str(error)[:200]}",
            who="whoever gave it",
            do="ask a node of this version",
        ) from None


def as_no_proof(refusal: Refusal) -> Refusal:
    """Whatever the reason, a file whose proof is not given has none; a node that is away is told as that."""
    if refusal.code in ("no-proof", "not-running"):
        return refusal
    return Refusal("no-proof", what=f"there is no proof: {refusal.what}", who=refusal.who, do=refusal.do)
