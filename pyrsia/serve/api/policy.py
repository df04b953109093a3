"""The addresses of the policy: its rules, the facts that it decides on, and its decisions. Nothing here changes it."""

import re
from typing import Final

from msgspec.structs import replace
from starlette.requests import Request

from pyrsia.errors import Malformed
from pyrsia.serve.desks.judging import (
    CheckAnswer,
    FactsAnswer,
    PackagesAnswer,
    PolicyAnswer,
    RecentAnswer,
    checked,
    judged,
)
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.routes import TEXT, WHOLE, Param, Row, bad, number, only
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import MAX_PURL_CHARS

_SHA256: Final = re.compile("[0-9a-f]{64}")
_QUERY: Final = (
    Param("purl", "a package, with or without its version", TEXT),
    Param("sha256", "or the digest of a file", TEXT),
)

_PAGE: Final = (
    Param("start", "what their versionless purls begin with", TEXT),
    Param("after", "the last one of the page before", TEXT),
)


async def _policy(admin: Admin, request: Request) -> PolicyAnswer:
    only(request, ())
    answer = admin.judge.policy()
    if request.scope.get("pyrsia.admin") or request.scope["pyrsia.peer"] == "control":
        return answer
    return replace(answer, path=answer.path.rpartition("/")[2])


async def _facts(admin: Admin, request: Request) -> FactsAnswer:
    only(request, _QUERY)
    purl, sha256 = (request.query_params.get(name, "") for name in ("purl", "sha256"))
    if bool(purl) == bool(sha256):
        raise bad(
            "the question names no package, or two", do="send ?purl=pkg:TYPE/NAME@VERSION or ?sha256=HEX"
        )
    if sha256:
        if not _SHA256.fullmatch(sha256):
            raise bad("`sha256` is not 64 hexadecimal digits in lower case", do="send ?sha256=HEX")
        return admin.judge.facts_of_bytes(sha256)
    try:
        named = str(purls.parse(purl))
    except Malformed as error:
        raise bad(f"`purl` is not a purl: {error}", do="send ?purl=pkg:TYPE/NAME@VERSION") from None
    return await admin.judge.facts(named)


async def _check(admin: Admin, request: Request) -> CheckAnswer:
    found = await _facts(admin, request)
    return checked(found.owner, [judged(one, admin.judge.decision(one)) for one in found.files])


async def _published(admin: Admin, request: Request) -> RecentAnswer:
    only(request, _RECENT)
    since_ms, first = (number(request, name, 0) for name in ("since", "first"))
    return await admin.judge.recent(since_ms, first)


async def _packages(admin: Admin, request: Request) -> PackagesAnswer:
    only(request, _PAGE)
    start, after = (request.query_params.get(name, "") for name in ("start", "after"))
    if max(len(start), len(after)) > MAX_PURL_CHARS:
        raise bad("no purl is that long", do="send ?start=pkg:TYPE/")
    return admin.judge.packages(start, after)


_RECENT: Final = (
    Param("since", "Unix time in milliseconds of the first block that counts", WHOLE),
    Param("first", "`next` of the page before", WHOLE),
)
POLICY_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/policy", _policy, "The rules by which this node gives packages to clients", PolicyAnswer,
        refusals=("bad-request",)),
    Row("GET", "/api/v1/policy/check", _check, "What they say of a package or file, with every reason", CheckAnswer,
        query=_QUERY, refusals=("bad-request",)),
    Row("GET", "/api/v1/policy/names", _packages, "The packages that the log holds, whatever policy says of them",
        PackagesAnswer, query=_PAGE, refusals=("bad-request",)),
    Row("GET", "/api/v1/policy/facts", _facts, "What they decide on, to try other rules", FactsAnswer, query=_QUERY,
        refusals=("bad-request",)),
    Row("GET", "/api/v1/policy/recent", _published, "The same of what was published since a moment, page by page",
        RecentAnswer, query=_RECENT, refusals=("bad-request",)),
)  # fmt: skip
