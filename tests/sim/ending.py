"""Everything is healed; what must come true: L1 progress, L2 every entry, L3 one history, L5 nobody left behind."""

from typing import TYPE_CHECKING

from . import toy

if TYPE_CHECKING:
    from .world import Node, World

PATIENCE_S = 60.0
HEIGHTS = 5


def heal(world: "World") -> None:
    """Mend, restart, set clocks right, submit again what a crash may have lost, and wait until all is well.

    Raises:
        Broken: something does not come true within a minute, or histories differ.
    """
    from .world import ENTRY

    world.network.heal(world.now)
    for node in world.nodes:
        node.clock.set_right()
        if node.core is None and not node.dead:
            world._start(node)
    _renew_keys(world)
    for entry in world.expected:
        for node in world.standing():
            world.push(world.now + 0.01, ENTRY, node.place, entry)
    for i in range(4):
        world._submit(b"late %d" % i, world.now + 0.1 + 0.2 * i)
    start = max(node.app.final.height for node in world.standing())
    begun = world.now
    if not world.until(
        begun + PATIENCE_S, lambda: all(well(world, node, start) for node in world.standing())
    ):
        world.fail(f"L1/L2/L5: {PATIENCE_S:.0f} s after healing from height {start}: {state(world)}")
    world.heal_s = world.now - begun  # type: ignore[attr-defined]
    one_history(world)


def well(world: "World", node: "Node", start: int) -> bool:
    """L1, L2, L5 for one node; and who has a seat votes."""
    done = node.app.done
    return (
        node.app.final.height >= start + HEIGHTS
        and len(done) >= len(world.expected)
        and done.issuperset(world.expected)
        and node.core is not None
        and (node.core.seat is None or node.core.voting or bool(node.muted))
    )


def _renew_keys(world: "World") -> None:
    """Who was muted gets another key from the others, and votes again."""
    from .world import TURNS

    for node in world.standing():
        if node.rolled:
            world._spread(b"seats ~ %d %d #renewed" % (node.number, TURNS - 1), world.now + 0.05)


def one_history(world: "World") -> None:
    """L3: the same bytes on every disk."""
    low = min(node.app.final.height for node in world.standing())
    for height in range(1, low + 1):
        if len({node.disk.blocks[height] for node in world.standing()}) != 1:
            world.fail(f"L3: stores differ at height {height}")


def state(world: "World") -> str:
    """Where everybody stands, for a person."""
    rows = []
    for node in world.standing():
        core = node.core
        seat = core.seat if core is not None else None
        rows.append(
            f"{node.number}: height {node.app.final.height} epoch {node.epoch} view {seat.view if seat else '-'}"
            f" {'votes' if core is not None and core.voting else node.muted or 'follows'}"
            f" lacks {len(set(world.expected) - node.app.done)}"
        )
    return "; ".join(rows)


__all__ = ["heal", "one_history", "state", "toy", "well"]
