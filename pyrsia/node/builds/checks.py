"""Building again what was built: our own result under other circumstances, and old verdicts at random.

A self-check builds what this node has just revealed once more, at another path, with another umask, time zone and order
of folders: what differs is unstable, and that is told before a disagreement has to. A re-check takes some published
package of the past, so that nobody can count on never being looked at again. Both come after everything else that is to
be built here, and both are facts: they change no status.

Source: docs/builds-how.md, "Built again"; docs/ledger.md, "Facts".
"""

import hashlib
import inspect
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import trio

from pyrsia.builds.model import Built, Plugin
from pyrsia.errors import PyrsiaError, Refusal
from pyrsia.ledger import views
from pyrsia.ledger.views import RequestView
from pyrsia.node.builds.builder import Reads
from pyrsia.node.builds.queue import Priority, Turns
from pyrsia.units import Limit
from pyrsia.wire.text import b32

QUIET_S = Limit(
    30, "without anything to build here before something is built again: a closure is asked for at once"
)
SELF_CHECKS = Limit(256, "results that wait to be built again; of more, the oldest are let go")
LOOKED_AT = Limit(2_000, "newest requests among which one is chosen to be checked again")
DAY_S: Final = 86_400.0
KIND: Final = "recheck"
_MAX_TEXT: Final = 300

_log = logging.getLogger("pyrsia.builder")

