"""A lock whose free turn costs no turn of the loop: most writers find nobody before them."""

import trio


class Turns:
    """`async with turns:` one at a time, in the order in which they came. Cancelled before its turn, nobody has it."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._lock.acquire_nowait()  # refused while anybody waits, so nobody is overtaken
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
