"""The JSON API under /api/v1, health, and the original's two status endpoints.

One table of routes is the whole truth: Starlette is built from it and the OpenAPI document is rendered
from it, so neither can forget an address of the other. Every handler is one call of `views.Admin`. Who
may call what was decided before (`guard`); a handler sees only requests that may pass.

Source: OpenAPI 3.1.0; the original's GET /status {peers_count, peer_id, peer_addrs} and GET /peers [ids].
"""

import re
from collections import Counter
from typing import Annotated, Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from pyrsia import __version__
from pyrsia.builds.explain.report import Explanation
from pyrsia.errors import ANSWERS, Malformed, Refusal
from pyrsia.serve.answers import not_found, send_not_allowed
from pyrsia.serve.api.builds import BUILD_ROWS
from pyrsia.serve.api.contents import CONTENT_ROWS
from pyrsia.serve.api.facts import FACT_ROWS
from pyrsia.serve.api.inspect import INSPECT_ROWS
from pyrsia.serve.api.log import LOG_ROUTES
from pyrsia.serve.api.members import MEMBER_ROWS, decoded
from pyrsia.serve.api.mesh import MESH_ROWS
from pyrsia.serve.api.nodes import NODE_ROWS
from pyrsia.serve.api.packages import PACKAGE_ROWS
from pyrsia.serve.api.policy import POLICY_ROWS
from pyrsia.serve.api.replication import REPLICATION_ROWS
from pyrsia.serve.api.search import SEARCH_ROWS
from pyrsia.serve.api.storage import STORAGE_ROWS
from pyrsia.serve.api.tokens import TOKEN_ROWS
from pyrsia.serve.desks.views import Admin, ManyAck, PackageFile, PingReply, SubmitAck, told
from pyrsia.serve.http.connection import App, Receive, Scope, Send
from pyrsia.serve.http.streaming import Lines, Stored
from pyrsia.serve.routes import JSON, TEXT, Param, Row, bad, only, refuse_then
from pyrsia.status import NodeStatus, PeerStatus, Snapshot
from pyrsia.units import MAX_ENTRY_BYTES, MAX_FACT_BYTES, MAX_SUBMIT_ENTRIES
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import MAX_PURL_CHARS
from pyrsia.wire.text import NODE_ID

_HEX32: Final = re.compile(r"[0-9a-f]{64}")
_RETRY_S: Final = 5
_NEWEST_ENTRIES: Final = 50  # what a screen shows

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class FactOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fact to put into the log under this node's name. `fields`: those that its kind has of its own."""

    kind: Text
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PURL_CHARS)]  # the ledger's bound
    text: Annotated[str, msgspec.Meta(max_length=MAX_FACT_BYTES.value)]
    fields: dict[str, Any] = {}


class PeersAnswer(msgspec.Struct, frozen=True):
    peers: tuple[PeerStatus, ...]


class OriginalStatus(msgspec.Struct, frozen=True):
    """What the original Pyrsia answered at /status."""

    peers_count: int
    peer_id: str
    peer_addrs: tuple[str, ...]


class ReadyAnswer(msgspec.Struct, frozen=True):
    ready: bool
    why_not: tuple[str, ...]


class ErrorBody(msgspec.Struct, frozen=True):
    """What was wrong, who is to blame, what to do; `retry_s` says after how many seconds there will be room."""

    code: str
    what: str
    who: str
    do: str
    retry_s: int = 0


class ErrorAnswer(msgspec.Struct, frozen=True):
    error: ErrorBody


# -- handlers --


async def _status(admin: Admin, request: Request) -> NodeStatus:
    return told(await admin.status(), request.scope)


async def _snapshot(admin: Admin, request: Request) -> Snapshot:
    node = told(await admin.status(), request.scope)
    first = max(0, node.log.size - _NEWEST_ENTRIES)
    return Snapshot(
        node=node,
        peers=tuple(await admin.peers()),
        builds=tuple(await admin.builds())[:_NEWEST_ENTRIES],
        entries=tuple(await admin.log_entries(first, _NEWEST_ENTRIES)),
    )


