"""Facts as they are told: pages of a subject's or of the whole log's, and the facts that come, each with its state.

One answer looks at a bounded number of leaves and says where to go on; between short stretches others have their turn.
What became of a fact is the log's own record of who ended it, so a page needs nothing of the pages beside it. Who reads
about one subject sees there what was taken back; who reads along sees the word that takes it back as a row of its own.

Source: docs/knowledge.md, "At a node".
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge import standing
from pyrsia.knowledge.advisories import Asked, asked, means
from pyrsia.knowledge.said import Said
from pyrsia.knowledge.versions import same
from pyrsia.ledger import views
from pyrsia.ledger.bodies.facts import DIGEST, KINDS
from pyrsia.ledger.chain import ChainHead
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.matching import PurlGlob
from pyrsia.ledger.touches import digest_key, package_key
from pyrsia.node.knowledge import reading
from pyrsia.node.knowledge.reading import fact, leaves_at
from pyrsia.node.log import times
from pyrsia.node.log.explorer import names_of
from pyrsia.node.log.times import Moment
from pyrsia.node.members.past import PastMembers
from pyrsia.node.pulse import Pulse
from pyrsia.serve.desks.knowing import NEWEST, AsOf, FactRow, FactsTold
from pyrsia.units import HASH_BYTES, MAX_FILES_SOUGHT, Limit
from pyrsia.wire import canonical
from pyrsia.wire import purl as purls

WORK = Limit(
    20_000, "leaves looked at for one answer, as in the log's own pages: a quarter of a second, in turns"
)
MAX_ANNOUNCED = Limit(
    64, "corrections of corrections that are all still to come: more only wastes a reader's time"
)
MAX_FILES = Limit(
    256, "files of one version whose facts are told with it, as an audit looks at; more: not whole"
)
FILES_A_TURN: Final = 64  # of a project, between two turns of others: a millisecond
ROWS_A_FILE: Final = (
    8  # at least, of each history at once: most files have their publication and nothing else
)
ROWS_A_TURN: Final = 16  # each may look for its block's seal, a tenth of a millisecond


class Log(reading.Log, Protocol):
    """What is needed of `archive.Archive`."""

    @property
    def head(self) -> ChainHead | None: ...
    def leaf_of(self, entry_id: bytes) -> int | None: ...
    def state(self, key: bytes) -> bytes | None: ...
    def tile(self, level: int, index: int, width: int) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What facts are asked for, and the index key of their history."""

    text: str
    key: bytes
    asked: Asked | None  # for what speaks of one version; None for all facts of the history
    files: frozenset[str] = frozenset()  # of that version, as subjects: what is said of them is said of it

    @classmethod
    def parse(cls, text: str) -> "Subject":
        """
        Raises:
            Refusal: `bad-request`.
        """
        try:
            if text.startswith(DIGEST):
                digest = text[len(DIGEST) :]
                if len(digest) != 2 * HASH_BYTES or digest != digest.lower():
                    raise Malformed("64 hexadecimal digits in lower case are expected behind sha256:")
                return cls(text, digest_key(digest), None)
            purl = purls.parse(text)
        except (Malformed, ValueError) as error:
            raise Refusal(
                "bad-request",
                what=f"this names no package and no file: {error}",
                who="the client's request",
                do="send pkg:TYPE/NAME, with or without @VERSION, or sha256:HEX",
            ) from None
        return cls(text, package_key(str(purl.versionless)), asked(text, "") if purl.version else None)

    def means(self, one: Said) -> bool:
        """Whether a fact of its history speaks of it, or may; what takes one back is told as that one's state."""
        if one.is_withdrawal:
            return False
        return self.asked is None or one.subject in self.files or means(one, self.asked).affected


