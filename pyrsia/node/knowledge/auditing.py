"""Audits: what is known of many versions at once, what the log thinks of their files, and what policy says now.

Asked about now, facts come from what is remembered; about a past moment, they are read out of each package's history
up to it. Others have their turn between any two versions. Anybody may ask, so an audit has a bound of work and its
answer one of bytes: who asks for more is told to ask for less, down to one version, which is always answered.

Source: docs/knowledge.md, "At a node".
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeVar

import msgspec
import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge.about import about
from pyrsia.knowledge.advisories import LIFTING
from pyrsia.knowledge.ecosystems import strange
from pyrsia.knowledge.known import Advisory, Known, Licence, Sbom
from pyrsia.knowledge.said import ADVISORY, LICENCE, SBOM, VEX
from pyrsia.ledger import views
from pyrsia.ledger.bodies.facts import DIGEST
from pyrsia.ledger.standing import worst_first
from pyrsia.ledger.touches import package_key
from pyrsia.ledger.views import Placed
from pyrsia.node.inspecting.past import Past, Pasts
from pyrsia.node.knowledge.knowing import Knowledge, keys_of
from pyrsia.node.knowledge.telling import Log, Telling
from pyrsia.node.log.times import Moment
from pyrsia.node.policy.policing import Policing, facts_of
from pyrsia.policy.facts import LOCAL, NETWORK, PROXIED, Decision, Facts
from pyrsia.serve.desks.knowing import AuditAnswer, AuditOrder, AuditRow
from pyrsia.serve.desks.supply import Supply
from pyrsia.units import Limit
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl
from pyrsia.wire.text import safe

WORK = Limit(200_000, "leaves of histories read for one audit of the past: some four seconds, in turns")
MAX_FILES = Limit(
    256, "files of one version that are looked at, twice the wheels of the largest; more: not whole"
)
COMPARED = Limit(
    100_000, "facts held against versions in one audit: some three seconds of one node's loop, in turns"
)
MAX_ANSWER_BYTES = Limit(
    2 << 20, "1,000 versions with an advisory each are half of it; it is encoded in one turn, 10 ms"
)
AT_ONCE = Limit(2, "audits under way: they share one loop, and more of them would only all be later")
WAITING = Limit(16, "audits that wait: the last of them is answered within the 30 s that clients wait")
TEXT_CHARS = Limit(400, "of an advisory's text: a paragraph; the fact itself has all of it")
MAX_WORDS = Limit(
    100, "licences, or SBOMs, of one version that are told, each author's newest first: ten of ten authors"
)
TURN: Final = 4  # files of a version between two turns of others: each takes half a millisecond at most
_RETRY_S: Final = 5

_Word = TypeVar("_Word", Licence, Sbom)


class Auditing:
    """One node's."""

    def __init__(
        self,
        log: Log,
        knowledge: Knowledge,
        telling: Telling,
        policing: Policing,
        supply: Supply,
        pasts: Pasts | None = None,
    ) -> None:
        self._log, self._knowledge, self._telling = log, knowledge, telling
        self._policing, self._supply = policing, supply
        self._pasts = pasts or Pasts(log)
        self._turns = trio.CapacityLimiter(AT_ONCE.value)

    async def audit(self, order: AuditOrder) -> AuditAnswer:
        """As `serve.desks.knowing.KnowledgeDesk.audit`."""
        if self._turns.statistics().tasks_waiting >= WAITING.value:
            raise _busy()
        async with self._turns:
            return await self._answer(order)

    async def _answer(self, order: AuditOrder) -> AuditAnswer:
        moment = await self._telling.moment(order.at)
        look = _Look(self, moment)
        rows: list[AuditRow] = []
        size = 0
        for purl in order.purls:
            await trio.lowlevel.checkpoint()
            row = _short(await look.row(purl))
            size += len(msgspec.json.encode(row))
            if rows and (size > MAX_ANSWER_BYTES.value or look.compared > COMPARED.value):
                raise _too_much("what is known of these versions is more than one answer holds")
            rows.append(row)
        whole = all(row.known is None or _is_whole(row.known) for row in rows)
        return AuditAnswer(moment.size, moment.time_ms, whole, tuple(rows))


