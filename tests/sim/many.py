"""Many seeds on all cores: `python -m tests.sim.many COUNT [FIRST]`. Prints each seed that breaks; exits 1 then."""

import multiprocessing
import sys
import time

from tests.sim.world import World

CHUNK = 50


def chunk(first: int) -> tuple[int, list[str]]:
    """(events, what broke) of the seeds from `first` on."""
    events, broken = 0, []
    for seed in range(first, first + CHUNK):
        try:
            events += World(seed).run().events
        except Exception as error:  # noqa: BLE001 (a seed that breaks is what is looked for)
            broken.append(f"seed {seed}: {type(error).__name__}: {error}")
    return events, broken


def main() -> int:
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    began_s, events, broken = time.monotonic(), 0, []
    with multiprocessing.Pool() as pool:
        for more, found in pool.imap_unordered(chunk, range(first, first + count, CHUNK)):
            events += more
            broken += found
            for line in found:
                print(line, flush=True)
    took_s = time.monotonic() - began_s
    print(
        f"{count} seeds from {first}: {len(broken)} broken; {events} events in {took_s:.0f} s,"
        f" {events / took_s:,.0f} events/s on {multiprocessing.cpu_count()} cores"
    )
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
