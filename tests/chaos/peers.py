"""Processes of `peer`, started and told by a test."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyrsia.transfer.manifest import Manifest

ROOT = Path(__file__).parents[2]


class Peer:
    """One process; its lines of JSON are read one by one."""

    def __init__(self, *arguments: str | Path, prefix: tuple[str, ...] = (), up: float = 0) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.chaos.peer", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PEER_UP": str(up)},
        )

    def line(self) -> dict[str, Any]:
        """Its next word; a process that ended without one is a failure with its exit code."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process ended: {self._process.wait()}"
        said: dict[str, Any] = json.loads(line)
        return said

    def tell(self, word: Any) -> None:
        """A line of JSON to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(word).encode() + b"\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()


@contextlib.contextmanager
def peer(*arguments: str | Path, prefix: tuple[str, ...] = (), up: float = 0) -> Iterator[Peer]:
    """A process that ends with the block. `up`: bytes a second that it may send; 0 for no limit."""
    one = Peer(*arguments, prefix=prefix, up=up)
    try:
        yield one
    finally:
        one.close()


def at(said: dict[str, Any]) -> str:
    """How a taker is told of a giver that said this."""
    return f"{said['node']}@{said['control']}"


def write_manifest(manifest: Manifest, path: Path) -> Path:
    path.write_bytes(manifest.encode())
    return path
