"""Where a node's processor time goes, by part: a sampler that runs inside the node, and the table it ends in.

A timer of the process's own time interrupts the main thread some hundred times a second of work. Each sample weighs
as much as that thread has worked since the last one, and belongs to the innermost frame whose module a part owns.
Threads beside it (ZeroMQ's, RocksDB's, those that sync files) are told apart by their names, as the kernel counts them.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Final

EVERY_S: Final = 0.004
_TICKS: Final = os.sysconf("SC_CLK_TCK")

SIGNATURES: Final = "signatures of entries"
VOTES: Final = "votes and certificates"
THREADS: Final = {
    "ZMQ": "CURVE and ZeroMQ's threads",
    "rocksdb": "RocksDB's own threads",
    "Trio thread": "fdatasync and its threads",
}
# The first whose text is in the file's path owns the frame; None hands it to its caller.
_OWNERS: Final[tuple[tuple[str, str | None], ...]] = (
    ("/bench/", None),
    ("/pyrsia/keys.py", "keys"),
    ("/nacl/", "keys"),
    ("/pyrsia/wire/blocks.py", "blocks and messages, encoded and decoded"),
    ("/pyrsia/wire/frames.py", "links: frames and queues"),
    ("/pyrsia/wire/", None),
    ("/pyrsia/ledger/entries.py", "entries: form and fields"),
    ("/pyrsia/ledger/shape.py", "entries: form and fields"),
    ("/pyrsia/ledger/bodies/", "entries: form and fields"),
    ("/pyrsia/ledger/mempool.py", "admission and mempool"),
    ("/pyrsia/ledger/index.py", "index: both trees"),
    ("/pyrsia/ledger/prefixtree.py", "index: both trees"),
    ("/pyrsia/ledger/touches.py", "index: both trees"),
    ("/pyrsia/ledger/state.py", None),
    ("/pyrsia/ledger/roster.py", None),
    ("/pyrsia/ledger/", "execution"),
    ("/pyrsia/log/cosigner.py", "checkpoints"),
    ("/pyrsia/node/witness/cosigning.py", "checkpoints"),
    ("/pyrsia/log/note.py", "checkpoints"),
    ("/pyrsia/log/checkpoint.py", "checkpoints"),
    ("/pyrsia/log/", "tree of the log"),
    ("/pyrsia/consensus/", "agreement"),
    ("/pyrsia/node/consensus/agreement.py", "agreement"),
    ("/pyrsia/node/log/archive.py", "storing: batches and reads"),
    ("/pyrsia/node/log/delivery.py", "storing: batches and reads"),
    ("/pyrsia/store/", "storing: batches and reads"),
    ("/pyrsia/net/", "links: frames and queues"),
    ("/zmq/", "links: frames and queues"),
    ("/pyrsia/node/log/submission.py", "submission and sharing"),
    ("/pyrsia/node/log/batch.py", "submission and sharing"),
    ("/pyrsia/node/log/sharing.py", "submission and sharing"),
    ("/pyrsia/node/", "submission and sharing"),
    ("/pyrsia/serve/", "HTTP"),
    ("/starlette/", "HTTP"),
    ("/httptools/", "HTTP"),
    ("/trio/", "trio"),
    ("/outcome/", "trio"),
)
_ENTRY: Final = "Entry.signature_holds"


def part_of(frame: FrameType | None) -> str:
    """The part that a stack belongs to."""
    checking = False
    while frame is not None:
        code = frame.f_code
        owner = _owner(code.co_filename)
        if owner == "keys":
            checking = True
        elif owner is not None:
            if not checking:
                return owner
            if code.co_qualname == _ENTRY:
                return SIGNATURES
            return VOTES if owner == "agreement" else owner
        frame = frame.f_back
    return "everything else"


def _owner(path: str) -> str | None:
    found = _CACHE.get(path, "?")
    if found == "?":
        found = next((part for text, part in _OWNERS if text in path), None)
        _CACHE[path] = found
    return found


_CACHE: dict[str, str | None] = {}


class Sampler:
    """Samples this process from `start` on; SIGUSR1 has it write what it found so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: Counter[str] = Counter()
        self._before_s = 0.0

    def start(self) -> None:
        self._before_s = time.thread_time()
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, self._write)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        now_s = time.thread_time()
        self._seconds[part_of(frame)] += now_s - self._before_s
        self._before_s = now_s

    def _write(self, _: int, __: FrameType | None) -> None:
        lines = "".join(f"{seconds:.6f} {part}\n" for part, seconds in self._seconds.items())
        new = self._path.with_suffix(".new")
        new.write_text(lines)
        new.rename(self._path)


def read(path: Path) -> Counter[str]:
    """Seconds by part, as a `Sampler` wrote them."""
    found: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        seconds, _, part = line.partition(" ")
        found[part] = float(seconds)  # type: ignore[assignment]  # (a Counter of seconds)
    return found


# -- what the kernel counts --


def busy_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    return _stat_s(Path(f"/proc/{pid}/stat"))


def threads_s(pid: int) -> Counter[str]:
    """Processor seconds of a process's threads beside the main one, by what they are for."""
    found: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        if task.name == str(pid):
            continue
        name = (task / "comm").read_text()
        part = next((part for text, part in THREADS.items() if name.startswith(text)), "other threads")
        found[part] += _stat_s(task / "stat")  # type: ignore[assignment]
    return found


def _stat_s(path: Path) -> float:
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def table(parts: Mapping[str, float], entries: int, nodes: int) -> str:
    """Microseconds an entry and node, the largest part first."""
    rows = sorted(parts.items(), key=lambda row: -row[1])
    whole = sum(parts.values())
    each = 1e6 / entries / nodes
    lines = [f"{seconds * each:7.1f}  {part}" for part, seconds in rows if seconds * each >= 0.05]
    return "\n".join([*lines, f"{whole * each:7.1f}  in all, us an entry and node"])
