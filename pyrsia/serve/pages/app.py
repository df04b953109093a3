"""Which address is which page. What a page shows is decided by the module that is named like it.

/                        the node, its newest builds, how to use it
/search?q=               packages by name, now or ?as_of= a moment; &first= goes on
/packages/<purl>         versions, files, verdicts, builders, history, how to install; ?as_of= what was known then
/facts                   what was said last about packages; ?kind= of one kind, ?of= one package, version or file,
                         ?as_of= until then, &first= goes on
/badge/<purl>.svg        a badge: the purl without `pkg:`
/entries/<index>         a leaf of the log with its proof
/builds/<request>        who said what about a build; /log?builder= what a builder printed
/node                    the node and its checkpoint; its members, now or ?as_of= a moment
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from pyrsia.errors import Refusal
from pyrsia.serve.answers import header, not_found, send_not_allowed
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.desks.views import Admin, LogView
from pyrsia.serve.finding import Finder
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.pages import builds, drawing, entries, facts, home, packages
from pyrsia.serve.pages.badge import Badges
from pyrsia.serve.routes import MAX_NUMBER, bad
from pyrsia.wire.text import NODE_ID

_REQUEST: Final = re.compile("[0-9a-f]{64}")
_STYLE: Final = re.compile(r"/style-[0-9a-f]{12}\.css")
_ROOTS: Final = frozenset({"", "search", "packages", "facts", "badge", "entries", "builds", "node"})
_THEN: Final = ("search", "packages", "facts", "node")  # pages that tell of a moment of the past, too

Drawn = tuple[str, Mapping[str, Any]]  # a template and what it shows


class PagesApp:
    """The pages of one node."""

    def __init__(self, supply: Supply, admin: Admin, log_view: LogView, finder: Finder) -> None:
        self._supply = supply
        self._finder = finder
        self._admin = admin
        self._log = log_view
        self._badges = Badges(admin)

    def takes(self, path: str) -> bool:
        """Whether an address is one of a page."""
        return path.split("/", 2)[1] in _ROOTS or _STYLE.fullmatch(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_not_allowed(scope, send)
            return
        if _STYLE.fullmatch(scope["path"]):
            await drawing.send_style(scope, send)
            return
        try:
            root, _, rest = scope["path"].removeprefix("/").partition("/")
            if root == "badge":
                await self._badges.send(scope, send, rest, _query(scope))
                return
            template, values = await self._page(scope)
        except Refusal as refusal:
            body = drawing.draw("refusal", refusal=refusal)
            await drawing.send_page(scope, send, body, status=HTTPStatus(refusal.answer.http))
            return
        await drawing.send_page(scope, send, drawing.draw(template, **values))

    async def _page(self, scope: Scope) -> Drawn:
        root, _, rest = scope["path"].removeprefix("/").partition("/")
        query = _query(scope)
        as_of = query.get("as_of", "").strip()
        if as_of and root not in _THEN:
            raise bad(
                "this page tells of now alone, and takes no `as_of`",
                do=f"ask about then at /{', /'.join(_THEN)}",
            )
        match root:
            case "" if not rest:
                return "home", await home.home(self._supply, self._admin, address(scope), scope)
            case "search" if not rest:
                return "search", await self._search(query, as_of)
            case "node" if not rest:
                return "node", await home.node(self._admin, self._log, scope, facts.moment(as_of), as_of)
            case "packages" if rest:
                url = address(scope)
                return "package", await packages.package(self._supply, self._admin, rest, url, as_of)
            case "facts" if not rest:
                return "facts", await self._facts(query)
            case "entries" if _is_number(rest):
                return "entry", await entries.entry(self._admin, int(rest))
            case "builds":
                return await self._build(rest, query)
            case _:
                raise not_found("there is no such page", do="begin at /")

    async def _search(self, query: Mapping[str, str], as_of: str) -> Mapping[str, Any]:
        first = query.get("first", "0")
        if not _is_number(first):
            raise bad("a search goes on at a number", do="follow the link on its first page")
        then = await self._admin.provider.then(facts.moment(as_of)) if as_of else None
        return await home.search(self._finder, query.get("q", ""), int(first), then, as_of)

    async def _facts(self, query: Mapping[str, str]) -> Mapping[str, Any]:
        first = query.get("first", "")
        if first and not _is_number(first):
            raise bad("facts go on at a number", do="follow the link on the first page")
        return await facts.facts(
            self._admin,
            query.get("kind", ""),
            int(first) if first else None,
            query.get("as_of", ""),
            query.get("of", ""),
        )

    async def _build(self, rest: str, query: Mapping[str, str]) -> Drawn:
        request, _, part = rest.partition("/")
        if not _REQUEST.fullmatch(request) or rest not in (request, f"{request}/log"):
            raise not_found(
                "there is no such page", do="a build's page is /builds/<its 64 hexadecimal digits>"
            )
        if not part:
            return "build", await builds.build(self._admin, request)
        builder, offset = query.get("builder", ""), query.get("offset", "0")
        if not _is_number(offset) or (builder and not NODE_ID.fullmatch(builder)):
            raise bad("a log is asked for by builder and offset", do="follow the link on the build's page")
        return "log", await builds.log(self._admin, request, builder, int(offset))


def address(scope: Scope) -> str:
    """Where this client reaches the node, as it says itself; the guard has seen that the name is one of ours."""
    host = header(scope, b"host").decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}"


def _query(scope: Scope) -> dict[str, str]:
    try:
        return dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=10, encoding="utf-8"))
    except ValueError:
        raise bad("the address has too many parameters", do="leave them out") from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_NUMBER
