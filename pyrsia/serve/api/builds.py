"""The addresses of builds: order, plan, follow, cancel, read logs, send a source.

A log is read over the admin door only (socket or token): while others may still be building, its text tells what
came out here.
"""

import re
from typing import Final

import msgspec
from starlette.requests import Request

from pyrsia.serve.answers import not_found
from pyrsia.serve.api.members import decoded
from pyrsia.serve.desks.orders import BuildOrder, Cancelled, GivenSource, LogPart, Ordered
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.grants import require_admin
from pyrsia.serve.routes import TEXT, WHOLE, Param, Row, bad, number, only
from pyrsia.status import BuildStatus
from pyrsia.units import MAX_API_ROWS
from pyrsia.wire.text import NODE_ID

SOURCES: Final = "/api/v1/builds/sources"
_HEX32: Final = re.compile(r"[0-9a-f]{64}")
_LOG_QUERY: Final = (
    Param("builder", "node id of the builder; without it this node, or else the first that has a log", TEXT),
    Param("offset", "byte of the log to begin with", WHOLE),
)
_FILE_QUERY: Final = (Param("file", "its name, which ends in .tar, .tar.gz or .zip", TEXT),)


class BuildsAnswer(msgspec.Struct, frozen=True):
    builds: tuple[BuildStatus, ...]


class QueueAnswer(msgspec.Struct, frozen=True):
    """What waits on this node to be built, in its order."""

    queue: tuple[str, ...]


async def _builds(admin: Admin, _: Request) -> BuildsAnswer:
    return BuildsAnswer(tuple(await admin.builds())[: MAX_API_ROWS.value])


async def _build(admin: Admin, request: Request) -> BuildStatus:
    build = await admin.build(_request_of(request))
    if build is None:
        raise not_found("the log holds no build request with this id", do="see GET /api/v1/builds")
    return build


async def _order_build(admin: Admin, request: Request) -> Ordered:
    return await admin.desk.order(await decoded(request, BuildOrder))


async def _cancel(admin: Admin, request: Request) -> Cancelled:
    return await admin.desk.cancel(_request_of(request))


async def _prefer(admin: Admin, request: Request) -> QueueAnswer:
    admin.desk.prefer(_request_of(request))
    return QueueAnswer(tuple(admin.desk.queue()))


async def _queue(admin: Admin, _: Request) -> QueueAnswer:
    return QueueAnswer(tuple(admin.desk.queue()))


async def _log(admin: Admin, request: Request) -> LogPart:
    require_admin(request.scope)
    only(request, _LOG_QUERY)
    builder = request.query_params.get("builder", "")
    if builder and not NODE_ID.fullmatch(builder):
        raise bad("this is not a node id: 52 characters of a-z and 2-7", do="see the request's builders")
    return await admin.desk.log(_request_of(request), builder, number(request, "offset", 0))


async def _source(admin: Admin, request: Request) -> GivenSource:
    only(request, _FILE_QUERY)
    return await admin.desk.take(request.query_params.get("file", ""), request.stream())


def _request_of(request: Request) -> str:
    text: str = request.path_params["request"]
    if not _HEX32.fullmatch(text):
        raise not_found("the address ends in no id: 64 hexadecimal digits in lower case")
    return text


# What may end a plan or its request: the index, the sources, this machine, the network as it stands.
_PLANNING: Final = (
    "package-unknown", "version-unknown", "no-sdist", "unresolvable", "digest-mismatch", "too-large",
    "index-unreachable", "build-failed", "no-sandbox", "config-invalid", "too-few-builders", "conflict",
    "no-environment", "no-compiler", "not-found", "source-unreachable", "inputs-unverified",
)  # fmt: skip
# What may keep an entry out of the log.
_LOGGING: Final = ("bad-request", "forbidden", "entry-refused", "busy", "unavailable", "internal")

BUILD_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/builds", _builds, "Build requests, newest first", BuildsAnswer),
    Row("POST", "/api/v1/builds", _order_build, "Ask for a package and its closure, or plan it", Ordered,
        BuildOrder, status=202, refusals=_PLANNING + _LOGGING),
    Row("GET", "/api/v1/builds/queue", _queue, "What waits here to be built", QueueAnswer),
    Row("POST", SOURCES, _source, "Send a source archive that an order will name", GivenSource, bytes,
        query=_FILE_QUERY, status=201, refusals=("bad-request", "forbidden", "too-large", "unavailable")),
    Row("GET", "/api/v1/builds/{request}", _build, "One build request", BuildStatus, refusals=("not-found",)),
    Row("POST", "/api/v1/builds/{request}/cancel", _cancel, "End a request of this node before its draw", Cancelled,
        refusals=("not-found", *_LOGGING)),
    Row("POST", "/api/v1/builds/{request}/prefer", _prefer, "Build it before all others that wait here", QueueAnswer,
        refusals=("not-found", "forbidden")),
    Row("GET", "/api/v1/builds/{request}/log", _log, "A part of a builder's log", LogPart, query=_LOG_QUERY,
        refusals=("bad-request", "forbidden", "not-found", "not-yet", "unavailable")),
)  # fmt: skip
