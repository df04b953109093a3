"""The rows that tell records: GET /api/v1/inspect/{artifacts|nodes|builds}, and the original's two questions.

Parameters are read strictly here; which records they mean is the inspector's (`Admin.inspecting`).

Source: docs/inspect.md, "Over HTTP"; the original: POST /inspect/docker {image, output_params{format, content{fields}},
latest}, POST /inspect/maven {gav, ...}.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pyrsia.serve.api.members import decoded
from pyrsia.serve.desks.inspecting import (
    FIELDS,
    ORIGINAL,
    InspectPage,
    InspectQuery,
    Package,
    What,
    chosen,
)
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.inspecting import csv as inspecting_csv
from pyrsia.serve.inspecting import names
from pyrsia.serve.inspecting.where import Condition, parse
from pyrsia.serve.routes import TEXT, WHOLE, Param, Row, bad, number, only
from pyrsia.units import MAX_API_ROWS, MAX_WHERE, Limit
from pyrsia.wire.text import safe

MAX_PAGES = Limit(
    50, "answers put together for one of the original's questions, which knew no pages: five seconds"
)

_COUNT: Final = 50  # what a screen shows
_MAX_TEXT: Final = 200
_BOOL: Final = {"type": "string", "enum": ["true", "false"]}
_NAMES: Final[dict[str, Callable[[str], Package]]] = {
    "image": names.image,
    "gav": names.gav,
    "pip": names.pip,
    "conan": names.conan_ref,
    "purl": names.purl,
}
_SHARED: Final = (
    Param("where", "a condition `field op value`, or a JSON list of them, which all hold; ops = != < <= > >= ~ glob",
          TEXT),
    Param("text", "text in any field, ASCII letters of either case", TEXT),
    Param("fields", "which fields, separated by commas; all without it", TEXT),
    Param("since", "block time from which on, milliseconds since 1970", WHOLE),
    Param("until", "block time up to which, that one included", WHOLE),
    Param("as_of", "as the log was when it had this size", WHOLE),
    Param("as_of_time", "as the log was with the last block of this time", WHOLE),
    Param("order", "oldest (without it) or newest first", {"type": "string", "enum": ["oldest", "newest"]}),
    Param("latest", "the newest record, with the others of its build", _BOOL),
    Param("count", f"how many, at most {MAX_API_ROWS.value}", WHOLE),
    Param("page", "`next` of the page before, with the same other parameters", TEXT),
)  # fmt: skip
_PACKAGE: Final = (
    Param("image", "an image: name, name:tag or name@sha256:...", TEXT),
    Param("gav", "group:artifact or group:artifact:version", TEXT),
    Param("pip", "name or name==version", TEXT),
    Param("conan", "name, name/version or name/version@user/channel", TEXT),
    Param("purl", "a package URL with or without a version", TEXT),
)
_QUERY: Final = (*_PACKAGE, *_SHARED)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=names.MAX_CHARS.value)]


class Content(msgspec.Struct, frozen=True):
    """Which of the thirteen fields."""

    fields: tuple[str, ...] = ()


class OutputParams(msgspec.Struct, frozen=True):
    """As the original had it; `format`: JSON or CSV."""

    format: str = "JSON"
    content: Content | None = None


class DockerLogOrder(msgspec.Struct, frozen=True):
    """The original's question about an image."""

    image: Name
    output_params: OutputParams | None = None
    latest: bool = False


class MavenLogOrder(msgspec.Struct, frozen=True):
    """The original's question about a Maven artifact."""

    gav: Name
    output_params: OutputParams | None = None
    latest: bool = False


async def _inspect_artifacts(admin: Admin, request: Request) -> dict[str, Any]:
    return await _inspect(admin, request, "artifacts", _QUERY)


async def _inspect_nodes(admin: Admin, request: Request) -> dict[str, Any]:
    return await _inspect(admin, request, "nodes", _SHARED)


async def _inspect_builds(admin: Admin, request: Request) -> dict[str, Any]:
    return await _inspect(admin, request, "builds", _QUERY)


async def _inspect(admin: Admin, request: Request, what: What, params: tuple[Param, ...]) -> dict[str, Any]:
    only(request, params)
    fields = read_fields(request.query_params.get("fields"))
    page = await admin.inspecting.inspect(read_query(request, what, fields))
    told = {name: getattr(page, name) for name in page.__struct_fields__}
    return told | {"rows": [chosen(row, fields) for row in page.rows]}


async def _docker_log(admin: Admin, request: Request) -> Response:
    order = await decoded(request, DockerLogOrder)
    return await _original(admin, names.image(order.image), order)


async def _maven_log(admin: Admin, request: Request) -> Response:
    order = await decoded(request, MavenLogOrder)
    return await _original(admin, names.gav(order.gav), order)


