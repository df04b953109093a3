"""Many seeds, or one seed looked at: `python -m tests.sim --seeds 10000 --first 1 --nodes 4..10 --byzantine f`.

Exits 1 if anything breaks, with the seed on the last line; otherwise the last line says how many seeds held.
"""

import argparse
import json
import sys
import time

from .faults import Faults
from .runs import PROCESSES, Ask, Sum, broken, many, shrunk
from .trace import Trace

EVERY_S = 2.0  # between two lines of progress


def main(argv: list[str] | None = None) -> int:
    args = _parsed(argv)
    ask = Ask(args.nodes, args.byzantine, args.ledger)
    if args.replay is not None:
        return replay(ask, args)
    began, told, shown = time.monotonic(), Sum(), 0.0
    for some in many(ask, range(args.first, args.first + args.seeds), args.processes):
        told.add(some)
        for _, why in some.broken:
            print(why, file=sys.stderr, flush=True)
        if not args.json and time.monotonic() - shown > EVERY_S:
            shown = time.monotonic()
            print(
                f"{told.seeds} of {args.seeds} seeds, {len(told.broken)} broken", file=sys.stderr, flush=True
            )
        if told.broken and not args.all:
            break
    took_s = time.monotonic() - began
    if args.json:
        print(json.dumps(summary(told, took_s), sort_keys=True))
    else:
        print(words(told, took_s))
    if told.broken:
        seed, why = min(told.broken)
        print(f"seed {seed} breaks; look at it with {again(args, seed)}" if not args.json else f"seed {seed}")
        return 1
    if not args.json:
        print(f"{told.seeds} seeds held")
    return 0


def again(args: argparse.Namespace, seed: int) -> str:
    """The command that runs this seed alone, as it was run."""
    low, high = args.nodes
    told = f"--nodes {low}..{high} --byzantine {args.byzantine} --ledger {args.ledger}"
    return f"make sim ARGS='--replay {seed} {told}'"


def replay(ask: Ask, args: argparse.Namespace) -> int:
    """One seed with its story, or with the few decisions that break it."""
    faults = Faults()
    if args.shrink:
        few, why = shrunk(ask, args.replay)
        if not why:
            print(f"seed {args.replay} holds")
            return 0
        print(f"{len(few)} decisions break it:")
        for fault in few:
            print("   ", *fault)
        faults = Faults(only=few)
    trace = Trace(args.lines, args.everything)
    why = broken(ask, args.replay, faults, trace)
    print(ask.plan(args.replay))
    print(trace)
    print(why or f"seed {args.replay} holds")
    if why:
        print(f"seed {args.replay}")
    return int(bool(why))


def words(told: Sum, took_s: float) -> str:
    lies = ", ".join(f"{name} {count}" for name, count in sorted(told.lies.items()) if count)
    return (
        f"{told.events:,} events in {took_s:.0f} s, {told.events / max(told.cpu_s, 1e-9):,.0f} for each second of CPU;"
        f" {told.real} seeds over the real ledger; {told.blocks:,} final blocks, {told.epochs:,} epochs ended,"
        f" {told.tails:,} of them proven by tails; {told.accused:,} accusations\nlies: {lies or 'none'}"
    )


def summary(told: Sum, took_s: float) -> dict[str, object]:
    return {
        "accusations": told.accused,
        "blocks": told.blocks,
        "broken": [{"seed": seed, "why": why} for seed, why in sorted(told.broken)],
        "cpu_s": round(told.cpu_s, 3),
        "epochs": told.epochs,
        "events": told.events,
        "lies": dict(sorted(told.lies.items())),
        "real": told.real,
        "seeds": told.seeds,
        "took_s": round(took_s, 3),
    }


def _range(text: str) -> tuple[int, int]:
    low, dots, high = text.partition("..")
    found = (_number(low), _number(high if dots else low))
    if not 4 <= found[0] <= found[1] <= 100:
        raise argparse.ArgumentTypeError("from 4 to 100 nodes: 4, or 4..10")
    return found


def _liars(text: str) -> str:
    """A number that some network can bear; whether those of `--nodes` do is known later."""
    if text not in ("f", "f-1", "any") and not 0 <= _number(text) <= _borne(100):
        raise argparse.ArgumentTypeError(f"liars: a number up to {_borne(100)}, f, f-1, or any")
    return text


def _count(text: str) -> int:
    found = _number(text)
    if found < 1:
        raise argparse.ArgumentTypeError("one at least")
    return found


def _number(text: str) -> int:
    """Decimal digits alone; -1 for anything else."""
    return int(text) if text.isascii() and text.isdigit() else -1


def _borne(nodes: int) -> int:
    """f: how many liars so many nodes bear."""
    return (nodes - 1) // 3


def _parsed(argv: list[str] | None) -> argparse.Namespace:
    """
    Raises:
        SystemExit: with 2, and a sentence on stderr, if the words make no sense.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    low, most = args.nodes[0], _borne(args.nodes[0])
    if _number(args.byzantine) > most:
        parser.error(f"argument --byzantine: {low} nodes bear {most} liars and no more, not {args.byzantine}")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make sim ARGS='...'", description=__doc__)
    parser.add_argument("--seeds", type=_count, default=1_000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--nodes", type=_range, default=(4, 7), help="validators: 4, or 4..10")
    parser.add_argument(
        "--byzantine", type=_liars, default="any", help="liars: a number, f, f-1, or any (0 to f)"
    )
    parser.add_argument(
        "--ledger", choices=("toy", "real", "both"), default="both", help="both: one seed in ten is real"
    )
    parser.add_argument("--processes", type=_count, default=PROCESSES)
    parser.add_argument("--all", action="store_true", help="go on after the first seed that breaks")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed and tell its end")
    parser.add_argument(
        "--shrink", action="store_true", help="with --replay: leave out every fault that does not matter"
    )
    parser.add_argument("--lines", type=int, default=120, help="with --replay: so many of the last lines")
    parser.add_argument(
        "--everything", action="store_true", help="with --replay: also questions, and who heard what"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
