"""Which direct messages a node takes, which it carries, and what it remembers so that none comes twice. Pure.

A message is taken from its author, or from one node that carries it for him; only what the author hands over himself is
carried on. So it makes one hop and no more, and nobody has others' messages carried again. What is taken is remembered
by its id until it has expired: the same again gets its receipt again and is shown once.

Members of the log have room of their own, of everybody else all together a quarter. Full is full: who writes is told,
and nothing that came is dropped for something that comes.

Source: docs/mesh-messages.md.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, Literal

from pyrsia.buckets import Bucket, Buckets
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import Limit, NodeId
from pyrsia.wire import envelopes, mail
from pyrsia.wire.envelopes import Envelope, Kind
from pyrsia.wire.mail import Hops

MAX_LIFE_MS = Limit(7 * 86_400_000, "a week of trying; ids are remembered as long")
SKEW_MS = Limit(120_000, "clocks that differ by more than two minutes are a fault of their own")
HANDED_BURST = Limit(64, "messages that one peer hands over within a moment, its own and carried ones")
HANDED_RATE = Limit(4, "the same in a second")
MEMBER_BURST = Limit(20, "messages of one member within a moment")
MEMBER_RATE_S = Limit(2, "seconds for each further one: people write, and machines that page them")
GUEST_BURST = Limit(3, "messages of one guest within a moment")
GUEST_RATE_S = Limit(20, "seconds for each further one of a guest")
CARRY_BURST = Limit(64, "messages carried for all others within a moment")
CARRY_RATE = Limit(8, "the same in a second; each is one request to a peer")
MAX_WINDOW = Limit(20_000, "ids that are remembered: 2 MB; who writes more often than they expire waits")
MAX_WINDOW_OF_ONE = Limit(500, "the same of one author: a twentieth of it and more than his room")
MAX_KEPT = Limit(2_000, "messages in an inbox; a person has stopped reading long before")
MAX_KEPT_BYTES = Limit(
    32 << 20, "a thousand messages of the largest size, or all that there may be of usual ones"
)
MAX_KEPT_OF_ONE = Limit(200, "a tenth of the inbox for one author")
MAX_KEPT_OF_ONE_BYTES = Limit(4 << 20, "an eighth of it in bytes")
PAST_S = Limit(900, "seconds for which an id is remembered longer: a wrong clock is set right by then")
GUESTS_PART: Final = 4  # of window and inbox: one in so many for all guests together

Verify = Callable[[bytes, bytes, bytes], bool]
Accept = Literal["members", "anyone", "nobody"]


@dataclass(frozen=True, slots=True)
class Keep:
    """It is for us and new: put it into the inbox and the window, on disk, and send the receipt."""

    envelope: Envelope
    member: bool
    carried: bool


@dataclass(frozen=True, slots=True)
class Again:
    """It came before: send the receipt again."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Carry:
    """It is for somebody else, whom we may know: hand it over as its carrier, and its receipt back."""

    envelope: Envelope
    raw: bytes


@dataclass(frozen=True, slots=True)
class Could:
    """Say whether it could be carried to its recipient from here."""

    yes: bool


class Forged(Malformed):
    """A signature that does not hold: who handed it over had to look."""


