"""An unchanged pip, in a fresh environment, with no configuration but the index it is given."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.wire.purl import pypi_name

PATIENCE_S: Final = 60.0  # pip starts in about a second; the rest is for a busy machine


class FreshVenv:
    """A virtual environment with pip, made beside the story; `close` ends the making. Its folder is the caller's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._making = subprocess.Popen(
            [sys.executable, "-m", "venv", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(folder.parent)},  # what it leaves when it is ended goes with it
            start_new_session=True,  # so that all of it can be ended at once
        )

    def python(self) -> Path:
        """Its interpreter, once it is made.

        Raises:
            Refusal: `unavailable` when it could not be made.
        """
        try:
            _, said = self._making.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            said = b"it took too long"
        if self._making.returncode != 0:
            raise Refusal(
                "unavailable",
                what=f"a fresh environment for pip cannot be made: {said.decode(errors='replace')[-300:]}",
                who="this machine's Python",
                do="apt-get install python3-venv",
            )
        return self._folder / "bin" / "python"

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # ensurepip and pip are its children
            os.killpg(self._making.pid, signal.SIGKILL)
        self._making.communicate(timeout=PATIENCE_S)


def pip_install(python: Path, index: str, requirements: list[str]) -> subprocess.CompletedProcess[str]:
    """`pip install` as a stranger types it: no pip configuration, no cache, one index."""
    return _pip(python, "install", "--no-cache-dir", "--retries", "0", "--index-url", index, *requirements)


def installed(python: Path) -> dict[str, str]:
    """Name -> version of what the environment holds, pip and its like left out."""
    out = _pip(python, "list", "--format=freeze").stdout
    pairs = (line.partition("==") for line in out.splitlines() if "==" in line)
    return {pypi_name(name): version for name, _, version in pairs if name not in ("pip", "setuptools")}


def _pip(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",  # a proxy cannot reach our loopback
        "TMPDIR": str(python.parent.parent.parent),  # beside the environment, which goes as a whole
    }
    command = [str(python), "-m", "pip", *words, "--disable-pip-version-check"]
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Refusal(
            "unavailable",
            what=f"pip {words[0]} did not end within {PATIENCE_S:.0f} s",
            who="this machine, or the node that pip asked",
            do="try again when the machine is less busy",
        ) from None
