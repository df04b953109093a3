"""A form with one file, read as it arrives: small fields first, then the file, piece by piece. No I/O.

Everything is bounded before it is kept. Fields that nobody here asks about (a README, fifty classifiers) are counted
and dropped. The grammar is python-multipart's.

Source: RFC 7578 (multipart/form-data).
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from pyrsia.errors import Refusal
from pyrsia.units import Limit

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# The library tells each wrong byte to a log; a client is told once, in its answer.
_SILENT = logging.Logger("pyrsia.silent")
_SILENT.disabled = True

PARTS = Limit(
    2_000, "a package's metadata has a field for each classifier, requirement and link: some hundred"
)
TOLD_BYTES = Limit(8 << 20, "all that is not the file; a README of some MB is the longest that indexes take")


class Form:
    """What has arrived so far.

    Attributes:
        fields: the wanted ones, the first value of each.
        filename: that the client gives its file, "" before the file's part begins.
        whole: the last boundary was seen.

    Args:
        content_type: the request's header.
        wanted: fields that are kept, and how many bytes each may have.
        file: the field that holds the file.
    """

    def __init__(self, content_type: bytes, wanted: Mapping[str, int], file: str) -> None:
        """
        Raises:
            Refusal: `bad-request`: the body is announced as no form.
        """
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise _bad("the body is not announced as multipart/form-data with a boundary")
        self.fields: dict[str, str] = {}
        self.filename = ""
        self.whole = False
        self._wanted = wanted
        self._file = file
        self._parts = 0
        self._told = 0
        self._name = ""
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._field = bytearray()
        self._in_file = False
        self._pieces: list[bytes] = []
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
            self._parser.logger = _SILENT
        except (MultipartParseError, ValueError) as error:
            raise _bad(str(error)) from None

    @property
    def begun(self) -> bool:
        """Whether the file's part has begun."""
        return bool(self.filename)

    def feed(self, data: bytes) -> bytes:
        """Take what came; bytes of the file among it.

        Raises:
            Refusal: `bad-request` for what is no form, `too-large`.
        """
        try:
            self._parser.write(data)
        except (MultipartParseError, ValueError) as error:
            raise _bad(f"the form cannot be read: {error}") from None
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found

    # -- what the parser tells --

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS.value:
            raise _large(f"the form has more than {PARTS.value} fields")
        self._name, self._disposition, self._header, self._value = "", b"", b"", b""
        self._field.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._in_file = self._name == self._file
        if self._in_file:
            if self.filename:
                raise _bad("the form has two files")
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")
            if not self.filename:
                raise _bad("the file has no name")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._pieces.append(bytes(data[start:end]))
            return
        self._told += end - start
        if self._told > TOLD_BYTES.value:
            raise _large(f"what the form says beside its file has more than {TOLD_BYTES.value} bytes")
        most = self._wanted.get(self._name)
        if most is None or self._name in self.fields:
            return
        self._field += data[start:end]
        if len(self._field) > most:
            raise _large(f"the field {self._name} has more than {most} bytes")

    def _part_end(self) -> None:
        if not self._in_file and self._name in self._wanted and self._name not in self.fields:
            if self.begun:
                raise _bad(f"the field {self._name} comes behind the file")
            try:
                self.fields[self._name] = self._field.decode("utf-8")
            except UnicodeDecodeError:
                raise _bad(f"the field {self._name} is not UTF-8") from None
        self._in_file = False

    def _end(self) -> None:
        self.whole = True


def _bad(what: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the client's upload", do="use twine or uv publish")


def _large(what: str) -> Refusal:
    return Refusal("too-large", what=what, who="the client's upload", do="say less beside the file")
