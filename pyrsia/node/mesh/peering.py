"""What a node sees of its peers: membership made from the node's parts, and rows for people.

Source: docs/mesh-membership.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

from pyrsia.ledger import views
from pyrsia.mesh.liveness import State
from pyrsia.mesh.scores import Scores
from pyrsia.net.data import DataPlane
from pyrsia.net.links import Links, PeerLink
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.house import House
from pyrsia.node.mesh.discovering import Discovering
from pyrsia.node.mesh.swimming import Around, Seen, Swimming
from pyrsia.status import PeerStatus, roles_in_words
from pyrsia.units import Limit, NodeId
from pyrsia.wire.records import Record
from pyrsia.wire.text import b32, unb32

MAX_WORST = Limit(64, "nodes without a link that are shown for what they did; their ids may be free")


def make_swimming(
    house: House, links: Links, scores: Scores, found: Discovering, plane: DataPlane
) -> Swimming:
    """Membership of one node."""
    return Swimming(
        house.keys.node,
        house.genesis.chain_id,
        links,
        scores,
        Around(
            members=lambda: [NodeId(unb32(one)) for one in views.members(house.archive.state)],
            recorded=lambda: [row.record.node for row in found.table],
            way=found.way,
            mentioned=found.mentioned,
            log_size=lambda: house.archive.size,
            member=lambda node: views.is_member(house.archive.state, node),
            called=house.called,
            moved=lambda node: (
                plane.counters.received_from.get(node, 0),
                plane.counters.sent_to.get(node, 0),
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class Peering:
    """Rows of `pyrsia peers`.

    Attributes:
        member: a node's member record, None for a guest; `members`, all ids as text.
        record: the signed record of a node.
        fixed: whether the configuration names a node.
        leaves: whether a node says that it hands over what it keeps.
    """

    me: NodeId
    links: Links
    scores: Scores
    members: Callable[[], tuple[str, ...]]
    member: Callable[[NodeId], Mapping[str, Any] | None]
    seen: Callable[[NodeId], Seen]
    record: Callable[[NodeId], Record | None]
    fixed: frozenset[NodeId] = frozenset()
    leaves: Callable[[NodeId], bool] = lambda node: False
    now_ms: NowMs = wall_ms

    def rows(self) -> list[PeerStatus]:
        """Every other member, then guests that have a link now, each by node id; then who was here and lost points, the
        worst first: who was refused has no link any more, and is whom an operator looks for.
        """
        linked = {peer.node: peer for peer in self.links.peers()}
        members = [NodeId(unb32(text)) for text in self.members()]
        guests = [node for node, peer in linked.items() if peer.connected and node not in members]
        shown = dict.fromkeys((*members, *guests))
        worst = self.scores.worst(trio.current_time(), MAX_WORST.value + len(shown))
        gone = [node for node in worst if node not in shown][: MAX_WORST.value]
        return [self._row(node, linked.get(node)) for node in (*shown, *gone) if node != self.me]

    def _row(self, node: NodeId, peer: PeerLink | None) -> PeerStatus:
        now_s = trio.current_time()
        member, record, seen = self.member(node), self.record(node), self.seen(node)
        up, vitals = peer is not None and peer.connected, seen.vitals
        refused_s = self.links.refused_s(node)
        return PeerStatus(
            node_id=b32(node),
            name=_name(member, record, peer),
            role=_role(member),
            address=(peer.address if peer is not None else "")
            or (record.control if record is not None else ""),
            connected=up,
            rtt_ms=_said(peer.rtt_ms if peer is not None and peer.rtt_ms >= 0 else seen.rtt_ms, 2),
            received_bytes=peer.in_bytes if peer is not None else 0,
            sent_bytes=peer.out_bytes if peer is not None else 0,
            since_ms=peer.since_ms if peer is not None else 0,
            state=seen.state,
            gone_s=_said(seen.gone_s, 1),
            heard_s=_said(seen.heard_s, 1),
            received_rate=round(seen.rate.received),
            sent_rate=round(seen.rate.sent),
            version=vitals.version if vitals is not None else record.version if record is not None else "",
            log_size=vitals.log_size if vitals is not None else record.log_size if record is not None else 0,
            load_ms=vitals.load if vitals is not None else None,
            score=round(self.scores.of(now_s, node), 1),
            ignored=self.scores.ignored(now_s, node),
            reason=self.scores.reason(node),
            faults=self.scores.faults(node),
            roles=tuple(sorted(member["roles"])) if member is not None else (),
            known=self._known(node, member, record, peer),
            suspected_by=tuple(b32(one) for one in seen.suspected_by if seen.state is not State.ALIVE),
            refused_until_ms=self.now_ms() + int(refused_s * 1000) if refused_s else 0,
            leaving=self.leaves(node),
        )

    def _known(
        self, node: NodeId, member: Mapping[str, Any] | None, record: Record | None, peer: PeerLink | None
    ) -> tuple[str, ...]:
        """By what."""
        link = peer is not None and peer.connected
        ways = {
            "log": member is not None,
            "configuration": node in self.fixed,
            "record": record is not None,
            "our dial": link and peer is not None and peer.dialled,
            "its dial": link and peer is not None and not peer.dialled,
        }
        return tuple(way for way, holds in ways.items() if holds)


def make_peering(
    house: House,
    links: Links,
    scores: Scores,
    swimming: Swimming,
    found: Discovering,
    leaves: Callable[[NodeId], bool],
) -> Peering:
    """The rows of one node."""
    reads = house.archive.state

    def member(node: NodeId) -> Mapping[str, Any] | None:
        return views.member(reads, node) if views.is_member(reads, node) else None

    return Peering(
        me=links.node,
        links=links,
        scores=scores,
        members=lambda: views.members(reads),
        member=member,
        seen=swimming.seen,
        record=found.table.record,
        fixed=frozenset(NodeId(unb32(one.partition("@")[0])) for one in house.settings.net.peers),
        leaves=leaves,
    )


def _said(value: float, digits: int) -> float | None:
    """A number that is negative while it is unknown, rounded; None then."""
    return round(value, digits) if value >= 0 else None


def _name(member: Mapping[str, Any] | None, record: Record | None, peer: PeerLink | None) -> str:
    """As the log has it; of a guest, what it calls itself."""
    if member is not None:
        return str(member["name"])
    return (peer.name if peer is not None else "") or (record.name if record is not None else "")


def _role(member: Mapping[str, Any] | None) -> str:
    if member is None:
        return "guest"
    return roles_in_words(member["roles"]) or "member"
