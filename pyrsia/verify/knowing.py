"""What is known of a version, out of proven histories: nothing that a node says is believed beyond its proof.

A history is all that the log says of a package, or of a file by its digest, complete up to the newest seal below its
checkpoint. So a node can hide no advisory, other than by telling an old history; how old it is the policy asks, as it
asks of the proof.

Source: docs/policy.md, "At verify"; docs/log.md, "History file".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pyrsia.errors import Refusal
from pyrsia.knowledge.about import about
from pyrsia.knowledge.advisories import asked
from pyrsia.knowledge.known import Known
from pyrsia.knowledge.said import Said, said
from pyrsia.ledger import entries, glance
from pyrsia.verify import evidence, history
from pyrsia.verify.history import History, Subject
from pyrsia.verify.leaves import Verify
from pyrsia.verify.pins import Pin
from pyrsia.wire.text import safe

Fetch = Callable[[Subject], bytes]

WITHDRAW: Final = "artifact.withdraw"  # an entry in a maintainer's name, and a kind of motion
_WITHDRAWING: Final = frozenset((WITHDRAW, "motion.propose", "motion.approve"))


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known, and POSIX seconds of the older checkpoint that it was proven with.

    `before`: the leaf below which it is complete.
    """

    known: Known
    checkpoint_s: int
    before: int


class Learn(Protocol):
    """What is known of a file, by the digest of its network's genesis, its purl and its SHA-256."""

    def __call__(self, network: str, purl: str, sha256: str) -> Learned | None:
        """None where nobody says."""
        ...

    def heed(self, network: str, purl: str, sha256: str, size: int) -> None:
        """Nothing, unless what is at hand already speaks against a proof of this size.

        Raises:
            Refusal: `denied` for what was withdrawn, `too-old` for what may have been since.
        """
        ...


class Histories:
    """Of several packages and files, each read once."""

    def __init__(
        self,
        pins: Sequence[Pin],
        verify: Verify,
        *,
        now_ms: int,
        given: Iterable[bytes] = (),
        fetch: Fetch | None = None,
    ) -> None:
        """
        Args:
            now_ms: Unix time, for facts that are to come.
            given: history files; each speaks of its own subject.
            fetch: asks somebody for one that was not given; None: nobody is asked.

        Raises:
            Refusal: as `history.read`, of a file that was given.
        """
        self._pins, self._verify, self._now_ms, self._fetch = list(pins), verify, now_ms, fetch
        self._read: dict[tuple[str, Subject], History] = {}
        for data in given:
            found = history.read(data, self._pins, verify)
            self._read[found.pin.digest, found.subject] = found

    def __call__(self, network: str, purl: str, sha256: str) -> Learned | None:
        """
        Raises:
            Refusal: as `history.read`, or `proof-invalid` for another history than the one that was asked for.
        """
        found = [self._of(network, one) for one in _subjects(purl, sha256)]
        told = [one for one in found if one is not None]
        if len(told) < len(found):
            return None
        with evidence.refusing():
            facts = [fact for one in told for fact in _facts(one)]
            size = max(one.head.checkpoint.size for one in told)
            known = about(_once(facts), purl, sha256, self._now_ms, size, whole=True)
        return Learned(known, min(one.head.time_s for one in told), min(one.seal for one in told))

    def heed(self, network: str, purl: str, sha256: str, size: int) -> None:
        """As `Learn`. A status is proven by the proof alone; that a withdrawal came later its histories tell."""
        about_it = (self._read.get((network, one)) for one in _subjects(purl, sha256))
        with evidence.refusing():
            leaves = {leaf: raw for one in about_it if one is not None for leaf, raw in one.leaves}
            _refuse_withdrawn(sorted(leaves.items()), purl, sha256, size)

    def _of(self, network: str, subject: Subject) -> History | None:
        found = self._read.get((network, subject))
        if found is None and self._fetch is not None:
            pins = [one for one in self._pins if one.digest == network]
            found = history.read(self._fetch(subject), pins, self._verify)
            if found.subject != subject:
                raise evidence.invalid(f"the history of {found.subject.text} in place of {subject.text}'s")
            self._read[network, subject] = found
        return found


def _refuse_withdrawn(leaves: Iterable[tuple[int, bytes]], purl: str, sha256: str, size: int) -> None:
    """
    Args:
        leaves: of the histories of the package and of the file, in log order, those that are at hand.

    Raises:
        Refusal: see `Learn.heed`.
    """
    motions: set[str] = set()
    for leaf, raw in leaves:
        if glance.kind(raw) not in _WITHDRAWING:
            continue
        entry = entries.parse(raw)
        body = entry.body
        meant = body.get("purl") == purl and body.get("sha256") == sha256
        if entry.kind == WITHDRAW and meant:
            raise Refusal(
                "denied",
                what=f"{purl} was withdrawn in leaf {leaf}: {safe(body['reason'])}",
                who="a maintainer of the package",
                do="use another version: pyrsia package show " + purl.partition("@")[0],
            )
        if entry.kind == "motion.propose" and meant and body["kind"] == WITHDRAW:
            motions.add(entry.id.hex())
        if entry.kind == "motion.approve" and body["motion"] in motions and leaf >= size:
            raise Refusal(
                "too-old",
                what=f"validators approved to withdraw {purl} in leaf {leaf}, behind this proof's log of {size} leaves",
                who="the proof file",
                do="bring a newer proof, which says whether it is withdrawn now: <file url>.tlog-proof, or --node URL",
            )


def _subjects(purl: str, sha256: str) -> list[Subject]:
    """Whose histories have facts about a file: its package under each name that facts may use, and the file itself."""
    return [Subject.parse(one) for one in (*asked(purl, sha256).histories, sha256)]


def _facts(one: History) -> Iterable[Said]:
    for leaf, raw in one.leaves:
        found = said(leaf, raw, entries.parse(raw).id.hex(), one.time_ms)
        if found is not None:
            yield found


def _once(facts: Iterable[Said]) -> list[Said]:
    """Each once, in log order: a fact may stand in the history of a package and of a file."""
    return [one for _, one in sorted({one.leaf: one for one in facts}.items())]


def missing(purl: str, sha256: str) -> str:
    """What to do where a rule asks for facts and nobody gave them."""
    wanted = [one.text for one in _subjects(purl, sha256)]
    prove = "".join(f" pyrsia log history {one} --prove FACTS{at}," for at, one in enumerate(wanted, 1))
    given = "".join(f" --facts FACTS{at}" for at in range(1, len(wanted) + 1))
    return f"name a node that proves them: --node URL; or bring the proofs:{prove} then pyrsia verify{given}"