class _Look:
    """One order on its way. `compared`: facts that were held against versions for it."""

    def __init__(self, auditing: Auditing, moment: Moment) -> None:
        self._log, self._moment = auditing._log, moment
        self._knowledge, self._policing = auditing._knowledge, auditing._policing
        self._supply = auditing._supply
        self._read = auditing._pasts
        self._pasts: dict[bytes, Past] = {}
        self._files: dict[str, dict[str, list[Placed]]] = {}  # package -> version (`_version`) -> its files
        self._left = WORK.value
        self.compared = 0

    async def row(self, text: str) -> AuditRow:
        """One version; what cannot be read is a row that says so."""
        try:
            purl = purls.parse(text)
        except Malformed as error:
            return _unread(text, f"this is no purl: {error}")
        if unknown := strange(text):
            return _unread(text, unknown)
        files = self._of(purl).get(_version(purl), []) if purl.version else []
        if purl.version.startswith(DIGEST):
            files = [
                one
                for each in self._of(purl).values()
                for one in each
                if DIGEST + one.body["sha256"] == purl.version
            ]
        if self._moment.past:
            return await self._row_then(text, purl, files)
        return await self._row_now(text, purl, files)

    def _of(self, purl: Purl) -> dict[str, list[Placed]]:
        """Files of the package under every name that it goes by, by version: read once an order."""
        package = str(purl.versionless)
        known = self._files.get(package)
        if known is None:
            known = self._files[package] = {}
            for name in _packages(purl):
                for one in views.project_files(self._log.state, name, every=True):
                    known.setdefault(_version(purls.parse(one.body["purl"])), []).append(one)
        return known

    # -- now --

    async def _row_now(self, text: str, purl: Purl, files: Sequence[Placed]) -> AuditRow:
        known = await self._knowledge.read(text)
        held = map(self._knowledge.reading.kept, keys_of(text, ""))
        self.compared += sum(len(one.facts) for one in held if one is not None)
        status, facts = "", self._elsewhere(text, purl, known)
        origin = "" if facts is None else facts.origin
        decisions: list[Decision] = []
        if facts is not None:
            decisions.append(self._policing.decision(facts))
        elif self._of(purl):
            origin = NETWORK if files or not purl.version else ""
        files = files if facts is None else ()
        for at, one in enumerate(files[: MAX_FILES.value]):
            await _turn(at)
            name, sha256 = one.body["purl"], one.body["sha256"]
            of_file = await self._knowledge.read(name, sha256)
            worth = str((views.status(self._log.state, sha256, name) or {"status": ""})["status"])
            status = _worse(status, worth)
            asks = self._policing.policy.asks_isolation
            told = facts_of(self._log.state, one, worth, isolations=asks)
            decisions.append(self._policing.decision(replace(told, known=of_file)))
            known = _richer(known, of_file)
        worst = next((one for one in decisions if not one.allowed), decisions[0] if decisions else None)
        return AuditRow(
            text,
            origin,
            status,
            replace(known, size=self._moment.size, whole=known.whole and len(files) <= MAX_FILES.value),
            None if worst is None else worst.allowed,
            () if worst is None else worst.reasons,
        )

    def _elsewhere(self, text: str, purl: Purl, known: Known) -> Facts | None:
        """What is not the log's: pushed to this node, or upstream's where nothing of it is in the log."""
        if any(map(self._supply.local.owns, _packages(purl))):
            return Facts(text, LOCAL, known=known)
        if not self._of(purl) and any(map(self._supply.upstream.takes, _packages(purl))):
            return Facts(text, PROXIED, known=known)
        return None

    # -- then --

    async def _row_then(self, text: str, purl: Purl, files: Sequence[Placed]) -> AuditRow:
        present = [one for one in files if one.leaf < self._moment.size]
        known = await self._known(text, "")
        status = ""
        for at, one in enumerate(present[: MAX_FILES.value]):
            await _turn(at)
            name, sha256 = one.body["purl"], one.body["sha256"]
            then = await self._past(package_key(name.partition("@")[0]))
            status = _worse(status, then.status(sha256, name))
            known = _richer(known, await self._known(name, sha256))
        known = replace(known, whole=known.whole and len(present) <= MAX_FILES.value)
        local = any(map(self._supply.local.owns, _packages(purl)))
        return AuditRow(text, LOCAL if local else NETWORK if present else "", "" if local else status, known)

    async def _known(self, text: str, sha256: str) -> Known:
        found = [await self._past(key) for key in keys_of(text, sha256)]
        facts = [fact for one in found for fact in one.facts]
        self.compared += len(facts)
        whole = all(one.whole for one in found) and not self._log.here_from(0)
        return about(facts, text, sha256, self._moment.time_ms, self._moment.size, whole)

    async def _past(self, key: bytes) -> Past:
        """A history up to the moment: read once an order."""
        known = self._pasts.get(key)
        if known is None:
            if self._left <= 0:
                raise _too_much(f"the histories of these packages have more than {WORK.value} entries")
            known, read = await self._read.at(key, self._moment.size)
            self._pasts[key] = known
            self._left -= read
        return known


