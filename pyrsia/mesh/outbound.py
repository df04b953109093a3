"""Whom we dial of those that are known: members all, while the log has few; and some that we chose ourselves.

Who surrounds a node tells it what it likes. So at least `CHOSEN` links are our own choice, and no crowd can steer it:
first a source is drawn of all that told us of nodes, then one of its nodes, and of those one in an address group that
we have fewest links with. A source with a thousand nodes is drawn as often as one with a single node. Half of them go
to members where that can be: the log admitted each, and strangers' ids are free.

A node that cannot be reached rests, longer each time; one that left the network is dialled no more. Addresses are
dialled within their own scope only (`scopes`); a host name is resolved first, and what it names is held to the same.
Names are rarely asked for on a stranger's word, or a few of them could turn every node's questions on a victim.
Addresses that nobody signed (of DNS, of saved records that have expired) are hints: tried when records are few.

Pure: time and draws are arguments; `Dial`, `Undial` and `Resolve` are for the shell.

Source: docs/mesh-discovery.md, "Links".
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pyrsia.buckets import Bucket
from pyrsia.mesh import scopes
from pyrsia.mesh.scopes import Scope
from pyrsia.mesh.table import Table
from pyrsia.units import Limit, NodeId

CHOSEN = Limit(8, "links of our own choice: if half of all sources lie, one in 256 nodes is surrounded")
MAX_FULL_MESH = Limit(64, "members that all have links with all: more would be thousands of pings a second")
GIVE_UP_S = Limit(15, "three tries with their pauses; who cannot be reached by then rests")
FIRST_REST_S: Final = 10.0
LAST_REST_S: Final = 1_800.0  # half an hour: the network has changed by then
MAX_RESTING = Limit(4_096, "nodes that could not be reached; the longest resting is forgotten first")
MAX_HINTS = Limit(256, "addresses that nobody signed; the newest count")
MAX_NAMES = Limit(1_024, "resolved host names, with 16 addresses each")
NAME_LIFE_S: Final = 600.0
NAME_RETRY_S: Final = 30.0
NAMES_AT_ONCE = Limit(4, "host names resolved after one look, and of strangers' within a moment")
NAMES_RATE: Final = 1 / 15  # a second, of strangers' records
TRIES = Limit(32, "nodes looked at closely in one look: four for each link that may be missing")
MANY_ROWS = Limit(
    256, "rows that take a millisecond to look through: if that was in vain, a second passes first"
)
DRY_S: Final = 1.0


class Draw(Protocol):
    """What is needed of a random generator."""

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Dial:
    """Keep a link to `node` until `Undial`."""

    node: NodeId
    address: str


@dataclass(frozen=True, slots=True)
class Undial:
    node: NodeId


@dataclass(frozen=True, slots=True)
class Resolve:
    """Tell `on_resolved` the numeric addresses of this host name."""

    host: str


Move = Dial | Undial | Resolve


@dataclass(slots=True)
class _Chosen:
    address: str
    since_s: float  # when the link was lost, or was first wanted


@dataclass(slots=True)
class _Rest:
    times: int
    until_s: float


class Outbound:
    """Whom one node dials.

    Args:
        table: who is known.
        ours: scopes that our operator put us into.
        fixed: whom the configuration names: dialled by others, never by us.
        member: whether the log has a node as a member now.
        needed: validators that must have links with each other, where we are one of them.
        unwanted: who left the network, or has too low a score.
        members: how many members the log has.
    """

    def __init__(
        self,
        table: Table,
        draw: Draw,
        *,
        ours: frozenset[Scope],
        fixed: Collection[NodeId],
        member: Callable[[NodeId], bool],
        members: Callable[[], int],
        needed: Callable[[], Collection[NodeId]],
        unwanted: Callable[[NodeId], bool],
    ) -> None:
        self._table = table
        self._draw = draw
        self._ours = ours
        self._fixed = frozenset(fixed)
        self._member = member
        self._members = members
        self._needed = needed
        self._unwanted = unwanted
        self._chosen: dict[NodeId, _Chosen] = {}
        self._resting: OrderedDict[NodeId, _Rest] = OrderedDict()
        self._hints: OrderedDict[NodeId, tuple[str, bool]] = OrderedDict()
        self._names: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self._strangers_names = Bucket(NAMES_RATE, NAMES_AT_ONCE.value)
        self._asked = 0  # names, in this look
        self._dry_until_s = 0.0

    @property
    def chosen(self) -> frozenset[NodeId]:
        """Who is dialled by our own choice, linked or not."""
        return frozenset(self._chosen)

    # -- what happens --

    def hint(self, node: NodeId, address: str, *, here: bool = False) -> None:
        """An address that nobody signed. `here`: we heard it on our own cable, where it may be dialled."""
        if node in self._fixed or self._unwanted(node):
            return
        if node not in self._table:
            self._resting.pop(node, None)
        self._hints[node] = (address, here)
        self._hints.move_to_end(node)
        while len(self._hints) > MAX_HINTS.value:
            self._hints.popitem(last=False)

    def on_linked(self, node: NodeId) -> None:
        self._resting.pop(node, None)

    def on_lost(self, now: float, node: NodeId) -> None:
        if node in self._chosen:
            self._chosen[node].since_s = now

    def on_resolved(self, now: float, host: str, found: Iterable[str]) -> None:
        """The numeric addresses of a name; none where there are none."""
        self._names[host] = (now, tuple(found)[:16])
        self._names.move_to_end(host)
        while len(self._names) > MAX_NAMES.value:
            self._names.popitem(last=False)

    def widen(self, host: str) -> None:
        """The numeric address at which somebody answered whom our operator named by a host name: we are in its scope
        too. This machine is none that a name may open: it is for whoever keeps the name to say where that leads."""
        self._ours |= scopes.scopes_of([host]) - {Scope.MACHINE}

    # -- what to do --

    def within(self, host: str) -> bool:
        """Whether a numeric address is in a scope of ours."""
        return scopes.may_dial(host, self._ours)

    def way(self, node: NodeId) -> str:
        """The numeric address of its record, if it may be dialled from here; empty for none. Names are not resolved."""
        address = self._table.address(node)
        host, port = scopes.split(address)
        return address if port and scopes.may_dial(host, self._ours) else ""

    def plan(self, now: float, linked: Mapping[NodeId, bool]) -> list[Move]:
        """What to dial and what no more. `linked`: who has a link, and whether it was dialled by us."""
        moves: list[Move] = []
        self._asked = 0
        self._drop(now, linked, moves)
        wanted = self._wanted(linked)
        for node in wanted:
            self._try(now, node, moves)
        missing = CHOSEN.value - self._own(linked, wanted)
        if missing > 0:
            self._choose(now, missing, linked, moves)
        return moves

    def _own(self, linked: Mapping[NodeId, bool], wanted: Collection[NodeId]) -> int:
        own = self._linked_by_us(linked)
        return len(own) + len(set(wanted) - set(own))

    def _drop(self, now: float, linked: Mapping[NodeId, bool], moves: list[Move]) -> None:
        for node, chosen in list(self._chosen.items()):
            up = node in linked
            if up and not self._unwanted(node):
                chosen.since_s = now
                continue
            address = self._address(now, node, moves)
            tired = not up and now - chosen.since_s >= GIVE_UP_S.value
            if tired:
                self._rest(now, node)
            if tired or not address or self._unwanted(node):
                del self._chosen[node]
                moves.append(Undial(node))
            elif address != chosen.address:
                chosen.address = address
                moves.append(Dial(node, address))

    def _wanted(self, linked: Mapping[NodeId, bool]) -> list[NodeId]:
        """Who must have a link with us, and has none: by node id, so that all nodes do alike."""
        must = set(self._needed())
        if self._members() <= MAX_FULL_MESH.value:
            must |= {row.record.node for row in self._table if row.member}
        return sorted(node for node in must if self._free(node, linked))

    def _free(self, node: NodeId, linked: Mapping[NodeId, bool]) -> bool:
        return not (node in linked or node in self._chosen or node in self._fixed)

    def _try(self, now: float, node: NodeId, moves: list[Move]) -> bool:
        if self._rests(now, node) or self._unwanted(node):
            return False
        address = self._address(now, node, moves)
        if not address:
            return False
        self._chosen[node] = _Chosen(address, now)
        moves.append(Dial(node, address))
        return True

    def _choose(self, now: float, missing: int, linked: Mapping[NodeId, bool], moves: list[Move]) -> None:
        if now < self._dry_until_s:
            return
        members, others = self._choices(now, linked)
        groups = self._groups(linked)
        half = CHOSEN.value // 2 - sum(map(self._member, self._linked_by_us(linked)))
        for _ in range(TRIES.value):
            if not missing or not (members or others):
                break
            at = self._draw.randrange(len(members) if members and half > 0 else len(members) + len(others))
            pool, at = (members, at) if at < len(members) else (others, at - len(members))
            node, address = self._pick(pool[at], groups)
            pool[at].remove((node, address))
            if not pool[at]:
                pool[at] = pool[-1]
                pool.pop()
            if self._try(now, node, moves):
                groups[scopes.group_of(address)] += 1
                missing -= 1
                half -= pool is members
        if missing and len(self._table) > MANY_ROWS.value:
            self._dry_until_s = now + DRY_S

    def _choices(
        self, now: float, linked: Mapping[NodeId, bool]
    ) -> tuple[list[list[tuple[NodeId, str]]], list[list[tuple[NodeId, str]]]]:
        """Who could be dialled now: of members, of others, each by source."""
        members: list[list[tuple[NodeId, str]]] = []
        others: dict[NodeId, list[tuple[NodeId, str]]] = {}
        for row in self._table:
            node, address = row.record.node, row.record.control
            if not (address and self._free(node, linked) and not self._rests(now, node)):
                continue
            if not self._usable(now, node):
                continue
            if row.member:  # they stand for themselves: the log vouches that each was admitted
                members.append([(node, address)])
            else:
                others.setdefault(row.source, []).append((node, address))
        hints = [
            (node, hint[0])
            for node, hint in self._hints.items()
            if node not in self._table
            and self._free(node, linked)
            and not self._rests(now, node)
            and self._usable(now, node)
        ]
        if hints:
            others[NodeId(bytes(32))] = hints
        return members, list(others.values())

    def _pick(self, nodes: list[tuple[NodeId, str]], groups: Counter[str]) -> tuple[NodeId, str]:
        """One of `nodes` at random, in an address group that we have fewest links with."""
        fewest = min(groups[scopes.group_of(address)] for _, address in nodes)
        best = [one for one in nodes if groups[scopes.group_of(one[1])] == fewest]
        return best[self._draw.randrange(len(best))]

    def _linked_by_us(self, linked: Mapping[NodeId, bool]) -> list[NodeId]:
        """Links of our own choice, and those on their way. One that the other side dialled is none."""
        return [node for node in (*self._chosen, *self._fixed) if linked.get(node, node in self._chosen)]

    def _groups(self, linked: Mapping[NodeId, bool]) -> Counter[str]:
        return Counter(scopes.group_of(self._table.address(node)) for node in self._linked_by_us(linked))

    def _address(self, now: float, node: NodeId, moves: list[Move]) -> str:
        """Where to dial `node`: numeric, and in a scope of ours. Empty: not now."""
        address, here = self._where(node)
        host, port = scopes.split(address)
        if not port:
            return ""
        if here or scopes.may_dial(host, self._ours):
            return address
        if scopes.scope_of(host) is not Scope.NAME:
            return ""
        _, found = self._names.get(host, (0.0, ()))
        if self._to_ask(now, node, host):
            self._asked += 1
            if self._strange(node):
                self._strangers_names.take(now)
            self.on_resolved(now, host, found)  # asked once, whatever comes of it
            moves.append(Resolve(host))
        usable = [one for one in found if scopes.may_dial(one, self._ours)]
        return scopes.join(usable[0], port) if usable else ""

    def _where(self, node: NodeId) -> tuple[str, bool]:
        """The address to try, and whether it was heard on our own cable."""
        address, hint = self._table.address(node), self._hints.get(node)
        return hint if hint is not None and (not address or hint[1]) else (address, False)

    def _usable(self, now: float, node: NodeId) -> bool:
        """Whether `_address` may come to something: for thousands of rows at a time."""
        address, here = self._where(node)
        host, port = scopes.split(address)
        if not port or here or scopes.may_dial(host, self._ours):
            return bool(port)
        if scopes.scope_of(host) is not Scope.NAME:
            return False
        _, found = self._names.get(host, (0.0, ()))
        return any(scopes.may_dial(one, self._ours) for one in found) or self._to_ask(now, node, host)

    def _to_ask(self, now: float, node: NodeId, host: str) -> bool:
        """Whether this name is due to be resolved, and may be."""
        asked_s, found = self._names.get(host, (float("-inf"), ()))
        if now - asked_s < (NAME_LIFE_S if found else NAME_RETRY_S) or self._asked >= NAMES_AT_ONCE.value:
            return False
        return not self._strange(node) or self._strangers_names.has(now)

    def _strange(self, node: NodeId) -> bool:
        """Whether only a stranger's own record says where it is."""
        return node not in self._hints and not self._member(node)

    def _rests(self, now: float, node: NodeId) -> bool:
        rest = self._resting.get(node)
        return rest is not None and rest.until_s > now

    def _rest(self, now: float, node: NodeId) -> None:
        before = self._resting.pop(node, None)
        times = before.times + 1 if before is not None else 0
        pause_s = min(LAST_REST_S, FIRST_REST_S * 2 ** min(times, 16))
        jitter = 0.5 + self._draw.randrange(1_000) / 1_000
        self._resting[node] = _Rest(times, now + pause_s * jitter)
        while len(self._resting) > MAX_RESTING.value:
            self._resting.popitem(last=False)
