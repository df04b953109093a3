"""What the page of facts shows, and how a fact of any kind is told for people."""

import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from pyrsia import moments
from pyrsia.errors import Malformed
from pyrsia.ledger.bodies.facts import DIGEST, KINDS
from pyrsia.serve.desks.knowing import NEWEST, AsOf, FactRow
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.routes import MAX_NUMBER, bad
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

_ROWS: Final = Limit(50, "facts on one page; the next page is a link away")

# What is told in words of its own, or is no business of readers.
_APART: Final = frozenset(
    {"kind", "subject", "text", "valid_from", "supersedes", "withdrawn", "range", "versions"}
)
_LEAD: Final[Mapping[str, tuple[str, ...]]] = {  # what a line shows of a kind
    "advisory": ("advisory", "severity"),
    "commit-signature": ("commit", "good"),
    "description": ("tags",),
    "licence": ("expression",),
    "recheck": ("outcome",),
    "review": ("outcome", "rating"),
    "sbom": ("format", "components"),
    "vex": ("advisory", "outcome"),
}


async def facts(admin: Admin, kind: str, first: int | None, as_of: str) -> dict[str, Any]:
    """The values of the page.

    Raises:
        Refusal: `bad-request`: there is no such kind or moment.
    """
    if kind and kind not in KINDS:
        raise bad("there is no such kind of fact", do=f"choose one of {', '.join(KINDS)}")
    page = await admin.knowledge.newest(
        moment(as_of), kind=kind, first=first, count=_ROWS.value, order=NEWEST
    )
    older = {"kind": kind, "as_of": as_of or str(page.size), "first": str(page.next)}
    return {
        "kind": kind,
        "kinds": tuple(KINDS),
        "as_of": as_of,
        "size": page.size,
        "whole": page.whole,
        "rows": [_row(row) for row in page.facts],
        "older": f"/facts?{urlencode(older)}" if page.next >= 0 else "",
    }


def _row(row: FactRow) -> dict[str, Any]:
    """Of a word that takes a fact back is shown what that one said."""
    body = row.body if row.ended is None else row.ended
    return {
        "leaf": row.leaf,
        "time_ms": row.time_ms,
        "kind": row.kind,
        "lead": ", ".join(_word(body[name]) for name in _LEAD.get(row.kind, ()) if name in body),
        "by": row.author_name or row.author[:8],
        "subject": row.subject,
        "page": page_of(row.subject),
        "text": row.text or str(body.get("text", "")),
        "state": row.state,
        "ended": row.by,
        "takes_back": "withdrawn" in row.body,
        "ends": row.ends,
    }


def told(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a `fact.add` for people; of whatever shape, since it is shown before anything is believed."""
    subject = str(body.get("subject", ""))
    rows = [(name.replace("_", " "), _word(value)) for name, value in body.items() if name not in _APART]
    meant = [_span(one) for one in _several(body.get("range")) if isinstance(one, dict)]
    meant += [str(one) for one in _several(body.get("versions"))]
    valid_from = body.get("valid_from", 0)
    return {
        "kind": str(body.get("kind", "")),
        "subject": subject,
        "page": page_of(subject),
        "text": str(body.get("text", "")),
        "rows": rows,
        "versions": ", ".join(meant),
        "valid_from": valid_from if isinstance(valid_from, int) else 0,
        "supersedes": str(body.get("supersedes", "")),
        "withdrawn": "withdrawn" in body,
    }


def page_of(subject: str) -> str:
    """The page of what a fact is about; "" for a digest, and for what is no purl."""
    if subject.startswith(DIGEST):
        return ""
    try:
        return f"/packages/{quote(str(purls.parse(subject)), safe='/:@')}"
    except Malformed:
        return ""


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_word, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_word(one)}" for name, one in value.items())
    return str(value)


def _span(one: Mapping[str, Any]) -> str:
    """As people write a range: [1.0, 1.3)."""
    end = f"{one['fixed']})" if "fixed" in one else f"{one['last']}]" if "last" in one else "...)"
    return f"[{one.get('introduced', '')}, {end}"


def moment(text: str) -> AsOf:
    """What somebody wrote into the form: a size of the log or a time, as commands take them too.

    Raises:
        Refusal: `bad-request`.
    """
    text = text.strip()
    if not text:
        return AsOf()
    size = moments.size(text)
    if size is not None and size <= MAX_NUMBER:
        return AsOf(size=size)
    time_ms = moments.time_ms(text, time.time())
    if time_ms is None:
        raise bad("this is no moment", do=f"write a size of the log, or a time: {moments.HOW}")
    return AsOf(time_ms=time_ms)
