"""Which seeds a run of the tests takes: new ones for every commit, the same ones for the same commit.

`PYRSIA_SIM_FIRST` gives the first seed instead. A seed that breaks is in the failure's text, and
`make sim ARGS='--replay SEED ...'` shows it.
"""

import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def first() -> int:
    """The first fresh seed."""
    given = os.environ.get("PYRSIA_SIM_FIRST")
    if given is not None:
        return int(given)
    told = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    return int(sha256(told.stdout.encode()).hexdigest()[:7], 16)
