"""A heartbeat that tasks wait on: it beats when the final log has changed."""

import trio


class Pulse:
    """Counts beats; whoever waits names the beat that it has seen, so none is missed."""

    def __init__(self) -> None:
        self.beats = 0
        self._next = trio.Event()

    def beat(self) -> None:
        self.beats += 1
        self._next.set()
        self._next = trio.Event()

    async def after(self, seen: int) -> int:
        """Return the newest beat, once there is one later than `seen`."""
        while self.beats <= seen:
            await self._next.wait()
        return self.beats
