"""The row about finding packages by their names."""

from typing import Final

from starlette.requests import Request

from pyrsia.serve.desks.knowing import NOW
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.finding import ECOSYSTEMS, Finder, Search
from pyrsia.serve.routes import AS_OF, TEXT, WHOLE, Param, Row, moment, number, only
from pyrsia.units import MAX_SEARCH_CHARS, MAX_SEARCH_ROWS

SCOPE: Final = "pyrsia.finder"  # where a request carries the node's `Finder`
_QUERY: Final = (
    Param(
        "q", f"words of the name, at most {MAX_SEARCH_CHARS.value} characters; all packages without it", TEXT
    ),
    Param("ecosystem", "packages of this one alone", {"type": "string", "enum": list(ECOSYSTEMS)}),
    Param("first", "packages to pass over", WHOLE),
    Param("count", f"at most {MAX_SEARCH_ROWS.value}", WHOLE),
    *AS_OF,
)


async def _search(admin: Admin, request: Request) -> Search:
    only(request, _QUERY)
    finder: Finder = request.scope[SCOPE]
    asked, at = request.query_params, moment(request)
    return await finder.search(
        asked.get("q", ""),
        ecosystem=asked.get("ecosystem", ""),
        first=number(request, "first", 0),
        count=number(request, "count", 50, most=MAX_SEARCH_ROWS.value),
        then=None if at == NOW else await admin.provider.then(at),
    )


SEARCH_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/search", _search, "Packages of every ecosystem by their names", Search, query=_QUERY,
        refusals=("bad-request",)),
)  # fmt: skip
