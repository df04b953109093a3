"""What a durable, agreed entry costs: entries per second, processor time by part, and waits; validators as processes.

The first baseline of a wait is what every vote waits for: one fdatasync of a small append to the same disk. That is
0.08 ms on a quiet machine and 4 ms on a busy one, so rates and times of processors stand beside what all nodes must
compute: each checks the signature of each entry. The nodes and the load share the cores at hand; what the load takes
of them is said.
"""

import itertools
import os
import time
from contextlib import contextmanager

import pytest

from bench import parts
from bench.harness import LONG, Figure, row
from bench.load import Load, percentile
from bench.networks import Watch, validators
from pyrsia.keys import KeyPair, verify

LONE = 20
SYNCS = 50
CHECKS = 500
WAL_BYTES = 1 << 20
WARM = 1_600  # entries before anything is measured: caches, code, first tables
HALF_RATE = 1_250  # half of the goal of four nodes
HALF_S = 4.0
SIZES = {"4-nodes": 4, "7-nodes": 7}
ENTRIES = {4: 8_000, 7: 4_800}
GOALS = {"4-nodes": 2_500, "7-nodes": 1_200}


@pytest.fixture(scope="module")
def network(request):
    with validators(getattr(request, "param", 4)) as running:
        Load(running).full(WARM)
        yield running


@contextmanager
def appends(path):
    """A function that appends durably, and gives the seconds that it took."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(handle, 0, WAL_BYTES)
        places = itertools.cycle(range(0, WAL_BYTES, 256))

        def append() -> float:
            began_s = time.perf_counter()
            os.pwrite(handle, b"v" * 200, next(places))
            os.fdatasync(handle)
            return time.perf_counter() - began_s

        yield append
    finally:
        os.close(handle)


def check_s(clock=time.perf_counter) -> float:
    """Seconds of one check of an entry's signature."""
    pair, entry = KeyPair(b"k" * 32), b"e" * 450
    signature = pair.sign(entry)
    began_s = clock()
    for _ in range(CHECKS):
        assert verify(pair.public, entry, signature)
    return (clock() - began_s) / CHECKS


@row("commit/lone-entry", "half of lone entries are final and durable within", unit="ms", goal=25, rounds=9)
def test_a_lone_entry_on_an_idle_network(measure, network, tmp_path):
    load, node = Load(network), network.nodes[0]

    with appends(tmp_path / "wal") as append:
        measure(
            Figure(lambda: percentile([load.one(node) for _ in range(LONE)], 0.5) * 1000),
            {"one fdatasync": Figure(lambda: percentile([append() for _ in range(SYNCS)], 0.5) * 1000)},
        )


@LONG
@row("commit/half-load", "entries at 1,250 a second: half are final within", unit="ms", goal=40, rounds=5)
def test_waits_at_half_of_the_rate_aimed_at(measure, network, tmp_path):
    load = Load(network)

    def wait_ms() -> float:
        load.steady(HALF_RATE, HALF_S)
        assert load.refused == 0
        return percentile(load.waits_s, 0.5) * 1000

    with appends(tmp_path / "wal") as append:
        measure(
            Figure(wait_ms),
            {"one fdatasync": Figure(lambda: percentile([append() for _ in range(SYNCS)], 0.5) * 1000)},
        )


@row("commit/work", "processor time of a node for an entry", unit="us per entry", goal=180, rounds=5)
def test_processor_time_of_an_entry_by_part(measure, network, capsys):
    """The parts are printed, and are those of docs/performance.md."""
    load, watch = Load(network), Watch(network)
    many, nodes = (WARM if measure.quick else ENTRIES[4]), len(network.nodes)
    told = []

    def work_us() -> float:
        watch.begin()
        load.full(many)
        busy_s = watch.busy_s()
        told[:] = [
            parts.table(watch.by_part(), many, nodes),
            f"{load.own_s / many * 1e6:7.1f}  load, an entry",
        ]
        assert load.refused == 0
        return busy_s / many / nodes * 1e6

    measure(Figure(work_us), {"its signature alone": Figure(lambda: check_s(time.process_time) * 1e6)})
    with capsys.disabled():
        print("\n".join(["", "us  part", *told]))


@LONG
@pytest.mark.parametrize(
    ("at", "network"), [(name, count) for name, count in SIZES.items()], indirect=["network"], scope="module"
)
@row("commit/rate", "450-byte entries, 16 authors, 100 a request", unit="entries/s", goal=GOALS, rounds=5)
def test_entries_per_second(measure, at, network, tmp_path):
    nodes = len(network.nodes)
    load = Load(network)

    def rate() -> float:
        found = load.full(ENTRIES[nodes])
        assert load.refused == 0
        return found

    with appends(tmp_path / "wal") as append:
        measure(
            Figure(rate),
            {
                "one fdatasync each": Figure(lambda: SYNCS / sum(append() for _ in range(SYNCS))),
                "a signature check by each node": Figure(lambda: 1 / check_s() / nodes),
            },
        )
