"""What a fuzzer's merge left, taken into the kept corpus: the smallest inputs, few of them."""

import hashlib

from tests.fuzz.corpora import CORPUS, GROWN

KEPT_INPUTS = 24  # of one target: a corpus is read by people too, and replayed at every change
KEPT_BYTES = 4_096  # of one input that the fuzzer found


def keep(name: str) -> int:
    """Take the smallest of what a merge left into the kept corpus; how many."""
    folder, kept = CORPUS / name, 0
    here = {file.read_bytes() for file in folder.iterdir() if not file.name.startswith("grown-")}
    for file in folder.glob("grown-*"):
        file.unlink()
    for file in sorted((GROWN / f"{name}.small").iterdir(), key=lambda one: (one.stat().st_size, one.name)):
        data = file.read_bytes()
        if data not in here and len(data) <= KEPT_BYTES and kept < KEPT_INPUTS:
            (folder / f"grown-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
            kept += 1
    return kept
