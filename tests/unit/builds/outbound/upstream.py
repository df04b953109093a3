"""A server on loopback for tests of fetches: pages by path, and a note of all that was asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11
import trio

Page = tuple[int, dict[str, str], bytes]


@dataclass
class Upstream:
    """Attributes: pages: target -> (status, headers, body). asked: (method, target, headers, body)."""

    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str, body: bytes, kind: str = "application/octet-stream") -> None:
        self.pages[path] = (200, {"content-type": kind}, body)

    def times(self, path: str) -> int:
        return sum(target == path for _, target, _, _ in self.asked)

    async def talk(self, stream: trio.abc.Stream) -> None:
        http = h11.Connection(h11.SERVER)
        try:
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(bytes(await stream.receive_some(65_536)))
                elif isinstance(event, h11.Request):
                    request, body = event, b""
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    await self._answer(http, stream, request, body)
                    http.start_next_cycle()
                else:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            return

    async def _answer(
        self, http: h11.Connection, stream: trio.abc.Stream, request: h11.Request, body: bytes
    ) -> None:
        target = request.target.decode()
        heads = {name.decode(): value.decode() for name, value in request.headers}
        self.asked.append((request.method.decode(), target, heads, body))
        status, headers, said = self.pages.get(target, (404, {}, b"none"))
        told = list(headers.items())
        if "content-length" not in headers and "transfer-encoding" not in headers:
            told.append(("content-length", str(len(said))))
        out = http.send(h11.Response(status_code=status, headers=told)) or b""
        out += http.send(h11.Data(data=said)) or b"" if said else b""
        out += http.send(h11.EndOfMessage()) or b""
        await stream.send_all(out)


@asynccontextmanager
async def serving(found: Upstream | None = None) -> AsyncIterator[Upstream]:
    """One that listens on a port of its own as long as the context lasts."""
    found = found or Upstream()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        found.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, found.talk, listeners)
        try:
            yield found
        finally:
            nursery.cancel_scope.cancel()
