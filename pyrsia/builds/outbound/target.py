"""What a program inside may ask of the recording proxy: the one form of a request's target.

One path has one spelling: what is written in two ways, leads upwards, or means something else to another reader is
refused here, before anything is fetched.

Source: docs/sources.md, "The recording proxy"; RFC 3986 section 2 and 3.3.
"""

import re
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import Limit

MAX_TARGET: Final = Limit(
    2_000, "the longest path of a repository seen has 300 characters; queries are shorter"
)

_NAME: Final = re.compile("[a-z0-9][a-z0-9-]{0,30}")
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")
_QUERY: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = re.compile("[A-Za-z0-9._~-]")
_TRICKS: Final = frozenset("/\\%?#.\x7f") | {chr(code) for code in range(32)}


@dataclass(frozen=True, slots=True)
class Target:
    """A remote and a path on it: below its base URL, without a slash in front, with the query if there is one."""

    remote: str
    path: str


def remote_name(text: str) -> str:
    """`text` as the name of a remote.

    Raises:
        ValueError: it is not 1 to 31 characters of a-z, 0-9 and `-`; the caller has a bug.
    """
    if _NAME.fullmatch(text) is None:
        raise ValueError(f"{text!r} cannot name a remote")
    return text


def parse(raw: bytes) -> Target:
    """The target of a request line.

    Raises:
        Malformed: with one plain sentence for whoever wrote the build.
    """
    if len(raw) > MAX_TARGET.value:
        raise Malformed(f"a target has at most {MAX_TARGET.value} characters")
    if not raw.startswith(b"/"):
        raise Malformed("this is no open proxy: a target is /REMOTE/PATH, without a scheme or a host")
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("a target is ASCII") from None
    path, mark, query = text[1:].partition("?")
    name, slash, rest = path.partition("/")
    if _NAME.fullmatch(name) is None or not slash:
        raise Malformed("a target is /REMOTE/PATH, and REMOTE is a name that this planning was given")
    segments = rest.split("/")
    if segments[-1] == "":
        segments.pop()  # a folder's page
    if not segments:
        raise Malformed("a target names something on its remote")
    plain = "/".join(map(_segment, segments)) + ("/" if rest.endswith("/") else "")
    if _QUERY.fullmatch(query) is None:
        raise Malformed("a query has a character that no URL has")
    return Target(name, f"{plain}?{_ESCAPE.sub(_upper, query)}" if mark else plain)


def _segment(text: str) -> str:
    if _SEGMENT.fullmatch(text) is None:
        raise Malformed("a path has an empty part, or a character that no path of a URL has")
    if text in (".", ".."):
        raise Malformed("a path leads nowhere but down")
    return _ESCAPE.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    """The one spelling of an escape: none where it is not needed."""
    char = chr(int(match[1], 16))
    if char in _TRICKS:
        raise Malformed("a path hides a character behind a percent sign that would lead elsewhere")
    return char if _UNRESERVED.fullmatch(char) else f"%{match[1].upper()}"


def _upper(match: re.Match[str]) -> str:
    return match[0].upper()
