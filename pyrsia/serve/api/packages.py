"""The addresses for who provides packages: all that is known about one, and a maintainer's withdrawal."""

from typing import Final

from starlette.requests import Request

from pyrsia.errors import Malformed
from pyrsia.serve.api.members import decoded
from pyrsia.serve.desks.providing import Overview, WithdrawalOrder
from pyrsia.serve.desks.views import Admin, SubmitAck
from pyrsia.serve.routes import AS_OF, TEXT, Param, Row, bad, moment, only
from pyrsia.wire import purl as purls

_QUERY: Final = (
    Param("purl", "a package, with or without its version", TEXT),
    *AS_OF,
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


async def _withdraw(admin: Admin, request: Request) -> SubmitAck:
    return await admin.withdraw(await decoded(request, WithdrawalOrder))


PACKAGE_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/packages/overview", _overview, "All that is known about a package and its versions", Overview,
        query=_QUERY, refusals=("bad-request", "package-unknown")),
    Row("POST", "/api/v1/withdrawals", _withdraw, "Carry a maintainer's withdrawal of a file to the log", SubmitAck,
        WithdrawalOrder, refusals=("bad-request", "busy", "conflict", "entry-refused", "forbidden", "unavailable")),
)  # fmt: skip
