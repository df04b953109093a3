"""The witness protocol over HTTP: logs bring checkpoints, monitors read what was cosigned.

`POST /witness/add-checkpoint` and `GET /witness/<hash>/checkpoint` are C2SP's, with `/witness` as both the
submission and the monitoring prefix; `/witness/` and `/witness/<hash>/evidence` are ours, for people. What is
answered is the view's decision, the bound on a body is kept here.

Source: C2SP tlog-witness.md v1.0.0, "HTTP Interface".
"""

import re
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from pyrsia.errors import Refusal
from pyrsia.serve.answers import REVALIDATE, not_found, send_body, send_cached, send_not_allowed
from pyrsia.serve.http.connection import Receive, Scope, Send
from pyrsia.status import EvidenceAnswer, EvidenceRow, WitnessStatus
from pyrsia.units import MAX_WITNESS_REQUEST_BYTES

PREFIX: Final = "/witness/"
_OF_LOG: Final = re.compile(r"([0-9a-f]{64})/(checkpoint|evidence)", re.ASCII)
_TEXT: Final = b"text/plain; charset=utf-8"
_SIZE: Final = b"text/x.tlog.size"


class WitnessView(Protocol):
    """What a node knows and does as a witness, and about its own log's witnesses."""

    async def add_checkpoint(self, body: bytes) -> bytes | int:
        """Cosignature lines, or the size that was cosigned last where the request starts from another.

        Raises:
            Refusal: with the protocol's status.
        """
        ...

    def checkpoint(self, origin_hash: str) -> bytes | None:
        """The newest checkpoint cosigned for the log with this SHA-256 of its origin."""
        ...

    def status(self) -> WitnessStatus: ...

    def evidence(self, origin_hash: str) -> tuple[str, Sequence[EvidenceRow]] | None:
        """(origin, rows) of a watched log."""
        ...


class WitnessApp:
    """`/witness/`."""

    def __init__(self, view: WitnessView | None) -> None:
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"].removeprefix(PREFIX), scope["method"]
        if self._view is None:
            raise not_found(
                "this node neither is a witness nor asks one", do="see `pyrsia witness add-log --help`"
            )
        if path == "add-checkpoint":
            if method != "POST":
                await send_not_allowed(scope, send, b"POST")
                return
            await self._add(self._view, receive, send)
            return
        if method not in ("GET", "HEAD"):
            await send_not_allowed(scope, send)
            return
        if not path:
            await _send_json(send, self._view.status())
            return
        found = _OF_LOG.fullmatch(path)
        if found is None:
            raise not_found("the witness has no such address", do="see C2SP tlog-witness for its addresses")
        await self._of_log(self._view, scope, send, found[1], found[2])

    async def _add(self, view: WitnessView, receive: Receive, send: Send) -> None:
        answer = await view.add_checkpoint(await _body(receive))
        if isinstance(answer, int):
            await send_body(send, 409, b"%d\n" % answer, [(b"content-type", _SIZE), _FRESH])
        else:
            await send_body(send, 200, answer, [(b"content-type", _TEXT), _FRESH])

    async def _of_log(self, view: WitnessView, scope: Scope, send: Send, name: str, what: str) -> None:
        if what == "evidence":
            found = view.evidence(name)
            if found is None:
                raise not_found("this node watches no log with this hash", do="see `pyrsia witness list`")
            await _send_json(send, EvidenceAnswer(found[0], tuple(found[1])))
            return
        note = view.checkpoint(name)
        if note is None:
            raise not_found(
                "no checkpoint of this log was cosigned yet", do="check the hash of the origin, or wait"
            )
        # The signature at the note's end is another one whenever anything of it is.
        etag = b'"%b"' % note.rstrip().rpartition(b" ")[2][-32:].replace(b"/", b"_")
        await send_cached(scope, send, note, kind=_TEXT, etag=etag, caching=REVALIDATE)


_FRESH: Final = (b"cache-control", b"no-store")


async def _body(receive: Receive) -> bytes:
    """The whole body.

    Raises:
        Refusal: `too-large`, as soon as it is.
    """
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Refusal("bad-request", what="the request ended early", who="the client", do="send it again")
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_WITNESS_REQUEST_BYTES.value:
            raise Refusal(
                "too-large",
                what=f"a request has at most {MAX_WITNESS_REQUEST_BYTES.value} bytes",
                who="the client's request",
                do="send the log's own signatures and the proof only",
            )
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _send_json(send: Send, answer: msgspec.Struct) -> None:
    kind = (b"content-type", b"application/json")
    await send_body(send, 200, msgspec.json.encode(answer) + b"\n", [kind, _FRESH])
