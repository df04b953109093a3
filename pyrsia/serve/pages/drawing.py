"""How a page becomes bytes: one environment of templates, one set of headers.

Everything that a template prints may come from a stranger. `safe` takes out what is hidden before the template's own
escaping makes markup of it harmless, so no template has to think of either.

Source: Content Security Policy Level 3; Jinja2, "Finalize" and "Autoescaping".
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pyrsia.serve.answers import IMMUTABLE, REVALIDATE, send_body, send_cached
from pyrsia.serve.http.connection import Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.status import GOOD
from pyrsia.wire.text import safe

HTML: Final = b"text/html; charset=utf-8"
_POLICY: Final[Header] = (
    b"content-security-policy",
    b"default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
)
_HEADERS: Final[list[Header]] = [
    _POLICY,
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_BREAK: Final = re.compile(r"(?<=[/@])(?!/)|(?<=sha256:)")
_PLAIN: Final = {  # words of the log that have a colour; any other word has none
    **dict.fromkeys(GOOD, "good"),
    "WITNESSED": "seen",
    **dict.fromkeys(("DIVERGED", "FAILED", "INSUFFICIENT", "DISPUTED", "WITHDRAWN", "denied"), "bad"),
}


def draw(template: str, **values: Any) -> bytes:
    """The page as UTF-8.

    Args:
        template: its name without the ending.
    """
    return _environment().get_template(f"{template}.html").render(values, style=style()[0]).encode("utf-8")


@cache
def style() -> tuple[str, bytes]:
    """The address of the style sheet, which changes with its bytes, and those."""
    data = resources.files(__package__).joinpath("style.css").read_bytes()
    return f"/style-{hashlib.sha256(data).hexdigest()[:12]}.css", data


async def send_style(scope: Scope, send: Send) -> None:
    address, data = style()
    etag = b'"%b"' % address.encode("ascii")
    more = [(b"x-content-type-options", b"nosniff")]
    await send_cached(
        scope, send, data, kind=b"text/css; charset=utf-8", etag=etag, caching=IMMUTABLE, more=more
    )


async def send_page(scope: Scope, send: Send, body: bytes, *, status: int = 200) -> None:
    """A page as it is now; a browser that has the same one is told so."""
    if status != 200:
        await send_body(
            send, status, body, [(b"content-type", HTML), (b"cache-control", b"no-store"), *_HEADERS]
        )
        return
    etag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")
    await send_cached(scope, send, body, kind=HTML, etag=etag, caching=REVALIDATE, more=_HEADERS)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("pyrsia.serve.pages"),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name is a bug, not an empty place
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(moment=_moment, size=_size, colour=_colour, segment=_segment, grouped=_grouped)
    made.filters.update(severity=_severity, broken=_broken, day=_day, prose=_prose)
    return made


def _harmless(value: Any) -> Any:
    return safe(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _moment(ms: int) -> Markup:
    """A time that people read and scripts too."""
    if ms <= 0:
        return Markup("never")
    try:
        when = datetime.fromtimestamp(ms / 1000, UTC)
    except (OverflowError, ValueError):  # a number of a stranger's that no calendar has
        return Markup("at no time")
    return Markup('<time datetime="{}">{}</time>').format(
        when.isoformat(timespec="milliseconds"), when.strftime("%Y-%m-%d %H:%M UTC")
    )


def _day(ms: int) -> str:
    """The day alone, as a word in a line."""
    return _moment(ms).striptags().partition(" ")[0]


def _broken(text: str) -> Markup:
    """A purl, which a line may break behind its marks rather than inside a name."""
    return Markup("<wbr>").join(map(escape, _BREAK.split(safe(text))))


def _prose(text: str, begins: bool = False) -> Markup:
    """A sentence of a refusal: what stands in backticks is code. `begins`: it has a capital at its beginning."""
    text = safe(text)
    parts = (text[:1].upper() + text[1:] if begins else text).split("`")
    if len(parts) % 2 == 0:  # one has no partner
        return escape("`".join(parts))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def _size(count: int) -> str:
    """Bytes in the largest unit that leaves a whole part."""
    amount, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def _grouped(count: int) -> str:
    return f"{count:,}"


def _colour(word: Mapping[str, str] | str) -> str:
    return _PLAIN.get(str(word).partition(":")[0], "")


def _severity(word: str) -> str:
    """Colours an advisory's severity."""
    return {"none": "good", "low": "seen", "medium": "seen"}.get(word, "bad")


def _segment(text: str) -> str:
    """Text as a part of an address."""
    return quote(text, safe="/:@")
