"""A node of a bench's network: the node as it is, with a sampler of its processor time inside.

python -m bench.node --data DIR --parent PID [--instant]
"""

import argparse
import sys
from pathlib import Path

from bench.instant import instant
from bench.parts import Sampler
from pyrsia.demo.node import die_with
from pyrsia.node import service
from pyrsia.node.builds.workshop import honest

PARTS = "parts.txt"  # beside the node's data


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.node")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--instant", action="store_true", help="builds take no time (bench.instant)")
    arguments = parser.parse_args()
    die_with(arguments.parent)
    Sampler(arguments.data / PARTS).start()
    sys.exit(service.main(arguments.data, instant if arguments.instant else honest))


if __name__ == "__main__":
    main()
