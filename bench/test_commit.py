"""Time to a final, durable entry and entries per second: four validators and a follower, processes of their own.

The floor beside it, in the same run: one fdatasync of a small append, which every vote waits for.
`extra_info` holds the figures; on two cores the five nodes and the writers share them.
"""

import os
import time

import pytest

from bench.load import Load, percentile
from pyrsia.demo.network import Network

LONE = 40
BUSY_S = 4.0


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


def test_one_fdatasync(benchmark, tmp_path):
    handle = os.open(tmp_path / "wal", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(handle, 0, 1 << 20)
    at = iter(range(0, 1 << 20, 256))

    def append():
        os.pwrite(handle, b"v" * 200, next(at) % (1 << 20))
        os.fdatasync(handle)

    benchmark.pedantic(append, rounds=50)
    os.close(handle)
    benchmark.extra_info["ms"] = round(benchmark.stats["median"] * 1000, 3)
    assert benchmark.stats["rounds"] == 50


def test_a_lone_entry_on_an_idle_network(benchmark, network):
    load = Load(network, writers_per_node=0)
    one = network.validators[0]

    def write():
        with one.client() as client:
            began_s = time.perf_counter()
            client.post("/api/v1/facts", {"kind": "description", "subject": "pkg:pypi/lone@1", "text": "x"})
            load.waits_s.append(time.perf_counter() - began_s)

    benchmark.pedantic(write, rounds=LONE)
    benchmark.extra_info["p50_ms"] = round(percentile(load.waits_s, 0.5) * 1000, 1)
    benchmark.extra_info["p99_ms"] = round(percentile(load.waits_s, 0.99) * 1000, 1)
    assert len(load.waits_s) == LONE


@pytest.mark.parametrize("writers", [4, 64])
def test_entries_per_second(benchmark, network, writers):
    load = Load(network, writers)
    rates = []

    benchmark.pedantic(lambda: rates.append(load.run(BUSY_S)), rounds=1)
    benchmark.extra_info["entries_per_s"] = round(rates[0])
    benchmark.extra_info["p50_ms"] = round(percentile(load.waits_s, 0.5) * 1000, 1)
    benchmark.extra_info["p99_ms"] = round(percentile(load.waits_s, 0.99) * 1000, 1)
    benchmark.extra_info["refused"] = load.refused
    assert len(load.waits_s) > writers