async def _peers(admin: Admin, _: Request) -> PeersAnswer:
    return PeersAnswer(tuple(await admin.peers()))


async def _artifact(admin: Admin, request: Request) -> dict[str, Any]:
    artifact = await admin.artifact(_hex(request, "sha256"))
    if artifact is None:
        raise not_found("the log publishes no artifact with this digest")
    return artifact


async def _explanation(admin: Admin, request: Request) -> Explanation:
    return await admin.explain(_hex(request, "request"))


async def _explanation_deep(admin: Admin, request: Request) -> Explanation:
    return await admin.explain(_hex(request, "request"), deep=True)


_PACKAGE_QUERY: Final = (Param("purl", "its purl without a version", TEXT),)


async def _package(admin: Admin, request: Request) -> tuple[PackageFile, ...]:
    only(request, _PACKAGE_QUERY)
    text = request.query_params.get("purl", "")
    try:
        package = purls.parse(text)
    except Malformed as error:
        raise bad(
            f"`purl` is not a purl: {error}", do="send ?purl=pkg:TYPE/NAME, without a version"
        ) from None
    found = tuple(await admin.package_files(str(package.versionless)))
    if not found:
        raise Refusal(
            "package-unknown",
            what=f"the log offers no file of {package.versionless}",
            who="the client's request",
            do=f"ask the network to build it: pyrsia build request {package.versionless}",
        )
    return found


async def _attestations(admin: Admin, request: Request) -> bytes:
    found = await admin.attestations(_hex(request, "sha256"))
    if not found:
        raise not_found("the log publishes no file with this digest, or nobody attests it")
    return found


_PROOF_QUERY: Final = (
    Param("purl", "under which they were published, where the same bytes are of several packages", TEXT),
)


async def _artifact_proof(admin: Admin, request: Request) -> bytes:
    only(request, _PROOF_QUERY)
    text = request.query_params.get("purl", "")
    try:
        purl = str(purls.parse(text)) if text else ""
    except Malformed as error:
        raise bad(f"`purl` is not a purl: {error}", do="send ?purl=pkg:TYPE/NAME@VERSION") from None
    proof = await admin.proof_file(_hex(request, "sha256"), purl)
    if proof is None:
        raise Refusal(
            "no-proof",
            what="there is no proof for this digest",
            who="the log, or the validators that have not cosigned it yet",
            do="check the digest; if the artifact is new, try again in a second",
        )
    return proof


async def _order_fact(admin: Admin, request: Request) -> SubmitAck:
    order = await decoded(request, FactOrder)
    return await admin.add_fact(order.kind, order.subject, order.text, order.fields)


async def _submit(admin: Admin, request: Request) -> SubmitAck:
    body = await request.body()
    if not body:
        raise bad("the body is empty", do="send one entry as canonical JSON")
    if len(body) > MAX_ENTRY_BYTES.value:
        raise Refusal(
            "too-large",
            what=f"an entry has at most {MAX_ENTRY_BYTES.value} bytes",
            who="the client's request",
            do="put free text into a blob",
        )
    return await admin.submit_entry(body)


async def _submit_many(admin: Admin, request: Request) -> ManyAck:
    """A line an entry: canonical JSON holds no line break."""
    body = await request.body()
    lines = body.removesuffix(b"\n").split(b"\n")
    if not body or len(lines) > MAX_SUBMIT_ENTRIES.value:
        raise bad(
            f"a batch has 1 to {MAX_SUBMIT_ENTRIES.value} entries, each in a line of its own",
            do="split it, and send the next when this one is answered",
        )
    return await admin.submit_entries(lines)


async def _ping(admin: Admin, request: Request) -> PingReply:
    node = request.path_params["node"]
    if not NODE_ID.fullmatch(node):
        raise bad("this is not a node id: 52 characters of a-z and 2-7", do="see GET /api/v1/peers")
    return await admin.ping(node)


async def _healthz(_: Admin, __: Request) -> ReadyAnswer:
    return ReadyAnswer(ready=True, why_not=())


async def _readyz(admin: Admin, _: Request) -> ReadyAnswer:
    why_not = tuple(await admin.ready())
    return ReadyAnswer(ready=not why_not, why_not=why_not)


