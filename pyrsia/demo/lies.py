"""What `pyrsia verify` and its sisters must refuse: each lie is told to the real command, in a process of its own."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the command said. `body` is its JSON."""

    code: int
    body: dict[str, Any]
    text: str


def verify(file: Path, trust: Path, *extra: str, as_json: bool = True) -> Answer:
    """Run `pyrsia verify` on `file`."""
    return pyrsia("verify", str(file), "--trust", str(trust), *extra, as_json=as_json)


def pyrsia(*arguments: str, as_json: bool = True) -> Answer:
    """Run a command of ours."""
    command = [sys.executable, "-m", "pyrsia", *arguments]
    if as_json:
        command.append("--json")
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    try:
        body = json.loads(done.stdout) if as_json else {}
    except ValueError:
        body = {}
    return Answer(done.returncode, body, done.stdout + done.stderr)


def flipped_byte(wheel: Path, proof: Path, folder: Path) -> Path:
    """A copy of `wheel` with one bit of its middle byte turned, beside the true proof."""
    copy = _copy(wheel, proof, folder, wheel.name)
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    return copy


def renamed(wheel: Path, proof: Path, folder: Path) -> Path:
    """The true bytes under another package's name."""
    version = wheel.name.split("-", 1)[1]
    return _copy(wheel, proof, folder, f"requests_oauth-{version}")


def other_proof(wheel: Path, proof_of_other: Path, folder: Path) -> Path:
    """The true wheel beside the proof of another file."""
    return _copy(wheel, proof_of_other, folder, wheel.name)


def shortened(history: Path, folder: Path) -> Path:
    """A copy of a history without its last leaf."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / history.name
    copy.write_bytes(b"\n".join([*history.read_bytes().split(b"\n")[:-2], b""]))
    return copy


def _copy(wheel: Path, proof: Path, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(proof, folder / f"{name}.tlog-proof")
    shutil.copyfile(wheel, folder / name)
    return folder / name
