"""Everything behind the node's one port: the guard, then our own table, then Starlette.

The table answers what package clients ask most (pages, files, tiles) without a framework's cost; the
rest is small and rare. Any ASGI server can stand in for ours: without `pyrsia.peer` in the scope a
request counts as TCP.
"""

import logging
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.serve import conan, grants, log, maven, oci, pypi, via, witness
from pyrsia.serve.answers import WHOLE, send_refusal
from pyrsia.serve.api.app import build_api
from pyrsia.serve.api.builds import SOURCES
from pyrsia.serve.api.facts import BODIES
from pyrsia.serve.api.search import SCOPE as FINDER
from pyrsia.serve.conan import ConanApp
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.desks.views import Admin, LogView
from pyrsia.serve.finding import Finder
from pyrsia.serve.guard import Guard
from pyrsia.serve.http.connection import App, HttpLimits, Message, Receive, Scope, Send
from pyrsia.serve.http.outgoing import completed
from pyrsia.serve.log import LogApp
from pyrsia.serve.maven import MavenApp
from pyrsia.serve.oci import OciApp
from pyrsia.serve.pages.app import PagesApp
from pyrsia.serve.pypi import PypiApp
from pyrsia.serve.witness import WitnessApp, WitnessView
from pyrsia.units import (
    MAX_ENTRY_BYTES,
    MAX_LETTER_BODY_BYTES,
    MAX_SOURCE_BYTES,
    MAX_SUBMIT_BYTES,
    MAX_WITNESS_REQUEST_BYTES,
)
from pyrsia.wire.text import safe

_log = logging.getLogger("pyrsia.serve")

Served = Callable[[str], object]

_UPLOAD_BYTES: Final = 10 << 30  # what `local.upload_gb` is by default
_UPLOAD_FRAMING_BYTES: Final = 1 << 20  # of a form around a file; a manifest beside it


def limits(upload_bytes: int = _UPLOAD_BYTES) -> HttpLimits:
    """What a node takes of one request. Registries take files of `upload_bytes`; they refuse before they read."""
    upload = upload_bytes + _UPLOAD_FRAMING_BYTES
    # Elsewhere a source archive is the largest body that anyone sends (its operator only), then a batch of entries.
    return HttpLimits(
        body_routes=(
            *BODIES,
            ("/api/v1/entries/batch", MAX_SUBMIT_BYTES.value),
            ("/api/v1/entries", MAX_ENTRY_BYTES.value + 1),
            ("/api/v1/messages", MAX_LETTER_BODY_BYTES.value),
            (SOURCES, MAX_SOURCE_BYTES.value),
            (witness.PREFIX, MAX_WITNESS_REQUEST_BYTES.value),
            (oci.PREFIX, upload),
            (maven.PREFIX, upload),
            (conan.PREFIX, upload),
            (pypi.PREFIX + "legacy/", upload),
            ("/", 65_536),
        )
    )


LIMITS: Final = limits()
_REGISTRIES: Final = (pypi.PREFIX, conan.PREFIX, oci.PREFIX, maven.PREFIX)
_GROWS_S: Final = (
    30.0  # a network that agrees on something sends a block more often than that to who is behind
)
_BEHIND_RETRY_S: Final = 10  # a follower takes over thousands of entries meanwhile


def build_app(
    *,
    guard: Guard,
    supply: Supply,
    log_view: LogView,
    admin: Admin,
    witnessing: WitnessView | None = None,
    served: Served = lambda sha256: None,
) -> App:
    """The whole ASGI application of a node.

    Args:
        witnessing: None where it neither is nor asks a witness.
        served: told of each file of a registry that a client was given to its end, by its digest in hex.
    """
    table = (
        (pypi.PREFIX, PypiApp(supply)),
        (conan.PREFIX, ConanApp(supply)),
        (oci.PREFIX, OciApp(supply)),
        (maven.PREFIX, MavenApp(supply)),
        (log.PREFIX, LogApp(log_view)),
        (witness.PREFIX, WitnessApp(witnessing)),
    )
    finder, catching_up = Finder(supply), _CatchingUp(supply, admin)
    pages = PagesApp(supply, admin, log_view, finder)
    api = build_api(admin)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        guard.check(scope)
        grants.note(scope)
        path = scope["path"]
        for prefix, app in table:
            if path.startswith(prefix):
                await app(scope, receive, send)
                if WHOLE in scope and prefix in _REGISTRIES:
                    served(_digest(scope[WHOLE]))
                return
        if pages.takes(path):
            await pages(scope, receive, send)
            return
        scope[FINDER] = finder
        await api(scope, receive, send)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this application speaks HTTP only, not {scope['type']}")
        scope.setdefault("pyrsia.peer", "tcp")
        via.note(scope["headers"])
        if scope["path"].startswith(_REGISTRIES):
            send = catching_up.unless_here(send)
        begun = False

        async def sending(event: Message) -> None:
            nonlocal begun
            begun = True
            if event["type"] == "http.response.start":
                event = {**event, "headers": completed(scope, event["headers"])}
            await send(event)

        try:
            await route(scope, receive, sending)
        except Refusal as refusal:
            if begun:  # too late to say no; an unfinished answer makes the server cut it short
                raise
            await _refuse(scope, sending, refusal)
        except Unavailable as error:
            if begun:
                raise
            _log.warning("not available: %s", error)
            await _refuse(scope, sending, _unavailable())

    return app


def _digest(etag: bytes) -> str:
    """The digest that an ETag of a file holds; of a page's it is no digest."""
    return etag.decode("latin-1").strip('"').removeprefix("sha256:")


class _CatchingUp:
    """Whether the log's head is old and the log grows: what is not here may be on its way.

    A node whose head is old and stands still is alone, and lacks what it lacks: pushes to it must go on.
    """

    def __init__(self, supply: Supply, admin: Admin) -> None:
        self._supply = supply
        self._admin = admin
        self._revision = -1
        self._grew_s = -math.inf

    def why(self) -> str:
        stale = self._admin.judge.stale()
        revision = self._supply.network.revision()
        if revision != self._revision:
            if self._revision >= 0:
                self._grew_s = trio.current_time()
            self._revision = revision
        return stale if trio.current_time() - self._grew_s < _GROWS_S else ""

    def unless_here(self, send: Send) -> Send:
        """No 404 meanwhile: clients remember one for a day (Maven), or go elsewhere."""

        async def sending(event: Message) -> None:
            if event["type"] == "http.response.start" and event["status"] == HTTPStatus.NOT_FOUND:
                if why := self.why():
                    headers = [*event["headers"], (b"retry-after", b"%d" % _BEHIND_RETRY_S)]
                    reason = safe(f"not here yet: {why}").encode("ascii", "replace")
                    status = HTTPStatus.SERVICE_UNAVAILABLE.value
                    event = {**event, "status": status, "headers": headers, "reason": reason}
            await send(event)

        return sending


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Say no in the words of the clients that ask at this address."""
    if scope["path"].startswith(oci.PREFIX):
        await oci.send_refusal(scope, send, refusal)
    elif scope["path"].startswith(maven.PREFIX):
        await send_refusal(scope, send, refusal, problem=True)
    elif scope["path"].startswith(conan.PREFIX):
        await conan.send_refusal(send, refusal)
    else:
        await send_refusal(scope, send, refusal)


def _unavailable() -> Refusal:
    return Refusal(
        "unavailable",
        what="the node cannot reach what it needs for this answer",
        who="this node's disk or network",
        do="try again later; the node's diary has the details",
    )
