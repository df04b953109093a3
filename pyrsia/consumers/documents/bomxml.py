"""CycloneDX in XML, as the values that its JSON comes to; what nobody asks about is passed over while it is read.

A document type is refused, so that no entity is ever expanded and nothing is fetched; elements and depth are bounded.

Source: CycloneDX 1.6, bom-1.6.xsd; docs/knowledge.md, "Importing".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from pyrsia.consumers.documents.cyclonedx import FORMAT, About, Hash, LicenceChoice, Listed, Named
from pyrsia.consumers.documents.vulnerabilities import Affected, Analysis, VexBom, Weakness
from pyrsia.errors import Malformed
from pyrsia.units import Limit

MAX_ELEMENTS = Limit(2_000_000, "elements of one document: 32 bytes each in 64 MiB, real ones have 60")
MAX_ATTRIBUTES = Limit(
    2_000_000, "signs `=` of one document: names and values of attributes cost 200 bytes each"
)
MAX_DEPTH = Limit(500, "elements inside each other; components nest a dozen deep")

_NAMESPACE: Final = re.compile(r"http://cyclonedx\.org/schema/bom/(1\.\d{1,2})")
_ENCODINGS: Final = ("utf-8", "us-ascii", "ascii")
_COMMENTS: Final = re.compile(rb"<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)", re.DOTALL)
_ROOT: Final = re.compile(rb"<(?:[^\s<>:/!?]+:)?([^\s<>:/!?]+)")
_HEAD_BYTES: Final = 65_536  # within which the root of a document stands: licences in comments have 20 KB
_BOM: Final = b"\xef\xbb\xbf"


def root(data: bytes) -> str:
    """The name of the root of what looks like XML, without its prefix; "" for what does not."""
    head = data[:_HEAD_BYTES].removeprefix(_BOM).lstrip()
    if not head.startswith(b"<"):
        return ""
    found = _ROOT.search(_COMMENTS.sub(b"", head))
    return found[1].decode("utf-8", "replace") if found else "nothing"


@dataclass(slots=True)
class _Shape:
    """What is kept of an element.

    Attributes:
        make: its value, of the fields that it has; None for one that only holds a list of others.
        inside: what is kept of its children, each with the field that it fills.
        attributes: fields by the attributes that fill them.
        text: the field that its own text fills; "" for none.
    """

    make: Callable[..., Any] | None
    inside: "dict[str, tuple[str, _Shape]]" = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""


def _plain(said: str) -> str:
    return said


def _each(name: str, shape: _Shape) -> _Shape:
    return _Shape(None, {name: ("", shape)})


def _named(*names: str) -> "dict[str, tuple[str, _Shape]]":
    return {one: (one, _TEXT) for one in names}


_TEXT: Final = _Shape(_plain, text="said")
_LICENCES: Final = _Shape(
    None,
    {
        "license": ("", _Shape(lambda **said: LicenceChoice(license=Named(**said)), _named("id", "name"))),
        "expression": ("", _Shape(LicenceChoice, text="expression")),
    },
)
_COMPONENT: Final = _Shape(Listed, _named("name", "version", "group", "purl"), {"bom-ref": "ref"})
_COMPONENT.inside |= {
    "hashes": ("hashes", _each("hash", _Shape(Hash, attributes={"alg": "alg"}, text="content"))),
    "licenses": ("licenses", _LICENCES),
    "components": ("components", _each("component", _COMPONENT)),
}
_TARGET: Final = _Shape(
    Affected,
    {
        **_named("ref"),
        "versions": ("versions", _each("version", _Shape(dict, _named("version", "range", "status")))),
    },
)
_WEAKNESS: Final = _Shape(
    Weakness,
    {
        **_named("id", "updated"),
        "analysis": ("analysis", _Shape(Analysis, _named("state", "justification", "detail"))),
        "affects": ("affects", _each("target", _TARGET)),
    },
)
_DOCUMENT: Final = _Shape(
    VexBom,
    {
        "metadata": ("metadata", _Shape(About, {"component": ("component", _COMPONENT)})),
        "components": ("components", _each("component", _COMPONENT)),
        "vulnerabilities": ("vulnerabilities", _each("vulnerability", _WEAKNESS)),
    },
)


class _Open:
    """An element that has begun."""

    __slots__ = ("fields", "items", "line", "name", "parts", "shape")

    def __init__(self, name: str, shape: _Shape, line: int) -> None:
        """`name`: of the field of its parent that it fills."""
        self.name, self.shape, self.line = name, shape, line
        self.fields: dict[str, Any] = {}
        self.items: list[Any] = []
        self.parts: list[str] = []

    def take(self, name: str, value: Any) -> None:
        """A child's value: one of a list, or a field; a list that stands twice goes on."""
        if not name:
            self.items.append(value)
        elif isinstance(value, list):
            self.fields.setdefault(name, []).extend(value)
        else:
            self.fields[name] = value

    @property
    def value(self) -> Any:
        if self.shape.make is None:
            return self.items
        if self.shape.text:
            self.fields[self.shape.text] = "".join(self.parts).strip()
        return self.shape.make(**self.fields)


