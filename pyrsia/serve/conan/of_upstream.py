"""Upstream's answers about packages that neither the log nor this node's shelf has: read, checked and written anew.

Nothing of upstream's JSON goes on as it came: of each answer the known fields of the known form are taken, and the rest
is left out. Its files go on as they come, marked unverified; Conan compares none of them with anything.

Source: Conan 2, `conan/internal/rest/rest_client_v2.py`.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from pyrsia.builds.conan import names, rest
from pyrsia.builds.conan.names import Ref
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.serve.answers import send_arriving
from pyrsia.serve.conan import pushed
from pyrsia.serve.conan.published import package_of
from pyrsia.serve.conan.words import OCTETS, PROXIED_MARK, Call, no_such, send_json
from pyrsia.serve.desks.supply import Upstream
from pyrsia.units import Limit

DOCUMENT_BYTES = Limit(
    8 << 20, "the settings of 5,000 packages of one recipe; a remote's largest list has 3 MB"
)
ROWS = Limit(5_000, "revisions, files or packages of one answer")
_REVISION: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}")
_PART: Final = "[a-z0-9_][a-z0-9_+.-]{1,100}"
_ANY: Final = r"[^\x00-\x1f@]*"
_PATTERN: Final = re.compile(
    rf"(?P<name>{_PART})(?P<more>\*?)(?:/{_ANY}(?:@(?P<user>{_PART})(?:/(?P<channel>{_PART})|/{_ANY})?|@{_ANY})?)?"
)


class OfUpstream:
    """Packages of upstream's, for this node's clients."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def takes(self, ref: Ref) -> bool:
        return self._upstream.takes(package_of(ref))

    async def answer(self, call: Call) -> None:
        """
        Raises:
            Refusal: `index-unreachable`, also for what is no answer of a Conan server; `not-found`.
        """
        target = call.target
        _check(target)
        if not target.file:
            value = await self._question(call)
            if value is None:
                raise no_such(f"neither the network nor upstream has {target.ref} in this form")
            await send_json(call.send, value, PROXIED_MARK)
            return
        arriving = await self._upstream.file(package_of(target.ref), call.path)
        if arriving is None:
            raise no_such(f"neither the network nor upstream has this file of {target.ref}")
        # A revision's file never changes: its address tells it apart where its digest is unknown.
        told = arriving.sha256 or hashlib.sha256(call.path.encode()).hexdigest()
        etag = b'"%b"' % told.encode("ascii")
        await send_arriving(
            call.scope, call.receive, call.send, arriving, kind=OCTETS, etag=etag, more=[PROXIED_MARK]
        )

    async def _question(self, call: Call) -> dict[str, Any] | None:
        """What upstream says at the address of a question; None for nothing."""
        path, end = call.path, call.path.rpartition("/")[2]
        list_only = call.query.get("list_only", "False").lower() == "true"
        if end == "search":
            path += "?" + urlencode({"list_only": str(list_only)})
        value = await self._value(package_of(call.target.ref), path)
        if value is None:
            return None
        try:
            match end:
                case "latest":
                    return _row(value)
                case "revisions":
                    return {"revisions": [_row(one) for one in _list(value["revisions"])]}
                case "files":
                    files = _list(list(value["files"]))
                    return {"files": {one: {} for one in files if _is_file(call.target, one)}}
                case "search":
                    rows = [row for row in value.items() if names.is_package_id(row[0])]
                    return {one: {} if list_only else _info(about) for one, about in rows[: ROWS.value]}
        except (KeyError, TypeError, ValueError) as error:
            raise _no_answer(str(error)) from None
        return None

    async def search(self, query: Mapping[str, str], is_local: Callable[[str], bool]) -> list[Ref]:
        """References of upstream's, if the pattern is one of a name, or of its beginning, that it may be asked for.

        A pattern of stars alone asks nobody: it would bring all that upstream has. A name that was pushed here is not
        told to upstream either.

        Raises:
            Refusal: only where the pattern is of one name: among others, one that fails must not hide the rest.
        """
        pattern = query.get("q", "*")
        exact = query.get("ignorecase", "True").lower() != "true"
        match = _PATTERN.fullmatch(pattern if exact else pattern.lower())
        if match is None or len(pattern) > rest.MAX_PATTERN_CHARS:
            return []
        home = "".join(f"{part}/" for part in (match["user"], match["channel"]) if part)
        package = f"{names.PURL}{home}{match['name']}"
        if is_local(package) or not self._upstream.takes(package):
            return []
        asked = urlencode({"q": pattern} | ({"ignorecase": "False"} if exact else {}))
        try:
            found = await self._value(package, f"v2/conans/search?{asked}")
            texts = [] if found is None else _list(found.get("results"))
        except TypeError as error:
            raise _no_answer(str(error)) from None
        except (Refusal, Unavailable):
            if match["more"]:
                return []
            raise
        return [ref for ref in map(_reference, texts) if ref is not None and self.takes(ref)]

    async def _value(self, package: str, path: str) -> dict[str, Any] | None:
        document = await self._upstream.document(
            package, path, accept="application/json", most=DOCUMENT_BYTES.value
        )
        if document is None:
            return None
        try:
            value = msgspec.json.decode(document.data)
        except (msgspec.DecodeError, RecursionError):
            raise _no_answer("its answer is no JSON") from None
        if not isinstance(value, dict):
            raise _no_answer("its answer is no object")
        return value


def _check(target: rest.Target) -> None:
    """Nothing goes upstream that is no address of a Conan server.

    Raises:
        Malformed: as it says.
    """
    if (
        (target.rrev and _REVISION.fullmatch(target.rrev) is None)
        or (target.package_id and not names.is_package_id(target.package_id))
        or (target.prev and not names.is_revision(target.prev))
    ):
        raise Malformed("not the address of a Conan revision")
    if target.file:
        pushed.place_of(target)


def _reference(text: Any) -> Ref | None:
    try:
        return names.parse(text.removesuffix("@_/_"))
    except (Malformed, AttributeError):
        return None


def _row(value: Any) -> dict[str, str]:
    revision, time = value["revision"], value["time"]
    if not isinstance(revision, str) or _REVISION.fullmatch(revision) is None:
        raise ValueError("a revision that is none")
    datetime.fromisoformat(time)  # Artifactory writes +0000, which Conan reads too
    return {"revision": revision, "time": time}


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list that is none")
    return value[: ROWS.value]


def _is_file(target: rest.Target, file: Any) -> bool:
    """Whether Conan would write a file of this name into its cache, and we would name it."""
    try:
        whole = rest.Target(target.ref, target.rrev, target.package_id, target.prev, file, target.packages)
        pushed.place_of(whole)
    except (Malformed, AttributeError, TypeError):
        return False
    return True


def _info(about: Any) -> dict[str, Any]:
    """The settings of a package: the text of its conaninfo.txt, or what Artifactory reads out of it."""
    if not isinstance(about, dict):
        raise TypeError("a package that is none")
    if isinstance(about.get("content"), str):
        return {"content": about["content"]}
    found: dict[str, Any] = {}
    for part in ("settings", "options"):
        if isinstance(about.get(part), dict):
            found[part] = {str(name): str(text) for name, text in about[part].items()}
    if isinstance(about.get("requires"), list):
        found["requires"] = [str(one) for one in about["requires"]]
    return found


def _no_answer(why: str) -> Refusal:
    return Refusal(
        "index-unreachable",
        what=f"the Conan remote that this node asks gave no answer of its kind: {why}",
        who="that remote",
        do="tell the node's operator to look at the remote's address",
    )
