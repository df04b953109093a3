"""Our logs of many sizes before strangers' checkers: `python -m tests.interop.run`. Exits 1 if one is wrong."""

import sys
import tempfile
import time
from pathlib import Path

from tests.interop import checkers, logs
from tests.interop.checkers import Checkers
from tests.interop.tampering import flips

SIZES = (1, 2, 255, 256, 257, 511, 512, 513, 65_536, 70_000)
TAMPERED = 513
NAMES = ("checklog", "fsck")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="pyrsia-interop-") as name:
        folder = Path(name)
        found = checkers.build(folder, offline=False)
        if isinstance(found, str):
            print(found, file=sys.stderr)
            return 1
        print(f"{checkers.versions()}\n")
        wrong = sum(_size(found, size, folder) for size in SIZES)
        wrong += _node(found, folder)
        wrong += sum(_tampered(found, folder / str(TAMPERED)))
    return 1 if wrong else 0


def _size(found: Checkers, size: int, folder: Path) -> int:
    target = folder / str(size)
    logs.of_size(size, target)
    return _told(f"{size:,} entries", found, target, logs.VKEY, logs.COSIGNER_VKEY)


def _node(found: Checkers, folder: Path) -> int:
    vkey, size = logs.of_a_node(folder / "node", folder / "data")
    return _told(f"a node's log of {size} entries", found, folder / "node", vkey)


def _told(what: str, found: Checkers, target: Path, vkey: str, cosigner: str = "") -> int:
    began_s = time.monotonic()
    complaints = found.complaints(target, vkey, cosigner)
    took_s = time.monotonic() - began_s
    answers = (f"{name} {complaint or 'whole'}" for name, complaint in zip(NAMES, complaints, strict=True))
    print(f"{what:32} {'; '.join(answers)} ({took_s:.1f} s)", flush=True)
    return sum(map(bool, complaints))


def _tampered(found: Checkers, target: Path) -> list[int]:
    """For each flipped bit, how many checkers did not see it."""
    missed = []
    for path in flips(target):
        complaints = found.complaints(target, logs.VKEY, logs.COSIGNER_VKEY)
        answers = (
            f"{name} {'refused' if complaint else 'SAW NOTHING'}"
            for name, complaint in zip(NAMES, complaints, strict=True)
        )
        print(f"{'a bit of ' + path:32} {'; '.join(answers)}", flush=True)
        missed.append(sum(not complaint for complaint in complaints))
    return missed


if __name__ == "__main__":
    sys.exit(main())
