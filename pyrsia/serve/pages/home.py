"""What the first page, the search and the node's page show."""

from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.serve.desks.knowing import NOW, AsOf
from pyrsia.serve.desks.providing import Then
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.desks.views import Admin, LogQuery, LogView, told
from pyrsia.serve.finding import Finder
from pyrsia.serve.http.connection import Scope
from pyrsia.status import decided_by
from pyrsia.units import Limit
from pyrsia.wire.purl import parse

_BUILDS: Final = Limit(20, "builds on the first page")
_FOUND: Final = Limit(100, "rows of a page of a search")
_ENTRIES: Final = Limit(20, "newest entries on the node's page")


async def home(supply: Supply, admin: Admin, url: str, scope: Scope) -> dict[str, Any]:
    """The first page."""
    return {
        "node": told(await admin.status(), scope),
        "packages": len(supply.network.packages("pkg:")),
        "builds": (await admin.builds())[: _BUILDS.value],
        "url": url,
    }


async def search(
    finder: Finder, query: str, first: int, then: Then | None = None, as_of: str = ""
) -> dict[str, Any]:
    """Packages that have each word of `query` in their names; all of them without one.

    Args:
        then: the log's packages at a moment of the past, which was written as `as_of`.

    Raises:
        Refusal: `bad-request` for a pattern that costs too much.
    """
    found = await finder.search(query, first=first, count=_FOUND.value, then=then)
    return {
        "query": found.query,
        "rows": found.packages,
        "first": first,
        "following": max(found.next, 0),
        "ask": _purl_of(found.query),
        "as_of": as_of,
        "size": found.size,
        "time_ms": found.time_ms,
    }


def _purl_of(query: str) -> str:
    """What to ask the network for, in place of a search that found nothing."""
    for text in (query, f"pkg:pypi/{query}"):
        try:
            return str(parse(text))
        except Malformed:
            continue
    return "pkg:pypi/NAME"


async def node(
    admin: Admin, log_view: LogView, scope: Scope, at: AsOf = NOW, as_of: str = ""
) -> dict[str, Any]:
    """The node, the members, and the newest checkpoint as it is signed.

    Args:
        at: of which moment the members are told, as it was written: `as_of`; all else is of now.

    Raises:
        Refusal: `bad-request`: there was no such moment.
    """
    told_members = await admin.members(at)
    status = told(await admin.status(), scope)
    checkpoint = log_view.checkpoint()
    return {
        "node": status,
        "why_not": await admin.ready(),
        "decided": decided_by(status.agreement),
        "modes": [
            (name, row.value)
            for name, rows in admin.judge.policy().rules.items()
            for row in rows
            if row.key == "mode"
        ],
        "checkpoint": checkpoint.decode("utf-8", "replace").splitlines() if checkpoint else None,
        "members": told_members.members,
        "as_of": as_of,
        "size": told_members.size,
        "time_ms": told_members.time_ms,
        "entries": (await admin.explore(LogQuery(count=_ENTRIES.value, order="newest"))).entries,
    }
