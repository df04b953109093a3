"""What the page of facts shows, and how a fact of any kind is told for people."""

import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from pyrsia import moments
from pyrsia.errors import Malformed
from pyrsia.knowledge.standing import TO_COME
from pyrsia.ledger.bodies.facts import DIGEST, KINDS
from pyrsia.serve.desks.knowing import NEWEST, AsOf, FactRow
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.routes import MAX_NUMBER, bad
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

_ROWS: Final = Limit(50, "facts on one page; the next page is a link away")

# What is told in words of its own, or is no business of readers.
_APART: Final = frozenset(
    {"kind", "subject", "text", "valid_from", "supersedes", "withdrawn", "range", "versions", "modified_ms"}
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


async def facts(admin: Admin, kind: str, first: int | None, as_of: str, of: str = "") -> dict[str, Any]:
    """The values of the page: the newest of the whole log, or those about `of`, oldest first.

    Raises:
        Refusal: `bad-request`: there is no such kind or moment, or nothing is called so.
    """
    if kind and kind not in KINDS:
        raise bad("there is no such kind of fact", do=f"choose one of {', '.join(KINDS)}")
    desk, count = admin.knowledge, _ROWS.value
    if of:
        page = await desk.facts(of, moment(as_of), kind=kind, first=first or 0, count=count)
    else:
        page = await desk.newest(moment(as_of), kind=kind, first=first, count=count, order=NEWEST)
    return {
        "kind": kind,
        "kinds": tuple(KINDS),
        "as_of": as_of,
        "size": page.size,
        "whole": page.whole,
        "of": of,
        "rows": [row(one) for one in page.facts],
        "more": address_of(of, as_of or str(page.size), page.next, kind) if page.next >= 0 else "",
    }


def address_of(of: str, as_of: str, first: int, kind: str = "") -> str:
    """Where facts go on. What is empty is left out: it is what the page does by itself."""
    query = {"of": of, "kind": kind, "as_of": as_of, "first": str(first)}
    return f"/facts?{urlencode({name: value for name, value in query.items() if value})}"


def row(one: FactRow) -> dict[str, Any]:
    """Of a word that takes a fact back is shown what that one said."""
    body = one.body if one.ended is None else one.ended
    comes = one.body.get("valid_from", 0) if one.state == TO_COME else 0
    return {
        "leaf": one.leaf,
        "time_ms": one.time_ms,
        "kind": one.kind,
        "lead": ", ".join(_field(name, body[name]) for name in _LEAD.get(one.kind, ()) if name in body),
        "versions": _meant(body),
        "by": f"{one.author_name} ({one.author[:8]})" if one.author_name else one.author[:8],
        "subject": one.subject,
        "page": page_of(one.subject),
        "text": one.text or str(body.get("text", "")),
        "state": one.state,
        "comes_ms": comes if isinstance(comes, int) else 0,
        "ended": one.by,
        "takes_back": "withdrawn" in one.body,
        "ends": one.ends,
    }


def told(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a `fact.add` for people; of whatever shape, since it is shown before anything is believed."""
    subject = str(body.get("subject", ""))
    rows = [(name.replace("_", " "), _word(value)) for name, value in body.items() if name not in _APART]
    modified = body.get("modified_ms", 0)
    valid_from = body.get("valid_from", 0)
    return {
        "kind": str(body.get("kind", "")),
        "subject": subject,
        "page": page_of(subject),
        "text": str(body.get("text", "")),
        "rows": rows,
        "versions": _meant(body),
        "modified_ms": modified if isinstance(modified, int) else 0,
        "valid_from": valid_from if isinstance(valid_from, int) else 0,
        "supersedes": str(body.get("supersedes", "")),
        "withdrawn": "withdrawn" in body,
    }


def page_of(subject: str) -> str:
    """The page of what a fact is about; "" for what is no purl and no digest."""
    if subject.startswith(DIGEST):
        return f"/facts?{urlencode({'of': subject})}"
    try:
        return f"/packages/{quote(str(purls.parse(subject)), safe='/:@')}"
    except Malformed:
        return ""


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _meant(body: Mapping[str, Any]) -> str:
    """Which versions a fact of a whole package means; "" for every one."""
    meant = [_span(one) for one in _several(body.get("range")) if isinstance(one, dict)]
    return ", ".join((*meant, *map(str, _several(body.get("versions")))))


def _field(name: str, value: Any) -> str:
    """A field that stands without its name."""
    return ("good" if value else "bad") + " signature" if name == "good" else _word(value)


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
