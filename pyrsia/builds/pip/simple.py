"""Pages of the simple repository API, JSON and HTML, as data. No I/O.

Decides what a page says. Leaves out: fetching, and which file to choose. A page is hostile input: a
broken file is left out, a broken page is `Malformed`.

Source: PEPs 503, 592, 658, 691, 700, 714.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from pyrsia.errors import Malformed
from pyrsia.wire.purl import pypi_name

JSON_TYPE: Final = "application/vnd.pypi.simple.v1+json"
ACCEPT: Final = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_HEX64: Final = re.compile(r"[0-9a-f]{64}")
_MAX_NAME: Final = 255  # the longest file name that common file systems hold
_MAX_LINK: Final = 2_000


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One file of a project.

    Attributes:
        filename: a plain name without a slash.
        url: absolute, without a fragment.
        sha256: lower-case hex, or "" when the index gives none.
        size: bytes, or -1 when the index gives none.
        upload_ms: time of upload in ms since 1970, or None.
        requires_python: the specifier, or "".
        yanked: whether installers should pass over it.
        metadata_sha256: PEP 658: digest of `url + ".metadata"`; "" when it has none; None when not offered.
        provenance: PEP 740: https address of the object that says where it came from, or "".
    """

    filename: str
    url: str
    sha256: str = ""
    size: int = -1
    upload_ms: int | None = None
    requires_python: str = ""
    yanked: bool = False
    metadata_sha256: str | None = None
    provenance: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """A project's page: its usable files as listed, and the index that has it."""

    name: str
    index: str
    files: tuple[IndexFile, ...]


def parse(body: bytes, content_type: str, url: str, name: str, index: str) -> Project:
    """Read a project page.

    Args:
        content_type: the header's value; anything that is not JSON is read as HTML.
        url: where the page came from, after redirects; relative links start there.

    Raises:
        Malformed: the page is not a page.
    """
    kind = content_type.partition(";")[0].strip().lower()
    found = _json_files(body, url) if kind.endswith("json") else _html_files(body, url)
    files = tuple(file for file in found if file is not None)
    return Project(pypi_name(name), index, files)


def upload_ms(text: str) -> int | None:
    """PEP 700's time (`2024-09-14T02:58:28.463127Z`) in ms since 1970; None when it is not one."""
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        return None
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=UTC)
    since = stamp - datetime(1970, 1, 1, tzinfo=UTC)
    millis = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    return millis if millis >= 0 else None


def _json_files(body: bytes, url: str) -> list[IndexFile | None]:
    try:
        page = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("the index page is not JSON") from error
    if not isinstance(page, dict) or not isinstance(page.get("files"), list):
        raise Malformed("the index page has no list of files")
    meta = page.get("meta")
    version = meta.get("api-version") if isinstance(meta, dict) else None
    if not isinstance(version, str) or not version.startswith("1."):
        raise Malformed(f"the index page has the version {version!r}, not 1.x")
    return [_json_file(item, url) for item in page["files"]]


def _json_file(item: Any, base: str) -> IndexFile | None:
    if not isinstance(item, dict):
        return None
    hashes, size, stamp = item.get("hashes"), item.get("size"), item.get("upload-time")
    requires = item.get("requires-python")
    offered: Any = item.get("core-metadata", item.get("dist-info-metadata"))  # PEP 714: the new name wins
    metadata: str | None = None
    if offered is True:
        metadata = ""
    elif isinstance(offered, dict):
        metadata = _digest(offered.get("sha256"))
    return _file(
        name=item.get("filename"),
        link=item.get("url"),
        base=base,
        sha256=_digest(hashes.get("sha256")) if isinstance(hashes, dict) else "",
        size=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else -1,
        upload=upload_ms(stamp) if isinstance(stamp, str) else None,
        requires=requires if isinstance(requires, str) else "",
        yanked=bool(item.get("yanked")),
        metadata=metadata,
        provenance=item.get("provenance"),
    )


class _Anchors(HTMLParser):
    """Collects `<a>` with its attributes and text; nothing else of the page matters (PEP 503)."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base = ""
        self.anchors: list[tuple[dict[str, str | None], str]] = []
        self._open: dict[str, str | None] | None = None
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "base" and not self.base:
            self.base = dict(attrs).get("href") or ""
        if tag == "a":
            self._open, self._text = dict(attrs), []

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._open is not None:
            self.anchors.append((self._open, "".join(self._text).strip()))
            self._open = None


def _html_files(body: bytes, url: str) -> list[IndexFile | None]:
    parser = _Anchors()
    try:
        parser.feed(body.decode("utf-8", errors="replace"))
        parser.close()
        base = urljoin(url, parser.base)
    except (ValueError, AssertionError) as error:  # HTMLParser asserts on some broken declarations
        raise Malformed("the index page is not HTML") from error
    return [_html_file(attrs, base) for attrs, _ in parser.anchors]


def _html_file(attrs: dict[str, str | None], base: str) -> IndexFile | None:
    href = attrs.get("href") or ""
    try:
        link, fragment = urldefrag(href)
        name = unquote(urlsplit(link).path.rpartition("/")[2])
    except ValueError:
        return None
    kind, _, digest = fragment.partition("&")[0].partition("=")
    offered = attrs.get("data-core-metadata", attrs.get("data-dist-info-metadata", ""))
    metadata: str | None = None
    if "data-core-metadata" in attrs or "data-dist-info-metadata" in attrs:
        metadata = _digest((offered or "").removeprefix("sha256="))
        if (offered or "").lower() == "false":
            metadata = None
    return _file(
        name=name,
        link=link,
        base=base,
        sha256=_digest(digest) if kind == "sha256" else "",
        size=-1,
        upload=upload_ms(attrs.get("data-upload-time") or ""),
        requires=attrs.get("data-requires-python") or "",
        yanked="data-yanked" in attrs,
        metadata=metadata,
        provenance=attrs.get("data-provenance"),
    )


def _file(
    *,
    name: Any,
    link: Any,
    base: str,
    sha256: str,
    size: int,
    upload: int | None,
    requires: str,
    yanked: bool,
    metadata: str | None,
    provenance: Any,
) -> IndexFile | None:
    if not isinstance(name, str) or not isinstance(link, str) or not plain_name(name):
        return None
    try:
        absolute = urljoin(base, link)
        scheme = urlsplit(absolute).scheme
    except ValueError:
        return None
    requires = " ".join(requires.split())
    # Half of a surrogate pair stands in no text that goes on from here, and a control character in none that is read.
    if scheme not in ("http", "https", "file") or not (absolute + requires).isprintable():
        return None
    return IndexFile(
        name, urldefrag(absolute)[0], sha256, size, upload, requires, yanked, metadata, _secure(provenance)
    )


def _secure(link: Any) -> str:
    """An https address, or ""."""
    if not isinstance(link, str) or not link.startswith("https://") or len(link) > _MAX_LINK:
        return ""
    return link if link.isascii() and link.isprintable() and " " not in link else ""


def plain_name(name: str) -> bool:
    """Whether `name` is safe as one path segment: printable ASCII, no slash, not hidden."""
    return (
        0 < len(name) <= _MAX_NAME
        and name.isascii()
        and name.isprintable()
        and not name.startswith(".")
        and "/" not in name
        and "\\" not in name
        and " " not in name
    )


def _digest(value: Any) -> str:
    return value.lower() if isinstance(value, str) and _HEX64.fullmatch(value.lower()) else ""
