"""Where elements of a small XML file stand, byte by byte: an edit puts text between them and changes nothing else.

Only UTF-8 without a document type is read: entities of a stranger's are not worth their risk in a configuration file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.parsers import expat

from pyrsia.consumers.edits import broken
from pyrsia.units import Limit

MAX_DEPTH = Limit(100, "elements inside each other; a settings.xml has six")
MAX_ELEMENTS = Limit(50_000, "elements of one file; a settings.xml has some dozen")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Element:
    """One element. `start` is the offset of its `<`, `inner` that behind its start tag, `close` that of its end tag (of
    an empty one `inner`), `end` that behind all of it."""

    name: str
    start: int
    inner: int = 0
    close: int = 0
    end: int = 0
    empty: bool = False
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def child(self, name: str) -> "Element | None":
        return next((one for one in self.children if one.name == name), None)

    def all(self, *path: str) -> "list[Element]":
        """Every element at the end of this path of names."""
        found = [self]
        for name in path:
            found = [child for one in found for child in one.children if child.name == name]
        return found

    def said(self, name: str) -> str:
        """The text of the first child of that name, "" if there is none."""
        one = self.child(name)
        return one.text.strip() if one else ""


class _Reader:
    def __init__(self, data: bytes, path: Path) -> None:
        self._data, self._path = data, path
        self._open: list[Element] = []
        self._count = 0
        self.root: Element | None = None
        self._parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.XmlDeclHandler = self._declaration
        self._parser.buffer_text = True

    def read(self) -> Element:
        try:
            self._parser.Parse(self._data, True)
        except (expat.ExpatError, ValueError) as error:
            raise broken(self._path, f"it is no XML: {error}") from None
        if self.root is None:
            raise broken(self._path, "it holds no element")
        return self.root

    def _start(self, name: str, _: object) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH.value or self._count > MAX_ELEMENTS.value:
            raise broken(self._path, "it has more elements, or deeper ones, than any such file")
        at = self._parser.CurrentByteIndex
        made = Element(name.rpartition(" ")[2], at, inner=self._behind_tag(at))
        made.empty = self._data[made.inner - 2 : made.inner] == b"/>"
        if self._open:
            self._open[-1].children.append(made)
        else:
            self.root = made
        self._open.append(made)

    def _end(self, _: str) -> None:
        made = self._open.pop()
        if made.empty:
            made.close = made.end = made.inner
            return
        made.close = self._parser.CurrentByteIndex
        made.end = self._data.index(b">", made.close) + 1

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text

    def _doctype(self, *_: object) -> None:
        raise broken(self._path, "it has a document type")

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii", "ascii"):
            raise broken(self._path, "it is not in UTF-8")

    def _behind_tag(self, at: int) -> int:
        """The offset behind the `>` of the tag at `at`, which may stand in an attribute's value too."""
        quote = 0
        for offset in range(at, len(self._data)):
            byte = self._data[offset]
            if quote:
                quote = 0 if byte == quote else quote
            elif byte in b"'\"":
                quote = byte
            elif byte == ord(">"):
                return offset + 1
        return len(self._data)


def read(data: bytes, path: Path) -> Element:
    """The root element.

    Raises:
        Refusal: `config-invalid`.
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise broken(path, "it is not UTF-8 text") from None
    return _Reader(data, path).read()


def indent_of(data: bytes, at: int) -> str:
    """The white space before the element at `at` if nothing else stands in its line."""
    line = data[data.rfind(b"\n", 0, at) + 1 : at]
    return line.decode("ascii") if not line.strip(b" \t") else ""
