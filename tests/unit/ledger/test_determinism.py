"""The same entries give the same state on every machine: no set or dict order takes part."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys; sys.path.insert(0, ".")
from pathlib import Path
exec(Path("tests/unit/ledger/conftest.py").read_text())
from tests.reference.ledger import World
from pyrsia.ledger import views
world = World(count=8, builders=8)
request, builders = world.drawn()
world.run(request, [(b, world.reveal(request, i % 2)) for i, b in enumerate(builders)])
print(views.state_root(world.db.get), world.chain.head().tree_root.hex())
"""


def test_hash_seeds_do_not_change_the_state():
    root = Path(__file__).parents[3]
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(said) == 1
    assert len(said.pop()) == 130
