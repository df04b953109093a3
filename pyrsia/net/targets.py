"""Who is dialled, and for how long: kept until somebody says otherwise, or for a while.

A link for a while is for one question to a node that no link goes to: it ends when nobody has asked for it again and
nothing is under way. There are few of them; one more ends the one that was asked for longest ago.

Source: docs/mesh-discovery.md, "Links".
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from pyrsia.net.outbox import URGENT
from pyrsia.net.peers import Peers
from pyrsia.units import Limit, NodeId
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Type

MAX_SHORT = Limit(32, "links for a while at once: probes and mail of a busy minute, an eighth of all links")
FAREWELL_S: Final = 0.2  # for the last word to go out


@dataclass(slots=True)
class Target:
    """One node that is dialled. `until_s` is infinite for a link that is kept."""

    node: NodeId
    address: str
    until_s: float
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def short(self) -> bool:
        return self.until_s < math.inf


class Targets:
    """The nodes that one node dials."""

    def __init__(self, me: NodeId, peers: Peers) -> None:
        self._me = me
        self._peers = peers
        self._targets: OrderedDict[NodeId, Target] = OrderedDict()
        self._start: Callable[[Target], None] | None = None  # while links run

    def __contains__(self, node: NodeId) -> bool:
        return node in self._targets

    def begin(self, start: Callable[[Target], None]) -> None:
        """Links run from now on: dial all, and later ones when they come."""
        self._start = start
        for target in self._targets.values():
            start(target)

    def end(self) -> None:
        self._start = None

    def dial(self, node: NodeId, address: str, for_s: float | None = None) -> None:
        """Keep a link to `node`, or have one for `for_s` seconds from now; a new address is for the next attempt."""
        until_s = math.inf if for_s is None else trio.current_time() + for_s
        target = self._targets.get(node)
        if target is not None:
            target.address = address
            target.until_s = max(target.until_s, until_s)
            self._targets.move_to_end(node)
            return
        if node == self._me or (for_s is not None and self._peers.linked(node) is not None):
            return
        if not self._peers.keep(node):
            return
        if for_s is not None and not self._made_room():
            self._peers.unkeep(node)
            return
        target = self._targets[node] = Target(node, address, until_s)
        if self._start is not None:
            self._start(target)

    def undial(self, node: NodeId) -> None:
        """Dial `node` no more; a link that we dialled ends. One that it dialled stays."""
        target = self._targets.pop(node, None)
        if target is None:
            return
        peer = self._peers.linked(node)
        if peer is not None and peer.conn is not None and peer.conn.dialled:
            peer.outbox.push(frames.encode(Frame(Type.BYE)), URGENT)
            target.scope.deadline = trio.current_time() + FAREWELL_S
        else:
            target.scope.cancel()
        self._peers.unkeep(node)

    def sweep(self) -> None:
        """End links for a while whose while is over."""
        now_s = trio.current_time()
        for target in [one for one in self._targets.values() if one.until_s <= now_s]:
            if not self._busy(target.node):
                self.undial(target.node)

    def gone(self, target: Target) -> None:
        """Its task has ended."""
        if self._targets.get(target.node) is target:
            del self._targets[target.node]
            self._peers.unkeep(target.node)

    def _made_room(self) -> bool:
        """Whether there is a place for one more short link; of those with nothing under way the oldest gives way."""
        short = [one.node for one in self._targets.values() if one.short]
        if len(short) < MAX_SHORT.value:
            return True
        idle = next((node for node in short if not self._busy(node)), None)
        if idle is not None:
            self.undial(idle)
        return idle is not None

    def _busy(self, node: NodeId) -> bool:
        peer = self._peers.linked(node)
        return peer is not None and bool(peer.waiting or peer.serving)
