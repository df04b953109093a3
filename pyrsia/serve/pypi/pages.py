"""A project's page as data, and as JSON 1.4 or HTML. No decisions about what is on it.

HTML is frozen at what PEP 708 and 792 put into its head (PEP 833); what is new stands in JSON alone.

Source: the simple repository API specification, api-version 1.4 (PEP 503, 592, 629, 658, 691, 700, 708, 714, 740, 792).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import Any, Final
from urllib.parse import quote

import msgspec

API_VERSION: Final = "1.4"
ACTIVE: Final = "active"
QUARANTINED: Final = "quarantined"
_MAX_TIME_MS: Final = 253_402_300_799_000  # the last second of the year 9999


@dataclass(frozen=True, slots=True)
class Item:
    """One file on a page.

    Attributes:
        url: from the page to the file: relative, so that a prefix of a proxy in front does no harm.
        size: bytes, -1 where upstream does not say.
        upload_ms: POSIX milliseconds; None where upstream does not say.
        yanked: why installers should pass over it, "" if they should not.
        metadata_sha256: of `url + ".metadata"`; "" where it is there without a digest; None where it is not.
        provenance: URL of upstream's provenance object for the very bytes, "" if there is none.
        words: how far it is verified, for people.
        private: what only we say of it (keys of `_pyrsia`).
    """

    filename: str
    url: str
    sha256: str
    version: str
    words: str
    size: int = -1
    upload_ms: int | None = None
    requires_python: str = ""
    yanked: str = ""
    metadata_sha256: str | None = None
    provenance: str = ""
    private: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """What is offered under a name.

    Attributes:
        verified: the value of `x-pyrsia-verified`: yes, no or local.
        tracks: pages of the project elsewhere that this one extends (PEP 708).
        status, reason: of the project (PEP 792).
    """

    name: str
    items: tuple[Item, ...]
    verified: str
    tracks: tuple[str, ...] = ()
    status: str = ACTIVE
    reason: str = ""


def projects_json(names: Sequence[str]) -> bytes:
    return msgspec.json.encode(
        {"meta": {"api-version": API_VERSION}, "projects": [{"name": name} for name in names]}
    )


def projects_html(names: Sequence[str]) -> bytes:
    rows = (f'<a href="{quote(name, safe="")}/">{escape(name)}</a><br>' for name in names)
    return _document("Simple index", rows)


def project_json(page: Page) -> bytes:
    meta: dict[str, Any] = {"api-version": API_VERSION}
    if page.tracks:
        meta["tracks"] = list(page.tracks)
    status = {"status": page.status, **({"reason": page.reason} if page.reason else {})}
    return msgspec.json.encode(
        {
            "meta": meta,
            "name": page.name,
            "project-status": status,
            "versions": list(dict.fromkeys(item.version for item in page.items)),
            "files": [_item_json(item) for item in page.items],
        }
    )


def _item_json(item: Item) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "filename": item.filename,
        "url": item.url,
        "hashes": {"sha256": item.sha256},
        "yanked": item.yanked or False,
        # The old name, dist-info-metadata, is left out: pip before 23.1 crashes on it in JSON (PEP 714).
        "core-metadata": _core_metadata(item),
        "_pyrsia": item.private,
    }
    if item.size >= 0:
        fields["size"] = item.size
    if item.upload_ms is not None:
        fields["upload-time"] = _time(item.upload_ms)
    if item.requires_python:
        fields["requires-python"] = item.requires_python
    if item.provenance:
        fields["provenance"] = item.provenance
    return fields


def _core_metadata(item: Item) -> bool | dict[str, str]:
    if item.metadata_sha256:
        return {"sha256": item.metadata_sha256}
    return item.metadata_sha256 is not None


def project_html(page: Page) -> bytes:
    head = [("pypi:tracks", one) for one in page.tracks]
    if page.status != ACTIVE:
        head += [("pypi:project-status", page.status), ("pypi:project-status-reason", page.reason)]
    return _document(f"Links for {page.name}", map(_anchor, page.items), head)


def _anchor(item: Item) -> str:
    attributes = {"href": f"{item.url}#sha256={item.sha256}"}
    if item.requires_python:
        attributes["data-requires-python"] = item.requires_python
    if item.metadata_sha256 is not None:
        told = f"sha256={item.metadata_sha256}" if item.metadata_sha256 else "true"
        attributes["data-core-metadata"] = told
        attributes["data-dist-info-metadata"] = told
    if item.yanked:
        attributes["data-yanked"] = item.yanked
    if item.provenance:
        attributes["data-provenance"] = item.provenance
    attributes["data-pyrsia-verdict"] = item.words
    text = " ".join(f'{key}="{escape(value)}"' for key, value in attributes.items())
    return f"<a {text}>{escape(item.filename)}</a><br>"


def _document(title: str, rows: Iterable[str], meta: Iterable[tuple[str, str]] = ()) -> bytes:
    named = "".join(f'<meta name="{name}" content="{escape(content)}">\n' for name, content in meta)
    head = (
        "<!DOCTYPE html>\n<html>\n<head>\n"
        f'<meta name="pypi:repository-version" content="{API_VERSION}">\n{named}'
        f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n'
    )
    return (head + "".join(f"{row}\n" for row in rows) + "</body>\n</html>\n").encode()


def _time(ms: int) -> str:
    ms = min(ms, _MAX_TIME_MS)
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
