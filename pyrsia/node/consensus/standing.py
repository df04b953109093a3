"""What agreement does to the node that it runs in: words for its operator, keys that take their place, links that end.

Agreement decides; here a halt becomes a node that is not ready, a vote key without memory is written down, and
what the members have agreed on about each other takes effect on this node's keys and links.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from pyrsia.consensus.committee import Committee
from pyrsia.consensus.epochs import Epochs
from pyrsia.ledger import views
from pyrsia.node.house import House
from pyrsia.status import AgreementStatus
from pyrsia.units import NodeId
from pyrsia.wire.epochs import Validator
from pyrsia.wire.text import b32

_log = logging.getLogger("pyrsia.node")


class Standing:
    """How this node stands with its network.

    Attributes:
        notices: sentences for the operator, which leave the node ready; others add theirs.
        stopped: why agreement ended here: this node is no longer ready.
    """

    def __init__(
        self,
        house: House,
        notices: list[str],
        *,
        linked: Callable[[], Sequence[NodeId]],
        ban: Callable[[NodeId, str], None],
    ) -> None:
        """`linked`: who there is a link to; `ban`: ends the link with a node, for a reason."""
        self.notices = notices
        self.stopped: list[str] = []
        self._house = house
        self._linked = linked
        self._ban = ban
        self._members: bytes | None = None  # as they were when links were last looked at

    def once(self, notice: str) -> None:
        """Tell the operator, the first time that it is said."""
        if notice not in self.notices:
            self.notices.append(notice)
            _log.error("%s", notice)

    def name_of(self, node: bytes) -> str:
        """What people call a node: its name in the log, or the first characters of its id."""
        return views.names(self._house.archive.state).get(b32(node), b32(node)[:8])

    def reveal(self, validator: Validator, position: int) -> tuple[bytes, bytes] | None:
        """As `House.link`; that there is no link for the view that this node leads is said once."""
        link = self._house.link(validator.chain_end, position)
        if link is None:
            self.once(
                "this validator has no beacon link for its views: it leads none; pyrsia keys rotate chain"
            )
        return link

    def synced(self, height: int) -> None:
        """Blocks up to `height` are on disk: keys that the members have agreed on take their place."""
        for purpose in self._house.settle(height):
            self.once(f"the new {purpose} key of this node is in force; the old one is deleted")
        self._part()

    def _part(self) -> None:
        """Links end with membership. Looked at when the members have changed: a sync comes with every block."""
        members = self._house.archive.state(b"members")
        if members == self._members:
            return
        self._members = members
        for node in self._linked():
            if not self._house.welcomes(node) and not self._house.guest(node):
                self._ban(node, "left")

    def halt(self, reason: str) -> None:
        """Agreement ended here, for good: what it was told cannot be."""
        self.stopped.append(f"agreement stopped here: {reason}")
        _log.error("agreement stopped here: %s", reason)

    def mute(self, reason: str, committee: Committee | None) -> None:
        """This node votes no more.

        Args:
            committee: where the vote key of our seat has lost its memory: that is written down, since others may
                forget it. None if it only lacks the key, which may be put back with its memory, or newer software.
        """
        place = None if committee is None else committee.places.get(self._house.keys.node_id)
        if committee is not None and place is not None:
            self._house.votes.stop([committee.keys[place]], reason)
        self.once(f"stopped voting: {reason}")

    def status(self, epochs: Epochs, dropped: Mapping[str, int]) -> AgreementStatus:
        """Who decides, and this node's part in it. `dropped`: messages of peers, by the reason."""
        committee, seat = epochs.committee, epochs.seat
        part = (
            "halted" if epochs.halted else "follows" if seat is None else "votes" if seat.voting else "asks"
        )
        view = seat.view if seat is not None else epochs.final.view
        leader = committee.validators[committee.leader(view)].node if seat is not None else b""
        return AgreementStatus(
            epoch=committee.epoch,
            view=view,
            part=part,
            leader=self.name_of(leader) if leader else "",
            validators=committee.n,
            quorum=committee.q,
            convicted=len(committee.seats.convicted),
            dropped=dict(dropped),
        )
