"""What this node's policy says of the log's files: policy.toml, kept up to date, and its answers, kept while they hold.

The file is looked at every few seconds and taken over once two looks found it the same, so that a half-written one is
never believed. One that went bad changes nothing: the rules before it stay, and the node's status says so. So does one
that is gone, since a mount that went away looks the same as a decision to have no rules. Rules and
their evaluation are `pyrsia.policy`'s; what of them this node's clock and the log's head change is told by `revision`.

Source: docs/policy.md, "At a node".
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Never

import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge.known import Known
from pyrsia.ledger import views
from pyrsia.ledger.standing import PUBLISHED, WITNESSED
from pyrsia.ledger.state import Reads
from pyrsia.ledger.views import Placed
from pyrsia.policy import evaluate, rules
from pyrsia.policy.evaluate import NEVER_MS
from pyrsia.policy.facts import LOCAL, NETWORK, Agreeing, Decision, Facts
from pyrsia.policy.rules import ECOSYSTEMS, OTHER, Policy
from pyrsia.policy.speakers import LETTERS, speaks, with_names
from pyrsia.units import Limit
from pyrsia.wire.text import unb32

POLICY_NAME: Final = "policy.toml"
LOOK_S: Final = 2.0  # between two looks at the file
COARSE_S: Final = 1.0  # what time alone changes is noticed this late
MAX_JUDGED = Limit(10_000, "files whose answer is remembered, 1 KB each; then all are asked anew")

_log = logging.getLogger("pyrsia.policy")
Knows = Callable[[str, str], Known]
Seen = Callable[[str, str], object]
_Stamp = tuple[int, int, int]  # inode, time of change, bytes; of a file that cannot be looked at -1, errno, 0


@dataclass(frozen=True, slots=True)
class _Judged:
    """An answer for a fresh head.

    Attributes:
        facts: without what is known: thousands of files of a watched package would keep millions of advisories.
        made_ms: for which time; `flips_ms`: when time alone changes it.
        seen: what was known of it then, as `Seen` tells it; None where no rule asks.
    """

    facts: Facts
    refusal: Refusal | None
    made_ms: int
    flips_ms: int | None
    seen: object


class Policing:
    """One node's policy, and its answers."""

    def __init__(
        self,
        path: Path | None,
        reads: Reads,
        *,
        head_s: Callable[[], int] | None = None,
        known: Knows | None = None,
        seen: Seen | None = None,
        learned: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            path: of policy.toml, which need not be there; None for the defaults.
            head_s: POSIX seconds of the newest head that a quorum signed, 0 without one; None: it is always fresh.
            known: what is known of a version and a file (`knowing.Knowledge.known`). None: nobody knows, so that a
                rule that asks refuses.
            seen: equal as long as that cannot have changed but by time (`knowing.Knowledge.seen`), whatever is
                remembered of it. None: `known` is asked, and compared.
            learned: grows when that may have changed although the log did not grow.

        Raises:
            Refusal: `config-invalid`, as `rules.parse`.
        """
        self._path, self._reads, self._head_s, self._clock = path, reads, head_s, clock
        self._known, self._learned = known, learned
        self._seen_of: Callable[[str, str], object] = seen or self.known
        self._stamp = self._seen = self._stat()
        self._policy = self._read()
        self._written = self._stamp is not None  # the rules in force stood in a file
        self.notice = ""
        self._looked_s = self._timed_s = clock()
        self._revision = 0
        self._judged: dict[tuple[int, str, str, str], _Judged] = {}
        self._next_ms: int | None = None
        self._stale: tuple[str, ...] = self._stale_now()

    # -- the file --

    async def run(self) -> Never:
        """Look while nobody asks: whoever is the first to ask after a change is answered by the new rules."""
        while True:
            await trio.sleep(LOOK_S / 4)
            self.revision()

    @property
    def policy(self) -> Policy:
        """The rules that hold now."""
        now_s = self._clock()
        if self._path is not None and abs(now_s - self._looked_s) >= LOOK_S:
            self._looked_s = now_s
            self._look()
        return self._policy

    @property
    def path(self) -> Path | None:
        return self._path

    def _stat(self) -> _Stamp | None:
        """What tells one state of the file from another; None where it is not there, and nothing leads to it."""
        if self._path is None:
            return None
        try:
            told = self._path.stat()
        except OSError as error:
            gone = isinstance(error, FileNotFoundError) and not self._path.is_symlink()
            return None if gone else (-1, error.errno or 0, 0)
        return told.st_ino, told.st_mtime_ns, told.st_size

    def _read(self) -> Policy:
        if self._path is None or self._stamp is None:
            return rules.parse(b"", POLICY_NAME)
        try:
            with self._path.open("rb") as opened:
                return rules.parse(opened.read(rules.MAX_POLICY_BYTES.value + 1), str(self._path))
        except OSError as error:
            raise Refusal(
                "config-invalid",
                what=f"the policy cannot be read: {error.strerror}",
                who=str(self._path),
                do="let the node's user read it",
            ) from None

    def _look(self) -> None:
        """Take over what two looks found the same."""
        stamp = self._stat()
        if stamp == self._stamp:
            self._seen = stamp
            return
        if stamp != self._seen:  # it is being changed: the next look will tell
            self._seen = stamp
            return
        self._stamp = stamp
        try:
            if stamp is None and self._written:
                raise _gone(str(self._path))
            self._policy = self._read()
        except Refusal as refusal:
            self.notice = f"{POLICY_NAME}: {refusal.what}; the rules before that change stay in force"
            _log.error("%s", self.notice)
            return
        self._written = stamp is not None
        self.notice = ""
        self._judged.clear()
        self._next_ms = None
        self._stale = self._stale_now()
        self._revision += 1
        _log.info("the policy has changed")

    # -- time --

    def revision(self) -> int:
        """Grows whenever an answer may have changed by the file, by time, or by old facts that were read at last.

        The log's growth is not in it.
        """
        return self._timed() + (self._learned() if self._learned is not None else 0)

    def _timed(self) -> int:
        now_s = self._clock()
        if abs(now_s - self._timed_s) < COARSE_S:
            return self._revision
        back = now_s < self._timed_s  # what ended may hold again, what was old enough may be too young
        self._timed_s = now_s
        _ = self.policy  # which looks at the file
        stale = self._stale_now()
        due = self._next_ms is not None and now_s * 1_000 >= self._next_ms
        if due:
            to_come = (one.flips_ms for one in self._judged.values() if one.flips_ms is not None)
            self._next_ms = min((one for one in to_come if one > now_s * 1_000), default=None)
        if due or back or stale != self._stale:
            self._stale = stale
            self._revision += 1
        return self._revision

    def head_age_ms(self) -> int:
        """Since the newest head was signed; `NEVER_MS` where there is none."""
        if self._head_s is None:
            return 0
        head_s = self._head_s()
        return max(0, int(self._clock() * 1_000) - head_s * 1_000) if head_s else NEVER_MS

    def stale(self) -> str:
        """Why a client should rather ask another node: the head is too old for an ecosystem, or there is none."""
        age_ms = self.head_age_ms()
        told = (evaluate.stale_head(self.policy, one, age_ms) for one in ECOSYSTEMS)
        return next(filter(None, told), "there is no signed head of the log" if age_ms >= NEVER_MS else "")

    def _stale_now(self) -> tuple[str, ...]:
        """The ecosystems for which the head is too old."""
        age_ms = self.head_age_ms()
        return tuple(one for one in (*ECOSYSTEMS, OTHER) if evaluate.stale_head(self._policy, one, age_ms))

    # -- answers --

    def decision(self, facts: Facts) -> Decision:
        """The answer about any file, whatever its origin; what is known of it is looked up where a rule asks."""
        policy = self.policy
        return self._decided(policy, self._informed(policy, facts))

    def refusal(self, facts: Facts) -> Refusal | None:
        """Why any file, whatever its origin, is not given; None if it is."""
        policy = self.policy
        facts = self._informed(policy, facts)
        said = self._decided(policy, facts)
        return None if said.allowed else self._told(facts, said)

    def _decided(self, policy: Policy, facts: Facts) -> Decision:
        return evaluate.decide(policy, facts, int(self._clock() * 1_000), self.head_age_ms())

    def _informed(self, policy: Policy, facts: Facts) -> Facts:
        if facts.known is None and facts.origin != LOCAL and _asks(policy, facts.purl):
            if not facts.any_version:
                return replace(facts, known=self.known(facts.purl, facts.sha256))
            if facts.sha256:  # whatever its version is, what is said of these very bytes is known
                return replace(facts, known=self.known("", facts.sha256))
        return facts

    def known(self, purl: str, sha256: str) -> Known | None:
        """What is known of a version and of a file, or ("") of a file alone; None where nobody here knows."""
        return None if self._known is None else self._known(purl, sha256)

    def refuses(self, placed: Placed, status: str, *, by_digest: bool = False) -> Refusal | None:
        """Why a file of the log is not given, None if it is; for each call anew where one may be raised.

        Args:
            status: what the state says of it now.
            by_digest: whether the client named these bytes.
        """
        policy, now_ms = self.policy, int(self._clock() * 1_000)
        body = placed.body
        key = (placed.leaf, body["sha256"], body["purl"], f"{status} by digest" if by_digest else status)
        found = self._judged.get(key)
        if found is None or not self._holds(found, now_ms):
            found = self._judge(policy, placed, status, now_ms, by_digest)
            if len(self._judged) >= MAX_JUDGED.value:
                self._judged.clear()
            self._judged[key] = found
        if self._stale and rules.ecosystem_of(body["purl"]) in self._stale:
            return self._refusal(policy, self._with_known(found), now_ms, self.head_age_ms())
        told = found.refusal
        return None if told is None else told.again()

    def _holds(self, found: _Judged, now_ms: int) -> bool:
        """Whether neither time, forwards or back, nor what is known has changed since."""
        if now_ms < found.made_ms or (found.flips_ms is not None and now_ms >= found.flips_ms):
            return False
        return found.seen is None or found.seen == self._seen_of(found.facts.purl, found.facts.sha256)

    def _judge(self, policy: Policy, placed: Placed, status: str, now_ms: int, by_digest: bool) -> _Judged:
        facts = facts_of(self._reads, placed, status, isolations=policy.asks_isolation)
        facts = replace(facts, by_digest=by_digest) if by_digest else facts
        seen = self._seen_of(facts.purl, facts.sha256) if _asks(policy, facts.purl) else None
        whole = facts if seen is None else replace(facts, known=self.known(facts.purl, facts.sha256))
        flips_ms = evaluate.flips_at(policy, whole, now_ms)
        if flips_ms is not None:
            self._next_ms = flips_ms if self._next_ms is None else min(self._next_ms, flips_ms)
        return _Judged(facts, self._refusal(policy, whole, now_ms, 0), now_ms, flips_ms, seen)

    def _with_known(self, found: _Judged) -> Facts:
        facts = found.facts
        return facts if found.seen is None else replace(facts, known=self.known(facts.purl, facts.sha256))

    def _refusal(self, policy: Policy, facts: Facts, now_ms: int, head_ms: int) -> Refusal | None:
        said = evaluate.decide(policy, facts, now_ms, head_ms)
        return None if said.allowed else self._told(facts, said)

    def _told(self, facts: Facts, said: Decision) -> Refusal:
        """A refusal for clients: who said what is against it stands there as people know them."""
        against = [one for one in said.reasons if not one.allows]
        if facts.known is not None and any(speaks(one.what) for one in against):
            whole = set(_authors(facts.known))

            def name(letters: str) -> str:
                meant = [one for one in whole if one[:LETTERS] == letters]  # two of them are nobody
                member = views.member(self._reads, unb32(meant[0])) if len(meant) == 1 else None
                return "" if member is None else str(member["name"])

            against = [replace(one, what=with_names(one.what, name)) for one in against]
        return evaluate.refusal(facts, Decision(False, tuple(against)))


def _authors(known: Known) -> Iterator[str]:
    """Ids of everybody a reason may name."""
    yield from (one.issuer for one in known.advisories)
    yield from (one.issuer for one in known.licences)
    yield from (one.issuer for one in known.sboms)
    yield from (author for author, _ in known.beyond)


def _asks(policy: Policy, purl: str) -> bool:
    """Whether a rule asks what is known of this package; most policies ask nothing, and pay nothing for it."""
    if not policy.asks_knowledge:
        return False
    try:
        return policy.at(purl).asks_knowledge
    except Malformed:
        return False


def _gone(path: str) -> Refusal:
    return Refusal(
        "config-invalid",
        what="it is gone; an empty one, or a start without it, means that there are no rules",
        who=path,
        do="put it back",
    )


def facts_of(reads: Reads, placed: Placed, status: str, *, isolations: bool = True) -> Facts:
    """What the log says of one of its files, as far as a rule asks.

    Args:
        isolations: also how each build was kept in; it takes most of the time.
    """
    body = placed.body
    draw = views.draw_of(reads, body["request"])
    operators = dict(zip(draw.get("builders", ()), draw.get("operators", ()), strict=True))
    seen = body["verdict"] == WITNESSED

    def isolation(builder: str) -> str:
        return (
            ""
            if seen or not isolations
            else views.isolation_of(reads, body["request"], draw["round"], builder)
        )

    return Facts(
        purl=body["purl"],
        origin=NETWORK,
        file=body["file"],
        sha256=body["sha256"],
        status=status,
        agreeing=tuple(
            Agreeing(one, operators[one], isolation(one)) for one in body["agreeing"] if one in operators
        ),
        containment=body["containment"],
        upstream=body["upstream"],
        published_ms=body["time_ms"],
        verdict=body["verdict"],
        why=_why_fallen(reads, body["sha256"], body["purl"], status) if status not in PUBLISHED else "",
    )


def _why_fallen(reads: Reads, sha256: str, purl: str, status: str) -> str:
    """The reason that the log gives for this status; "" where it gives none, or says another one now."""
    record = views.status(reads, sha256, purl)
    return "" if record is None or record["status"] != status else str(record.get("reason", ""))
