"""The rows about broadcasts and direct messages: say, listen, write, read, delete.

What was called out to everybody is read like the log. An inbox is its operator's: control socket or admin token, also
for reading. A reader waits in the request itself, for a while, so that nothing is kept for him between two of them.
"""

from typing import Final

from starlette.requests import Request

from pyrsia.serve.api.members import decoded
from pyrsia.serve.desks.messages import (
    MAX_WAIT_S,
    BroadcastOrder,
    Deleted,
    HeardPage,
    InboxPage,
    MessageOrder,
    SaidStatus,
    SentPage,
    SentStatus,
)
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.grants import require_admin
from pyrsia.serve.routes import TEXT, WHOLE, Param, Row, bad, number, only
from pyrsia.units import MAX_API_ROWS

_WAITING: Final = (
    Param("after", "number behind which to begin: `next` of the answer before", WHOLE),
    Param("count", "messages at most", WHOLE),
    Param("wait_s", f"seconds to wait for the first one, {MAX_WAIT_S} at most", WHOLE),
)
_HEARD_QUERY: Final = (Param("topic", "a word and a slash; without it all topics", TEXT), *_WAITING)


async def _broadcast(admin: Admin, request: Request) -> SaidStatus:
    order = await decoded(request, BroadcastOrder)
    return await admin.messages.broadcast(order.topic, order.text)


async def _heard(admin: Admin, request: Request) -> HeardPage:
    only(request, _HEARD_QUERY)
    return await admin.messages.heard(request.query_params.get("topic", ""), *_waiting(request))


async def _send(admin: Admin, request: Request) -> SentStatus:
    return await admin.messages.send(await decoded(request, MessageOrder))


async def _inbox(admin: Admin, request: Request) -> InboxPage:
    require_admin(request.scope)
    only(request, _WAITING)
    return await admin.messages.inbox(*_waiting(request))


async def _sent(admin: Admin, request: Request) -> SentPage:
    require_admin(request.scope)
    return admin.messages.sent()


async def _delete(admin: Admin, request: Request) -> Deleted:
    return await admin.messages.delete(_number(request), sent=False)


async def _delete_sent(admin: Admin, request: Request) -> Deleted:
    return await admin.messages.delete(_number(request), sent=True)


def _waiting(request: Request) -> tuple[int, int, float]:
    """after, count, seconds."""
    most = MAX_API_ROWS.value
    return (
        number(request, "after", 0),
        number(request, "count", most, most=most),
        number(request, "wait_s", 0, most=MAX_WAIT_S),
    )


def _number(request: Request) -> int:
    text: str = request.path_params["number"]
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise bad("the address ends in no number of a message", do="see GET /api/v1/messages")
    return int(text)


_DELIVERING: Final = (
    "bad-request", "busy", "conflict", "forbidden", "not-found", "too-large", "too-old", "unavailable",
)  # fmt: skip

MESH_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/broadcasts", _heard, "What was broadcast lately, or what comes next", HeardPage,
        query=_HEARD_QUERY, refusals=("bad-request",)),
    Row("POST", "/api/v1/broadcasts", _broadcast, "Say something to all nodes", SaidStatus, BroadcastOrder,
        status=201, refusals=("bad-request", "busy", "forbidden", "too-large")),
    Row("GET", "/api/v1/messages", _inbox, "The inbox, or what comes next", InboxPage, query=_WAITING,
        refusals=("bad-request", "forbidden")),
    Row("POST", "/api/v1/messages", _send, "Write to one node", SentStatus, MessageOrder, status=201,
        refusals=_DELIVERING),
    Row("POST", "/api/v1/messages/{number}/delete", _delete, "Delete a message of the inbox", Deleted,
        refusals=("bad-request", "forbidden", "not-found")),
    Row("GET", "/api/v1/messages/sent", _sent, "What this node wrote, and what became of it", SentPage,
        refusals=("forbidden",)),
    Row("POST", "/api/v1/messages/sent/{number}/delete", _delete_sent, "Forget a message that this node wrote",
        Deleted, refusals=("bad-request", "forbidden", "not-found")),
)  # fmt: skip
