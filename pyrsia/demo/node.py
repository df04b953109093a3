"""The demo's own node entry point: a node that ends with its parent, and may carry the villain.

    python -m pyrsia.demo.node --data DIR --parent PID [--villain PURL]

The villain is reachable from here alone; `pyrsia node run` has no way to load it.
"""

import argparse
import ctypes
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrsia.builds.model import Plugin
    from pyrsia.builds.shop import Shop
    from pyrsia.node.builds.builder import DrawnFirst

PR_SET_PDEATHSIG: Final = 1


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="pyrsia.demo.node")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--villain", default="")
    arguments = parser.parse_args()
    die_with(arguments.parent)

    gc.disable()  # what modules are made of stays: looking there for garbage is an eighth of a node's start
    from pyrsia.demo.villain import Villain
    from pyrsia.errors import PyrsiaError
    from pyrsia.node import service
    from pyrsia.node.builds.workshop import honest

    gc.freeze()
    gc.enable()

    def villain(shop: "Shop", drawn_first: "DrawnFirst") -> "Sequence[Plugin]":
        lying = Villain(shop, purl=arguments.villain, drawn_first=drawn_first)
        return [lying, *(one for one in honest(shop, drawn_first) if one.name != lying.name)]

    try:
        sys.exit(service.main(arguments.data, villain if arguments.villain else honest))
    except PyrsiaError as error:
        sys.exit(f"pyrsia: {error}")


if __name__ == "__main__":
    main()
