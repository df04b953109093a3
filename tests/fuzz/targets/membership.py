"""Messages of membership: what is read has one form, within its bounds, and a core that gets it raises nothing."""

import math
from random import Random

from pyrsia.mesh.membership import World
from pyrsia.mesh.swim import Swim
from pyrsia.units import MAX_INCARNATION, MAX_ROWS, MAX_TOLD, NodeId
from pyrsia.wire import membership
from pyrsia.wire.membership import (
    FIRST,
    LAST,
    Ack,
    Ask,
    Nack,
    Ping,
    Relayed,
    Row,
    Statement,
    Sync,
    Tell,
    Vitals,
    Word,
)
from tests.fuzz import laws

MAX_BYTES = 2_048

ANN, BOB, EVE = (NodeId(bytes([number]) * 32) for number in (1, 2, 3))


def check(data: bytes) -> bool:
    found = laws.read(membership.decode, data)
    if found is None:
        return False
    assert membership.encode(found) == data
    told = getattr(found, "told", ())
    assert len(told) <= MAX_TOLD.value
    assert all(one.incarnation <= MAX_INCARNATION.value for one in told)
    if isinstance(found, Sync):
        assert len(found.rows) <= MAX_ROWS.value
        assert [row.node for row in found.rows] == sorted({row.node for row in found.rows})
    core = _core()
    for sender in (BOB, EVE):
        core.on_message(1.0, sender, found)
    assert core.own.incarnation <= MAX_INCARNATION.value
    assert core.wake_at < math.inf
    return True


def _core() -> Swim:
    """A node that takes every signature for good, and knows BOB only."""
    world = World(
        sign=lambda data: bytes(64),
        verify=lambda *_: True,
        reach=lambda node: True,
        listen=lambda node: -math.inf,
        ignored=lambda now, node: False,
        vitals=lambda: Vitals(0, 0, ""),
    )
    core = Swim(ANN, bytes(32), world, Random(1), now=0.0, incarnation=5)
    core.on_known(0.0, [BOB])
    return core


def seeds() -> dict[str, bytes]:
    alive = Statement(Word.ALIVE, BOB, 7, BOB, bytes(64))
    suspect = Statement(Word.SUSPECT, ANN, 5, BOB, b"\xff" * 64)
    ours = Statement(Word.LEFT, ANN, MAX_INCARNATION.value, ANN, bytes(64))
    messages = {
        "ping": Ping(1, ()),
        "ping-told": Ping(1, (alive, suspect)),
        "ack": Ack(2, Vitals(41, 3, "0.1.0"), (alive,)),
        "ask": Ask(3, BOB, ()),
        "ask-us": Ask(3, ANN, (suspect,)),
        "relayed": Relayed(4),
        "nack": Nack(5, True),
        "sync": Sync(
            FIRST, LAST, (Row(ANN, 9, Word.LEFT), Row(BOB, 0, Word.ALIVE), Row(EVE, 1, Word.SUSPECT))
        ),
        "sync-empty": Sync(BOB, BOB, ()),
        "tell": Tell((suspect, ours), (ANN, BOB), EVE),
        "tell-nothing": Tell(()),
    }
    encoded = {name: membership.encode(message) for name, message in messages.items()}
    return {
        **encoded,
        "cut": encoded["tell"][:-1],
        "beyond": encoded["ping-told"].replace(b"\0" * 7 + b"\7", b"\xff" * 8),
    }
