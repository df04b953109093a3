"""How `/v2/` says no: one row of the specification's errors, whose message is what clients print.

A refusal of ours keeps its three parts: `message` is what was wrong and what to do, `detail` has all of it by name.

Source: OCI distribution-spec 1.1, "Error Codes".
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from pyrsia.errors import Refusal
from pyrsia.serve.answers import send_body
from pyrsia.serve.http.connection import Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.wire.text import safe

JSON: Final[Header] = (b"content-type", b"application/json")
VERSION: Final[Header] = (b"docker-distribution-api-version", b"registry/2.0")
BASIC: Final[Header] = (b"www-authenticate", b'Basic realm="pyrsia"')
_RETRY_S: Final = 5
_REASON_CHARS: Final = 300  # of a status line, which clients take as far as some KB

# Codes of ours that are not just their own HTTP status: (status, code).
_CODES: Final[Mapping[str, tuple[int, str]]] = {
    "unauthenticated": (401, "UNAUTHORIZED"),
    "forbidden": (403, "DENIED"),
    "denied": (403, "DENIED"),
    "withdrawn": (403, "DENIED"),
    "disputed": (403, "DENIED"),
    "not-found": (404, "NAME_UNKNOWN"),
    "too-large": (413, "SIZE_INVALID"),
    "busy": (429, "TOOMANYREQUESTS"),
    "conflict": (409, "BLOB_UPLOAD_INVALID"),
}


class Problem(Exception):
    """An answer in the API's own words.

    Attributes:
        detail: what to do, which is told with the message as well, or a refusal's fields.
        more: headers that go with it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        detail: str | Mapping[str, str | int] = "",
        more: tuple[Header, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.more = more


def problem_of(refusal: Refusal) -> Problem:
    """The same no, as this API writes it."""
    status, code = _CODES.get(refusal.code, (refusal.answer.http, "UNAVAILABLE"))
    more: tuple[Header, ...] = ()
    if status == 401:
        more = (BASIC,)
    elif status in (429, 503):
        more = ((b"retry-after", b"%d" % (refusal.retry_s or _RETRY_S)),)
    return Problem(status, code, f"{refusal.what}: {refusal.do}", refusal.as_dict(), more)


async def say(send: Send, problem: Problem) -> None:
    """An error as the API writes it."""
    detail, message = problem.detail, problem.message
    if isinstance(detail, str):
        shown: str | dict[str, str | int] = safe(detail)
        message = f"{message}: {detail}" if detail else message  # clients print nothing else
    else:
        shown = {key: safe(value) if isinstance(value, str) else value for key, value in detail.items()}
    told = safe(message)
    row = {"code": problem.code, "message": told, "detail": shown}
    headers = [JSON, (b"cache-control", b"no-store"), VERSION, *problem.more]
    # containerd asks with HEAD, which has no body, and prints the reason phrase.
    reason = told[:_REASON_CHARS].encode("ascii", "replace") if problem.code == "DENIED" else b""
    await send_body(send, problem.status, msgspec.json.encode({"errors": [row]}), headers, reason=reason)


async def send_refusal(scope: Scope, send: Send, refusal: Refusal) -> None:
    """A refusal that came before this application was asked (the guard's)."""
    await say(send, problem_of(refusal))
