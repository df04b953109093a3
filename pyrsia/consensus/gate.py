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

    def __init__(self, *, may_vote: bool, voting: bool, filed: Iterable[Statement]) -> None:
        """
        Args:
            may_vote: False if the key's memory is known to be damaged.
            voting: whether it may vote at once: it did so, in this life, until the epoch began.
            filed: what votes.wal holds of this key, of any epoch.
        """
        self.stopped = not may_vote
        self.voting = voting and may_vote
        self.ask = 0  # number of our open question; 0 if there is none
        self.newest: dict[int, Vote] = {}  # by signer
        self._told: set[int] = set()
        self._filed = frozenset(filed)

    def open(self, number: int) -> None:
        """Begin to ask, with a number that no earlier question had."""
        if not self.voting:
            self.ask = number

    def heard(self, vote: Vote) -> None:
        """A vote over its signer's own link."""
        newest = self.newest.get(vote.signer)
        if newest is None or vote.said[1:3] >= newest.said[1:3]:
            self.newest[vote.signer] = vote

    def answered(self, member: int, number: int, wanted: int) -> bool:
        """A member answered question `number`; True once `wanted` of them did and the key may vote from now on."""
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

        Args:
            own: what this key said in the vote's view, as far as the core knows. The signature is the caller's.
        """
        if self.voting or self.stopped or vote.said[1:3] <= (epoch, final_view):
            return False
        return vote.said not in self._filed and vote.said not in own
