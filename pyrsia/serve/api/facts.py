"""The rows about what is known of packages: facts by page and as they come, facts to say, audits.

Reading is open to whoever may read the node; an audit changes nothing, and is a POST only because its question is long.
"""

from typing import Final

from starlette.requests import Request

from pyrsia.serve.answers import not_found
from pyrsia.serve.api.members import decoded
from pyrsia.serve.desks.knowing import (
    NEWEST,
    OLDEST,
    AuditAnswer,
    AuditOrder,
    BlobTold,
    FactRow,
    FactsOrder,
    FactsOutcome,
    FactsTold,
    WebhooksTold,
)
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.grants import require_admin
from pyrsia.serve.http.streaming import LINES, Lines, Stored
from pyrsia.serve.http.waiting import while_there
from pyrsia.serve.routes import AS_OF, TEXT, WHOLE, Param, Row, bad, moment, number, only
from pyrsia.units import (
    MAX_API_ROWS,
    MAX_AUDIT_BYTES,
    MAX_DOCUMENT_BYTES,
    MAX_FACTS_BYTES,
    Limit,
)

BATCH: Final = "/api/v1/facts/batch"
AUDIT: Final = "/api/v1/audit"
BLOB: Final = "/api/v1/facts/blob"
# Bodies that are longer than those of other orders: where they go, and bytes.
BODIES: Final = (
    (BATCH, MAX_FACTS_BYTES.value),
    (AUDIT, MAX_AUDIT_BYTES.value),
    (BLOB, MAX_DOCUMENT_BYTES.value),
)
AUDITS_HELD = Limit(
    64,
    "questions and answers of audits in memory, 3 MiB each, however slowly they are sent and read: 192 MiB",
)
_OCTETS: Final = "application/octet-stream"
_PAGE: Final = 50  # what a screen shows

_KIND: Final = Param("kind", "of fact: advisory, vex, licence, ...", TEXT)
_QUERY: Final = (
    Param(
        "of", "package, with a version those that speak of it, or sha256:<hex>; without it of anything", TEXT
    ),
    _KIND,
    *AS_OF,
    Param("first", "leaf at which the page begins; `next` of the page before", WHOLE),
    Param("count", f"how many, at most {MAX_API_ROWS.value}", WHOLE),
    Param(
        "order",
        "without `of`: oldest or newest first; oldest where `first` is given, else newest",
        {"type": "string", "enum": [OLDEST, NEWEST]},
    ),
)
_FOLLOW: Final = (
    Param("after", "leaf behind which to begin; without it at the end of the log", WHOLE),
    _KIND,
    Param("purl", "packages; * and ? are wildcards", TEXT),
)


async def _facts_told(admin: Admin, request: Request) -> FactsTold:
    only(request, _QUERY)
    given = request.query_params
    of, kind, order = (given.get(name, "") for name in ("of", "kind", "order"))
    if order not in ("", OLDEST, NEWEST):
        raise bad("the parameter `order` is neither oldest nor newest", do="send order=newest")
    first = number(request, "first", 0) if "first" in given else None
    count = max(1, number(request, "count", _PAGE, most=MAX_API_ROWS.value))
    if not of:
        return await admin.knowledge.newest(moment(request), kind=kind, first=first, count=count, order=order)
    if order == NEWEST:
        raise bad("facts of one package are told oldest first", do="leave `order` out")
    return await admin.knowledge.facts(of, moment(request), kind=kind, first=first or 0, count=count)


async def _follow_facts(admin: Admin, request: Request) -> Lines:
    only(request, _FOLLOW)
    given = request.query_params
    after = number(request, "after", 0) if "after" in given else None
    return Lines(admin.knowledge.follow(after, given.get("kind", ""), given.get("purl", "")))


async def _say_facts(admin: Admin, request: Request) -> FactsOutcome:
    return await admin.knowledge.say(await decoded(request, FactsOrder))


async def _blob_of_fact(admin: Admin, request: Request) -> Stored:
    text: str = request.path_params["leaf"]
    leaf = int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else -1
    found = None
    if leaf >= 0:  # who leaves waits for it no more
        found = await while_there(request.receive, lambda: admin.knowledge.document(leaf))
    if found is None:
        raise not_found("no fact that names a document stands at this leaf")
    return Stored(found, _OCTETS)


async def _keep_blob(admin: Admin, request: Request) -> BlobTold:
    return await admin.knowledge.keep(request.stream())


async def _audited(admin: Admin, request: Request) -> AuditAnswer:
    order = await decoded(request, AuditOrder)
    return await while_there(request.receive, lambda: admin.knowledge.audit(order))


async def _webhooks(admin: Admin, request: Request) -> WebhooksTold:
    require_admin(request.scope)
    return admin.knowledge.webhooks()


FACT_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/facts", _facts_told, "Facts of a package or file, or the newest of all", FactsTold,
        query=_QUERY, refusals=("bad-request",)),
    Row("GET", "/api/v1/facts/follow", _follow_facts, "Facts as the log gets them, a line each", FactRow,
        query=_FOLLOW, media=LINES, refusals=("bad-request", "not-found")),
    Row("GET", "/api/v1/facts/webhooks", _webhooks, "Servers that this node tells of facts", WebhooksTold,
        refusals=("forbidden",)),
    Row("POST", BLOB, _keep_blob, "Send a document that a fact will name", BlobTold, bytes, status=201,
        refusals=("forbidden", "too-large", "unavailable")),
    Row("GET", BLOB + "/{leaf}", _blob_of_fact, "The document that the fact at a leaf names", bytes,
        media=_OCTETS, refusals=("busy", "denied", "not-found", "too-large", "unavailable")),
    Row("POST", BATCH, _say_facts, "Say facts, each at most once", FactsOutcome, FactsOrder,
        refusals=("bad-request", "forbidden", "too-large")),
    Row("POST", AUDIT, _audited, "What is known of many versions", AuditAnswer, AuditOrder,
        refusals=("bad-request", "busy", "too-large"), at_once=AUDITS_HELD),
)  # fmt: skip