AddFact = Callable[[Mapping[str, Any]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Found:
    """What building again gave. `files`: what differs, for the fact."""

    outcome: str
    files: tuple[dict[str, str], ...]
    text: str


class Checker:
    """Builds again when nothing else is to be built.

    Args:
        add_fact: authors a fact of these fields and sees it into the log.
        self_check: whether own results are built again.
        per_day: old verdicts that are built again in a day; 0 for none.
        may: whether this node is a builder now; nobody else checks old verdicts.
        pick: a number below its argument that nobody can foresee.
    """

    def __init__(
        self,
        node_id: bytes,
        *,
        plugins: Mapping[str, Plugin],
        turns: Turns,
        reads: Reads,
        add_fact: AddFact,
        self_check: bool,
        per_day: int,
        may: Callable[[], bool] = lambda: True,
        pick: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._me = b32(node_id)
        self._plugins = plugins
        self._turns = turns
        self._reads = reads
        self._add_fact = add_fact
        self._self_check = self_check
        self._every_s = DAY_S / per_day if per_day else 0.0
        self._may = may
        self._pick = pick
        self._mine: OrderedDict[str, Mapping[str, Any]] = OrderedDict()  # request -> our reveal
        self._news = trio.Event()

    def revealed(self, request: str, body: Mapping[str, Any]) -> None:
        """Told of each of our reveals; what was built and can be varied waits to be built again."""
        view = views.request(self._reads, request)
        if not self._self_check or view is None or body["outcome"] != "built":
            return
        plugin = self._plugins.get(view.request.body["ecosystem"])
        if plugin is None or not varies(plugin):
            return
        self._mine[request] = body
        while len(self._mine) > SELF_CHECKS.value:
            self._mine.popitem(last=False)
        self._news.set()

    async def run(self) -> None:
        """Check until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._self_checks)
            if self._every_s:
                nursery.start_soon(self._rechecks)

    async def _self_checks(self) -> None:
        while True:
            if not self._mine:
                self._news = trio.Event()
                await self._news.wait()
            await self._quiet()
            request = next(iter(self._mine), None)
            view = None if request is None else views.request(self._reads, request)
            if request is None or (view is not None and view.state not in ("done", "cancelled")):
                continue  # the log takes a self-check of what has its verdict; it has one soon
            body = self._mine.pop(request)
            if view is not None and view.verdict is not None:
                await self._guarded(view, partial(self._again, view, body))

    async def _rechecks(self) -> None:
        """At moments of our own choosing, on average `per_day` a day."""
        while True:
            await trio.sleep(self._every_s * (0.5 + self._pick(1_000) / 1_000))
            await self._quiet()
            view = self._chosen() if self._may() else None
            if view is not None:
                await self._guarded(view, partial(self._against_log, view))

    async def _quiet(self) -> None:
        """Return once nothing was to be built here for QUIET_S."""
        while True:
            await trio.sleep(QUIET_S.value)
            if self._turns.idle:
                return

    async def _guarded(self, view: RequestView, check: Callable[[], Awaitable[Found | None]]) -> None:
        """One check; what goes wrong with it is in the diary and ends nothing."""
        try:
            found = await check()
            if found is not None:
                await self._tell(view, found)
        except PyrsiaError as error:
            _log.warning("checking %s again: %s", view.id[:16], error)
        except Exception:  # noqa: BLE001 (one package's surprise must not end the node)
            _log.exception("checking %s again", view.id[:16])

    def _chosen(self) -> RequestView | None:
        """A published request that a plug-in here can build, any of the newest with the same chance."""
        asked = views.recent_requests(self._reads, LOOKED_AT.value)
        for _ in range(min(len(asked), 32)):
            view = views.request(self._reads, asked[self._pick(len(asked))])
            if view is not None and view.artifact is not None and view.author != self._me:
                if view.request.body["ecosystem"] in self._plugins:
                    return view
        return None

    async def _again(self, view: RequestView, body: Mapping[str, Any]) -> Found | None:
        """A self-check: the same inputs, other circumstances."""
        built = await self._built(view, Priority.SELF_CHECK, vary=True)
        if built is None:
            return None
        try:
            expected = {one["name"]: one["raw"]["sha256"] for one in body["outputs"]}
            differing = _differing(expected, built)
        finally:
            await built.discard()
        stable = built.outcome == "built" and not differing
        text = "built again otherwise: the same bytes" if stable else "built again otherwise: " + _told(built)
        return Found("stable" if stable else "unstable", differing, text)

    async def _against_log(self, view: RequestView) -> Found | None:
        """A re-check: what this node builds now, against what was published."""
        built = await self._built(view, Priority.RECHECK, vary=False)
        if built is None:
            return None
        agreed = _agreed(view)
        try:
            differing = _differing(agreed, built)
        finally:
            await built.discard()
        if built.outcome != "built":
            return Found("failed", (), "built again later: " + _told(built))
        outcome = "contradicts" if differing else "agrees"
        return Found(outcome, differing, f"built again later: {outcome} with the builders of the verdict")

    async def _built(self, view: RequestView, priority: Priority, *, vary: bool) -> Built | None:
        """None where this machine cannot say anything about the package, or something else is to be built meanwhile."""
        async with self._turns.turn(view.id, view.author, priority, share_s=0.0):
            return await self._built_now(view, vary=vary)
        return None  # it gave way

    async def _built_now(self, view: RequestView, *, vary: bool) -> Built | None:
        request = view.request.body
        plugin = self._plugins[request["ecosystem"]]
        try:
            locked = await plugin.relock(request)
            if hashlib.sha256(locked).hexdigest() != request["lock"]["sha256"]:
                return None  # its index moved on: nothing of the old inputs can be said
            inputs = await plugin.prefetch(request, locked)
        except Refusal:
            return None
        if vary:
            return await plugin.build(request, inputs, _nothing, vary=True)
        return await plugin.build(request, inputs, _nothing)

    async def _tell(self, view: RequestView, found: Found) -> None:
        body: dict[str, Any] = {
            "kind": KIND,
            "outcome": found.outcome,
            "request": view.id,
            "subject": view.request.body["purl"],
            "text": found.text[:_MAX_TEXT],
        }
        if found.outcome in ("stable", "unstable"):
            body["self"] = True
        if found.files:
            body["files"] = list(found.files)
        await self._add_fact(body)


def varies(plugin: Plugin) -> bool:
    """Whether a plug-in can build under other circumstances."""
    return "vary" in inspect.signature(plugin.build).parameters and plugin.name not in ("witness", "pipeline")


def _nothing(_: str) -> None:
    """Nobody follows a check."""


def _agreed(view: RequestView) -> dict[str, str]:
    """File -> SHA-256 of what the agreeing builders built: raw for REPRODUCED, canonical below that."""
    verdict = view.verdict.body if view.verdict else {"agreeing": [], "verdict": ""}
    which = "canonical" if verdict["verdict"] == "EQUIVALENT" else "raw"
    told = [one.body for one in view.reveals if one.author in verdict["agreeing"]]
    return {one["name"]: one[which]["sha256"] for one in (told[0]["outputs"] if told else ())}


def _differing(expected: Mapping[str, str], built: Built) -> tuple[dict[str, str], ...]:
    """What is not as expected, by file name. A canonical form is equal where the raw one was expected or it was."""
    found = {one.name: {one.raw.file.sha256, one.canonical.file.sha256} for one in built.outputs}
    raw = {one.name: one.raw.file.sha256 for one in built.outputs}
    rows = []
    for name, digest in sorted(expected.items()):
        if digest in found.get(name, ()):
            continue
        row = {"expected": digest, "file": name}
        rows.append({**row, "found": raw[name]} if name in raw else row)
    return tuple(rows)


def _told(built: Built) -> str:
    return f"it failed in {built.phase}" if built.outcome == "failed" else "other bytes"
