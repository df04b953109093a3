"""What is known of a version, out of proven histories: nothing that a node says is believed beyond its proof.

A history is all that the log says of a package, or of a file by its digest, complete up to the newest seal below its
checkpoint. So a node can hide no advisory, other than by telling an old history; how old it is the policy asks, as it
asks of the proof.

Source: docs/policy.md, "At verify"; docs/log.md, "History file".
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pyrsia.knowledge.about import about
from pyrsia.knowledge.known import Known
from pyrsia.knowledge.said import Said, said
from pyrsia.ledger import entries
from pyrsia.verify import evidence, history
from pyrsia.verify.history import History, Subject
from pyrsia.verify.leaves import Verify
from pyrsia.verify.pins import Pin

Fetch = Callable[[Subject], bytes]


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known, and POSIX seconds of the older checkpoint that it was proven with."""

    known: Known
    checkpoint_s: int


Learn = Callable[[str, str, str], Learned | None]
"""From the digest of a network's genesis, a purl and a file's SHA-256 to what is known; None where nobody says."""


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
        found = [self._of(network, Subject.parse(one)) for one in (purl, sha256)]
        told = [one for one in found if one is not None]
        if len(told) < len(found):
            return None
        with evidence.refusing():
            facts = [fact for one in told for fact in _facts(one)]
            size = max(one.head.checkpoint.size for one in told)
            known = about(_once(facts), purl, sha256, self._now_ms, size, whole=True)
        return Learned(known, min(one.head.time_s for one in told))

    def _of(self, network: str, subject: Subject) -> History | None:
        found = self._read.get((network, subject))
        if found is None and self._fetch is not None:
            pins = [one for one in self._pins if one.digest == network]
            found = history.read(self._fetch(subject), pins, self._verify)
            if found.subject != subject:
                raise evidence.invalid(f"the history of {found.subject.text} in place of {subject.text}'s")
            self._read[network, subject] = found
        return found


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
    package = purl.partition("@")[0]
    return (
        "name a node that proves them: --node URL; or bring the proofs:"
        f" pyrsia log history {package} --prove FACTS1, pyrsia log history {sha256} --prove FACTS2,"
        " then pyrsia verify --facts FACTS1 --facts FACTS2"
    )
