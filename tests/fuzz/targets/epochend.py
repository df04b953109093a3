"""Steps between epochs: as they are, and with every signature taken for good.

The first byte says how many epochs are known before the step is offered, and whether signatures count.
"""

from functools import cache

from pyrsia.consensus.light import Contradiction
from pyrsia.errors import Malformed
from pyrsia.keys import verify
from pyrsia.verify.epochs import Line
from pyrsia.wire.epochs import EpochEnd, members_hash
from tests.fuzz import laws
from tests.reference.reigns import Reigns, three_epochs

MAX_BYTES = 4_096


def check(data: bytes) -> bool:
    way, step = data[:1], data[1:]
    found = laws.one_form(step, EpochEnd.decode, EpochEnd.encode)
    world = _world()
    known = (way[0] if way else 0) % 3
    believing = bool(way) and way[0] >= 128
    line = Line.of(world.genesis, world.steps[:known], verify)
    if believing:
        line = Line.of(world.genesis, world.steps[:known], lambda *_: True)
    try:
        line.take(step)
    except (Malformed, Contradiction):
        assert line.steps == world.steps[:known]
        return False
    assert found is not None
    if line.epoch > known:
        assert line.epoch == known + 1
        assert members_hash(line.validators()) == found.proof.headers[-1].next_members_hash
        assert believing or line.validators() == tuple(world.reigns[known + 1])
    return True


@cache
def _world() -> Reigns:
    return three_epochs(Reigns())


def seeds() -> dict[str, bytes]:
    first, second = _world().steps
    tailed = _world().step(0, EpochEnd.decode(first).proof.headers[-1], tails=1)
    return {
        "first": b"\0" + first,
        "second": b"\1" + second,
        "known": b"\2" + first,
        "skipped": b"\0" + second,
        "tailed": b"\0" + tailed,
        "believed": b"\x80" + first,
        "cut": b"\0" + first[:-1],
    }