def _is_whole(known: Known) -> bool:
    """Whether no word against it is missing."""
    return known.whole and not known.lacks(ADVISORY, VEX)


async def _turn(at: int) -> None:
    """Before the file number `at` of a version."""
    if at % TURN == TURN - 1:
        await trio.lowlevel.checkpoint()


def _packages(purl: Purl) -> tuple[str, ...]:
    """Every name by which the log may have a package."""
    return tuple(map(str, purls.spellings(purl.versionless)))


def _version(purl: Purl) -> str:
    """A version, the same text for what clients take for the same: pip takes 3.0 where 3.0.0 is asked for."""
    return purls.pypi_version(purl.version) if purl.package.type == "pypi" else purl.version


def _worse(one: str, other: str) -> str:
    """The worse of two statuses; "" is none."""
    return min(filter(None, (one, other)), key=worst_first, default="")


def _richer(one: Known, of_file: Known) -> Known:
    """What is known of a version and of one of its files, each fact once."""
    return replace(
        one,
        whole=one.whole and of_file.whole,
        advisories=_together(one.advisories, of_file.advisories),
        licences=tuple(dict.fromkeys((*one.licences, *of_file.licences))),
        sboms=tuple(dict.fromkeys((*one.sboms, *of_file.sboms))),
        flips_ms=min(filter(None, (one.flips_ms, of_file.flips_ms)), default=None),
        beyond=tuple(dict.fromkeys((*one.beyond, *of_file.beyond))),
    )


def _together(some: Sequence[Advisory], others: Sequence[Advisory]) -> tuple[Advisory, ...]:
    """Each once. VEX in favour of one file says nothing of the others: only what speaks for all of them is told."""
    by_leaf = {one.leaf: one for one in some}
    for other in others:
        one = by_leaf.get(other.leaf, other)
        every = [*one.vex, *(it for it in other.vex if it not in one.vex)]
        vex = [it for it in every if it[1] not in LIFTING or (it in one.vex and it in other.vex)]
        by_leaf[other.leaf] = replace(one, sure=one.sure or other.sure, vex=tuple(vex))
    return tuple(one for _, one in sorted(by_leaf.items()))


def _short(row: AuditRow) -> AuditRow:
    """As it is told: whose words are left out is said (`Known.beyond`), and of advisories only text is cut."""
    known = row.known
    if known is None:
        return row
    licences, sboms = _newest(known.licences), _newest(known.sboms)
    gone = {(one.issuer, LICENCE) for one in {*known.licences} - {*licences}}
    gone |= {(one.issuer, SBOM) for one in {*known.sboms} - {*sboms}}
    told = replace(
        known,
        advisories=tuple(map(_cut, known.advisories)),
        licences=licences,
        sboms=sboms,
        beyond=tuple(sorted({*known.beyond, *gone})) if gone else known.beyond,
    )
    return msgspec.structs.replace(row, known=told)


def _cut(one: Advisory) -> Advisory:
    most = TEXT_CHARS.value
    return one if len(one.text) <= most else replace(one, text=f"{one.text[: most - 1]}…")


def _newest(words: tuple[_Word, ...]) -> tuple[_Word, ...]:
    """As many as are told, in log order: the newest of each author, then the second of each, and so on."""
    if len(words) <= MAX_WORDS.value:
        return words
    before: Counter[str] = Counter()
    ranked: list[tuple[int, int, _Word]] = []
    for one in sorted(words, key=lambda word: -word.leaf):
        ranked.append((before[one.issuer], -one.leaf, one))
        before[one.issuer] += 1
    ranked.sort(key=lambda rank: rank[:2])
    return tuple(sorted((one for _, _, one in ranked[: MAX_WORDS.value]), key=lambda word: word.leaf))


def _too_much(what: str) -> Refusal:
    return Refusal(
        "too-large",
        what=what,
        who="the client's request",
        do="ask about fewer versions at once",
    )


def _busy() -> Refusal:
    return Refusal(
        "busy",
        what=f"{AT_ONCE.value + WAITING.value} audits are asked of this node at once already",
        who="the clients of this node",
        do=f"ask again in {_RETRY_S} seconds",
        retry_s=_RETRY_S,
    )


def _unread(text: str, why: str) -> AuditRow:
    return AuditRow(safe(text), "", "", None, error=why)
