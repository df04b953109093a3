"""One question for all who ask the same: they share its answer, and it ends when nobody waits for it any more.

Each runs in a task of its own, so that no asker's leaving ends it for the others. A request that came through another
node joins only those that came the same way: two nodes that are each other's upstream would otherwise wait for each
other for ever.
"""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.units import Limit

MAX_RUNS = Limit(1_024, "different questions under way or waiting for their turn, a few KB each")

_T = TypeVar("_T")


class _Run(Generic[_T]):
    def __init__(self) -> None:
        self.done = trio.Event()
        self.scope = trio.CancelScope()
        self.waiting = 0
        self.lasting = False
        self.result: _T | None = None
        self.error: Exception | None = Unavailable("the node stops")


class Turns(Generic[_T]):
    """Runs by key. Inside `nursery`, which is there as long as the node serves."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._runs: dict[Hashable, _Run[_T]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    async def join(
        self,
        key: Hashable,
        work: Callable[[], Awaitable[_T]],
        *,
        patience_s: float = float("inf"),
        lasting: bool = False,
    ) -> _T:
        """What `work` gives, here or where somebody else asked for it already.

        Args:
            patience_s: after that, `trio.TooSlowError`; the run goes on for the others.
            lasting: it goes on also when nobody waits any more, since its result is worth having.

        Raises:
            Refusal: `busy`, and what `work` raises: everybody's.
        """
        run = self._runs.get(key)
        if run is None:
            if len(self._runs) >= MAX_RUNS.value:
                raise _too_many()
            run = self._runs[key] = _Run()
            self._nursery.start_soon(self._go, key, run, work)
        run.lasting = run.lasting or lasting
        run.waiting += 1
        try:
            with trio.fail_after(patience_s):
                await run.done.wait()
        finally:
            run.waiting -= 1
            if not run.waiting and not run.lasting:
                self._end(key, run)
        if run.error is not None:
            raise run.error.again() if isinstance(run.error, Refusal) else run.error
        return run.result  # type: ignore[return-value]  # None only where _T allows it: `work` gave it

    async def _go(self, key: Hashable, run: _Run[_T], work: Callable[[], Awaitable[_T]]) -> None:
        try:
            with run.scope:
                run.result = await work()
                run.error = None
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to who asked, not to the node
            run.error = error
        finally:
            self._end(key, run)
            run.done.set()

    def _end(self, key: Hashable, run: _Run[_T]) -> None:
        if self._runs.get(key) is run:
            del self._runs[key]  # who comes now begins anew
        run.scope.cancel()


def _too_many() -> Refusal:
    return Refusal(
        "busy",
        what=f"{MAX_RUNS.value} questions to upstream are under way already",
        who="the clients of this node",
        do="try again in a moment",
        retry_s=5,
    )
