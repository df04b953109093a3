"""A badge: what the log says of a package in a picture of two words, for pages elsewhere. Pure.

It speaks of the log and never of this node's policy. Its words promise no more than the log does: a build that was
reproduced came from its source, and a file that was witnessed was not rebuilt.

Everything in it is this module's own or escaped, nothing is loaded from elsewhere, and its widths come from a table, so
that the same answer is the same bytes everywhere.

Source: SVG 1.1, sections 5.4, 10; WCAG 2.2, 1.4.3 (contrast 4.5 to 1); docs/providers.md, "Badges".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import quote

from pyrsia.serve.desks.providing import Overview, VersionView
from pyrsia.units import Limit
from pyrsia.wire.text import safe

MAX_BADGE_CHARS = Limit(
    60, "of either word of a badge: a licence expression that people still read at a glance"
)

LABEL: Final = "pyrsia"
UNKNOWN: Final = "unknown"

# White text on each of them has a contrast of 4.5 or more; a test computes it.
GREY: Final = "#4d5560"
GREEN: Final = "#116329"
AMBER: Final = "#7d4e00"
RED: Final = "#a40e26"
BLUE: Final = "#0550ae"
TEXT: Final = "#ffffff"

_HEIGHT: Final = 20
_PAD: Final = 6
_ELSE: Final = 8.0  # of a character that is not in the table: capitals and signs that are wide
# Widths of Verdana at 11 px, the widest of the fonts that are named, rounded up.
_WIDTHS: Final[Mapping[str, float]] = {
    **dict.fromkeys("ijl.,:;'|!", 4.0),
    **dict.fromkeys("fIrt()[]/\\- ", 5.0),
    **dict.fromkeys("Jcksvxyz", 6.1),
    **dict.fromkeys("abdeghnopquEFLPTY0123456789*?", 7.0),
    **dict.fromkeys("ABCKRSVXZ", 7.7),
    **dict.fromkeys("DGHNOQU", 8.7),
    **dict.fromkeys("Mw+<>=~#", 9.3),
    **dict.fromkeys("Wm", 11.0),
    **dict.fromkeys("%@", 11.9),
}
_FONTS: Final = "Verdana,DejaVu Sans,Geneva,sans-serif"


@dataclass(frozen=True, slots=True)
class Badge:
    """What one says: a label, a word, and the colour behind it (one of this module's)."""

    label: str
    word: str
    colour: str


def width(text: str) -> int:
    """Pixels that `text` takes at most."""
    return int(sum(_WIDTHS.get(one, _ELSE) for one in text) + 0.999)


def draw(badge: Badge) -> bytes:
    """The badge as SVG, whatever its words are."""
    label, word = _short(badge.label), _short(badge.word)
    left, right = width(label) + 2 * _PAD, width(word) + 2 * _PAD
    told, whole = escape(f"{label}: {word}"), left + right
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{_HEIGHT}" role="img" aria-label="{told}">'
        f"<title>{told}</title>"
        f'<rect width="{left}" height="{_HEIGHT}" fill="{GREY}"/>'
        f'<rect x="{left}" width="{right}" height="{_HEIGHT}" fill="{badge.colour}"/>'
        f'<g fill="{TEXT}" text-anchor="middle" font-family="{_FONTS}" font-size="11">'
        f"{_text(label, left / 2, left)}{_text(word, left + right / 2, right)}</g></svg>\n"
    ).encode()


def _text(text: str, middle: float, room: int) -> str:
    """Told how long it is, a font that is wider is squeezed and none runs out of its field."""
    return f'<text x="{middle:g}" y="14" textLength="{room - 2 * _PAD}">{escape(text)}</text>'


def _short(text: str) -> str:
    harmless = safe(text).encode("utf-8", "replace").decode() or UNKNOWN
    most = MAX_BADGE_CHARS.value
    return harmless if len(harmless) <= most else harmless[: most - 3] + "..."


# -- what a badge says --


def _verdict(version: VersionView, _: Overview) -> tuple[str, str]:
    if version.status in ("WITHDRAWN", "DISPUTED"):
        return version.status, RED
    if version.status == "WITNESSED":
        return "WITNESSED, not rebuilt", AMBER
    agreeing = min((len(file.agreeing) for file in version.files), default=0)
    return f"{version.status} by {agreeing}" if agreeing else version.status, GREEN


def _advisories(version: VersionView, told: Overview) -> tuple[str, str]:
    if not version.advisories:
        return ("none known", GREEN) if told.whole else ("not all read yet", AMBER)
    count = len(version.advisories)
    words = f"{count} {'advisory' if count == 1 else 'advisories'}, worst {version.worst}"
    return words, AMBER if version.worst in ("none", "low") else RED


def _licence(version: VersionView, _: Overview) -> tuple[str, str]:
    said = list(dict.fromkeys(one.expression for one in version.licences if one.expression))
    if not said:
        return UNKNOWN, GREY
    return (said[0], BLUE) if len(said) == 1 else ("authors disagree", AMBER)


def _downloads(version: VersionView, told: Overview) -> tuple[str, str]:
    whole_package = told.purl == told.package
    count = told.downloads if whole_package else version.downloads
    return (UNKNOWN, GREY) if count is None else (f"{count:,} from this node", BLUE)


METRICS: Final[Mapping[str, tuple[str, Callable[[VersionView, Overview], tuple[str, str]]]]] = {
    "verdict": (LABEL, _verdict),
    "advisories": ("advisories", _advisories),
    "downloads": ("downloads", _downloads),
    "licence": ("licence", _licence),
}


def of(told: Overview, metric: str) -> Badge:
    """The badge of a version, or of the newest version of a package.

    Args:
        metric: one of `METRICS`.
    """
    label, words = METRICS[metric]
    if not told.versions:
        return Badge(label, UNKNOWN, GREY)
    return Badge(label, *words(told.versions[0], told))


def unknown(metric: str) -> Badge:
    """The badge of what the log does not know."""
    return Badge(METRICS[metric][0], UNKNOWN, GREY)


def path(purl: str) -> str:
    """Where a node has the badge of a purl, below its address: /badge/pypi/idna@3.10.svg."""
    return f"/badge/{_quoted(purl.removeprefix('pkg:'))}.svg"


def markdown(purl: str, base: str, metric: str, size: int = -1) -> str:
    """What a README has: the badge, and the page that it leads to.

    Args:
        base: a node's address as readers reach it, without a slash at its end.
        size: of the log whose word it is for ever; -1: it says what the log says when it is shown.
    """
    then = [f"as_of={size}"] if size >= 0 else []
    asked = "&".join(([] if metric == "verdict" else [f"metric={metric}"]) + then)
    badge, page = (f"?{one}" if one else "" for one in (asked, "".join(then)))
    return f"[![Pyrsia: {metric}]({base}{path(purl)}{badge})]({base}/packages/{_quoted(purl)}{page})"


def _quoted(purl: str) -> str:
    """As a part of an address, in which the percent signs of a purl are signs like others."""
    return quote(purl, safe="/:@")