class _Reader:
    """Builds values while a document goes by. `lines`: of the first component with each purl, as it is written."""

    def __init__(self) -> None:
        self.found: VexBom | None = None
        self.lines: dict[str, int] = {}
        self._open: list[_Open] = []
        self._passed = 0  # depth inside of what is passed over
        self._count = 0
        self._space = ""
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.XmlDeclHandler = self._declaration
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def read(self, data: bytes) -> VexBom:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            raise Malformed(f"it is no XML: {error}") from None
        if self.found is None:
            raise Malformed("it holds no element")
        return self.found

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS.value:
            raise Malformed(f"it has more than {MAX_ELEMENTS.value:,} elements")
        if len(self._open) + self._passed >= MAX_DEPTH.value:
            raise Malformed(f"line {self._parser.CurrentLineNumber}: its elements nest too deeply")
        space, _, name = tag.rpartition(" ")
        if not self._open:
            self._space = _checked(space, name)
            self._push("", _DOCUMENT, attributes)
            return
        kept = self._open[-1].shape.inside.get(name) if not self._passed and space == self._space else None
        if kept is None:
            self._passed += 1
        else:
            self._push(*kept, attributes)

    def _push(self, name: str, shape: _Shape, attributes: dict[str, str]) -> None:
        made = _Open(name, shape, self._parser.CurrentLineNumber)
        made.fields |= {to: attributes[one] for one, to in shape.attributes.items() if one in attributes}
        self._open.append(made)

    def _end(self, _: str) -> None:
        if self._passed:
            self._passed -= 1
            return
        closed = self._open.pop()
        value = closed.value
        if isinstance(value, Listed) and value.purl:
            self.lines.setdefault(value.purl, closed.line)
        if self._open:
            self._open[-1].take(closed.name, value)
        else:
            value.format, value.version = FORMAT, self._space.rpartition("/")[2]
            self.found = value

    def _text(self, part: str) -> None:
        if self._open and not self._passed and self._open[-1].shape.text:
            self._open[-1].parts.append(part)

    def _doctype(self, *_: object) -> None:
        raise Malformed("it declares a document type, and CycloneDX has none: remove the DOCTYPE")

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise Malformed(f"it is in {encoding[:40]}: only UTF-8 is read")


def _checked(space: str, name: str) -> str:
    if name != "bom" or not _NAMESPACE.fullmatch(space):
        of = f" of {space[:80]}" if space else ""
        raise Malformed(
            f"its root is {name[:40]!r}{of}; CycloneDX has bom of http://cyclonedx.org/schema/bom/1.6"
        )
    return space


def read(data: bytes) -> tuple[VexBom, dict[str, int]]:
    """The document, and the line of the first component with each purl, as it is written.

    Raises:
        Malformed: it is none, or larger than its bounds.
    """
    if data.count(b"=") > MAX_ATTRIBUTES.value:
        raise Malformed(
            f"it has {data.count(b'='):,} signs `=`; {MAX_ATTRIBUTES.value:,} are read of one document"
        )
    reader = _Reader()
    return reader.read(data), reader.lines