class Telling:
    """One node's."""

    def __init__(
        self,
        log: Log,
        genesis: Genesis,
        pulse: Pulse,
        *,
        members: PastMembers | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`pulse` beats when the log has grown; `members`: who was one; without it all have the names of now."""
        self._members = members
        self._log, self._genesis, self._pulse, self._clock = log, genesis, pulse, clock

    async def moment(self, at: AsOf) -> Moment:
        """
        Raises:
            Refusal: `bad-request`.
        """
        return await times.moment(self._log, at.size, at.time_ms, int(self._clock() * 1_000))

    # -- pages --

    async def facts(self, subject: str, at: AsOf, *, kind: str, first: int, count: int) -> FactsTold:
        """As `serve.desks.knowing.KnowledgeDesk.facts`."""
        about = Subject.parse(subject)
        _check_kind(kind)
        moment = await self.moment(at)
        page = _Page(self, moment, kind, count, await self.called(moment))
        files, every = await self._files(about, moment.size) if about.asked is not None else ([], True)
        about = replace(about, files=frozenset(DIGEST + one for one in files))
        keys = [about.key, *(digest_key(one) for one in files)]
        here = self._log.here_from(first)
        following = here
        while following < moment.size and not page.over:
            wanted, behind = await self._stretch(keys, following, moment.size)
            for leaf, raw in leaves_at(self._log, wanted):
                following = leaf + 1
                await page.look(leaf, raw, about.means)
                if page.over:
                    break
            else:
                following = behind
        whole = here == first and every
        return page.told(subject, whole, following if following < moment.size else -1)

    async def _files(self, about: Subject, size: int) -> tuple[list[str], bool]:
        """Digests of the files that a version had among the first `size` leaves, each once, and whether that is all.

        The newest are looked at first. Files of one version have the same purl, which is read once: that is the most
        of the work.
        """
        found: dict[str, None] = {}
        of = purls.parse(about.text)
        ours: dict[str, bool] = {}
        history = views.project_history(self._log.state, str(of.versionless), newest=True, size=size)
        for at, (placed, _) in enumerate(history):
            if at >= MAX_FILES_SOUGHT.value:
                return list(found), False
            if at % FILES_A_TURN == FILES_A_TURN - 1:
                await trio.lowlevel.checkpoint()
            text = placed.body["purl"]
            if text not in ours:
                ours[text] = bool(same(of.package.type, of.version, purls.parse(text).version))
            if not ours[text] or placed.body["sha256"] in found:
                continue
            if len(found) >= MAX_FILES.value:
                return list(found), False
            found[placed.body["sha256"]] = None
        return list(found), True

    async def _stretch(self, keys: Sequence[bytes], first: int, size: int) -> tuple[list[int], int]:
        """The next leaves of these histories from `first` on, below `size`, and the leaf behind which nothing was
        looked for.
        """
        most = max(ROWS_A_FILE, reading.STRETCH.value // len(keys))
        found: set[int] = set()
        end = size
        for at, key in enumerate(keys):
            if at % ROWS_A_FILE == 0:
                await trio.lowlevel.checkpoint()
            rows = [leaf for leaf, _ in self._log.history(key, first, most)]
            found.update(rows)
            if len(rows) == most:
                end = min(end, rows[-1] + 1)
        return sorted(leaf for leaf in found if leaf < end), end

    async def newest(
        self, at: AsOf, *, kind: str, first: int | None, count: int, order: str = ""
    ) -> FactsTold:
        """As `serve.desks.knowing.KnowledgeDesk.newest`."""
        _check_kind(kind)
        moment = await self.moment(at)
        page = _Page(self, moment, kind, count, await self.called(moment))
        if order == NEWEST or (not order and first is None):
            following, whole = await self._down(page, moment.size - 1 if first is None else first)
        else:
            following, whole = await self._up(page, first or 0)
        return page.told("", whole, following)

    async def _down(self, page: "_Page", at: int) -> tuple[int, bool]:
        """Look from leaf `at` down; where to go on, or -1, and whether nothing was missing."""
        at, low = min(at, page.moment.size - 1), self._log.here_from(0)
        while at >= low and not page.over:
            await trio.lowlevel.checkpoint()
            begin = max(low, at + 1 - reading.STRETCH.value)
            for offset, raw in reversed(list(enumerate(self._log.entries(begin, at + 1 - begin)))):
                at = begin + offset - 1
                await page.look(begin + offset, raw)
                if page.over:
                    break
        return (at if at >= low else -1), at >= low or not low

    async def _up(self, page: "_Page", first: int) -> tuple[int, bool]:
        at = here = self._log.here_from(first)
        while at < page.moment.size and not page.over:
            await trio.lowlevel.checkpoint()
            for raw in self._log.entries(at, min(reading.STRETCH.value, page.moment.size - at)):
                at += 1
                await page.look(at - 1, raw)
                if page.over:
                    break
        return (at if at < page.moment.size else -1), here == first

    # -- rows --

    def names(self) -> dict[str, str]:
        return names_of(self._log, self._genesis)

    async def called(self, moment: Moment) -> dict[str, str]:
        """The names that members had at a moment."""
        if self._members is None or not moment.past:
            return self.names()
        founders = {member.text: member.name for member in self._genesis.members}
        return founders | dict(await self._members.names(moment))

    def row(self, one: Said, moment: Moment, names: dict[str, str]) -> FactRow:
        """A fact with what became of it by a moment."""
        state, by = _takes_back(one, moment) if one.is_withdrawal else self._became(one, moment)
        before = self._with_id(one.supersedes, one.leaf) if one.supersedes else None
        return FactRow(
            leaf=one.leaf,
            time_ms=one.time_ms or times.time_of(self._log, one.leaf),
            id=one.id,
            author=one.author,
            author_name=names.get(one.author, ""),
            kind=one.kind,
            subject=one.subject,
            text=one.body["text"],
            state=state,
            by=by,
            by_ms=times.time_of(self._log, by) if by >= 0 else 0,
            body=dict(one.body),
            ends=-1 if before is None else before.leaf,
            ended=dict(before.body) if before is not None and one.is_withdrawal else None,
        )

    def _became(self, one: Said, moment: Moment) -> tuple[str, int]:
        """State, and the leaf of what ended it: its ender, once that or what came into its place holds."""
        ender = last = self._ender(one, moment.size)
        for _ in range(MAX_ANNOUNCED.value):
            if ender is None or last is None:
                break
            after = None if last.is_withdrawal else self._ender(last, moment.size)
            taken_back = after is not None and after.is_withdrawal
            if last.body["valid_from"] <= moment.time_ms:
                if taken_back and after is not None and after.body["valid_from"] < last.body["valid_from"]:
                    break  # before it came: it never ended anything
                return (standing.WITHDRAWN if ender.is_withdrawal else standing.SUPERSEDED), ender.leaf
            last = None if taken_back else after
        return (standing.TO_COME if one.body["valid_from"] > moment.time_ms else standing.STANDS), -1

    def _ender(self, one: Said, size: int) -> Said | None:
        """The fact below `size` that replaces a fact or takes it back."""
        by = self._log.state(f"superseded/{one.id}".encode())
        return None if by is None else self._with_id(str(canonical.decode(by)), size)

    def _with_id(self, entry_id: str, size: int) -> Said | None:
        """The fact below `size` with this id; None where it is not here."""
        leaf = self._log.leaf_of(bytes.fromhex(entry_id))
        raw = None if leaf is None or leaf >= size else self._log.entry(leaf)
        return None if leaf is None or raw is None else fact(leaf, raw)

    # -- what comes --

    def follow(self, after: int | None, kind: str, glob: str) -> AsyncIterator[FactRow]:
        """As `serve.desks.knowing.KnowledgeDesk.follow`: nothing waits for a slow reader but its place in the log."""
        _check_kind(kind)
        wanted = _glob(glob)
        at = self._log.size if after is None else after + 1
        if at > self._log.size:
            raise _beyond(self._log.size)
        if self._log.here_from(at) > at:
            raise _not_here(self._log.here_from(at))
        return self._following(at, kind, wanted)

    async def _following(self, at: int, kind: str, wanted: PurlGlob | None) -> AsyncIterator[FactRow]:
        seen = self._pulse.beats
        names, named_at = self.names(), self._log.size
        while True:
            size = self._log.size
            if size != named_at:
                names, named_at = self.names(), size
            while at < size:
                await trio.lowlevel.checkpoint()
                leaves = self._log.entries(at, min(reading.STRETCH.value, size - at))
                for raw in leaves:
                    at += 1
                    one = fact(at - 1, raw)
                    if one is None or (kind and one.kind != kind):
                        continue
                    if wanted is None or wanted.matches(one.subject):
                        moment = Moment(size, int(self._clock() * 1_000), False)
                        yield self.row(one, moment, names)
            seen = await self._pulse.after(seen)


class _Page:
    """Rows of one answer, and what it may still look at."""

    def __init__(
        self, telling: Telling, moment: Moment, kind: str, count: int, names: dict[str, str]
    ) -> None:
        self.moment = moment
        self._telling, self._kind, self._count = telling, kind, count
        self._names = names
        self._rows: list[FactRow] = []
        self._left = WORK.value

    @property
    def over(self) -> bool:
        return self._left <= 0 or len(self._rows) >= self._count

    async def look(self, leaf: int, raw: bytes, means: Callable[[Said], bool] = lambda _: True) -> None:
        """A leaf, which becomes a row if it is wanted."""
        self._left -= 1
        one = fact(leaf, raw)
        if one is None or (self._kind and one.kind != self._kind) or not means(one):
            return
        self._rows.append(self._telling.row(one, self.moment, self._names))
        if len(self._rows) % ROWS_A_TURN == 0:
            await trio.lowlevel.checkpoint()

    def told(self, subject: str, whole: bool, following: int) -> FactsTold:
        moment = self.moment
        return FactsTold(subject, moment.size, moment.time_ms, whole, tuple(self._rows), following)


def _takes_back(one: Said, moment: Moment) -> tuple[str, int]:
    """The same of a word that takes one back: nothing ends that."""
    return (standing.TO_COME if one.body["valid_from"] > moment.time_ms else standing.WITHDRAWN), -1


def _check_kind(kind: str) -> None:
    """
    Raises:
        Refusal: `bad-request`.
    """
    if kind and kind not in KINDS:
        raise Refusal(
            "bad-request",
            what=f"{kind[:40]!r} is no kind of fact",
            who="the client's request",
            do=f"use one of {', '.join(KINDS)}",
        )


def _glob(text: str) -> PurlGlob | None:
    """
    Raises:
        Refusal: `bad-request`.
    """
    if not text:
        return None
    try:
        return PurlGlob.parse(text)
    except Malformed as error:
        raise Refusal(
            "bad-request",
            what=f"this is no pattern of purls: {error}",
            who="the client's request",
            do="send purl=pkg:pypi/*",
        ) from None


def _beyond(size: int) -> Refusal:
    return Refusal(
        "bad-request",
        what=f"this node's log has {size} leaves, and that leaf is beyond its end",
        who="the client's request",
        do="leave `after` out to begin at the end",
    )


def _not_here(first: int) -> Refusal:
    return Refusal(
        "not-found",
        what=f"what lies below leaf {first} is not here yet",
        who="this node, which began from a snapshot",
        do="ask again later, begin there, or ask another node",
    )
