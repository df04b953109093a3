"""Any events in any order, with any numbers: no exception, no broken promise, tables that stay small.

The account beside the swarm is kept from its effects alone: what was asked of whom, what was written, who was let go.
"""

import importlib.util
import random
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.transfer import swarm
from pyrsia.transfer.roster import MAX_KNOWN
from pyrsia.transfer.swarm import Swarm
from pyrsia.units import (
    CHUNK_BYTES,
    MAX_ASK_CHUNKS,
    MAX_CHUNKS,
    MAX_SOURCES,
    PEER_CREDIT_BYTES,
    SWARM_CREDIT_BYTES,
    NodeId,
)

sys.path.insert(0, str(Path(__file__).parent))
from simulator import Paper

assert importlib.util.find_spec("simulator")

NODES = [NodeId(bytes([number]) * 32) for number in range(1, 13)]


class Account:
    """What the swarm has promised and done so far."""

    def __init__(self, count, core):
        self.paper, self.core = Paper(count), core
        self.open, self.guilty, self.written = set(), set(), set()
        self.owed = {node: set() for node in NODES}
        self.over = False

    def take(self, effects):
        for effect in effects:
            assert not self.over
            match effect:
                case swarm.Open(node):
                    assert node not in self.open | self.guilty
                    self.open.add(node)
                    self.owed.setdefault(node, set()).clear()
                case swarm.Ask(node, chunks):
                    assert node in self.open
                    assert 1 <= len(chunks) <= MAX_ASK_CHUNKS.value
                    assert not set(chunks) & (self.owed[node] | self.written)
                    assert all(0 <= chunk < self.paper.count for chunk in chunks)
                    self.owed[node] |= set(chunks)
                case swarm.Cancel(node, chunks):
                    self.owed[node] -= set(chunks)
                case swarm.Look(node):
                    assert node in self.open
                case swarm.Write(node, index, offset, data):
                    assert node in self.open
                    assert index not in self.written
                    assert data == self.paper.data(index)
                    assert offset == self.paper.span(index)[0]
                    self.written.add(index)
                case swarm.Drop(node, why, guilty):
                    assert why
                    self.let_go(node)
                    if guilty:
                        self.guilty.add(node)
                case swarm.Done():
                    assert len(self.written) == self.paper.count
                    self.over = True
                case swarm.Failed(why, held, count):
                    assert all(reason for _, reason in why)
                    assert (held, count) == (len(self.written), self.paper.count)
                    self.over = True
        self.check()

    def let_go(self, node):
        self.open.discard(node)
        self.owed[node].clear()

    def check(self):
        assert len(self.open) <= MAX_SOURCES.value
        owed = {node: len(chunks) * CHUNK_BYTES.value for node, chunks in self.owed.items()}
        assert max(owed.values()) <= PEER_CREDIT_BYTES.value
        assert sum(owed.values()) <= SWARM_CREDIT_BYTES.value
        assert len(self.core._roster.sources) <= MAX_KNOWN.value


def event(draw, account, now):
    """One event, mostly what an honest source would cause, now and then absurd: (method, arguments)."""
    count, absurd = account.paper.count, draw.random() < 0.02
    owing = [node for node in NODES if account.owed[node]]
    node = draw.choice(owing) if owing and not absurd and draw.random() < 0.8 else draw.choice(NODES)
    owed = sorted(account.owed[node])
    everything = (1 << count) - 1
    if absurd:
        number = draw.choice([-1, count, MAX_CHUNKS.value, draw.randrange(count)])
        return draw.choice(
            [
                ("on_have", (node, draw.choice([0, count + 1]), everything)),
                ("on_have", (node, count, everything << 3)),
                ("on_chunk", (node, number, b"wrong")),
                ("on_chunk", (node, number, account.paper.data(number))),
                ("on_nak", (node, [number, number])),
                ("on_busy", (node, draw.choice([[], [number]]))),
                ("on_fault", (node, "garbage")),
                ("on_source", (node, node)),
            ]
        )
    match draw.randrange(16):
        case 0 | 1 | 2 | 3:
            return "on_have", (node, count, draw.choice([0, everything, draw.getrandbits(count), 1]))
        case 4:
            return ("on_nak", (node, owed[:1])) if owed else ("on_sought", ())
        case 5:
            return ("on_busy", (node, owed[-2:])) if owed else ("on_timer", ())
        case 6:
            return ("on_lost", (node, "vanished")) if draw.random() < 0.3 else ("on_timer", ())
        case 7 | 8:
            return "on_source", (node, draw.choice([None, *NODES]))
        case 9 | 10:
            return "on_timer", ()
        case _:
            if not owed:
                return "on_timer", ()
            chunk = draw.choice(owed)
            return "on_chunk", (node, chunk, account.paper.data(chunk))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.sampled_from([1, 2, 9, 40, 120]), reads=st.booleans())
def test_whatever_happens_in_whatever_order_every_promise_is_kept(seed, count, reads):
    draw, now = random.Random(seed), 0.0
    core = Swarm(
        Paper(count), NODES[: draw.randrange(9)], random.Random(seed + 1),
        places=(lambda: [draw.randrange(count + 1) for _ in range(draw.randrange(20))]) if reads else None,
        seeking=draw.random() < 0.5, me=draw.choice([None, NODES[0]]),
    )  # fmt: skip
    account = Account(count, core)
    account.take(core.on_start(now))
    for _ in range(300):
        now += draw.choice([0.0, 0.001, 0.001, 0.01, 0.1])
        name, args = event(draw, account, now)
        if name == "on_lost":
            account.let_go(args[0])
        if name in ("on_nak", "on_busy"):
            account.owed[args[0]] -= set(args[1])
        if name == "on_chunk":
            account.owed[args[0]].discard(args[1])
        account.take(getattr(core, name)(now, *args))
    assert core.held.bit_count() == len(account.written)
