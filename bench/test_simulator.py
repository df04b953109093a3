"""How fast the simulator and the core are: events and seeds a second, on one core."""

from tests.sim.world import Plan, World


def test_events_of_one_busy_network(benchmark) -> None:
    def run() -> int:
        return World(7, Plan(entries=300, seconds=5.0)).run().events

    events = benchmark(run)
    benchmark.extra_info["events_per_s"] = round(events / benchmark.stats["mean"])


def test_twenty_seeds(benchmark) -> None:
    def run() -> int:
        return sum(World(seed).run().events for seed in range(20))

    events = benchmark.pedantic(run, rounds=3)
    benchmark.extra_info["events_per_s"] = round(events / benchmark.stats["mean"])
    benchmark.extra_info["seeds_per_s"] = round(20 / benchmark.stats["mean"], 1)
