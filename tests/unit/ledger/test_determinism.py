"""The same entries give the same state on every machine: no set or dict order takes part."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys; sys.path.insert(0, ".")
from pathlib import Path
exec(Path("tests/unit/ledger/conftest.py").read_text())
from tests.reference.governance import Governed, member_motion, newcomer
from tests.reference.misdeeds import Misdeeds
from pyrsia.ledger import views
world = Governed(count=8, builders=8)
did = Misdeeds(world)
for at in (0, 1, 2):
    one, two, *_ = did.statements()
    world.block(world.entry(world.follower, "fault.evidence", did.pair(at, one, two)))
member = newcomer(4, ("builder", "validator"))
motion = world.propose_motion(member_motion("member.replace", node=member["node"], member=member))
world.block(*(world.approval(motion, world.nodes[at]) for at in (0, 4, 1, 2)))
assert (world.seats().epoch, len(world.seats().convicted)) == (1, 3)
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
