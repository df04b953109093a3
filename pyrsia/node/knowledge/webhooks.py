"""Servers of the operator's choice that are told of facts (`knowledge.calling` decides; here is log, disk and network).

Each has a task and a place of its own, so that a dead one holds up neither the node nor the others. What waits for one
that does not answer is a place in the log: nothing is kept in memory but the call that is under way. A place is
written without a sync: a machine that loses it loses what the log got after it too, and the call comes twice.

Source: docs/knowledge.md, "Webhooks"; docs/storage.md, "Database" (`misc`).
"""

import hashlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Final, Protocol

import httpx
import msgspec
import trio

from pyrsia.builds.outbound.addresses import origin_of, shown
from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web, stored
from pyrsia.errors import Refusal, Unavailable
from pyrsia.knowledge.calling import (
    GONE,
    Answer,
    Call,
    Caller,
    Effect,
    Keep,
    Listen,
    Page,
    Place,
    Read,
    Rest,
    Send,
    Told,
    signature,
)
from pyrsia.node.knowledge.webhook_settings import Known
from pyrsia.node.pulse import Pulse
from pyrsia.node.upstream.circuits import rest_s
from pyrsia.serve.desks.knowing import OLDEST, AsOf, FactsTold, WebhookRow, WebhooksTold
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import MAX_CALL_FACTS, MAX_WEBHOOKS, Limit
from pyrsia.wire.text import safe

PATIENCE_S = Limit(15, "for one answer: a receiver has only to write down what it got")
MAX_ANSWER_BYTES = Limit(4_096, "of an answer that are read and thrown away, so that it can be sent: an OK")
ANSWER_S = Limit(1, "to read them: the status is what counts, and it is there already")
ALARM_AFTER = Limit(3, "failures in a row: a receiver that restarts is no news to the operator")

_PREFIX: Final = b"webhook/"  # then a digest of the URL -> its place
_KEPT: Final = msgspec.msgpack.Decoder(tuple[int, ...])
_FIELDS: Final = (3, 4)  # of a place; the last came later
_log = logging.getLogger("pyrsia.webhooks")


class Log(Protocol):
    """What is needed of `telling.Telling`."""

    async def newest(
        self, at: AsOf, *, kind: str, first: int | None, count: int, order: str = ""
    ) -> FactsTold: ...


