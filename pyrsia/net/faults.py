"""What garbage costs: bad frames are counted, and who goes on is refused by transport key for a while."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from pyrsia.errors import Malformed, PyrsiaError
from pyrsia.net.curve import curve_public
from pyrsia.net.peers import Conn, Peer, Peers
from pyrsia.net.zap import Bans
from pyrsia.units import BAN_S, LINK_FAULTS, MAX_BANS, MAX_PEERS, NodeId

REFUSED_S: Final = 5.0  # pause for a peer that is honest but not ours: other chain, not allowed


class Faults:
    """Counts into `counted`, bans in `bans`, ends the links of `peers` that were banned; tells `blame` whose it was,
    and `refused` who was banned.
    """

    def __init__(
        self,
        peers: Peers,
        bans: Bans,
        counted: Counter[str],
        blame: Callable[[NodeId, str], None] | None = None,
        refused: Callable[[NodeId, str], None] = lambda node, why: None,
    ) -> None:
        self._peers = peers
        self._bans = bans
        self._counted = counted
        self._blame = blame
        self._tell_refused = refused
        self._linkless: Counter[bytes] = Counter()  # by transport key

    def refused(self, key: bytes) -> bool:
        """Whether the transport key `key` is banned right now."""
        return key in self._bans

    def not_ours(self, key: bytes) -> None:
        """No fault, but it must not come back at once."""
        self._bans.add(key, REFUSED_S)

    def count(self, error: PyrsiaError) -> None:
        rule = str(error).partition(":")[0][:24] if isinstance(error, Malformed) else "other"
        known = len(self._counted) < MAX_PEERS.value  # a rule's name might hold a stranger's text
        self._counted[f"bad-{rule}" if known else "bad-other"] += 1

    def of_link(self, conn: Conn, error: PyrsiaError) -> None:
        """A greeted peer sent something that none sends."""
        self.count(error)
        self.blame(conn.peer.node, str(error))
        conn.faults += 1
        if conn.faults >= LINK_FAULTS.value:
            self.ban(conn.peer.node, "faults")

    def of_asker(self, peer: Peer, error: PyrsiaError) -> None:
        """`peer` asked what none asks. Who left before that was found out does not get away with it: a link costs
        nothing."""
        if peer.conn is not None:
            self.of_link(peer.conn, error)
            return
        self.count(error)
        self.blame(peer.node, str(error))
        if self._one_too_many(peer.curve):
            self.ban(peer.node, "faults")

    def blame(self, node: NodeId, why: str) -> None:
        """Tell the node's owner whose fault it was, in words."""
        if self._blame is not None:
            self._blame(node, why)

    def in_a_loop(self, node: NodeId, key: bytes) -> None:
        """It makes connection after connection: none for a while."""
        self._counted["reconnect-loop"] += 1
        self.blame(node, "reconnects in a loop")
        self.not_ours(key)

    def of_dialled(self, peer: Peer, error: Malformed) -> None:
        """Whom we dialled does not greet as it should."""
        self.count(error)
        self.not_ours(peer.curve)

    def of_stranger(self, key: bytes, error: Malformed) -> None:
        """Who dialled us with the transport key `key` does not greet as it should."""
        self.count(error)
        if self._one_too_many(key):
            self._counted["banned-stranger"] += 1
            self._bans.add(key, BAN_S.value)

    def _one_too_many(self, key: bytes) -> bool:
        """Count a fault of somebody who has no link that it could be counted for."""
        if len(self._linkless) >= MAX_BANS.value:
            self._linkless.clear()
        self._linkless[key] += 1
        if self._linkless[key] < LINK_FAULTS.value:
            return False
        del self._linkless[key]
        return True

    def ban(self, node: NodeId, why: str) -> None:
        """Refuse `node` for a while and drop its link. `why` is a counter's name."""
        self._counted[f"banned-{why}"] += 1
        peer = self._peers.get(node)
        key = peer.curve if peer is not None else curve_public(node)
        self._bans.add(key, BAN_S.value)
        self._tell_refused(node, why)
        if peer is not None and peer.conn is not None:
            self._peers.lose(peer.conn)
