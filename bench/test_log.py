"""The log on disk, from a thousand entries to ten million: appending, proving, its size and what memory it takes."""

import random
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from bench.harness import LONG, Figure, Timed, budget, row
from bench.logs import BLOCK, ENTRY_BYTES, Log, NodeStore, PlainLog, entries, ids
from bench.memory import peak_mb
from pyrsia.log.tree import leaf_hash, verify_inclusion

CI_SIZE = 10**5
SIZES = [
    pytest.param(10**power, marks=() if 10**power == CI_SIZE else LONG, id=f"{10**power}") for power in range(3, 8)
]  # fmt: skip
APPENDED = 10_000
ASKED = 500


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A function that gives the log of a size; each is built once, and its files go with the run."""
    built: dict[int, Log] = {}
    with ExitStack() as stack:

        def of(size: int) -> Log:
            if size not in built:
                built[size] = Log(tmp_path_factory.mktemp(f"log-{size}"))
                stack.callback(built[size].close)
                built[size].grow(size)
            return built[size]

        yield of


class Source:
    """Entries and their ids, made before the clock starts: `next` prepares, `take` hands out what was prepared."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count
        self.take: tuple[tuple[bytes, ...], tuple[bytes, ...]] = ((), ())

    def next(self) -> None:
        leaves = entries(self.first, self.count)
        self.take = leaves, ids(leaves)
        self.first += self.count


def appending(log: Log | PlainLog, count: int, *more) -> Timed:
    """Append `count` fresh entries a call, durably."""
    source = Source(log.size, count)
    return Timed(lambda: log.append_all(*source.take, *more), count, before=source.next)


@row("log/append", "10,000 entries of 400 bytes, tree, ids, one sync", unit="entries/s", goal=150_000)
def test_append(measure, tmp_path):
    with closing(Log(tmp_path / "ours")) as ours, closing(PlainLog(tmp_path / "plain")) as plain:
        leaves = entries(0, APPENDED)
        ours.append_all(leaves, ids(leaves))
        plain.append_all(leaves, ids(leaves))
        assert ours.root == plain.root
        measure(appending(ours, APPENDED), {"plain RocksDB, hashlib": appending(plain, APPENDED)})


@pytest.mark.parametrize("at", SIZES)
@row(
    "log/inclusion",
    "a warm inclusion proof, from a log of that size",
    unit="us per proof",
    clock="cpu",
    goal=200,
)
def test_inclusion(measure, logs, tmp_path, at):
    log = logs(at)
    indices = random.Random(at).sample(range(at), min(at, ASKED))
    with closing(NodeStore(tmp_path / "nodes", log, indices)) as plain:
        for index in indices:
            proof = log.archive.inclusion(index, at)
            assert proof == plain.inclusion(index)
            verify_inclusion(leaf_hash(entries(index, 1)[0]), index, at, proof, log.root)
        measure(
            Timed(lambda: [log.archive.inclusion(index, at) for index in indices], len(indices)),
            {"one key a node": Timed(lambda: [plain.inclusion(index) for index in indices], len(indices))},
        )


@pytest.mark.parametrize("at", SIZES)
@row("log/size", "a log of that size on disk", unit="bytes per entry", rounds=1)
def test_size(measure, logs, at):
    log = logs(at)
    assert log.size == at
    measure(Figure(lambda: log.octets() / at), {"entries alone": Figure(lambda: ENTRY_BYTES)})


# Last of those that share logs: it makes them longer.
@pytest.mark.parametrize("at", SIZES)
@row("log/append-at", "entries in blocks, onto a log of that size", unit="entries/s", rounds=9)
def test_append_at(measure, logs, tmp_path, at):
    log, count = logs(at), min(at // 10, 10 * APPENDED)
    with closing(PlainLog(tmp_path / "plain")) as plain:
        measure(appending(log, count, BLOCK), {"plain RocksDB, hashlib": appending(plain, count)})


def build_and_check_mb(folder: Path, size: int) -> float:
    return peak_mb("bench.logs", "build_and_check", str(folder), str(size))


@pytest.mark.parametrize("at", [CI_SIZE, pytest.param(10**7, marks=LONG)])
@row("log/memory", "a process that builds and checks a log of that size", unit="MB", goal=150, rounds=1)
def test_memory(measure, tmp_path, at):
    measure(Figure(lambda: build_and_check_mb(tmp_path / "log", at)), {"budget": budget(150.0)})
