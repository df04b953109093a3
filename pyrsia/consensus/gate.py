"""Whether this key may vote: after a start only when q-1 members told which vote of it they hold.

A vote that others hold and votes.wal lacks means that the file is not this key's whole memory: then the key never
votes again. Also keeps what is owed to others: the newest vote of each member's key, as its own link brought it.

Source: docs/agreement.md, "Mute and Halt", rules R1 to R4.
"""

from collections.abc import Collection, Iterable

from pyrsia.wire.blocks import Statement, Vote


class Gate:
    """One key's permission to vote in one epoch."""

    __slots__ = ("_filed", "_told", "ask", "newest", "stopped", "voting")

    def __init__(self, *, stopped: bool, voting: bool, filed: Iterable[Statement]) -> None:
        """
        Args:
            stopped: the key must not vote, and whatever others answer changes nothing.
            voting: whether it may vote at once: it did so, in this life, until the epoch began.
            filed: what votes.wal holds of this key, of any epoch.
        """
        self.stopped = stopped
        self.voting = voting and not stopped
        self.ask = 0  # number of our open question; 0 if there is none
        self.newest: dict[int, Vote] = {}  # by signer
        self._told: set[int] = set()
        self._filed = frozenset(filed)

    def open(self, number: int) -> None:
        """Begin to ask, with a number that no earlier question had."""
        if not self.voting:
            self.ask = number

    def stop(self) -> None:
        """This key must not vote again."""
        self.stopped, self.voting = True, False

    def newer(self, member: int, vote: Vote) -> bool:
        """Whether no newer vote of this member was heard.

        Within a view NOT comes before NUL or FIN, in whatever order the link and repetition bring them.
        """
        newest = self.newest.get(member)
        return newest is None or _order(vote) >= _order(newest)

    def heard(self, vote: Vote) -> None:
        """A vote of this epoch over its signer's own link."""
        if self.newer(vote.signer, vote):
            self.newest[vote.signer] = vote

    def answered(self, member: int, number: int, wanted: int) -> bool:
        """A member answered question `number`; True once `wanted` of them did and the key may vote from now on.

        Answers count from members that are in this epoch: one that has not begun it knows nothing of its votes, and
        in a later one the key may have no seat any more.
        """
        if not self.ask or number != self.ask:
            return False
        self._told.add(member)
        if len(self._told) < wanted:
            return False
        self.ask = 0
        self.voting = not self.stopped
        return self.voting

    def lacks(self, vote: Vote, epoch: int, final_view: int, own: Collection[Statement]) -> bool:
        """Whether a vote of our key that somebody holds is above the last final view and not in our memory.

        Also while the key votes: what it said in this life is in `own`, so whatever else is above was lost before.

        Args:
            own: what this key said in the vote's view, as far as the core knows. The signature is the caller's.
        """
        if self.stopped or vote.said[1:3] <= (epoch, final_view):
            return False
        return vote.said not in self._filed and vote.said not in own


def _order(vote: Vote) -> tuple[int, int, int]:
    return vote.said.epoch, vote.view, vote.kind
