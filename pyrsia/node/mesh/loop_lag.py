"""How late this node's own loop is: a task that sleeps a moment, again and again, and looks how long it was.

What it measures is what every probe and answer suffers: hashing, a database that compacts, a machine with other things
to do. Membership takes its time by it, and answers to probes tell it.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

LOOK_S: Final = 0.25
WINDOW_S: Final = (
    5.0  # the worst of this long: one late moment must not be forgotten before the next probe fails
)


class LoopLag:
    """Of the loop that runs it.

    Args:
        told: called after each look with the worst lag of the window, in seconds.
    """

    def __init__(self, told: Callable[[float], None] = lambda worst_s: None) -> None:
        self._told = told
        self._lags: deque[float] = deque([0.0], maxlen=int(WINDOW_S / LOOK_S))

    @property
    def worst_s(self) -> float:
        return max(self._lags)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due_s = trio.current_time() + LOOK_S
            await trio.sleep(LOOK_S)
            self._lags.append(max(0.0, trio.current_time() - due_s))
            self._told(self.worst_s)
