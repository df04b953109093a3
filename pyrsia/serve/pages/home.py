"""What the first page, the search and the node's page show."""

from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.serve.supply import Supply
from pyrsia.serve.views import Admin, LogQuery, LogView
from pyrsia.status import decided_by
from pyrsia.units import Limit
from pyrsia.wire.purl import parse

_BUILDS: Final = Limit(20, "builds on the first page")
_FOUND: Final = Limit(200, "rows of a search: who sees more writes more letters")
_ENTRIES: Final = Limit(20, "newest entries on the node's page")
_QUERY_CHARS: Final = Limit(200, "the longest names")


async def home(supply: Supply, admin: Admin, url: str) -> dict[str, Any]:
    """The first page."""
    return {
        "node": await admin.status(),
        "packages": len(supply.network.packages("pkg:")),
        "builds": (await admin.builds())[: _BUILDS.value],
        "url": url,
    }


def search(supply: Supply, query: str) -> dict[str, Any]:
    """Packages that have each word of `query` in their names; all of them without one."""
    query = query.strip()[: _QUERY_CHARS.value]
    words = query.lower().split()
    own = supply.local.packages("pkg:")
    rows = [{"purl": name, "note": "pushed to this node"} for name in own]
    rows += [{"purl": name, "note": ""} for name in supply.network.packages("pkg:") if name not in set(own)]
    found = sorted(
        (row for row in rows if all(word in row["purl"].lower() for word in words)),
        key=lambda row: (not row["purl"].lower().endswith("/" + query.lower()), row["purl"]),
    )
    return {
        "query": query,
        "rows": found[: _FOUND.value],
        "more": len(found) > _FOUND.value,
        "ask": _purl_of(query),
    }


def _purl_of(query: str) -> str:
    """What to ask the network for, in place of a search that found nothing."""
    for text in (query, f"pkg:pypi/{query}"):
        try:
            return str(parse(text))
        except Malformed:
            continue
    return "pkg:pypi/NAME"


async def node(admin: Admin, log_view: LogView) -> dict[str, Any]:
    """The node, the members, and the newest checkpoint as it is signed."""
    status = await admin.status()
    checkpoint = log_view.checkpoint()
    return {
        "node": status,
        "why_not": await admin.ready(),
        "decided": decided_by(status.agreement),
        "modes": (),
        "checkpoint": checkpoint.decode("utf-8", "replace").splitlines() if checkpoint else None,
        "members": (await admin.members()).members,
        "entries": (await admin.explore(LogQuery(count=_ENTRIES.value, order="newest"))).entries,
    }
