"""What an entry's page shows: the leaf as it stands in the log, where it lies, and what it leads to."""

import re
from typing import Any, Final

import msgspec

from pyrsia.errors import Malformed
from pyrsia.knowledge.said import FACT
from pyrsia.serve.answers import not_found
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.pages import facts
from pyrsia.wire import purl as purls

_REQUEST: Final = re.compile("[0-9a-f]{64}")


async def entry(admin: Admin, index: int) -> dict[str, Any]:
    """The values of the page of a leaf.

    Raises:
        Refusal: `not-found`.
    """
    rows, inclusion = await admin.log_entries(index, 1), await admin.prove(index)
    if not rows or inclusion is None:
        raise not_found(f"the log has no entry {index} yet", do="see /node for its size")
    document = _document(inclusion.entry)
    return {
        "index": index,
        "kind": rows[0].kind,
        "summary": rows[0].summary,
        "author": rows[0].author,
        "time_ms": rows[0].time_ms,
        "size": inclusion.size,
        "root": inclusion.root,
        "leaf_hash": inclusion.leaf_hash,
        "hashes": inclusion.hashes,
        "proof": inclusion.proof.splitlines(),
        "links": links(document),
        "fact": facts.told(document["body"]) if _is_fact(document) else None,
        "document": _pretty(document).splitlines(),
    }


def _is_fact(document: dict[str, Any]) -> bool:
    return document.get("type") == FACT and isinstance(document.get("body"), dict)


def _document(text: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, UnicodeError):
        found = {}
    return found if isinstance(found, dict) else {}


def _pretty(document: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode("utf-8", "replace")


def links(document: dict[str, Any]) -> list[dict[str, str]]:
    """Pages about what an entry names: its package, and the request that it belongs to."""
    body = document.get("body")
    if not isinstance(body, dict):
        return []
    found = []
    purl, request = body.get("purl", body.get("subject")), body.get("request")
    if isinstance(purl, str) and (package := _package(purl)):
        found.append({"address": f"/packages/{package}", "text": f"the package {package}"})
    if isinstance(request, str) and _REQUEST.fullmatch(request):
        found.append({"address": f"/builds/{request}", "text": "the build"})
    return found


def _package(text: str) -> str:
    try:
        return str(purls.parse(text).versionless)
    except Malformed:
        return ""
