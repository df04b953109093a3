"""Work that a client waits for, and that ends when the client leaves."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, runtime_checkable

import trio

from pyrsia.serve.http.connection import ClientGone, Receive

_T = TypeVar("_T")


@runtime_checkable
class _Open(Protocol):
    def close(self) -> None: ...


async def while_there(receive: Receive, work: Callable[[], Awaitable[_T]]) -> _T:
    """What `work` returns or raises. A body that nobody has read is read and dropped.

    What it returned and the caller does not get, since the body turned out to be none or the caller was cancelled in
    the same moment, is closed if it can be: nobody else will.

    Raises:
        ClientGone: the client left first; `work` was cancelled.
        BodyFault: the request's body is none.
    """
    done: list[_T] = []
    failed: list[Exception] = []

    async def run() -> None:
        try:
            done.append(await work())
        except Exception as error:  # noqa: BLE001 - raised again below, without the nursery's group around it
            failed.append(error)
        nursery.cancel_scope.cancel()

    async def watch() -> None:
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except Exception as error:  # noqa: BLE001 - a body that is no body, or its sender left: as above
            failed.append(error)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            nursery.start_soon(watch)
        if failed:
            raise failed[0]
        if done:
            return done.pop()
        raise ClientGone("the client left while its answer was on the way")
    finally:
        for one in done:
            if isinstance(one, _Open):
                one.close()
