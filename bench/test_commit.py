"""Time to a final, durable entry and entries per second: four validators and a follower, processes of their own.

The first baseline is what every vote waits for: one fdatasync of a small append to the same disk. That is 0.08 ms on a
quiet machine and 4 ms on a busy one, so rates stand also beside what all nodes must compute: each checks the signature
of each entry. On two cores the five nodes and the writers share them.
"""

import itertools
import os
import time
from contextlib import contextmanager

import pytest

from bench.harness import LONG, Figure, row
from bench.load import Load, percentile
from pyrsia.demo.network import Network
from pyrsia.keys import KeyPair, verify

LONE = 20
BUSY_S = 4.0
SYNCS = 50
CHECKS = 500
WAL_BYTES = 1 << 20


@pytest.fixture(scope="module")
def network():
    net = Network.create(isolation="namespace", environment="host:" + "0" * 64)
    try:
        net.start_all()
        net.wait(lambda: all(net.status(node)["peers"] >= 3 for node in net.nodes), 20, "no links")
        yield net
    finally:
        net.stop_all()
        net.remove()


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


@LONG
@row("commit/lone-entry", "half of lone entries are final and durable within", unit="ms", goal=25, rounds=9)
def test_a_lone_entry_on_an_idle_network(measure, network, tmp_path):
    one = network.validators[0]

    def wait_s() -> float:
        with one.client() as client:
            began_s = time.perf_counter()
            client.post("/api/v1/facts", {"kind": "description", "subject": "pkg:pypi/lone@1", "text": "x"})
            return time.perf_counter() - began_s

    with appends(tmp_path / "wal") as append:
        measure(
            Figure(lambda: percentile([wait_s() for _ in range(LONE)], 0.5) * 1000),
            {"one fdatasync": Figure(lambda: percentile([append() for _ in range(SYNCS)], 0.5) * 1000)},
        )


def busy(measure, network, tmp_path, writers: int) -> None:
    """Writers on every validator for a while; every one of them must get entries through."""

    def rate() -> float:
        load = Load(network, writers)
        found = load.run(BUSY_S)
        assert len(load.waits_s) > writers, f"{load.refused} refused"
        return found

    def checked() -> float:
        began_s = time.perf_counter()
        for _ in range(CHECKS * len(network.nodes)):
            assert verify(pair.public, entry, signature)
        return CHECKS / (time.perf_counter() - began_s)

    pair, entry = KeyPair(b"k" * 32), b"e" * 600
    signature = pair.sign(entry)
    with appends(tmp_path / "wal") as append:
        measure(
            Figure(rate),
            {
                "one fdatasync each": Figure(lambda: SYNCS / sum(append() for _ in range(SYNCS))),
                "a signature check by each node": Figure(checked),
            },
        )


@LONG
@row("commit/few-writers", "600-byte entries, 4 writers a validator", unit="entries/s", rounds=5)
def test_entries_per_second_of_few_writers(measure, network, tmp_path):
    busy(measure, network, tmp_path, 4)


@LONG
@row(
    "commit/many-writers", "600-byte entries, 64 writers a validator", unit="entries/s", goal=2_500, rounds=5
)
def test_entries_per_second_of_many_writers(measure, network, tmp_path):
    busy(measure, network, tmp_path, 64)
