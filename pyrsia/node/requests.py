"""Asking the network for a package: plan its closure, and request what the log does not hold yet."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from pyrsia.builds.model import Planned, Plugin, Want
from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.ledger.views import RequestView
from pyrsia.node.shelf import Shelf
from pyrsia.node.submission import Submitter
from pyrsia.serve.views import Requested
from pyrsia.units import Limit
from pyrsia.wire.text import b32

PLAN_S = Limit(300, "a closure of dozens of packages over a slow index; longer is an index that is down")
RECENT = Limit(500, "as many requests as can be open at once are looked at for one that already runs")
PIN = "lock"

Reads = Callable[[bytes], bytes | None]


class Requests:
    """Build requests authored by this node."""

    def __init__(
        self,
        node_id: bytes,
        *,
        plugins: Mapping[str, Plugin],
        shelf: Shelf,
        submitter: Submitter,
        reads: Reads,
    ) -> None:
        self._me = b32(node_id)
        self._plugins = plugins
        self._shelf = shelf
        self._submitter = submitter
        self._reads = reads
        self.note = ""  # what is being planned right now

    async def plan(self, ecosystem: str, want: Want, now_ms: int) -> Sequence[Planned]:
        """What would be asked for, dependencies first; nothing is.

        Raises:
            Refusal: `bad-request` for an ecosystem that is not built here; the plan's.
        """
        plugin = self._plugins.get(ecosystem)
        if plugin is None:
            raise Refusal(
                "bad-request",
                what=f"this node plans no {ecosystem[:20]} packages",
                who="your request",
                do=f"ask for one of {', '.join(sorted(self._plugins))}",
            )
        try:
            with trio.fail_after(PLAN_S.value):
                return await plugin.plan(want, now_ms, self._say)
        except trio.TooSlowError:
            raise Refusal(
                "unavailable",
                what=f"planning {want.name} took longer than {PLAN_S.value} s",
                who="the package index",
                do="try again later, or with an index nearby",
            ) from None
        finally:
            self.note = ""

    async def ask(self, ecosystem: str, want: Want, now_ms: int) -> Sequence[Requested]:
        """Request `want` and its run-time closure, dependencies first; what is published or being built is named,
        not asked for again.

        Raises:
            Refusal: the plan's, or the log's.
        """
        planned = await self.plan(ecosystem, want, now_ms)
        recent = await self._recent()
        return [Requested(await self._one(one, recent), one.purl) for one in planned]

    def _say(self, sentence: str) -> None:
        self.note = sentence

    async def _recent(self) -> list[RequestView]:
        """The newest requests, newest first; read once for a whole closure, other tasks let in between."""
        found = []
        for request in views.recent_requests(self._reads, RECENT.value):
            view = views.request(self._reads, request)
            if view is not None:
                found.append(view)
            await trio.lowlevel.checkpoint()
        return found

    async def _one(self, planned: Planned, recent: Sequence[RequestView]) -> str:
        """The request id for one package."""
        known = _known(planned, recent)
        if known is not None:
            return known
        lock = await self._shelf.put(planned.lock, pin=PIN)
        body: dict[str, Any] = {
            "coordinates": planned.coordinates,
            "ecosystem": planned.ecosystem,
            "lock": lock.as_dict(),
            "purl": planned.purl,
            "recipe": planned.recipe,
            "requester": self._me,
            "source": planned.source,
            "target": planned.target,
        }
        try:
            entry_id, _ = await self._submitter.submit("build.request", body)
        except Refusal as refusal:
            # Somebody else asked for the same while this plan was made: then that request is the answer.
            known = _known(planned, await self._recent()) if refusal.code == "conflict" else None
            if known is None:
                raise
            return known
        return entry_id.hex()


def _known(planned: Planned, recent: Sequence[RequestView]) -> str | None:
    """A request for the same source, target and recipe that was published or still runs."""
    for view in recent:
        body = view.request.body
        same = all(body[name] == getattr(planned, name) for name in ("purl", "source", "target", "recipe"))
        alive = view.state not in ("done", "cancelled") or view.artifact is not None
        if same and alive:
            return view.id
    return None
