"""Which bytes of a file a request asks for, and whether it needs any. Pure.

One range is honoured; several are answered with the whole file, which RFC 9110 section 14.2 allows and
which no package client minds. A header that is not a byte range at all is ignored, as the RFC says.

Source: RFC 9110 sections 8.8.3 (ETag), 13.1.2 (If-None-Match), 13.1.5 (If-Range), 14.1.2 (byte ranges).
"""

import re
from dataclasses import dataclass
from typing import Final

_BYTES: Final = re.compile(rb"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_ETAG: Final = re.compile(rb'[ \t]*(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)')

# A number of more digits than any file size has is simply large; int() of a megabyte of digits is slow.
_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `first` up to and without `first + count` of a file."""

    first: int
    count: int

    def content_range(self, size: int) -> bytes:
        return b"bytes %d-%d/%d" % (self.first, self.first + self.count - 1, size)


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """A byte range that lies outside the file: 416."""


def parse_range(header: bytes, size: int) -> Span | Unsatisfiable | None:
    """The span that `header` asks of a file of `size` bytes; None means the whole file."""
    match = _BYTES.fullmatch(header.strip())
    if match is None:
        return None
    first_text, last_text = match.groups()
    if not first_text:
        if not last_text:
            return None
        count = min(_number(last_text), size)  # the last N bytes
        return Span(size - count, count) if count else Unsatisfiable()
    first = _number(first_text)
    last = _number(last_text) if last_text else size - 1
    if last_text and last < first:
        return None  # not a valid range: ignored, not refused
    if first >= size:
        return Unsatisfiable()
    return Span(first, min(last, size - 1) - first + 1)


def open_ended(header: bytes) -> bool:
    """Whether `header` asks for the rest of a file, from a byte that it names: as who goes on with a download does."""
    match = _BYTES.fullmatch(header.strip())
    return match is not None and bool(match[1]) and not match[2]


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Weak comparison of a whole If-None-Match list with our strong `etag`."""
    header = if_none_match.strip()
    if header == b"*":
        return True
    position = 0
    while found := _ETAG.match(header, position):
        if found.group(1) == etag:
            return True
        position = found.end()
    return False


def _number(digits: bytes) -> int:
    return int(digits) if len(digits.lstrip(b"0")) <= _DIGITS else 10**_DIGITS
