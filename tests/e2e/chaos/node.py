"""A node for the chaos tests: the real one, with a wrong clock, a slow or failing disk, or a lying core.

python -m tests.e2e.chaos.node --data DIR --parent PID [--skew-s N] [--sync-ms N] [--fail-sync-at N] [--lie NAME]
    [--far LEAVES]
"""

import argparse
import errno
import os
import sys
import time
from pathlib import Path


def skew(seconds: float) -> None:
    """Every reading of the wall clock is off by this much; timers count on another clock."""
    right = time.time
    time.time = lambda: right() + seconds


def slow_sync(milliseconds: float) -> None:
    sync = os.fdatasync

    def slow(handle: int) -> None:
        time.sleep(milliseconds / 1000)
        sync(handle)

    os.fdatasync = slow


def failing_sync(number: int) -> None:
    """The disk refuses the `number`-th sync and all after it."""
    sync, done = os.fdatasync, 0

    def fail(handle: int) -> None:
        nonlocal done
        done += 1
        if done >= number:
            raise OSError(errno.EIO, "the disk is gone")
        sync(handle)

    os.fdatasync = fail


def only_wires(data: Path) -> None:
    """Dial nobody but at the addresses of the configuration: what else the node learns leads around the wires."""
    from pyrsia import config
    from pyrsia.net.targets import Targets

    wires = {text.partition("@")[2] for text in config.load(data).net.peers}
    dial = Targets.dial

    def wired(self: Targets, node: bytes, address: str, for_s: float | None = None) -> None:
        if address in wires:
            dial(self, node, address, for_s)

    Targets.dial = wired


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.e2e.chaos.node")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--skew-s", type=float, default=0.0)
    parser.add_argument("--sync-ms", type=float, default=0.0)
    parser.add_argument("--fail-sync-at", type=int, default=0)
    parser.add_argument("--lie", default="")
    parser.add_argument("--far", type=int, default=0)
    told = parser.parse_args()

    from pyrsia.demo.node import die_with

    die_with(told.parent)
    if told.skew_s:
        skew(told.skew_s)
    if told.sync_ms:
        slow_sync(told.sync_ms)
    if told.fail_sync_at:
        failing_sync(told.fail_sync_at)

    from pyrsia.errors import PyrsiaError
    from pyrsia.node import service
    from pyrsia.node.sync import snapshots

    only_wires(told.data)
    if told.far:
        snapshots.Snapshots.__init__.__kwdefaults__["far_leaves"] = told.far
    if told.lie:
        from tests.e2e.chaos import lies

        service.Epochs = lies.telling(told.lie)
    try:
        sys.exit(service.main(told.data))
    except PyrsiaError as error:
        sys.exit(f"pyrsia: {error}")


if __name__ == "__main__":
    main()
