"""What the fuzzer grew, taken into the kept corpus: the smallest inputs that go a way no other goes."""

import hashlib
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.corpora import CORPUS, GROWN, Target, kept, target

KEPT_INPUTS = 24  # of one target: a corpus is read by people too, and replayed at every change
KEPT_BYTES = 4_096  # of one input that the fuzzer found
PACKAGE = str(Path(__file__).resolve().parents[2] / "pyrsia")

Arc = tuple[str, int, int]  # file, line, the line after it


def keep(name: str) -> int:
    """Choose anew what is kept of the grown inputs of a target; how many."""
    folder, found = CORPUS / name, target(name)
    for file in folder.glob("grown-*"):
        file.unlink()
    reached: set[Arc] = set()
    for file in kept(name):
        reached |= arcs(found, file.read_bytes())
    grown = {file.read_bytes() for file in (GROWN / name).iterdir() if file.stat().st_size <= KEPT_BYTES}
    count = 0
    for data in sorted(grown, key=lambda one: (len(one), one)):
        new = arcs(found, data) - reached
        if new and count < KEPT_INPUTS:
            (folder / f"grown-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
            reached |= new
            count += 1
    return count


def arcs(found: Target, data: bytes) -> set[Arc]:
    """The steps from line to line that checking `data` takes within our package."""
    seen: set[Arc] = set()
    before: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(PACKAGE):
            return None
        seen.add((file, before.get(frame, 0), frame.f_lineno))
        before[frame] = frame.f_lineno
        return trace

    found.check(data)  # once before, so that what is made once is not counted
    sys.settrace(trace)
    try:
        found.check(data)
    finally:
        sys.settrace(None)
    return seen
