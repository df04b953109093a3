"""The form in which a page is answered: JSON or HTML, by the Accept header.

Source: PEP 691; RFC 9110 section 12.5.1.
"""

from collections.abc import Sequence
from typing import Final

from pyrsia.serve.answers import quality

JSON: Final = "application/vnd.pypi.simple.v1+json"
HTML: Final = "application/vnd.pypi.simple.v1+html"
PLAIN_HTML: Final = "text/html"

# The spellings of each form; `latest` is answered with what it means today.
_SPELLINGS: Final = {
    JSON: (JSON, "application/vnd.pypi.simple.latest+json"),
    HTML: (HTML, "application/vnd.pypi.simple.latest+html"),
    PLAIN_HTML: (PLAIN_HTML,),
}


def negotiate(accept: bytes) -> str | None:
    """The form to answer in, or None: 406. Without a wish it is text/html, as PEP 691 advises."""
    ranges = quality(accept)
    if not accept.strip():
        return PLAIN_HTML
    best: tuple[float, int, str] | None = None
    # Ties go to JSON where it was named, to HTML where anything will do.
    for preference, form in ((3, JSON), (2, HTML), (1, PLAIN_HTML)):
        q, named = _quality_of(form, ranges)
        rank = (q, preference if named else 0 - preference, form)
        if q > 0 and (best is None or rank[:2] > best[:2]):
            best = rank
    return best[2] if best else None


def _quality_of(form: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, bool]:
    """The q of `form` by its most specific range, and whether it was named. RFC 9110 section 12.5.1."""
    exact = [q for kind, q in ranges if kind in _SPELLINGS[form]]
    if exact:
        return max(exact), True
    for wildcard in (form.partition("/")[0] + "/*", "*/*"):
        found = [q for kind, q in ranges if kind == wildcard]
        if found:
            return max(found), False
    return 0.0, False
