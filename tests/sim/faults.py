"""Every decision to hurt has a name. A run can be told which of them to leave out, and that is how it shrinks.

A decision is drawn from a generator of its own (one for each link, disk and villain), so leaving one out does not
change what the others draw: only what follows from it.
"""

from collections.abc import Callable, Collection
from typing import Any

Fault = tuple[Any, ...]  # what, and of which link, node or turn


class Faults:
    """Which decisions take effect.

    Attributes:
        fired: those that did, in order; only kept when asked for.
    """

    def __init__(self, only: Collection[Fault] | None = None, keep: bool = False) -> None:
        """`only`: no other decision takes effect."""
        self.only = None if only is None else frozenset(only)
        self.fired: list[Fault] | None = [] if keep else None

    def on(self, *fault: Any) -> bool:
        """Whether this decision takes effect."""
        if self.only is not None and fault not in self.only:
            return False
        if self.fired is not None:
            self.fired.append(fault)
        return True


def shrink(faults: list[Fault], breaks: Callable[[list[Fault]], bool], tries: int = 2_000) -> list[Fault]:
    """A small part of `faults` that still breaks the run: pieces are left out, ever smaller ones, while it does.

    First whole kinds and the end of the list, then as Zeller and Hildebrandt's delta debugging (2002), complements
    only. `tries`: bound on the runs.
    """
    left = [tries]

    def still(some: list[Fault]) -> bool:
        left[0] -= 1
        return left[0] >= 0 and breaks(some)

    if still([]):
        return []
    for kind in sorted({str(fault[0]) for fault in faults}):
        rest = [fault for fault in faults if fault[0] != kind]
        if len(rest) < len(faults) and still(rest):
            faults = rest
    while len(faults) > 1 and still(faults[: len(faults) // 2]):
        faults = faults[: len(faults) // 2]
    pieces = 2
    while len(faults) > 1 and left[0] > 0:
        size = -(-len(faults) // pieces)
        for at in range(0, len(faults), size):
            rest = faults[:at] + faults[at + size :]
            if still(rest):
                faults, pieces = rest, max(2, pieces - 1)
                break
        else:
            if size == 1:
                break
            pieces = min(len(faults), pieces * 2)
    return faults
