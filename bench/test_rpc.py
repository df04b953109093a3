"""Requests between two nodes in two processes, beside bare ZeroMQ with the same security and no rules at all.

The answerer gives back the 64 bytes that it is sent. Bare ZeroMQ has one frame a message, blocking calls and no
deadline, bound, sequence number or event loop; what is left of its rate is what those cost.
"""

import statistics
import time
from collections.abc import Callable

import trio

from bench.ends import GIVER, METHOD, bare_client, linked, links_of, other_end
from bench.harness import Figure, row

BODY = b"x" * 64
AT_ONCE = 64
COUNT = 6_400
ALONE = 400


async def pipelined(control: str) -> float:
    """Requests a second, 64 under way."""
    links = links_of(2, data=False)

    async def ask() -> None:
        for _ in range(COUNT // AT_ONCE):
            assert len(await links.request(GIVER, METHOD, BODY, 30)) == len(BODY)

    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await linked(links, control)
        started = time.perf_counter()
        async with trio.open_nursery() as asking:
            for _ in range(AT_ONCE):
                asking.start_soon(ask)
        took = time.perf_counter() - started
        nursery.cancel_scope.cancel()
    return COUNT / took


async def alone(control: str) -> float:
    """The median of one request after another, us."""
    links, took = links_of(2, data=False), []
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await linked(links, control)
        for _ in range(ALONE):
            started = time.perf_counter()
            await links.request(GIVER, METHOD, BODY, 30)
            took.append(time.perf_counter() - started)
        nursery.cancel_scope.cancel()
    return statistics.median(took) * 1e6


def bare_pipelined(endpoint: str) -> float:
    with bare_client("curve", endpoint) as sock:
        sock.send(BODY)
        sock.recv()
        started = time.perf_counter()
        for _ in range(AT_ONCE):
            sock.send(BODY)
        for done in range(COUNT):
            sock.recv()
            if done < COUNT - AT_ONCE:
                sock.send(BODY)
        return COUNT / (time.perf_counter() - started)


def bare_alone(endpoint: str) -> float:
    took = []
    with bare_client("curve", endpoint) as sock:
        for _ in range(ALONE):
            started = time.perf_counter()
            sock.send(BODY)
            sock.recv()
            took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e6


def beside(measure, ours: Callable, theirs: Callable[[str], float]) -> None:
    with other_end("node") as node, other_end("bare", "curve") as bare:
        measure(
            Figure(lambda: trio.run(ours, node["control"])),
            {"raw ZeroMQ": Figure(lambda: theirs(bare["endpoint"]))},
        )


@row(
    "rpc/pipelined",
    "requests of 64 bytes, 64 under way, two processes",
    unit="requests/s",
    goal=30_000,
    rounds=9,
)
def test_pipelined(measure):
    beside(measure, pipelined, bare_pipelined)


@row("rpc/p50", "one request after another, median, two processes", unit="us", goal=120, rounds=9)
def test_one_after_another(measure):
    beside(measure, alone, bare_alone)
