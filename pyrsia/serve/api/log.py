"""The rows under /api/v1/log/: head, entries by page and by filter, proofs.

Parameters are read strictly here; what they mean is the explorer's (`Admin.explore`).
"""

from collections.abc import Iterable
from typing import Final

from starlette.requests import Request

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.entries import VERDICTS
from pyrsia.ledger.matching import KINDS, PurlGlob
from pyrsia.serve.answers import not_found
from pyrsia.serve.desks.views import Admin, Inclusion, LogPage, LogQuery
from pyrsia.serve.routes import TEXT, WHOLE, Param, Row, bad, number, only
from pyrsia.status import LogStatus
from pyrsia.units import MAX_API_ROWS
from pyrsia.verify.history import Subject

_PAGE: Final = 50  # what a screen shows
_MAX_TEXT: Final = 200
_MAX_NAME: Final = 64  # of a member

_ENTRIES: Final = (
    Param("first", "leaf index at which the page begins; `next` of the page before", WHOLE),
    Param("count", f"how many, at most {MAX_API_ROWS.value}", WHOLE),
    Param(
        "order",
        "oldest or newest first; without it the newest page, told oldest first, or with filters newest first",
        {"type": "string", "enum": ["oldest", "newest"]},
    ),
    Param("type", "entry types, separated by commas", TEXT),
    Param("author", "node id, or name of a member", TEXT),
    Param("purl", "package, with or without a version; * and ? are wildcards", TEXT),
    Param("verdict", "verdicts, separated by commas", TEXT),
    Param("text", "text in the leaf or its line, ASCII letters of either case", TEXT),
    Param("since", "block time from which on, milliseconds since 1970", WHOLE),
    Param("until", "block time up to which, that one included", WHOLE),
    Param("as_of", "answer as if the log ended at this size", WHOLE),
    Param("as_of_time", "answer as if the log ended with the last block of this time", WHOLE),
)
_ABOUT: Final = (Param("of", "package (its version is ignored), or sha256:<hex>", TEXT),)
_INDEX: Final = (Param("index", "index of the leaf", WHOLE),)


async def _log_head(admin: Admin, _: Request) -> LogStatus:
    return (await admin.status()).log


async def _log_entries(admin: Admin, request: Request) -> LogPage:
    only(request, _ENTRIES)
    return await admin.explore(read_query(request))


async def _history(admin: Admin, request: Request) -> bytes:
    only(request, _ABOUT)
    text = request.query_params.get("of", "")
    try:
        subject = Subject.parse(text)
    except Malformed as error:
        raise bad(
            f"the parameter `of` names nothing that has a history: {error}",
            do="send of=pkg:pypi/name or of=sha256:<hex>",
        ) from None
    found = await admin.history(subject)
    if found is None:
        raise Refusal(
            "no-proof",
            what="no cosigned checkpoint is new enough to prove a history under",
            who="the validators that have not cosigned yet",
            do="try again in a second",
        )
    return found


async def _prove(admin: Admin, request: Request) -> Inclusion:
    index = number(request, "index", -1)
    if index < 0:
        raise bad("the parameter `index` is missing", do="send index=<leaf index>")
    proof = await admin.prove(index)
    if proof is None:
        raise not_found(f"the log has no leaf {index}", do="see GET /api/v1/log/head for its size")
    return proof


LOG_ROUTES: Final = (
    Row("GET", "/api/v1/log/head", _log_head, "Size and root of the log", LogStatus),
    Row("GET", "/api/v1/log/entries", _log_entries, "Leaves in a line each, by page and by filter", LogPage,
        query=_ENTRIES, refusals=("bad-request",)),
    Row("GET", "/api/v1/log/history", _history, "All leaves about a package or a digest, proven complete", bytes,
        query=_ABOUT, media="text/plain; charset=utf-8", refusals=("bad-request", "no-proof", "too-large", "busy")),
    Row("GET", "/api/v1/log/prove", _prove, "One leaf with its inclusion proof", Inclusion, query=_INDEX,
        refusals=("bad-request", "not-found")),
)  # fmt: skip


# -- reading parameters --


def read_query(request: Request) -> LogQuery:
    """
    Raises:
        Refusal: `bad-request`, with the parameter's name.
    """
    first, since_ms, until_ms = (_absent_or(request, name) for name in ("first", "since", "until"))
    as_of, as_of_ms = _absent_or(request, "as_of"), _absent_or(request, "as_of_time")
    if as_of is not None and as_of_ms is not None:
        raise bad("`as_of` and `as_of_time` are two ends of one log", do="send one of them")
    if as_of == 0:
        raise bad("a log of size 0 has nothing to show", do="send as_of=<size of 1 or more>")
    if since_ms is not None and until_ms is not None and since_ms > until_ms:
        raise bad("`since` lies after `until`", do="exchange them")
    return LogQuery(
        first=first,
        count=max(1, number(request, "count", _PAGE, most=MAX_API_ROWS.value)),
        order=_order(request),
        kinds=_words(request, "type", KINDS),
        author=_author(request),
        purl=_purl(request),
        verdicts=_words(request, "verdict", VERDICTS),
        text=_text(request),
        since_ms=since_ms,
        until_ms=until_ms,
        as_of=as_of,
        as_of_ms=as_of_ms,
    )


def _absent_or(request: Request, name: str) -> int | None:
    found = number(request, name, -1)
    return None if found < 0 else found


def _order(request: Request) -> str:
    order: str = request.query_params.get("order", "")
    if "order" in request.query_params and order not in ("oldest", "newest"):
        raise bad("the parameter `order` is neither oldest nor newest", do="send order=newest")
    return order


def _words(request: Request, name: str, known: Iterable[str]) -> frozenset[str]:
    text: str | None = request.query_params.get(name)
    if text is None:
        return frozenset()
    words = frozenset(text.split(","))
    if not words <= frozenset(known):
        raise bad(
            f"the parameter `{name}` holds a word that is none", do=f"use of {', '.join(sorted(known))}"
        )
    return words


def _author(request: Request) -> str:
    text: str = request.query_params.get("author", "")
    if "author" in request.query_params and not 1 <= len(text) <= _MAX_NAME:
        raise bad("the parameter `author` is no name", do="send a node id or a member's name")
    return text


def _purl(request: Request) -> PurlGlob | None:
    text = request.query_params.get("purl")
    if text is None:
        return None
    try:
        return PurlGlob.parse(text)
    except Malformed as error:
        raise bad(f"the parameter `purl` is no pattern: {error}", do="send purl=pkg:pypi/idna") from None


def _text(request: Request) -> str:
    text: str = request.query_params.get("text", "")
    if "text" in request.query_params and not 1 <= len(text) <= _MAX_TEXT:
        raise bad(f"the parameter `text` has 1 to {_MAX_TEXT} characters", do="send fewer")
    return text
