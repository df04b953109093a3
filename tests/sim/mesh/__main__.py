"""`python -m tests.sim.mesh`: membership at full size, in virtual time, as a table.

python -m tests.sim.mesh                        all scenes, 10 to 1,000 nodes, a few minutes
python -m tests.sim.mesh quiet --nodes 1000 --minutes 60 --seed 7
"""

import argparse
import time
from collections.abc import Iterator

from . import scenes

SIZES = (10, 30, 100, 300, 1_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mesh", description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=f"of {', '.join(SCENES)}; all without any")
    parser.add_argument("--nodes", type=_numbers, default=SIZES, help="how many, with commas between")
    parser.add_argument("--minutes", type=float, default=1.0, help="of a quiet network")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if unknown := set(given.scenes) - SCENES.keys():
        parser.error(f"no scene is called {', '.join(sorted(unknown))}")
    for name in given.scenes or SCENES:
        print(f"\n{name}: {SCENES[name].__doc__}", flush=True)
        for count in given.nodes:
            began = time.monotonic()
            for line in SCENES[name](given, count):
                print(f"  {count:>5} nodes  {line}  ({time.monotonic() - began:.1f} s)", flush=True)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _quiet(given: argparse.Namespace, count: int) -> Iterator[str]:
    """1 % loss; pairs of which one suspected the other, or took it for dead, in a minute"""
    seen = scenes.quiet(given.seed, count, given.minutes)
    yield (
        f"{seen.messages:.2f} messages a node and second, suspected {seen.suspected:.5%},"
        f" taken for dead {seen.buried:.5%}"
    )


def _crash(given: argparse.Namespace, count: int) -> Iterator[str]:
    """one node crashes; until all know"""
    yield f"{scenes.crash(given.seed, count):.1f} s"


def _restart(given: argparse.Namespace, count: int) -> Iterator[str]:
    """one node comes back; until all know"""
    for leave in (False, True):
        took, _ = scenes.restart(given.seed, count, leave=leave)
        yield f"{'after a goodbye' if leave else 'after a crash'} {took:.1f} s"


def _stall(given: argparse.Namespace, count: int) -> Iterator[str]:
    """one node stands still"""
    for for_s in (2.0, 10.0):
        accused, pool = scenes.stall(given.seed, count, for_s)
        yield f"{for_s:.0f} s: it accused {accused} times, all alive again: {pool.agree()}"


def _partition(given: argparse.Namespace, count: int) -> Iterator[str]:
    """half and half; until each takes the other for dead, then from the end of it until all are alive"""
    apart, whole = scenes.partition(given.seed, count)
    yield f"{apart:.0f} s, {whole:.0f} s"


def _half(given: argparse.Namespace, count: int) -> Iterator[str]:
    """one in two restarts at 20 % loss, twice as many copies and late ones; until nobody is taken for dead"""
    took, pool = scenes.half_restarts(given.seed, count)
    yield f"{took:.1f} s after the last start, {len(pool.false_dead)} times one was taken for dead"


def _chaos(given: argparse.Namespace, count: int) -> Iterator[str]:
    """anything happens to anybody, at 20 % loss; seconds of calm until all know who is there"""
    yield f"{scenes.chaos(given.seed, count)[0]:.1f} s"


SCENES = {
    "quiet": _quiet,
    "crash": _crash,
    "restart": _restart,
    "stall": _stall,
    "partition": _partition,
    "half": _half,
    "chaos": _chaos,
}

if __name__ == "__main__":
    main()