class Shelf:
    """How much room authors have, by count and by bytes. One row a message or an id, under any key."""

    def __init__(self, most: int, most_of_one: int, most_bytes: int = 0, most_bytes_of_one: int = 0) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._most_bytes, self._most_bytes_of_one = most_bytes, most_bytes_of_one
        self._rows: dict[bytes | int, tuple[NodeId, int, bool]] = {}
        self._count: Counter[NodeId] = Counter()
        self._bytes: Counter[NodeId] = Counter()
        self._guests = self._guest_bytes = 0
        self.bytes = 0

    def room(self, author: NodeId, size: int, *, member: bool) -> str:
        """Why there is no room for one more; empty if there is."""
        if self._count[author] >= self._most_of_one or (
            self._most_bytes and self._bytes[author] + size > self._most_bytes_of_one
        ):
            return "it holds as much of this author as it may"
        if len(self._rows) >= self._most or (self._most_bytes and self.bytes + size > self._most_bytes):
            return "it is full"
        guests_bytes = self._guest_bytes + size
        if not member and (
            self._guests >= self._most // GUESTS_PART
            or (self._most_bytes and guests_bytes > self._most_bytes // GUESTS_PART)
        ):
            return "it holds as much of nodes that are no members as it may"
        return ""

    def add(self, key: bytes | int, author: NodeId, size: int, *, member: bool) -> None:
        self.remove(key)
        self._rows[key] = (author, size, member)
        self._change(author, size, member, 1)

    def remove(self, key: bytes | int) -> None:
        found = self._rows.pop(key, None)
        if found is not None:
            self._change(*found, -1)

    def __contains__(self, key: bytes | int) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def _change(self, author: NodeId, size: int, member: bool, by: int) -> None:
        self._count[author] += by
        self._bytes[author] += by * size
        self.bytes += by * size
        if not member:
            self._guests += by
            self._guest_bytes += by * size
        if not self._count[author]:
            del self._count[author], self._bytes[author]


class Window:
    """Ids of messages that came, until they have expired."""

    def __init__(self) -> None:
        self.shelf = Shelf(MAX_WINDOW.value, MAX_WINDOW_OF_ONE.value)
        self._ends: list[tuple[int, bytes]] = []

    def add(self, ident: bytes, expires_ms: int, author: NodeId, *, member: bool) -> None:
        self.shelf.add(ident, author, 0, member=member)
        heappush(self._ends, (expires_ms, ident))

    def expire(self, now_ms: int) -> list[tuple[int, bytes]]:
        """Forget what has expired; (when, id) of each. A message as old would be refused anyway."""
        gone: list[tuple[int, bytes]] = []
        while self._ends and self._ends[0][0] <= now_ms:
            gone.append(heappop(self._ends))
            self.shelf.remove(gone[-1][1])
        return gone


class Past:
    """What time is past for sure: a wall clock that runs ahead for a while must not have ids forgotten, for when it is
    set right whoever kept the messages sends them again."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, int]] = deque()

    def sure_ms(self, now: float, now_ms: int) -> int:
        """The earliest that the wall clock told within `PAST_S`; 0 while that was not looked at for so long."""
        self._told.append((now, now_ms))
        while len(self._told) > 1 and self._told[1][0] <= now - PAST_S.value:
            self._told.popleft()
        if self._told[0][0] > now - PAST_S.value:
            return 0
        return min(told_ms for _, told_ms in self._told)


class Post:
    """What comes to one node, and through it.

    Args:
        net: chain id.
        member: whether a node is a member of the log now.
        accept: who may write to this node.
        linked: whether this node has a link with another one.

    Attributes:
        window: filled from the disk at a start; the shell writes to it what it has made durable.
        inbox: the same of messages.
    """

    def __init__(
        self,
        me: NodeId,
        net: bytes,
        *,
        verify: Verify,
        member: Callable[[NodeId], bool],
        accept: Accept,
        linked: Callable[[NodeId], bool] = lambda node: True,
    ) -> None:
        self.window = Window()
        self.inbox = Shelf(
            MAX_KEPT.value, MAX_KEPT_OF_ONE.value, MAX_KEPT_BYTES.value, MAX_KEPT_OF_ONE_BYTES.value
        )
        self._me = me
        self._net = net
        self._verify = verify
        self._member = member
        self._accept = accept
        self._linked = linked
        self._handed: Buckets[NodeId] = Buckets(HANDED_RATE.value, HANDED_BURST.value)
        self._members: Buckets[NodeId] = Buckets(1 / MEMBER_RATE_S.value, MEMBER_BURST.value)
        self._guests: Buckets[NodeId] = Buckets(1 / GUEST_RATE_S.value, GUEST_BURST.value)
        self._carried = Bucket(CARRY_RATE.value, CARRY_BURST.value)

    def on_handed(self, now: float, now_ms: int, sender: NodeId, data: bytes) -> Keep | Again | Carry | Could:
        """What is to be done with what `sender`, who has a link, handed over.

        Raises:
            Forged, Malformed: no honest node hands this over.
            Refusal: it is not taken; to be told to `sender`.
        """
        if not (bucket := self._handed.of(sender)).take(now):
            raise _busy("it has handed over too many messages", bucket.wait_s(now))
        if (to := mail.read_ask(data)) is not None:
            return Could(self._linked(to))
        hops, raw = mail.read_handed(data)
        envelope, signature = envelopes.decode(raw)
        self._check(envelope, hops, sender)
        _check_time(envelope, now_ms)
        if envelope.to == self._me:
            self._check_welcome(envelope)
        if not self._verify(envelope.origin, envelopes.to_sign(envelope), signature):
            raise Forged("mail: a false signature")
        if envelope.to != self._me:
            if not self._linked(envelope.to):  # its author's share is for what can arrive
                raise _no_link()
            self._charge(now, envelope.origin)
            if not self._carried.take(now):
                raise _busy("this node carries too many messages", self._carried.wait_s(now))
            return Carry(envelope, raw)
        if envelope.id in self.window.shelf:
            return Again(envelope)
        self._charge(now, envelope.origin)
        self._check_room(envelope)
        return Keep(envelope, self._member(envelope.origin), hops is Hops.CARRIER)

    def _check(self, envelope: Envelope, hops: Hops, sender: NodeId) -> None:
        """What no honest node hands over.

        Raises:
            Malformed: it is that.
        """
        if envelope.kind is not Kind.MAIL or envelope.net != self._net or envelope.topic:
            raise Malformed("mail: no message of this network")
        mail.read_payload(envelope.payload)
        if (hops is Hops.AUTHOR) != (sender == envelope.origin):
            raise Malformed("mail: it is handed over by somebody else than it says")
        if hops is Hops.CARRIER and envelope.to != self._me:
            raise Malformed("mail: it was carried once already")
        if envelope.origin == self._me or envelope.origin == envelope.to:
            raise Malformed("mail: from oneself to oneself")

    def _check_welcome(self, envelope: Envelope) -> None:
        """
        Raises:
            Refusal: `forbidden`.
        """
        if self._accept == "anyone" or (self._accept == "members" and self._member(envelope.origin)):
            return
        whose = "nobody" if self._accept == "nobody" else "members of the network only"
        raise Refusal(
            "forbidden",
            what=f"it takes messages of {whose}",
            who="the recipient",
            do="reach its operator by another way",
        )

    def _check_room(self, envelope: Envelope) -> None:
        """
        Raises:
            Refusal: `busy`.
        """
        author, member = envelope.origin, self._member(envelope.origin)
        full = self.inbox.room(author, len(envelope.payload), member=member)
        if full:
            raise _busy(f"its inbox has no room: {full}", 0)
        if self.window.shelf.room(author, 0, member=member):
            raise _busy("too many messages came that have not expired yet", 0)

    def _charge(self, now: float, author: NodeId) -> None:
        """
        Raises:
            Refusal: `busy`.
        """
        bucket = (self._members if self._member(author) else self._guests).of(author)
        if not bucket.take(now):
            raise _busy("its author writes too often", bucket.wait_s(now))


def check_life(expires_s: int) -> int:
    """Milliseconds that a message to be sent lives.

    Raises:
        Refusal: `bad-request`.
    """
    if not 0 < expires_s * 1000 <= MAX_LIFE_MS.value:
        raise Refusal(
            "bad-request",
            what=f"a message expires within a second and {MAX_LIFE_MS.value // 86_400_000} days",
            who="whoever sends it",
            do="choose a time between",
        )
    return expires_s * 1000


def _check_time(envelope: Envelope, now_ms: int) -> None:
    """
    Raises:
        Refusal: `too-old` or `bad-request`: clocks differ, so it is nobody's fault for sure.
    """
    if envelope.expires_ms <= now_ms:
        raise Refusal(
            "too-old", what="the message has expired", who="its author, or a clock", do="send a new one"
        )
    if envelope.expires_ms > now_ms + MAX_LIFE_MS.value + SKEW_MS.value:
        raise Refusal(
            "bad-request",
            what="the message expires later than any may",
            who="its author, or a clock",
            do="set the clock, or let it expire earlier",
        )


def _no_link() -> Refusal:
    return Refusal(
        "not-found",
        what="this node has no link with the recipient",
        who="the node that was to carry it",
        do="ask another one",
    )


def _busy(what: str, wait_s: float) -> Refusal:
    return Refusal(
        "busy", what=what, who="the node that was to take it", do="try again later", retry_s=int(wait_s) + 1
    )
