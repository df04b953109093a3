"""Somebody outside with a shell of their own: own pins, own state, and `pyrsia`."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND_S = 60  # a busy machine; each takes a second


@dataclass(frozen=True, slots=True)
class Told:
    """What a command answered: its exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


@dataclass(frozen=True, slots=True)
class Person:
    """`home`: nothing of whoever runs the tests is seen there."""

    home: Path

    @property
    def pins(self) -> Path:
        return self.home / "pins"

    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYRSIA_", "XDG_"))}
        own = {"HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state")}
        return kept | own | {"PYRSIA_TRUST": str(self.pins)}

    def run(self, *arguments: object) -> Told:
        """`pyrsia` with these arguments."""
        command = [sys.executable, "-m", "pyrsia", *map(str, arguments)]
        self.home.mkdir(exist_ok=True)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_S, env=self.variables(), check=False
        )
        return Told(done.returncode, done.stdout, done.stderr)

    def begin(self, out: Path, *arguments: object) -> subprocess.Popen[bytes]:
        """`pyrsia` that goes on, what it says in `out`. Whoever began it ends it."""
        command = [sys.executable, "-m", "pyrsia", *map(str, arguments)]
        self.home.mkdir(exist_ok=True)
        with out.open("ab") as told:
            return subprocess.Popen(command, stdout=told, stderr=told, env=self.variables())
