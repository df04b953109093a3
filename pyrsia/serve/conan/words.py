"""One request of a Conan client, and the forms in which it understands an answer: JSON, bytes, and text for each no.

Source: Conan 2, `conan/internal/rest/rest_client_v2.py` (`_get_json`), `conan/internal/errors.py` (status -> error).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from pyrsia.builds.conan import rest
from pyrsia.errors import Refusal
from pyrsia.serve.answers import CHALLENGE, REVALIDATE, not_found, send_body
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.wire.text import safe

TEXT: Final = b"text/plain; charset=utf-8"
OCTETS: Final = b"application/octet-stream"
NETWORK_MARK: Final[Header] = (b"x-pyrsia-verified", b"yes")
LOCAL_MARK: Final[Header] = (b"x-pyrsia-verified", b"local")
PROXIED_MARK: Final[Header] = (b"x-pyrsia-verified", b"no")
# Conan prints the text of a 403 and stops; of a 409 or 410 it makes a "server exception", and tries a file again.
_FINAL: Final = frozenset({"denied", "withdrawn", "disputed", "conflict"})


@dataclass(frozen=True, slots=True)
class Call:
    """A request about one reference.

    Attributes:
        path: below the remote's own address.
        owner: the node whose claims are meant; "" for the names of all.
    """

    scope: Scope
    receive: Receive
    send: Send
    path: str
    query: Mapping[str, str]
    owner: str
    target: rest.Target


async def send_json(send: Send, value: Mapping[str, Any], mark: Header | None = None) -> None:
    # Exactly this content type: Conan refuses any other.
    headers = [(b"content-type", b"application/json"), (b"cache-control", REVALIDATE)]
    await send_body(send, 200, msgspec.json.encode(value), headers if mark is None else [*headers, mark])


async def say(send: Send, status: int, what: str, more: Sequence[Header] = ()) -> None:
    body = safe(what).encode()  # no line end: Conan writes its own words behind it
    headers = [(b"content-type", TEXT), (b"cache-control", b"no-store"), *more]
    # Where Conan shows no body, requests shows the reason phrase.
    reason = safe(what).encode("ascii", "replace")[:300] if status >= 400 else b""
    await send_body(send, status, body, headers, reason=reason)


async def send_refusal(send: Send, refusal: Refusal) -> None:
    """Tell a no as text; what is over for good is a 403."""
    status = 403 if refusal.code in _FINAL else refusal.answer.http
    await say(send, status, f"{refusal.what}; {refusal.do}", [CHALLENGE] if status == 401 else ())


def no_such(what: str) -> Refusal:
    return not_found(what, do="see what there is: conan list '*' -r REMOTE")
