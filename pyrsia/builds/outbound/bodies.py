"""What a request sends, in a form that leaves nothing open when the request ends early.

httpx makes a generator of a body, and nobody closes that when a call is cancelled, or the other side hangs up, while
it is written. What is no generator has no end to miss.
"""

from collections.abc import AsyncIterator

import httpx


def severable(request: httpx.Request) -> httpx.Request:
    """`request`, which was made with bytes, to be sent by an async client, cancelled at any moment, or sent again."""
    request.stream = _Body(request.content)
    return request


class _Body(httpx.AsyncByteStream):
    def __init__(self, sent: bytes) -> None:
        self._sent = sent

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._sent)


class _Once(AsyncIterator[bytes]):
    def __init__(self, sent: bytes) -> None:
        self._left: bytes | None = sent

    async def __anext__(self) -> bytes:
        sent, self._left = self._left, None
        if sent is None:
            raise StopAsyncIteration
        return sent
