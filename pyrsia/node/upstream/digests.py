"""What a file must be, where whoever asks knows it: digests that are compared before its last bytes are given."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pyrsia.errors import Refusal


@dataclass(frozen=True, slots=True)
class Expected:
    """Lower-case hex; "" where nobody knows."""

    sha256: str = ""
    sha512: str = ""

    def sums(self) -> "Sums":
        return Sums(self)

    def mismatch(self, found: str) -> Refusal:
        return Refusal(
            "digest-mismatch",
            what=f"upstream's file has another digest than was promised{': sha256:' + found[:16] if found else ''}",
            who="upstream, or whatever stands between",
            do="do not use this file; try again, and compare it with the author's",
        )


class Sums:
    """Digests of what comes in, piece by piece."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._sha256 = hashlib.sha256()
        self._sha512 = hashlib.sha512() if expected.sha512 else None

    def update(self, piece: bytes) -> None:
        self._sha256.update(piece)
        if self._sha512 is not None:
            self._sha512.update(piece)

    def check(self) -> str:
        """The SHA-256 of all that came.

        Raises:
            Refusal: `digest-mismatch`.
        """
        found = self._sha256.hexdigest()
        if self._expected.sha256 not in ("", found):
            raise self._expected.mismatch(found)
        if self._sha512 is not None and self._sha512.hexdigest() != self._expected.sha512:
            raise self._expected.mismatch(found)
        return found


def digest_of(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