async def _original_status(admin: Admin, _: Request) -> OriginalStatus:
    node = await admin.status()
    return OriginalStatus(node.peers, node.node_id, tuple(await admin.addresses()))


async def _original_peers(admin: Admin, _: Request) -> tuple[str, ...]:
    return tuple(peer.node_id for peer in await admin.peers() if peer.connected)


async def _openapi(_: Admin, __: Request) -> dict[str, Any]:
    return openapi()


_OURS: Final = "/api/v1/"  # the original's addresses take whatever they are sent
# What may keep an entry out of the log.
_LOGGING: Final = ("bad-request", "forbidden", "entry-refused", "busy", "unavailable", "internal")

ROUTES: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/status", _status, "The node at a glance", NodeStatus),
    Row("GET", "/api/v1/snapshot", _snapshot, "Everything that the dashboard shows, at once", Snapshot),
    Row("GET", "/api/v1/peers", _peers, "Every known peer", PeersAnswer),
    Row("POST", "/api/v1/peers/{node}/ping", _ping, "Ask a peer for a sign of life", PingReply,
        refusals=("bad-request", "not-found", "unavailable", "forbidden")),
    *BUILD_ROWS,
    Row("GET", "/api/v1/builds/{request}/explanation", _explanation, "Who said what, and why they differ",
        Explanation, refusals=("not-found",)),
    Row("POST", "/api/v1/builds/{request}/explanation", _explanation_deep, "The same with diffoscope's reports",
        Explanation, refusals=("not-found", "no-sandbox", "unavailable", "forbidden")),
    *LOG_ROUTES,
    *MEMBER_ROWS,
    *NODE_ROWS,
    *POLICY_ROWS,
    *TOKEN_ROWS,
    *MESH_ROWS,
    *STORAGE_ROWS,
    *REPLICATION_ROWS,
    *SEARCH_ROWS,
    *INSPECT_ROWS,
    *PACKAGE_ROWS,
    Row("GET", "/api/v1/packages", _package, "The published files of a package, of any ecosystem",
        tuple[PackageFile, ...], query=_PACKAGE_QUERY,
        refusals=("bad-request", "package-unknown")),
    Row("GET", "/api/v1/artifacts/{sha256}", _artifact, "What the log says of an artifact", dict[str, Any],
        refusals=("not-found",)),
    Row("GET", "/api/v1/artifacts/{sha256}/proof", _artifact_proof, "Its proof file", bytes,
        media="text/plain; charset=utf-8", query=_PROOF_QUERY, refusals=("no-proof", "bad-request")),
    *CONTENT_ROWS,
    Row("GET", "/api/v1/attestations/{sha256}", _attestations, "Its attestations, a DSSE envelope a line", bytes,
        media="application/jsonl", refusals=("not-found",)),
    *FACT_ROWS,
    Row("POST", "/api/v1/facts", _order_fact, "Put a fact into the log", SubmitAck, FactOrder,
        refusals=_LOGGING),
    Row("POST", "/api/v1/entries", _submit, "Submit a signed entry", SubmitAck, bytes,
        status=202, refusals=(*_LOGGING, "too-large")),
    Row("POST", "/api/v1/entries/batch", _submit_many, "Submit signed entries, a line each", ManyAck, bytes,
        refusals=("bad-request", "forbidden", "too-large")),
    Row("GET", "/api/v1/openapi.json", _openapi, "This document", dict[str, Any]),
    Row("GET", "/healthz", _healthz, "The process answers", ReadyAnswer),
    Row("GET", "/readyz", _readyz, "The node can be relied on now (else 503)", ReadyAnswer),
    Row("GET", "/status", _original_status, "As the original answered it", OriginalStatus),
    Row("GET", "/peers", _original_peers, "As the original answered it: ids of connected peers",
        tuple[str, ...]),
)  # fmt: skip


# -- the application --


