"""The meaning of a log checked beside its hashes: every signature, and every leaf that follows from others.

Signatures are checked by the threads that read, since libsodium lets the interpreter go; execution goes in order
and in one. A thread's finding only saves the second look: an entry that it could not vouch for is looked at again
where it stands, and named there.

Source: docs/ledger.md, "Replaying"; docs/auditing.md, "What fsck checks".
"""

from collections.abc import Sequence

from pyrsia.errors import Malformed
from pyrsia.keys import verify
from pyrsia.ledger import entries, seats
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.execute import Parses
from pyrsia.ledger.genesis import Genesis
from pyrsia.ledger.replay import NotReplayed, Replay
from pyrsia.ledger.seats import Epoch
from pyrsia.ledger.state import View
from pyrsia.units import CACHED_ENTRIES

_AUTHORED = b'{"author":'  # how a canonical entry begins that somebody signed


def signed_in(leaves: Sequence[bytes]) -> list[Entry]:
    """The entries among `leaves` whose signatures hold; for any thread."""
    found: list[Entry] = []
    for leaf in leaves:
        if not leaf.startswith(_AUTHORED):
            continue
        try:
            entry = entries.parse(leaf)
        except Malformed:
            continue
        if entry.signature_holds(verify):
            found.append(entry)
    return found


class Execution:
    """A log executed from its first leaf; in one thread.

    Attributes:
        blocks, signatures: executed, and checked, so far.
    """

    def __init__(self, genesis: Genesis) -> None:
        self._parses = Parses(verify, CACHED_ENTRIES.value)
        self._replay = Replay(genesis, self._parses)
        self.blocks = 0
        self.signatures = 0

    def epoch(self, number: int) -> Epoch | None:
        """An epoch that has begun in the log so far, as its ledger says."""
        return seats.of(View(self._replay.kept.get), number)

    def feed(self, leaves: Sequence[bytes], signed: Sequence[Entry]) -> None:
        """The next leaves, and those of them that `signed_in` vouches for.

        Raises:
            NotReplayed: the first leaf that does not follow.
        """
        for entry in signed:
            self._parses.know(entry)
        self.signatures += len(signed)
        self.blocks += self._replay.feed(leaves)

    def end(self) -> None:
        """The log ends here.

        Raises:
            NotReplayed: inside a block.
        """
        if self._replay.pending:
            raise NotReplayed(
                self._replay.size, "no seal stands behind this leaf, and a signed log ends with one"
            )
