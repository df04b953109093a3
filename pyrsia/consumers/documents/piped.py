"""The records that a pipe brings: a ZIP export, one record, or one record a line.

A pipe has no size and cannot be read twice, so what it brings is kept until the command ends: in memory as far as one
record goes, behind that in a temporary file without a name. Of what has no end a bound is kept, and then it is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import SpooledTemporaryFile
from typing import IO, Final

import msgspec

from pyrsia.consumers.documents.finding import Found, archive, is_zip
from pyrsia.consumers.documents.outcome import Tally
from pyrsia.consumers.documents.reading import refused
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_IMPORTED, MAX_OSV_RECORD_BYTES, Limit

MAX_PIPED_BYTES = Limit(
    1 << 30, "on the disk of whoever imports: ten times the longest export of an ecosystem"
)
NAME: Final = "standard input"
_GZIP: Final = b"\x1f\x8b"
_PIECE_BYTES: Final = 1 << 20  # read at once


def piped(stream: IO[bytes], tally: Tally) -> Iterator[Found]:
    """Every record of a stream; what cannot be read of it goes to `tally`.

    Raises:
        Refusal: nothing comes, too much comes, or it is none of the three.
    """
    with _room() as kept:
        size = _keep(stream, kept)
        start = kept.read(4)
        kept.seek(0)
        if not start:
            raise _nothing()
        if start.startswith(_GZIP):
            raise refused(NAME, "it is packed by gzip", "unpack it on the way: `| gunzip |`")
        if is_zip(start):
            try:
                yield from archive(kept, NAME, tally)
            except Malformed as error:
                raise refused(NAME, str(error)) from None
        else:
            yield from _text(kept, size, tally)


@contextmanager
def _room() -> Iterator[IO[bytes]]:
    """Where it is kept. A disk that took not all of it says so once more when it is given back: nobody asks."""
    kept = SpooledTemporaryFile(MAX_OSV_RECORD_BYTES.value)  # noqa: SIM115 - its own end would raise
    try:
        yield kept
    finally:
        with suppress(OSError):
            kept.close()


def _keep(stream: IO[bytes], kept: IO[bytes]) -> int:
    """All that comes, to be read from its start; how many bytes came."""
    size = 0
    try:
        while piece := _next(stream):
            size += len(piece)
            if size > MAX_PIPED_BYTES.value:
                raise refused(
                    NAME, f"more than {MAX_PIPED_BYTES.value:,} bytes came", "import one ecosystem at a time"
                )
            kept.write(piece)
        kept.seek(0)  # the last of it goes to the disk only now
    except OSError as error:
        raise refused(
            NAME, f"it cannot be kept: {error.strerror}", "see the room for temporary files (`TMPDIR`)"
        ) from None
    return size


def _next(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(_PIECE_BYTES)
    except OSError as error:
        raise refused(NAME, f"it cannot be read: {error.strerror}", "see what it is led from") from None


def _text(kept: IO[bytes], size: int, tally: Tally) -> Iterator[Found]:
    """The first line tells which of both it is: of a record over several lines it is no value of its own."""
    first, number = kept.readline(MAX_OSV_RECORD_BYTES.value + 1), 1
    while first.isspace():
        if number > MAX_IMPORTED.value:
            raise _too_many_lines()
        first, number = kept.readline(MAX_OSV_RECORD_BYTES.value + 1), number + 1
    if not first:
        raise _nothing()
    is_lines = _is_value(first)
    kept.seek(0)
    if is_lines:
        yield from _lines(kept, tally)
    elif size <= MAX_OSV_RECORD_BYTES.value:
        yield Found(NAME, kept.read())
    else:
        raise refused(NAME, "it is no ZIP file, and its first line is no record")


def _is_value(line: bytes) -> bool:
    if len(line) > MAX_OSV_RECORD_BYTES.value:
        return False
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _lines(kept: IO[bytes], tally: Tally) -> Iterator[Found]:
    number = 0
    while line := kept.readline(MAX_OSV_RECORD_BYTES.value + 1):
        number += 1
        if number > MAX_IMPORTED.value:
            raise _too_many_lines()
        where = f"{NAME}, line {number}"
        if len(line) > MAX_OSV_RECORD_BYTES.value:
            tally.refuse(
                where, f"it is longer than the {MAX_OSV_RECORD_BYTES.value:,} bytes that a record may have"
            )
            while line and not line.endswith(b"\n"):
                line = kept.readline(MAX_OSV_RECORD_BYTES.value)
        elif not line.isspace():
            yield Found(where, line)


def _nothing() -> Refusal:
    return refused(NAME, "nothing came", "see what writes to it; `curl --fail` says why it got nothing")


def _too_many_lines() -> Refusal:
    return refused(NAME, f"it has more than {MAX_IMPORTED.value:,} lines", "import one ecosystem at a time")
