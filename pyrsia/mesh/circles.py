"""Who shares what with whom: members of the log among themselves, all others ("guests") among themselves.

Ids are free, so whoever is nobody to the log shares one small allowance with everybody else who is: of what is kept, of
what may be said, of what one peer may carry of them. Members have one each. Time comes as an argument.
"""

from typing import Final

from pyrsia.buckets import Bucket, Buckets
from pyrsia.mesh.recent import Pool, Room
from pyrsia.mesh.seen import Told
from pyrsia.units import Limit, NodeId

MEMBER_BURST = Limit(100, "broadcasts of one member within a moment")
MEMBER_RATE = Limit(10, "broadcasts of one member a second; what many machines want to know is rarer")
GUEST_BURST = Limit(10, "broadcasts of one guest within a moment")
GUEST_RATE = Limit(1, "broadcasts of one guest a second: a person who types")
GUESTS_BURST = Limit(100, "broadcasts of all guests together within a moment: their ids are free")
GUESTS_RATE = Limit(20, "the same in a second")
CARRIED_BURST = Limit(50, "guests' broadcasts that one peer brings within a moment: others are heard too")
CARRIED_RATE = Limit(10, "the same in a second")
MEMBERS_TOLD = Limit(65_536, "what members said within the life of a broadcast, on a busy day: 10 MB of ids")
GUESTS_TOLD = Limit(
    16_384, "all that guests may say within the life of a broadcast and what clocks may differ by"
)
MEMBERS_ROOM: Final = Room(origins=512, origin_bytes=131_072, origin_count=256, bytes=8 << 20)
GUESTS_ROOM: Final = Room(origins=128, origin_bytes=16_384, origin_count=16, bytes=512 << 10)


class Circle:
    """Those who share a pool. `pool` is what they said lately, `told` what of it was handed over."""

    def __init__(self, room: Room, told: int, rate: float, burst: float) -> None:
        self.pool = Pool(room)
        self.told = Told(told)
        self._said: Buckets[NodeId] = Buckets(rate, burst)
        # After an absence there is more to catch up with than anybody may say at once.
        self._caught_up: Buckets[NodeId] = Buckets(rate, max(burst, room.origin_count))

    def share(self, origin: NodeId) -> Bucket:
        """What `origin` may say, of what is pushed here."""
        return self._said.of(origin)

    def admits(self, now: float, sender: NodeId, origin: NodeId, *, pulled: bool) -> bool:
        """Whether there is room for one of `origin`'s; takes only what `sender` uses up whatever it turns out to be."""
        return (self._caught_up if pulled else self._said).of(origin).has(now)

    def charge(self, now: float, origin: NodeId, *, pulled: bool) -> None:
        """One of `origin`'s was taken."""
        (self._caught_up if pulled else self._said).of(origin).take(now)


class Members(Circle):
    def __init__(self) -> None:
        super().__init__(MEMBERS_ROOM, MEMBERS_TOLD.value, MEMBER_RATE.value, MEMBER_BURST.value)


class Guests(Circle):
    def __init__(self) -> None:
        super().__init__(GUESTS_ROOM, GUESTS_TOLD.value, GUEST_RATE.value, GUEST_BURST.value)
        self._together = Bucket(GUESTS_RATE.value, GUESTS_BURST.value)
        self._carried: Buckets[NodeId] = Buckets(CARRIED_RATE.value, CARRIED_BURST.value)

    def admits(self, now: float, sender: NodeId, origin: NodeId, *, pulled: bool) -> bool:
        if not (super().admits(now, sender, origin, pulled=pulled) and self._together.has(now)):
            return False
        if self.told.full:  # to forget some of it would have it told again
            return False
        return self._carried.of(sender).take(now)

    def charge(self, now: float, origin: NodeId, *, pulled: bool) -> None:
        super().charge(now, origin, pulled=pulled)
        self._together.take(now)
