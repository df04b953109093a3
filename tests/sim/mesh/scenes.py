"""What happens to a network of membership cores, and what it did about it: for tests, and for evidence at full size.

Each scene takes a seed and a number of nodes, and tells in figures what was seen. Times are virtual seconds.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyrsia.mesh.liveness import State
from pyrsia.units import NodeId
from pyrsia.wire.membership import Ack, Ping, Tell, Vitals, Word

from .network import Weather
from .swimmers import Pool, node_id, said

RAIN = Weather(loss=0.01)
STORM = Weather(loss=0.2, twice=0.05, late=0.05)


@dataclass(frozen=True, slots=True)
class Quiet:
    """A network in which nothing happens but loss.

    Attributes:
        suspected: nodes that anybody suspected, as a part of all nodes, in a minute.
        buried: pairs (who, of whom) in which one took the other for dead, as a part of all pairs, in a minute.
    """

    messages: float  # sent by a node in a second
    suspected: float
    buried: float


def quiet(seed: int, count: int, minutes: float = 1.0, weather: Weather = RAIN) -> Quiet:
    """What it sends, and whom it takes for dead though all are there."""
    pool = Pool(seed, count, weather)
    pool.net.run(60.0 * minutes)
    pairs = count * (count - 1) * minutes
    doubted = {of for _, _, of in pool.false_suspects}
    return Quiet(pool.messages(), len(doubted) / count / minutes, len(pool.false_dead) / pairs)


def crash(seed: int, count: int, *, coded: bool = False) -> float:
    """Seconds until all know that a node is dead."""
    pool = Pool(seed, count, RAIN, coded=coded)
    pool.net.run(3.0)
    pool.crash(pool.ids[0])
    took = pool.net.run_until(lambda: pool.all_believe(pool.ids[:1], State.DEAD), within=120.0)
    assert not pool.false_dead
    return took


def restart(seed: int, count: int, *, leave: bool) -> tuple[float, Pool]:
    """Seconds until all know that a node is back, with or without a goodbye; where the pool ends."""
    pool = Pool(seed, count, RAIN)
    pool.net.run(3.0)
    node = pool.ids[0]
    if leave:
        pool.leave(node)
        pool.net.run_until(lambda: pool.all_believe([node], State.LEFT), within=30.0)
    else:
        pool.crash(node)
        pool.net.run_until(lambda: pool.all_believe([node], State.DEAD), within=120.0)
    pool.start(node, 1_000)
    return pool.net.run_until(pool.agree, within=120.0), pool


def stall(seed: int, count: int, for_s: float) -> tuple[int, Pool]:
    """How often the node that stood still accused others."""
    pool = Pool(seed, count, RAIN)
    still, accused = pool.ids[0], [0]

    def tap(now: float, sender: Any, to: Any, message: Any) -> None:
        words = getattr(message, "told", ())
        accused[0] += any(one.author == still and one.word is Word.SUSPECT for one in words)

    pool.net.run(3.0)
    pool.net.tap = tap
    pool.stall(still, for_s)
    pool.net.run(3.0 + for_s + 30.0)
    return accused[0], pool


def partition(seed: int, count: int, for_s: float | None = None) -> tuple[float, float]:
    """Seconds until each half takes the other for dead, and from the end of it until all are alive again."""
    pool = Pool(seed, count, RAIN)
    half = count // 2
    here, there = pool.ids[:half], pool.ids[half:]
    pool.net.run(3.0)
    pool.net.partition(here, there)

    def parted() -> bool:
        return all(
            pool.at[a].core.state(b) is State.DEAD and pool.at[b].core.state(a) is State.DEAD
            for a in here
            for b in there
        )

    took = pool.net.run_until(parted, within=300.0, step=1.0)
    pool.net.heal()
    return took, pool.net.run_until(pool.agree, within=300.0, step=1.0)


def half_restarts(seed: int, count: int) -> tuple[float, Pool]:
    """One in two nodes crashes and comes back within half a minute, at 20 % loss: seconds from the last start on."""
    pool = Pool(seed, count, STORM)
    pool.net.run(3.0)
    for number, node in enumerate(pool.ids[::2]):
        at = pool.net.now + 20.0 * number / len(pool.ids[::2])
        pool.net.at(at, _then(pool.crash, node))
        pool.net.at(at + 5.0, _then(pool.start, node, 1_000))
    pool.net.run(pool.net.now + 26.0)
    return pool.net.run_until(pool.present, within=120.0), pool


def _then(action: Callable[..., object], *arguments: object) -> Callable[[], None]:
    return lambda: (action(*arguments), None)[1]


class Liar:
    """A node that answers like any other, and says of `victim` again and again that it could not reach it.

    Attributes:
        every_s: between two lies; it knows each new incarnation at once, and tells everybody but the victim.
    """

    def __init__(self, pool: Pool, node: NodeId, victim: NodeId, every_s: float) -> None:
        self.wake_at = pool.net.now + every_s
        self.lies = 0
        self._pool = pool
        self._node = node
        self._victim = victim
        self._every_s = every_s

    def take(self, now: float, sender: NodeId, message: object) -> None:
        if isinstance(message, Ping):
            self._pool.net.send(self._node, sender, Ack(message.seq, Vitals(0, 0, ""), ()))

    def tick(self, now: float) -> None:
        self.wake_at = now + self._every_s
        self.lies += 1
        lie = said(Word.SUSPECT, self._victim, self._pool.at[self._victim].core.own.incarnation, self._node)
        for node in self._pool.ids:
            if node not in (self._node, self._victim):
                self._pool.net.send(self._node, node, Tell((lie,)))


def liar(seed: int, count: int, every_s: float, for_s: float) -> tuple[Pool, Liar]:
    """A network with a liar among its nodes."""
    pool = Pool(seed, count, RAIN)
    node, victim = pool.ids[0], pool.ids[1]
    pool.net.run(3.0)
    pool.crash(node)
    villain = Liar(pool, node, victim, every_s)
    pool.net.start(node, villain)
    pool.net.run(3.0 + for_s)
    return pool, villain


def lonely(seed: int, count: int) -> Pool:
    """The last node can only dial out, to two others: nobody else has a way to it."""
    last, friends = node_id(count - 1), {node_id(0), node_id(1)}

    def reach(who: NodeId, to: NodeId) -> bool:
        return last not in (who, to) or who in friends or to in friends

    pool = Pool(seed, count, RAIN, reach=reach)
    pool.net.run(120.0)
    return pool


def chaos(seed: int, count: int = 14, for_s: float = 90.0) -> tuple[float, Pool]:
    """Anything happens to anybody for a while; seconds of calm until all know who is there and who is not."""
    pool = Pool(seed, count, STORM)
    lot, lives = random.Random(f"chaos {seed}"), {node: 1 for node in pool.ids}
    pool.excused = dict.fromkeys(pool.ids, math.inf)  # what is believed meanwhile is anybody's guess

    def happen() -> None:
        node = lot.choice(pool.ids)
        match lot.randrange(6):
            case 0 if node in pool.at and len(pool.at) > count // 2:
                pool.crash(node)
            case 1 if node in pool.at and len(pool.at) > count // 2:
                pool.leave(node)
            case 2 | 3 if node not in pool.at:
                lives[node] += 1_000
                pool.start(node, lives[node])
            case 4 if node in pool.at:
                pool.stall(node, lot.uniform(0.2, 12.0))
            case 5:
                sides: tuple[list[NodeId], list[NodeId]] = [], []
                for one in pool.ids:
                    sides[lot.randrange(2)].append(one)
                pool.net.partition(*sides)
                pool.net.at(pool.net.now + lot.uniform(1.0, 30.0), pool.net.heal)
        if pool.net.now < for_s:
            pool.net.at(pool.net.now + lot.expovariate(0.7), happen)

    happen()
    pool.net.run(for_s + 31.0)
    pool.net.heal()
    pool.net.weather = RAIN
    gone = [node for node in pool.ids if node not in pool.at]

    def settled() -> bool:
        lost = (State.DEAD, State.LEFT)
        return pool.agree() and all(pool.states(node).keys() <= set(lost) for node in gone)

    return pool.net.run_until(settled, within=180.0), pool


class Guest:
    """A node without a place in the log: it answers pings, and is gone after a moment."""

    wake_at = math.inf

    def __init__(self, pool: Pool, node: NodeId) -> None:
        self._pool = pool
        self._node = node

    def take(self, now: float, sender: NodeId, message: Any) -> None:
        if isinstance(message, Ping):
            self._pool.net.send(self._node, sender, Ack(message.seq, Vitals(0, 0, ""), ()))

    def tick(self, now: float) -> None:
        """It has nothing to do."""


def guests(seed: int, count: int, for_s: float, every_s: float = 0.25) -> tuple[int, Pool]:
    """Guests look in on one member or two and are forgotten with their link; how many came. Some go in the middle of
    what they say, so most of them have a probe under way then."""
    pool = Pool(seed, count, RAIN, member=lambda node: node in members)
    members = frozenset(pool.ids)
    lot, came = random.Random(f"guests {seed}"), 0

    def come() -> None:
        nonlocal came
        came += 1
        guest, hosts = node_id(100_000 + came), lot.sample(pool.ids, min(count, lot.randint(1, 2)))
        pool.net.start(guest, Guest(pool, guest))
        pool.excused[guest] = math.inf
        for host in hosts:
            core = pool.at[host].core
            pool.at[host].run(core.on_known(pool.net.now, [guest]))
            pool.at[host].run(core.on_linked(pool.net.now, guest, True))
        left_s = pool.net.now + lot.uniform(0.1, 4.0)
        pool.net.at(left_s, lambda: lost(guest, hosts))
        pool.net.at(left_s + lot.uniform(0.0, 12.0), lambda: forgotten(guest, hosts))
        if pool.net.now < for_s:
            pool.net.at(pool.net.now + lot.expovariate(1 / every_s), come)

    def lost(guest: NodeId, hosts: list[NodeId]) -> None:
        pool.net.crash(guest)
        for host in hosts:
            pool.at[host].run(pool.at[host].core.on_linked(pool.net.now, guest, False))

    def forgotten(guest: NodeId, hosts: list[NodeId]) -> None:
        for host in hosts:
            pool.at[host].run(pool.at[host].core.on_forgotten([guest]))

    pool.net.at(0.0, come)
    pool.net.run(for_s + 30.0)
    return came, pool
