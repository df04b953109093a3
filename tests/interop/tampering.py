"""One flipped bit in each kind of file of a log."""

from collections.abc import Iterator
from pathlib import Path

FILES = (
    "tile/0/000",
    "tile/1/000.p/*",
    "tile/0/*.p/*",
    "tile/entries/000",
    "tile/entries/*.p/*",
    "checkpoint",
)


def flips(folder: Path) -> Iterator[str]:
    """For each kind of file: flip a bit in it, say which, and put it back."""
    for pattern in FILES:
        file = next(iter(sorted(folder.glob(pattern))))
        data = file.read_bytes()
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        file.write_bytes(changed)
        try:
            yield str(file.relative_to(folder))
        finally:
            file.write_bytes(data)
