"""Where others reach us: what the operator says; else what peers saw and reached by dialling back.

A node that listens at an address of its own network (or of this machine) is where it listens, for whoever is there too.
One that listens everywhere, or at an address of the internet, cannot know whether a wall stands before it. So it asks
some of the peers that it dialled to dial back, to the address at which they see it, and advertises what more of them
reached than not. They are drawn, members of the log first: whoever could choose them could have us say that we are at
somebody else's address. A node that nobody reaches advertises nothing: nobody wastes time on dialling it, and it
serves over the links that it dialled itself.

Pure: time is an argument; `AskBack` is for the shell.

Source: docs/mesh-discovery.md, "Where others reach us".
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyrsia.mesh import scopes
from pyrsia.mesh.choosing import Draw
from pyrsia.mesh.scopes import Scope
from pyrsia.units import Limit, NodeId

Ports = tuple[int, int, int]  # control, data, broadcast; 0 where there is none

MOST_ASKED = Limit(3, "peers that dial back: two of them outvote one that lies or sits behind the same wall")
AGAIN_S: Final = 1_800.0
DIFFER_S: Final = 300.0  # the same where they say different things: one of them lies, or sits elsewhere
RETRY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class AskBack:
    """Ask `node` to dial back to where it sees us."""

    node: NodeId


@dataclass(slots=True)
class _Word:
    """What one peer said: where it sees us, and which of our ports answer there."""

    host: str
    reached: Ports
    at_s: float


class Reach:
    """Of one node.

    Args:
        host: where it listens.
        ports: the ports that were bound.
        told: the host that the operator wants advertised; empty: find out.
        within: whether an address is in a scope that our operator put us into: in any other we are not.
        member: whether the log has a node as a member now.
    """

    def __init__(
        self,
        host: str,
        ports: Ports,
        told: str = "",
        *,
        draw: Draw,
        within: Callable[[str], bool],
        member: Callable[[NodeId], bool] = lambda node: False,
    ) -> None:
        self._draw = draw
        self._within = within
        self._member = member
        self._ports = ports
        self._host = told or host
        scope = scopes.scope_of(host)
        self._known = bool(told) or scope in (
            Scope.MACHINE,
            Scope.LINK,
            Scope.PRIVATE,
            Scope.CARRIER,
            Scope.NAME,
        )
        self._words: dict[NodeId, _Word] = {}
        self._asked: dict[NodeId, float] = {}

    @property
    def found(self) -> bool:
        """Whether anything is advertised."""
        return bool(self.addresses()[0])

    @property
    def decided(self) -> bool:
        """Whether anybody has said anything."""
        return self._known or bool(self._words)

    def addresses(self) -> tuple[str, str, str]:
        """Control, data and broadcast as they are advertised; empty where nobody can dial."""
        host, ports = (self._host, self._ports) if self._known else self._by_word()
        control, data, broadcast = (scopes.join(host, port) if host and port else "" for port in ports)
        return (control, data, broadcast) if control else ("", "", "")

    def ask(self, now: float, seen: dict[NodeId, str]) -> list[AskBack]:
        """Whom to ask now. `seen`: the peers that we dialled -> where each says that it sees us."""
        if self._known:
            return []
        for node in [
            one for one, at_s in self._asked.items() if now - at_s >= RETRY_S and one not in self._words
        ]:
            del self._asked[node]
        differ = len({(word.host, word.reached) for word in self._words.values()}) > 1
        life_s = DIFFER_S if differ else AGAIN_S
        for node in [one for one, word in self._words.items() if now - word.at_s >= life_s]:
            del self._words[node], self._asked[node]
        fresh = [node for node in sorted(seen) if seen[node] and node not in self._asked]
        lots = {node: self._draw.randrange(1 << 30) for node in fresh}
        fresh.sort(key=lambda node: (not self._member(node), lots[node]))
        chosen = fresh[: max(0, MOST_ASKED.value - len(self._asked))]
        self._asked.update(dict.fromkeys(chosen, now))
        return [AskBack(node) for node in chosen]

    def on_back(self, now: float, node: NodeId, host: str, reached: tuple[bool, bool, bool]) -> None:
        """`node` dialled back to `host`. A word that nobody asked for is none."""
        if node not in self._asked or scopes.scope_of(host) in (Scope.NOWHERE, Scope.NAME):
            return
        control, data, broadcast = (port if ok else 0 for port, ok in zip(self._ports, reached, strict=True))
        self._words[node] = _Word(host, (control, data, broadcast), now)

    def _by_word(self) -> tuple[str, Ports]:
        """The host that most reached, and the ports that more reached than not."""
        hosts = [word.host for word in self._words.values() if word.reached[0]]
        reached = Counter(host for host in hosts if self._within(host))
        if not reached:
            return "", (0, 0, 0)
        host = max(sorted(reached), key=lambda one: reached[one])
        if 2 * reached[host] <= len(self._words):
            return "", (0, 0, 0)
        words = [word.reached for word in self._words.values() if word.host == host]
        control, data, broadcast = (
            port if 2 * sum(word[at] == port for word in words) > len(words) else 0
            for at, port in enumerate(self._ports)
        )
        return host, (control, data, broadcast)
