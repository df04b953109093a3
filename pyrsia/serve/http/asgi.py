"""The types of ASGI 3 as our applications write them, and what one server lets a stranger hold."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from pyrsia.units import (
    MAX_HTTP_BODY_BYTES,
    MAX_HTTP_CONNECTIONS,
    MAX_HTTP_CONTROL_CONNECTIONS,
    MAX_HTTP_HEAD_WAIT_S,
    MAX_HTTP_IDLE_S,
    MAX_HTTP_KEEP_ALIVE_S,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one server lets a stranger hold. `body_routes`: the first matching path prefix wins."""

    connections: int = MAX_HTTP_CONNECTIONS.value
    control_connections: int = MAX_HTTP_CONTROL_CONNECTIONS.value
    head_wait_s: float = MAX_HTTP_HEAD_WAIT_S.value
    idle_s: float = MAX_HTTP_IDLE_S.value
    keep_alive_s: float = MAX_HTTP_KEEP_ALIVE_S.value
    body_bytes: int = MAX_HTTP_BODY_BYTES.value
    body_routes: tuple[tuple[str, int], ...] = ()

    def body_limit(self, path: str) -> int:
        return next((most for prefix, most in self.body_routes if path.startswith(prefix)), self.body_bytes)
