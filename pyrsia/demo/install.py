"""An unchanged pip, in a fresh environment, with no configuration but the index it is given."""

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 60.0  # pip starts in about a second; the rest is for a busy machine


def fresh_venv(folder: Path) -> Path:
    """A new virtual environment with pip; the path of its Python."""
    venv.create(folder, with_pip=True, clear=True)
    return folder / "bin" / "python"


def pip_install(python: Path, index: str, requirements: list[str]) -> subprocess.CompletedProcess[str]:
    """`pip install` as a stranger types it: no pip configuration, no cache, one index."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        [
            str(python), "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check",
            "--retries", "0", "--index-url", index, *requirements,
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip


def installed(python: Path) -> dict[str, str]:
    """Name -> version of what the environment holds, pip and its like left out."""
    out = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        env={"PATH": os.environ.get("PATH", ""), "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    ).stdout
    pairs = (line.partition("==") for line in out.splitlines() if "==" in line)
    return {
        name.lower().replace("_", "-"): version
        for name, _, version in pairs
        if name not in ("pip", "setuptools")
    }


def interpreter() -> str:
    return sys.executable
