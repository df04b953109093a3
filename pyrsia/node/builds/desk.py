"""Where builds are ordered and followed (`serve.desks.orders.Desk`): orders become wants, logs are given once they may.

Decides what an order means and when a log may be read; planning, building and agreeing are others' work.

Source: docs/builds.md, "Ask for somebody else's package".
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import trio

from pyrsia.builds.model import LocalSource, Want
from pyrsia.errors import Refusal, Unavailable
from pyrsia.ledger import views
from pyrsia.ledger.views import RequestView
from pyrsia.node.builds.builder import Builder, Reads
from pyrsia.node.builds.names import coordinates
from pyrsia.node.builds.requests import WITNESS, Requests
from pyrsia.node.builds.sources import Sources
from pyrsia.node.log.submission import Submitter
from pyrsia.node.storage.shelf import Shelf
from pyrsia.serve.desks.orders import BuildOrder, Cancelled, GivenSource, LogPart, Ordered
from pyrsia.units import MAX_HTTP_FETCH_WAIT_S, Limit, NodeId
from pyrsia.wire import purl as purls
from pyrsia.wire.text import b32, unb32

LOG_PART_BYTES = Limit(256 << 10, "one answer of a log that is followed; a screen shows a few KB")
MAX_PARAMETERS = Limit(32, "of one recipe, as the log takes them")


class Desk:
    """One node's orders. `requests` and `builder` are None where this machine has no sandbox."""

    def __init__(
        self,
        node_id: bytes,
        *,
        requests: Requests | None,
        builder: Builder | None,
        sources: Sources,
        shelf: Shelf,
        submitter: Submitter,
        reads: Reads,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._node = node_id
        self._me = b32(node_id)
        self._requests = requests
        self._builder = builder
        self._sources = sources
        self._shelf = shelf
        self._submitter = submitter
        self._reads = reads
        self._now_ms = now_ms

    # -- ordering --

    async def order(self, order: BuildOrder) -> Ordered:
        if self._requests is None:
            raise Refusal(
                "no-sandbox",
                what="this node cannot plan builds: it has no sandbox",
                who="this machine",
                do="run `pyrsia doctor` there, or ask through another node",
            )
        ecosystem, want = self._want(order)
        if order.dry_run:
            rows = await self._requests.rows(ecosystem, want, self._now_ms(), witness=order.witness)
            return Ordered(plans=tuple(rows))
        asked = await self._requests.ask(ecosystem, want, self._now_ms(), witness=order.witness)
        return Ordered(requests=tuple(asked))

    def _want(self, order: BuildOrder) -> tuple[str, Want]:
        """
        Raises:
            Refusal: `bad-request`.
        """
        ecosystem, name, version = order.ecosystem, order.name, order.version or None
        if order.purl:
            if name or version:
                raise _no_order("it names a package twice: by purl and by name", "send one of them")
            of_type, name, version = coordinates(order.purl)
            ecosystem = ecosystem or of_type
            if ecosystem == WITNESS:
                name = str(purls.parse(order.purl).versionless)
            elif ecosystem not in (of_type, "pipeline"):
                raise _no_order(f"{ecosystem} builds no {order.purl[:80]}", f"leave {ecosystem} out")
        if not ecosystem or (not name and order.source is None):
            raise _no_order("it names no package", "send `purl`, or `ecosystem` and `name`")
        if order.parameters and order.source is None:
            raise _no_order(
                "parameters come from a package's mapping, not from who asks for it",
                "give a source along; the result then stands under your node's name",
            )
        if len(order.parameters) > MAX_PARAMETERS.value:
            raise _no_order(f"it has more than {MAX_PARAMETERS.value} parameters", "send fewer")
        return ecosystem, Want(
            name,
            version,
            source=None if order.source is None else self._given(order.source),
            generic="" if order.source is None else self._me,
            parameters=order.parameters,
            closure=order.closure,
            verified_only=order.verified_only,
        )

    def _given(self, source: GivenSource) -> LocalSource:
        path = self._sources.local(source.sha256)
        if path is None:
            raise _no_order(
                f"the source {source.sha256[:16]} is not on this node",
                "send it first to /api/v1/builds/sources",
            )
        return LocalSource(source.file, path, source.sha256, source.size, source.manifest)

    async def take(self, file: str, chunks: AsyncIterator[bytes]) -> GivenSource:
        return await self._sources.take(file, chunks)

    async def cancel(self, request: str) -> Cancelled:
        view = self._view(request)
        if view.author != self._me:
            raise Refusal(
                "forbidden",
                what="another member asked for this build",
                who="your command",
                do="ask its requester; a drawn build cannot be ended at all",
            )
        _, leaf = await self._submitter.submit("build.cancel", {"request": request})
        return Cancelled(request, leaf)

    # -- following --

    def prefer(self, request: str) -> None:
        self._view(request)
        if self._builder is not None:
            self._builder.turns.prefer(request)

    def queue(self) -> Sequence[str]:
        return () if self._builder is None else self._builder.waiting()

    async def log(self, request: str, builder: str, offset: int) -> LogPart:
        """A part of a log: one's own after one's own commitment stands in the log, another's once it is revealed."""
        view = self._view(request)
        who = builder or self._first_with_log(view)
        blob = self._own_log(view) if who == self._me else None
        blob = blob or _revealed_log(view, who)
        if blob is None:
            raise self._not_yet(view, who)
        path = await self._log_path(blob, who)
        data = await trio.to_thread.run_sync(_part, path, offset)
        return LogPart(request, who, offset, blob["size"], data)

    def _first_with_log(self, view: RequestView) -> str:
        if self._own_log(view) is not None:
            return self._me
        drawn = view.draw.body["builders"] if view.draw else []
        if self._me in drawn:
            return self._me
        return view.reveals[-1].author if view.reveals else (drawn or [""])[0]

    def _own_log(self, view: RequestView) -> dict[str, Any] | None:
        """Of this node's newest build of the request, if its commitment stands in the log."""
        if self._builder is None or not any(one.author == self._me for one in view.commits):
            return None
        job = self._builder.job(view.id, view.round)
        return None if job is None else job["log"]

    async def _log_path(self, blob: dict[str, Any], who: str) -> Path:
        sha256 = bytes.fromhex(blob["sha256"])
        local = self._shelf.local(sha256)
        if local is not None:
            return local
        try:
            with trio.fail_after(MAX_HTTP_FETCH_WAIT_S.value):
                return await self._shelf.fetch(
                    bytes.fromhex(blob["manifest"]), sha256, blob["size"], [NodeId(unb32(who))]
                )
        except (Unavailable, trio.TooSlowError) as error:
            raise Refusal(
                "unavailable",
                what=f"the log of {who[:8]} is not here, and it did not give it: {error}",
                who="that builder, or the network between",
                do="try again when it is back; see `pyrsia peers`",
            ) from None

    def _view(self, request: str) -> RequestView:
        view = views.request(self._reads, request)
        if view is None:
            raise Refusal(
                "not-found",
                what="the log holds no build request with this id",
                who="the client's request",
                do="see `pyrsia build list`",
            )
        return view

    def _not_yet(self, view: RequestView, who: str) -> Refusal:
        if view.state in ("done", "cancelled"):
            return Refusal(
                "not-found",
                what=f"{who[:8] or 'nobody'} left no log of this build",
                who="that builder, which revealed nothing",
                do="read another builder's: `pyrsia build show` names them",
            )
        return Refusal(
            "not-yet",
            what="no log before that builder's commitment stands in the log: it tells what came out",
            who="the rules of the network",
            do="wait; `pyrsia build logs --follow` does",
        )


def _revealed_log(view: RequestView, who: str) -> dict[str, Any] | None:
    return next((one.body["log"] for one in reversed(view.reveals) if one.author == who), None)


def _part(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(LOG_PART_BYTES.value)


def _no_order(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the order", do=do)