async def _original(admin: Admin, package: Package, order: DockerLogOrder | MavenLogOrder) -> Response:
    """All records at once, as the original told them."""
    output = order.output_params or OutputParams()
    fields = output.content.fields if output.content is not None and output.content.fields else ORIGINAL
    _check_fields(fields)
    as_csv = output.format.upper() == "CSV"
    if not as_csv and output.format.upper() != "JSON":
        raise bad(f"there is no format {safe(output.format[:40])!r}", do="send JSON or CSV")
    query = InspectQuery(
        "artifacts", package, newest=order.latest, latest=order.latest, count=MAX_API_ROWS.value,
        advisories="advisories" in fields,
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    for _ in range(MAX_PAGES.value):
        page = await admin.inspecting.inspect(query)
        rows += [chosen(row, fields) for row in page.rows]
        if not page.next or len(rows) >= MAX_API_ROWS.value or (order.latest and rows):
            break
        query = _next(query, page, MAX_API_ROWS.value - len(rows))
    body = inspecting_csv.written(rows, fields).encode() if as_csv else msgspec.json.encode(rows)
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(body, headers=headers, media_type="text/csv" if as_csv else "application/json")


def _next(query: InspectQuery, page: InspectPage, count: int) -> InspectQuery:
    told = {name: getattr(query, name) for name in query.__slots__}
    return InspectQuery(**(told | {"page": page.next, "count": count}))


INSPECT_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/inspect/artifacts", _inspect_artifacts, "Files that were added and removed", InspectPage,
        query=_QUERY, refusals=("bad-request", "not-found")),
    Row("GET", "/api/v1/inspect/nodes", _inspect_nodes, "Nodes that joined, left or changed", InspectPage,
        query=_SHARED, refusals=("bad-request", "not-found")),
    Row("GET", "/api/v1/inspect/builds", _inspect_builds, "Build requests with their verdicts", InspectPage,
        query=_QUERY, refusals=("bad-request", "not-found")),
    Row("POST", "/inspect/docker", _docker_log, "As the original answered it: the log of an image",
        tuple[dict[str, Any], ...], DockerLogOrder, refusals=("bad-request", "not-found")),
    Row("POST", "/inspect/maven", _maven_log, "As the original answered it: the log of a Maven artifact",
        tuple[dict[str, Any], ...], MavenLogOrder, refusals=("bad-request", "not-found")),
)  # fmt: skip


# -- reading parameters --


def read_query(request: Request, what: What, fields: tuple[str, ...]) -> InspectQuery:
    """
    Raises:
        Refusal: `bad-request`, with the parameter's name.
    """
    asked = request.query_params
    since_ms, until_ms, as_of, as_of_ms = (
        _absent_or(request, name) for name in ("since", "until", "as_of", "as_of_time")
    )
    if as_of is not None and as_of_ms is not None:
        raise bad("`as_of` and `as_of_time` are two ends of one log", do="send one of them")
    if since_ms is not None and until_ms is not None and since_ms > until_ms:
        raise bad("`since` lies after `until`", do="exchange them")
    order, latest = asked.get("order", "oldest"), asked.get("latest", "false")
    if order not in ("oldest", "newest") or latest not in ("true", "false"):
        raise bad(
            "`order` is oldest or newest, `latest` true or false", do="send order=newest or latest=true"
        )
    text = asked.get("text", "")
    if "text" in asked and not 1 <= len(text) <= _MAX_TEXT:
        raise bad(f"the parameter `text` has 1 to {_MAX_TEXT} characters", do="send fewer")
    return InspectQuery(
        what,
        _package(request),
        read_where(asked.get("where")),
        text,
        since_ms,
        until_ms,
        as_of,
        as_of_ms,
        newest=order == "newest" or latest == "true",
        latest=latest == "true",
        count=max(1, number(request, "count", _COUNT, most=MAX_API_ROWS.value)),
        page=asked.get("page", ""),
        advisories="advisories" in fields,
    )


def _absent_or(request: Request, name: str) -> int | None:
    found = number(request, name, -1)
    return None if found < 0 else found


def _package(request: Request) -> Package | None:
    named = [name for name in _NAMES if name in request.query_params]
    if len(named) > 1:
        raise bad(f"{' and '.join(f'`{one}`' for one in named)} name two packages", do="send one of them")
    return _NAMES[named[0]](request.query_params[named[0]]) if named else None


def read_fields(text: str | None) -> tuple[str, ...]:
    """The fields that `text` names, all without it.

    Raises:
        Refusal: `bad-request`: one of them is none.
    """
    if text is None:
        return FIELDS
    fields = tuple(dict.fromkeys(one.strip() for one in text.split(",")))
    _check_fields(fields)
    return fields


def _check_fields(fields: tuple[str, ...]) -> None:
    unknown = next((one for one in fields if one not in FIELDS), None)
    if unknown is not None:
        raise bad(f"there is no field {safe(unknown[:40])!r}", do=f"ask for some of {', '.join(FIELDS)}")


def read_where(text: str | None) -> tuple[Condition, ...]:
    """The conditions: one, or a JSON list of them.

    Raises:
        Refusal: `bad-request`.
    """
    if text is None:
        return ()
    told: list[str] = [text]
    if text.startswith("["):
        try:
            told = msgspec.json.decode(text, type=list[str])
        except (msgspec.DecodeError, RecursionError) as error:
            raise bad(
                f"the parameter `where` is no list of conditions: {error}",
                do='send where=["file ~ .whl","size > 1000"]',
            ) from None
    if len(told) > MAX_WHERE.value:
        raise bad(f"the parameter `where` has at most {MAX_WHERE.value} conditions", do="send fewer")
    return tuple(parse(one) for one in told)
