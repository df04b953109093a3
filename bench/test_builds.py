"""What we add to a build: beside the backend's own hook run bare, and beside entries that say nothing."""

import itertools
import time

import pytest

from bench.harness import LONG, Figure, Timed, row
from bench.load import Load, percentile
from bench.networks import validators
from bench.wheels import workbench

WHEELS = 8
ASKED = 8


@pytest.fixture(scope="module")
def bench():
    with workbench() as made:
        yield made


@row("build/wheel", "one wheel of setuptools: build, inspect, list, compare", unit="ms", rounds=5)
def test_one_wheel_beside_its_bare_hook(measure, bench):
    bench.fresh()
    assert bench.bare().endswith(".whl")
    assert bench.build() == bench.build()
    measure(Timed(bench.build), {"the bare hook": Timed(bench.bare, before=bench.fresh)})


@LONG
@row(
    "build/wheels-an-hour",
    "wheels an hour, all inputs here, two at a time",
    unit="wheels/h",
    goal=1_000,
    rounds=3,
)
def test_wheels_an_hour(measure, bench):
    def rate() -> float:
        began_s = time.perf_counter()
        bench.many(WHEELS, 2)
        return WHEELS / (time.perf_counter() - began_s) * 3_600

    def bare_rate() -> float:
        took_s = 0.0
        for _ in range(WHEELS // 2):
            for place in ("one", "two"):
                bench.fresh(place)
            began_s = time.perf_counter()
            for running in [bench.started(place) for place in ("one", "two")]:
                running.communicate()
            took_s += time.perf_counter() - began_s
        return WHEELS / took_s * 3_600

    measure(Figure(rate), {"bare hooks": Figure(bare_rate)})


@row("build/request", "request to `artifact.add` where builds take no time", unit="ms", goal=500, rounds=5)
def test_what_the_network_adds_to_the_slowest_build(measure):
    with validators(4, instant=True) as network:
        load, node, numbers = Load(network), network.nodes[0], itertools.count()

        def one_ms() -> float:
            began_s = time.perf_counter()
            with node.client() as client:
                order = {"ecosystem": "pip", "name": f"bench-{next(numbers)}", "version": "1"}
                (asked,) = client.post("/api/v1/builds", order)["requests"]
                until_s = began_s + 60
                while client.get(f"/api/v1/builds/{asked['request']}")["state"] != "done":
                    assert time.perf_counter() < until_s, "no verdict"
                    time.sleep(0.005)
            return (time.perf_counter() - began_s) * 1000

        one_ms()
        measure(
            Figure(lambda: percentile([one_ms() for _ in range(ASKED)], 0.5)),
            {"a lone entry": Figure(lambda: percentile([load.one(node) for _ in range(ASKED)], 0.5) * 1000)},
        )