def build_api(admin: Admin) -> App:
    """Starlette's router over `ROUTES`. Its middleware is left out: it would answer 500 for our refusals."""
    by_path: dict[str, dict[str, Row]] = {}
    for row in ROUTES:
        by_path.setdefault(row.path, {})[row.method] = row
    # An ASGI object, not a function: Starlette leaves methods and errors of such an endpoint alone.
    routes = [Route(path, _Endpoint(admin, rows)) for path, rows in by_path.items()]
    return Router(routes, redirect_slashes=False, default=_nowhere)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    raise not_found("there is no such address", do="see /api/v1/openapi.json")


class _Endpoint:
    """All methods of one path."""

    def __init__(self, admin: Admin, rows: dict[str, Row]) -> None:
        self._admin = admin
        self._rows = rows
        self._under_way = Counter[str]()  # by method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        row = self._rows.get("GET" if request.method == "HEAD" else request.method)
        if row is None:
            allow = [*self._rows, *(["HEAD"] if "GET" in self._rows else [])]
            await send_not_allowed(scope, send, ", ".join(allow).encode("ascii"))
            return
        if row.at_once is not None and self._under_way[row.method] >= row.at_once.value:
            raise _crowded(row.at_once.value)
        self._under_way[row.method] += 1
        try:
            await self._answer(row, request, scope, receive, send)
        finally:
            self._under_way[row.method] -= 1

    async def _answer(self, row: Row, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        if row.method == "GET" and row.path.startswith(_OURS):
            refuse_then(request.query_params, {param.name for param in row.query})
        answer = await row.handler(self._admin, request)
        if isinstance(answer, Response):  # it has a type of its own: CSV where that was asked for
            await answer(scope, receive, send)
            return
        if isinstance(answer, Lines | Stored):
            await answer.send(scope, receive, send)
            return
        body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        status = 503 if isinstance(answer, ReadyAnswer) and not answer.ready else row.status
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        response = Response(body, status_code=status, headers=headers, media_type=row.media)
        await response(scope, receive, send)


def _crowded(most: int) -> Refusal:
    return Refusal(
        "busy",
        what=f"{most} clients ask this of the node at once already",
        who="the clients of this node",
        do="ask again in a moment",
        retry_s=_RETRY_S,
    )


# -- the OpenAPI document --


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1 of `ROUTES`; schemas come from the very types that are encoded."""
    types = [kind for row in ROUTES for kind in (row.answer, row.body) if kind not in (None, bytes)]
    schemas, components = msgspec.json.schema_components(
        [*types, ErrorAnswer], ref_template="#/components/schemas/{name}"
    )
    schema_of = {str(kind): schema for kind, schema in zip([*types, ErrorAnswer], schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for row in ROUTES:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pyrsia node", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(row: Row, schema_of: dict[str, Any]) -> dict[str, Any]:
    media = row.media.partition(";")[0]
    content = {media: {"schema": {"type": "string"} if row.answer is bytes else schema_of[str(row.answer)]}}
    operation: dict[str, Any] = {
        "operationId": row.handler.__name__.strip("_"),
        "summary": row.summary,
        "parameters": [*_path_parameters(row), *_query_parameters(row)],
        "responses": {str(row.status): {"description": row.summary, "content": content}},
    }
    error = {JSON: {"schema": schema_of[str(ErrorAnswer)]}}
    # What is forbidden to some needs a token first, and so does every change.
    asks = row.method != "GET" or "forbidden" in row.refusals
    refusals = {*row.refusals, "unauthenticated"} if asks else set(row.refusals)
    for status in sorted({ANSWERS[code].http for code in refusals}):
        codes = sorted(code for code in refusals if ANSWERS[code].http == status)
        told = {"description": f"refused: {', '.join(codes)}", "content": error}
        operation["responses"][str(status)] = told
    if asks:
        operation["security"] = [{"token": []}]
    if row.body is not None:
        body = {"type": "object"} if row.body is bytes else schema_of[str(row.body)]
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    return operation


def _path_parameters(row: Row) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", row.path)
    ]


def _query_parameters(row: Row) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "in": "query", "description": one.why, "schema": one.schema} for one in row.query
    ]


# -- reading requests --


def _hex(request: Request, name: str) -> str:
    text: str = request.path_params[name]
    if not _HEX32.fullmatch(text):
        raise not_found("the address ends in no id: 64 hexadecimal digits in lower case")
    return text
