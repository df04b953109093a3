"""The log over HTTP, bit for bit as C2SP tlog-tiles has it; beside it the trust file and the steps between epochs.

Paths are parsed strictly: a second spelling of one tile would be a second thing to cache. Whether a tile
exists is the log view's knowledge; a width that no published size implies is a 404, not a guess.

Source: C2SP tlog-tiles v0.1.0, sections "Checkpoints", "Merkle Tree", "Log Entries".
"""

import hashlib
import re
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.serve.answers import IMMUTABLE, REVALIDATE, not_found, send_cached, send_not_allowed
from pyrsia.serve.desks.views import LogView
from pyrsia.serve.http.connection import Receive, Scope, Send

PREFIX: Final = "/log/"
_TILE: Final = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)
_EPOCH: Final = re.compile(r"epochs/(0|[1-9][0-9]{0,9})", re.ASCII)
_MAX_LEVEL: Final = 63
_OCTETS: Final = b"application/octet-stream"


def parse_tile(path: str) -> tuple[int | None, int, int] | None:
    """(level or None for entries, index, width 1..256) of a path below `/log/`; None if it is none.

    Leading groups that are all zero are refused: index 1 is `001`, never `x000/001`.
    """
    match = _TILE.fullmatch(path)
    if match is None or not path.isascii():
        return None
    kind, groups, width_text = match.groups()
    if groups.startswith("x000"):
        return None
    width = int(width_text) if width_text else 256
    if width_text and width > 255:
        return None
    level = None if kind == "entries" else int(kind)
    if level is not None and level > _MAX_LEVEL:
        return None
    return level, int(groups.replace("x", "").replace("/", "")), width


class LogApp:
    """`/log/`: checkpoint, tiles, entry bundles, genesis, epochs."""

    def __init__(self, view: LogView) -> None:
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_not_allowed(scope, send)
            return
        path = scope["path"].removeprefix(PREFIX)
        if path == "checkpoint":
            await self._checkpoint(scope, send)
        elif path == "genesis":
            body = self._view.genesis()
            await send_cached(
                scope, send, body, kind=b"application/json", etag=_etag(body), caching=REVALIDATE
            )
        elif epoch := _EPOCH.fullmatch(path):
            await self._epoch(scope, send, int(epoch[1]))
        elif tile := parse_tile(path):
            await self._tile(scope, send, *tile)
        else:
            raise not_found("the log has no such address", do="see C2SP tlog-tiles for its addresses")

    async def _checkpoint(self, scope: Scope, send: Send) -> None:
        body = self._view.checkpoint()
        if body is None:
            raise Refusal(
                "unavailable",
                what="no checkpoint has enough cosignatures yet",
                who="the validators that this node has heard of",
                do="try again in a second",
            )
        kind = b"text/plain; charset=utf-8"
        await send_cached(scope, send, body, kind=kind, etag=_etag(body), caching=REVALIDATE)

    async def _epoch(self, scope: Scope, send: Send, number: int) -> None:
        body = self._view.epoch_end(number)
        if body is None:
            raise not_found(
                f"epoch {number} has not ended, or this node did not see its end",
                do="ask again when a checkpoint is signed by validators that you do not know, or another node",
            )
        # Several proofs of one end are as good as each other, so another node's bytes may differ.
        await send_cached(scope, send, body, kind=_OCTETS, etag=_etag(body), caching=REVALIDATE)

    async def _tile(self, scope: Scope, send: Send, level: int | None, index: int, width: int) -> None:
        view = self._view
        body = view.bundle(index, width) if level is None else view.tile(level, index, width)
        if body is None:
            raise not_found(
                "the log is not that long", do="read the checkpoint; ask for what its size implies"
            )
        # The address names one sequence of bytes for ever, so the address is validator enough.
        etag = b'"%b"' % scope["path"].removeprefix(PREFIX).encode("ascii")
        await send_cached(scope, send, body, kind=_OCTETS, etag=etag, caching=IMMUTABLE)


def _etag(body: bytes) -> bytes:
    return b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")
