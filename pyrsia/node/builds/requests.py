"""Asking the network for a package: plan its closure, and request what the log does not hold yet.

Decides what is planned by which plug-in, what the log knows already, and under whose name a result may stand: a source
that was given along, and parameters of one's own, lead to a name of one's own. What a plan holds is the plug-in's.

Source: docs/builds.md, "Ask for somebody else's package".
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import trio

from pyrsia.builds.closures import UNBUILDABLE
from pyrsia.builds.model import Planned, Plugin, Unbuildable, Want
from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.ledger.views import RequestView
from pyrsia.node.builds.names import own_name, want_of_purl
from pyrsia.node.log.submission import Submitter
from pyrsia.node.storage.shelf import Shelf
from pyrsia.serve.desks.orders import InputLine, PlanRow, Requested
from pyrsia.units import MAX_LOCK_LINES, Limit
from pyrsia.wire.text import b32

PLAN_S = Limit(300, "a closure of dozens of packages over a slow index; longer is an index that is down")
RECENT = Limit(500, "as many requests as can be open at once are looked at for one that already runs")
PLANS_WAITING = Limit(
    16, "orders that wait for a planner; at a minute each the last has waited a quarter of an hour"
)
PLANNERS = Limit(2, "plans made at once: each has sandboxes of its own, and builds go on beside them")
PIN = "lock"
WITNESS: Final = "witness"

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
        self._planners = trio.CapacityLimiter(PLANNERS.value)
        self.note = ""  # what is being planned right now

    async def plan(self, ecosystem: str, want: Want, now_ms: int) -> Sequence[Planned]:
        """What would be asked for, dependencies first; nothing is.

        Raises:
            Refusal: `bad-request` for an ecosystem that is not built here; `busy`; the plan's.
        """
        plugin = self._plugins.get(ecosystem)
        if plugin is None:
            raise Refusal(
                "bad-request",
                what=f"this node plans no {ecosystem[:20]} packages",
                who="your request",
                do=f"ask for one of {', '.join(sorted(self._plugins))}",
            )
        if self._planners.statistics().tasks_waiting >= PLANS_WAITING.value:
            raise Refusal(
                "busy",
                what=f"{PLANS_WAITING.value} orders wait here to be planned already",
                who="this node, which plans a few at a time",
                do="ask again in a minute",
                retry_s=60,
            )
        try:
            async with self._planners:
                with trio.fail_after(PLAN_S.value):
                    planned = await plugin.plan(want, now_ms, self._say)
        except trio.TooSlowError:
            raise Refusal(
                "unavailable",
                what=f"planning {want.name} took longer than {PLAN_S.value} s",
                who="the package index",
                do="try again later, or with an index nearby",
            ) from None
        finally:
            self.note = ""
        return [self._named(one, want) for one in planned]

    async def plan_or_witness(self, ecosystem: str, want: Want, now_ms: int) -> list[tuple[Planned, str]]:
        """As `plan`, each with a note; of what has no source that can be built, upstream's own file is witnessed.

        Raises:
            Refusal: the plan's, where witnessing does not help either.
        """
        try:
            return [(one, "") for one in await self.plan(ecosystem, want, now_ms)]
        except Refusal as refusal:
            if refusal.code not in UNBUILDABLE or WITNESS not in self._plugins or want.source is not None:
                raise
            return await self._in_parts(ecosystem, want, now_ms, refusal)

    async def _in_parts(
        self, ecosystem: str, want: Want, now_ms: int, refusal: Refusal
    ) -> list[tuple[Planned, str]]:
        """Each package of a closure by itself: built where it can be, else witnessed; the rest is as far as known."""
        told = refusal if isinstance(refusal, Unbuildable) else None
        known = told.closure if told is not None else ()
        bare = {name for name, _ in told.packages} if told is not None else set()
        found: list[tuple[Planned, str]] = []
        for name, version in known or ((want.name, want.version),):
            one = replace(want, name=name, version=version, closure=False)
            why = refusal.what
            if name not in bare:
                try:
                    note = "" if known else f"without what it needs: {refusal.what}"
                    found += [(part, note) for part in await self.plan(ecosystem, one, now_ms)]
                    continue
                except Refusal as another:
                    if another.code not in UNBUILDABLE:
                        raise
                    why = another.what
            seen = replace(one, name=str(want_of_purl(ecosystem, name)))
            found += [
                (part, f"witnessed, not rebuilt: {why}") for part in await self.plan(WITNESS, seen, now_ms)
            ]
        return found

    async def ask(
        self,
        ecosystem: str,
        want: Want,
        now_ms: int,
        *,
        witness: bool = False,
    ) -> Sequence[Requested]:
        """Request `want` and its run-time closure, dependencies first; what is published or being built is named,
        not asked for again.

        Args:
            witness: have upstream's file witnessed where it has no source that can be built.

        Raises:
            Refusal: the plan's, or the log's; `inputs-unverified`.
        """
        planned = await self._planned(ecosystem, want, now_ms, witness=witness)
        recent = await self._recent()
        return [await self._one(one, recent, note) for one, note in planned]

    async def rows(
        self, ecosystem: str, want: Want, now_ms: int, *, witness: bool = False
    ) -> Sequence[PlanRow]:
        """What `ask` would author, for people.

        Raises:
            Refusal: as `ask`, but for the log's.
        """
        planned = await self._planned(ecosystem, want, now_ms, witness=witness)
        recent = await self._recent()
        return [self._row(one, recent, note) for one, note in planned]

    async def _planned(
        self, ecosystem: str, want: Want, now_ms: int, *, witness: bool
    ) -> list[tuple[Planned, str]]:
        if witness:
            planned = await self.plan_or_witness(ecosystem, want, now_ms)
        else:
            planned = [(one, "") for one in await self.plan(ecosystem, want, now_ms)]
        if want.verified_only:
            self._refuse_unverified([one for one, _ in planned if one.ecosystem != WITNESS])
        return planned

    def _refuse_unverified(self, planned: Sequence[Planned]) -> None:
        """
        Raises:
            Refusal: `inputs-unverified`, naming what this network has not published.
        """
        missing = [
            f"{line.file} of {one.purl}"
            for one in planned
            for line in lock_lines(one.lock, self._entry)
            if line.entry < 0
        ]
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise Refusal(
                "inputs-unverified",
                what=f"{len(missing)} inputs were not built by this network (one that was only witnessed, or stands "
                f"under another member's own name, does not count): {shown}",
                who="your wish for verified inputs only",
                do="have those built first with `pyrsia build request`, or leave --only-verified-inputs out",
            )

    def _entry(self, sha256: str) -> int:
        found = views.built(self._reads, sha256, self._me)
        return -1 if found is None else found

    def _named(self, planned: Planned, want: Want) -> Planned:
        """With the name that its result may have, and the manifest by which its given source travels."""
        if want.source is None and not (want.generic and want.parameters):
            return planned
        source = dict(planned.source)
        if want.source is not None and source["sha256"] == want.source.sha256 and want.source.manifest:
            source["manifest"] = want.source.manifest
        if want.source is None or "manifest" in source:
            return replace(planned, purl=own_name(planned.purl, self._me), source=source)
        return planned  # a dependency of it, from a registry

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

    def _row(self, planned: Planned, recent: Sequence[RequestView], note: str) -> PlanRow:
        return PlanRow(
            purl=planned.purl,
            ecosystem=planned.ecosystem,
            source=dict(planned.source),
            recipe=dict(planned.recipe),
            target=dict(planned.target),
            lock_sha256=hashlib.sha256(planned.lock).hexdigest(),
            inputs=tuple(lock_lines(planned.lock, self._entry)),
            request=self._known(planned, recent) or "",
            note=note,
        )

    async def _one(self, planned: Planned, recent: Sequence[RequestView], note: str) -> Requested:
        """The request for one package."""
        known = self._known(planned, recent)
        if known is not None:
            return Requested(known, planned.purl, planned.ecosystem, known=True, note=note)
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
            known = self._known(planned, await self._recent()) if refusal.code == "conflict" else None
            if known is None:
                raise
            return Requested(known, planned.purl, planned.ecosystem, known=True, note=note)
        return Requested(entry_id.hex(), planned.purl, planned.ecosystem, note=note)

    def _known(self, planned: Planned, recent: Sequence[RequestView]) -> str | None:
        """A request for the same source, target and recipe whose files are offered, or that runs with the same lock.

        Of one that runs nobody has said yet that its lock is true. The cut-off alone makes no other request: of a
        source that was given along it is the time of asking. What was withdrawn or is disputed is no answer.
        """
        locked = hashlib.sha256(planned.lock).hexdigest()
        for view in recent:
            body = view.request.body
            same = all(body[name] == getattr(planned, name) for name in ("purl", "source", "target"))
            runs = view.state not in ("done", "cancelled") and body["lock"]["sha256"] == locked
            alive = runs or self._offered(view)
            if same and alive and _timeless(body["recipe"]) == _timeless(planned.recipe):
                return view.id
        return None

    def _offered(self, view: RequestView) -> bool:
        """Whether something came of a request, and all of it is offered."""
        files = [(one.body["sha256"], one.body["purl"]) for one in view.artifacts]
        return bool(files) and all(views.offered(self._reads, sha256, purl) for sha256, purl in files)


def lock_lines(lock: bytes, entry: Callable[[str], int]) -> list[InputLine]:
    """The lines of a lock of any ecosystem: `name version file sha256 size` under a head line; others are left out."""
    found = []
    for line in lock.decode("ascii", "replace").splitlines()[1 : MAX_LOCK_LINES.value + 1]:
        words = line.split(" ")
        if len(words) == 5 and words[4].isdecimal():
            name, version, file, sha256, size = words
            found.append(InputLine(name, version, file, sha256, int(size), entry(sha256)))
    return found


def _timeless(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key != "cutoff_ms"}
