"""The addresses for who provides packages: all that is known about one, and a maintainer's withdrawal."""

from typing import Final

from starlette.requests import Request

from pyrsia.errors import Malformed
from pyrsia.serve.api.members import decoded
from pyrsia.serve.desks.knowing import AsOf
from pyrsia.serve.desks.providing import Overview, WithdrawalOrder
from pyrsia.serve.desks.views import Admin, SubmitAck
from pyrsia.serve.routes import TEXT, WHOLE, Param, Row, bad, number, only
from pyrsia.wire import purl as purls

_QUERY: Final = (
    Param("purl", "a package, with or without its version", TEXT),
    Param("as_of", "the log as it was with so many leaves", WHOLE),
    Param("as_of_time", "or at this time, in milliseconds since 1970", WHOLE),
)


async def _overview(admin: Admin, request: Request) -> Overview:
    only(request, _QUERY)
    try:
        purl = str(purls.parse(request.query_params.get("purl", "")))
    except Malformed as error:
        raise bad(
            f"`purl` is not a purl: {error}", do="send ?purl=pkg:TYPE/NAME or @VERSION behind it"
        ) from None
    return await admin.provider.overview(purl, moment(request))


def moment(request: Request) -> AsOf:
    """The moment that a request asks about.

    Raises:
        Refusal: `bad-request`: two of them, or no number.
    """
    size, time_ms = number(request, "as_of", -1), number(request, "as_of_time", -1)
    if min(size, time_ms) >= 0:
        raise bad("the question names two moments", do="send as_of or as_of_time")
    return AsOf(size if size >= 0 else None, time_ms if time_ms >= 0 else None)


async def _withdraw(admin: Admin, request: Request) -> SubmitAck:
    return await admin.withdraw(await decoded(request, WithdrawalOrder))


PACKAGE_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/packages/overview", _overview, "All that is known about a package and its versions", Overview,
        query=_QUERY, refusals=("bad-request", "package-unknown")),
    Row("POST", "/api/v1/withdrawals", _withdraw, "Carry a maintainer's withdrawal of a file to the log", SubmitAck,
        WithdrawalOrder, refusals=("bad-request", "busy", "conflict", "entry-refused", "forbidden", "unavailable")),
)  # fmt: skip