class Webhooks:
    """One node's, perhaps none."""

    def __init__(
        self,
        known: Sequence[Known],
        log: Log,
        *,
        network: str,
        size: Callable[[], int],
        database: Database,
        pulse: Pulse,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`size`: of the log; `pulse` beats when it has grown."""
        self.pulse, self.chance = pulse, chance
        self._log, self._size, self._database, self._clock = log, size, database, clock
        places = self._places(known)
        self._callers = [
            (one, Caller(one.target, network, place)) for one, place in zip(known, places, strict=True)
        ]

    def _places(self, known: Sequence[Known]) -> list[Place]:
        """Where each goes on; what is not configured any more is forgotten, what is new begins."""
        keys = [_key(one.target.url) for one in known]
        batch, found = Batch(), []
        kept = dict(
            self._database.scan(layout.MISC, _PREFIX, 2 * MAX_WEBHOOKS.value, before=_PREFIX + b"\xff")
        )
        for key in kept.keys() - set(keys):
            batch.delete(layout.MISC, key)
        for one, key in zip(known, keys, strict=True):
            place = _read(kept.get(key))
            if place is None:
                since = one.settings.since
                place = Place(since + 1) if since >= 0 else Place(self._size(), from_ms=self.now_ms())
                batch.put(layout.MISC, key, _written(place))
            found.append(place)
        if len(batch):
            self._database.write(batch)
        return found

    def now_ms(self) -> int:
        return int(self._clock() * 1_000)

    # -- what is seen of them --

    def told(self) -> WebhooksTold:
        return WebhooksTold(tuple(self._row(one, caller) for one, caller in self._callers))

    def _row(self, one: Known, caller: Caller) -> WebhookRow:
        return WebhookRow(
            url=shown(one.target.url),
            kinds=one.settings.kinds,
            packages=one.settings.packages,
            severity=one.target.severity,
            signed=bool(one.secret),
            state=caller.state,
            next=caller.place.at,
            behind=max(0, self._size() - caller.place.at),
            failures=caller.failures,
            since_ms=caller.since_ms,
            trouble=caller.trouble,
            delivered=caller.delivered,
            last_ms=caller.last_ms,
        )

    def notices(self) -> list[str]:
        """Sentences for the operator."""
        return [notice for one, caller in self._callers if (notice := _notice(one, caller))]

    # -- calling them --

    async def run(self) -> None:
        """Tell until cancelled."""
        async with trio.open_nursery() as nursery:
            for one, caller in self._callers:
                nursery.start_soon(self._run, one, caller)

    async def _run(self, one: Known, caller: Caller) -> None:
        async with Web(_outbound(one)) as web:
            line = _Line(one, caller, web, self)
            effects = caller.on_start()
            while effects:
                try:
                    for effect in effects:
                        following = await line.do(effect)
                    effects = following
                except Exception:  # noqa: BLE001 - the border: a fault with one ends neither the node nor the others
                    _log.exception("webhook %s met a fault of ours", one.name)
                    effects = caller.on_fault(self.now_ms(), self.chance())
        _log.warning("%s", _notice(one, caller))

    def keep(self, one: Known, place: Place) -> None:
        try:
            self._database.write(Batch().put(layout.MISC, _key(one.target.url), _written(place)))
        except Unavailable as error:  # it costs calls that come twice, no call
            _log.warning("the place of webhook %s is not written: %s", one.name, safe(str(error)))

    async def page(self, one: Known, first: int) -> Page:
        kinds = one.settings.kinds
        told = await self._log.newest(
            AsOf(),
            kind=kinds[0] if len(kinds) == 1 else "",
            first=first,
            count=MAX_CALL_FACTS.value,
            order=OLDEST,
        )
        more = told.next >= 0
        rows = [
            Told(
                row.leaf, row.time_ms, row.kind, row.subject, row.ended or row.body, msgspec.json.encode(row)
            )
            for row in told.facts
        ]
        return Page(rows, told.next if more else told.size, more, told.whole)


class _Line:
    """One webhook while the node runs."""

    def __init__(self, one: Known, caller: Caller, web: Web, whole: Webhooks) -> None:
        self._one, self._caller, self._web, self._whole = one, caller, web, whole
        self._seen = 0

    async def do(self, effect: Effect) -> tuple[Effect, ...]:
        match effect:
            case Keep():
                self._whole.keep(self._one, effect.place)
                return ()
            case Read():
                self._seen = self._whole.pulse.beats  # what grows while it reads is looked at next
                return self._caller.on_page(await self._whole.page(self._one, effect.first))
            case Send():
                answer = await self._answer(effect.call)
                before = self._caller.failures
                effects = self._caller.on_answer(self._whole.now_ms(), answer, self._whole.chance())
                self._say(before)
                return effects
            case Rest():
                await trio.sleep(effect.seconds)
            case Listen():
                await self._whole.pulse.after(self._seen)
        return self._caller.on_rested()

    async def _answer(self, call: Call) -> Answer:
        """What came of a call that is made once; nothing that the other side does takes longer or more than this."""
        headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "x-pyrsia-delivery": call.id,
        }
        if self._one.secret:
            headers["x-pyrsia-signature"] = signature(self._one.secret, call.body)
        found: Answer | None = None
        with trio.move_on_after(PATIENCE_S.value):
            try:
                async with self._web.tell(self._one.target.url, call.body, headers=headers) as response:
                    found = self._read(response)
                    with trio.move_on_after(ANSWER_S.value), suppress(httpx.HTTPError):
                        await _drop(response)
            except Refusal as refusal:
                return Answer(0, safe(refusal.what))
        return found or Answer(0, f"no answer within {PATIENCE_S.value} s")

    def _read(self, response: httpx.Response) -> Answer:
        status, asked = response.status_code, response.headers.get("retry-after", "")
        why = f"{status}, and redirects are not followed" if 300 <= status < 400 else str(status)
        return Answer(status, why, rest_s(status, asked, self._whole.now_ms() / 1_000))

    def _say(self, before: int) -> None:
        """The first failure and the end of failures go to the diary."""
        failures, name = self._caller.failures, self._one.name
        if failures and not before:
            _log.warning("webhook %s did not take a call: %s", name, self._caller.trouble)
        elif before and not failures and not self._caller.stopped:
            _log.info("webhook %s takes calls again", name)


class _Blame(Blame):
    """Says what went wrong without the URL: its path may be a secret."""

    def unreachable(self, url: str, why: str) -> Refusal:
        return Refusal(self.code, what=why, who=self.who, do=self.do)


def _outbound(one: Known) -> Outbound:
    """Straight or by the environment's proxy, with no credentials of anybody."""
    hosts = frozenset({origin_of(one.target.url)[1:]} if one.settings.private else ())
    return Outbound(
        timeout_s=float(PATIENCE_S.value), netrc=False, open_hosts=hosts, connections=1, blame=_Blame()
    )


async def _drop(response: httpx.Response) -> None:
    size = 0
    async with aclosing(stored(response)) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > MAX_ANSWER_BYTES.value:
                return


def _notice(one: Known, caller: Caller) -> str:
    if caller.stopped:
        return f"webhook {one.name} answered {GONE}: it is told of nothing more until this node restarts"
    if caller.failures < ALARM_AFTER.value:
        return ""
    since = datetime.fromtimestamp(caller.since_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"webhook {one.name} has not answered since {since} UTC: {caller.trouble}"


# -- what is kept --


def _key(url: str) -> bytes:
    return _PREFIX + hashlib.sha256(url.encode()).digest()[:16]


def _written(place: Place) -> bytes:
    return msgspec.msgpack.encode((place.at, place.until, place.from_ms, place.failing_ms))


def _read(raw: bytes | None) -> Place | None:
    """None for none, and for what nobody can read: then it begins anew."""
    try:
        fields = () if raw is None else _KEPT.decode(raw)
    except msgspec.DecodeError:
        return None
    return Place(*fields) if len(fields) in _FIELDS else None
