"""One thing that is wanted of upstream, and the shop that it is wanted in: what pages and files have in common."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.node.upstream.asking import Asker, NoAnswer
from pyrsia.node.upstream.counting import Counters
from pyrsia.node.upstream.fresh import Absent, Freshness
from pyrsia.node.upstream.settings import Ecosystem
from pyrsia.store.proxied import Copies
from pyrsia.wire.purl import Purl

_log = logging.getLogger("pyrsia.upstream")
MAX_WHAT: Final = 300  # characters of a reason that go to a client


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Attributes:
        package, purl: versionless, as text and read. path: as `Upstream` says.
        urls: what to ask, in this order.
        asker: of pages, or of files.
        chain: nodes that the question has come through, this one last; empty if it has come round.
    """

    package: str
    purl: Purl
    path: str
    urls: Sequence[str]
    ecosystem: Ecosystem
    asker: Asker
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shop:
    """Where copies are kept, what is known of them, and this machine's clock.

    Attributes:
        against: why the log's word, or the policy's, keeps bytes back whose digest is known: of a versionless purl, a
            path and a SHA-256; None if neither does.
        gives: whether anything of upstream's is given now of a versionless purl.
    """

    copies: Copies
    freshness: Freshness
    now_ms: Callable[[], int]
    absent: Absent
    against: Callable[[str, str, str], Refusal | None] = lambda *_: None
    gives: Callable[[str], bool] = lambda _: True
    counters: Counters = field(default_factory=Counters)

    def is_absent(self, wanted: Wanted) -> bool:
        if (wanted.package, wanted.path, self.now_ms()) not in self.absent:
            return False
        self.counters.absent += 1
        return True

    def had_nothing(self, wanted: Wanted) -> None:
        self.counters.absent += 1
        self.absent.add(wanted.package, wanted.path, self.now_ms())

    def told(self, why: str) -> None:
        """For the operator's diary."""
        _log.info("%s", why)


def no_answer(wanted: Wanted, error: NoAnswer) -> Refusal:
    """What a client is told when upstream gives nothing, and nothing is kept."""
    blame = wanted.ecosystem.outbound.blame
    return Refusal(
        "index-unreachable",
        what=error.why[:MAX_WHAT],
        who=blame.who,
        do=blame.do,
    )
