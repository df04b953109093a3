"""Broadcasts of one node: what is taken, handed over, carried on and kept, and how gaps are closed. Pure.

What a peer sends passes, in this order: (1) whether the peer is ignored, and how much it sent; (2) whether the same
bytes came lately; (3) the format, the network, the size, the time; (4) whether it, or its number, came already; (5)
what the origin may still say, and what the peer may still have us check; (6) the signature. Only what passes all of it
is handed over and carried on. A forger uses up his own share and nobody else's: an origin's is charged for what it
signed.

Where two broadcasts of one origin have the same number, both signed, the origin lied: the second one is refused.

PUB/SUB loses: each node asks a linked peer now and then for what it lacks (`vector`, `answer`, `on_answer`).

Source: docs/mesh-broadcast.md.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from pyrsia.buckets import Bucket, Buckets
from pyrsia.errors import Malformed, Refusal
from pyrsia.mesh import scores
from pyrsia.mesh.circles import Circle, Guests, Members
from pyrsia.mesh.gaps import fewer, union, within
from pyrsia.mesh.recent import Kept
from pyrsia.mesh.seen import Seen
from pyrsia.units import MAX_PAYLOAD_BYTES, Limit, NodeId
from pyrsia.wire import envelopes, gossip
from pyrsia.wire.envelopes import EVERYBODY, Envelope, Kind
from pyrsia.wire.gossip import Span, Vector

LIFE_MS = Limit(
    600_000, "who was away for longer asks for what stands in the log, not for what was called out"
)
SKEW_MS = Limit(120_000, "clocks that differ by more than two minutes are a fault of their own")
SEEN_S = Limit(120, "all copies of a broadcast arrive within seconds; anti-entropy takes a minute at worst")
MAX_SEEN = Limit(65_536, "of one generation: 2 MB of ids; forgetting early costs a second look")
FRAMES = Limit(8_000, "copies that a peer may send within a moment: what all kept together are")
FRAMES_RATE = Limit(1_000, "copies of one peer a second: what a hundred members say at the most")
CHECKS = Limit(4_000, "signatures that one peer may have us check within a moment")
CHECKS_RATE = Limit(500, "the same in a second: a twentieth of a core")
ANSWERS_BURST = Limit(8, "answers for one peer within a moment: all that is kept takes some more")
ANSWERS_RATE_S = Limit(2, "seconds for each further one")
MAX_VECTOR_RANGES = Limit(8_192, "ranges of one question, of all origins")
FLOOD: Final = scores.RATE / 20  # for each copy too many: an honest peer on a busy day has some

Verify = Callable[[bytes, bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class Deliver:
    """Effect: hand it over to whoever listens on this node."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Republish:
    """Effect: publish it to those who follow this node."""

    topic: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Blame:
    """Effect: `node` loses points for `reason`."""

    node: NodeId
    points: float
    reason: str


Effect = Deliver | Republish | Blame
NOTHING: Final[Sequence[Effect]] = ()


class Broadcasts:
    """What one node says and hears.

    Args:
        me: this node.
        net: chain id; envelopes of another one are refused.
        verify: (public key, message, signature) -> whether it holds.
        member: whether an origin is a member of the log now.
        ignored: whether a node has lost so many points that it is not listened to.
    """

    def __init__(
        self,
        me: NodeId,
        net: bytes,
        *,
        verify: Verify,
        member: Callable[[NodeId], bool],
        ignored: Callable[[float, NodeId], bool] = lambda now, node: False,
    ) -> None:
        self._me = me
        self._net = net
        self._verify = verify
        self._member = member
        self._ignored = ignored
        self._members, self._guests = Members(), Guests()
        self._seen = Seen(SEEN_S.value, MAX_SEEN.value)
        self._frames: Buckets[NodeId] = Buckets(FRAMES_RATE.value, FRAMES.value)
        self._checks: Buckets[NodeId] = Buckets(CHECKS_RATE.value, CHECKS.value)
        self._answers: Buckets[NodeId] = Buckets(1 / ANSWERS_RATE_S.value, ANSWERS_BURST.value)

    # -- saying --

    def publish(
        self, now: float, now_ms: int, topic: str, payload: bytes, seq: int, sign: Callable[[bytes], bytes]
    ) -> tuple[Envelope, bytes]:
        """An envelope of our own, kept as everybody else will, and its bytes.

        Args:
            seq: above every one before; `next_seq` says what the network has seen of ours.

        Raises:
            Refusal: `busy`, `too-large` or `bad-request`.
        """
        if len(payload) > MAX_PAYLOAD_BYTES.value:
            raise Refusal(
                "too-large",
                what=f"a broadcast has at most {MAX_PAYLOAD_BYTES.value} bytes, and this one {len(payload)}",
                who="whoever sends it",
                do="put it where others can fetch it, and broadcast where that is",
            )
        expires_ms = now_ms + LIFE_MS.value
        envelope = Envelope(Kind.BROADCAST, self._net, self._me, EVERYBODY, seq, expires_ms, topic, payload)
        try:
            raw = envelopes.encode(envelope, sign(envelopes.to_sign(envelope)))
            gossip.unframe(gossip.frame(topic, raw))
        except (ValueError, Malformed):
            raise Refusal(
                "bad-request",
                what="a topic is a word of a-z, 0-9, dot and hyphen with a slash behind it",
                who="whoever sends it",
                do="write it like builds/ or team-a/",
            ) from None
        circle = self._circle(self._me)
        _charge_own(now, circle.share(self._me))
        self._seen.add(now, _ident(raw))
        circle.pool.add(self._me, Kept(seq, expires_ms, envelope.id, raw))
        circle.told.add(envelope.id, expires_ms)
        return envelope, raw

    def next_seq(self) -> int:
        """Above every number of ours that the network still has; at most half of all, whatever came in our name."""
        top = max(circle.pool.top(self._me) for circle in (self._members, self._guests))
        return min(top + 1, 1 << 63)

    # -- hearing --

    def on_frame(self, now: float, now_ms: int, sender: NodeId, data: bytes) -> Sequence[Effect]:
        """What `sender` published. Nothing that comes raises."""
        if self._ignored(now, sender):
            return NOTHING
        if not self._frames.of(sender).take(now):
            return (Blame(sender, FLOOD, "more broadcasts than its share"),)
        try:
            topic, raw = gossip.unframe(data)
            ident = _ident(raw)
            if self._seen.has(ident):
                return NOTHING
            envelope, signature = envelopes.decode(raw)
            if envelope.topic.encode() != topic:
                raise Malformed("a topic that is not the envelope's")
            self._check(envelope)
        except Malformed as error:
            return (Blame(sender, scores.FAULT, f"a broadcast that is none: {error}"),)
        if not _timely(envelope, now_ms):
            reason = _untimely(envelope, now_ms)
            return (Blame(sender, scores.RATE, reason),) if reason else NOTHING
        found = self._take(now, sender, _Come(envelope, signature, raw, ident), pulled=False)
        if found and isinstance(found[0], Deliver):
            return (*found, Republish(envelope.topic, raw))
        return found

    def _check(self, envelope: Envelope) -> None:
        """What no honest node publishes, whatever the clocks say.

        Raises:
            Malformed: it is that.
        """
        if envelope.kind is not Kind.BROADCAST or envelope.to != EVERYBODY or not envelope.topic:
            raise Malformed("it is not for everybody")
        if envelope.net != self._net:
            raise Malformed("it is of another network")
        if len(envelope.payload) > MAX_PAYLOAD_BYTES.value:
            raise Malformed(f"{len(envelope.payload)} bytes of text")

    def _take(self, now: float, sender: NodeId, one: "_Come", *, pulled: bool) -> Sequence[Effect]:
        """Numbers, shares, signature. Shares are looked at first, and charged for what holds; a peer's own for all."""
        envelope, origin = one.envelope, one.envelope.origin
        circle = self._circle(origin)
        signed = envelopes.to_sign(envelope)
        content = envelopes.id_of(signed)
        pools = (self._members.pool, self._guests.pool)  # what it said as a guest it has said
        kept = pools[0].get(origin, envelope.seq) or pools[1].get(origin, envelope.seq)
        if (kept is None or kept.ident == content) and any(pool.came(origin, envelope.seq) for pool in pools):
            return NOTHING
        if content in self._members.told or content in self._guests.told:
            return NOTHING
        if self._ignored(now, origin) or not (
            circle.admits(now, sender, origin, pulled=pulled) and self._checks.of(sender).take(now)
        ):
            return NOTHING
        if not self._verify(origin, signed, one.signature):
            return (Blame(sender, scores.LIE, "a broadcast with a false signature"),)
        circle.charge(now, origin, pulled=pulled)
        self._seen.add(now, one.ident)
        if kept is not None:
            return (Blame(origin, scores.LIE, "two broadcasts under one number, both signed"),)
        circle.pool.add(origin, Kept(envelope.seq, envelope.expires_ms, content, one.raw))
        circle.told.add(content, envelope.expires_ms)
        return (Deliver(envelope),)

    # -- gaps --

    def vector(self, now_ms: int) -> Vector:
        """What came here of each origin, to ask a peer for the rest. Lets go what has expired."""
        circles = (self._guests, self._members)
        for circle in circles:
            circle.pool.expire(now_ms, LIFE_MS.value)
            circle.told.expire(now_ms)
        pools = [circle.pool for circle in circles]
        origins = max(1, sum(map(len, pools)))
        most = max(1, min(gossip.MAX_ORIGIN_RANGES.value, MAX_VECTOR_RANGES.value // origins))
        vector: dict[NodeId, tuple[Span, ...]] = {}
        for origin, spans in (found for pool in pools for found in pool.spans(most)):
            vector[origin] = fewer(union(vector[origin], spans), most) if origin in vector else spans
        return vector

    def lacks(self, vector: Vector) -> bool:
        """Whether who asks with this vector says to have what did not come here."""
        return not all(self._covers(origin, spans) for origin, spans in vector.items())

    def _covers(self, origin: NodeId, spans: tuple[Span, ...]) -> bool:
        """Whether all of these came. Of who became a member, or is none any more, both pools have some."""
        members, guests = self._members.pool, self._guests.pool
        if self._circle(origin).pool.covers(origin, spans):
            return True
        here = union(members.spans_of(origin), guests.spans_of(origin))
        return union(here, spans) == here

    def answer(self, now: float, now_ms: int, asker: NodeId, vector: Vector) -> list[bytes]:
        """What is kept here and not in `vector`, as much as one answer holds: first of origins with little.

        Raises:
            Refusal: `busy`: it has asked too often.
        """
        bucket = self._answers.of(asker)
        if not bucket.take(now):
            raise Refusal(
                "busy",
                what="these broadcasts were asked for too often",
                who="the peer",
                do="ask less often",
                retry_s=1 + int(bucket.wait_s(now)),
            )
        lacking = sorted(self._lacking(now_ms, vector), key=lambda raws: sum(map(len, raws)))
        found: list[bytes] = []
        room = gossip.MAX_ANSWER_BYTES.value
        for raw in (raw for raws in lacking for raw in raws):
            room -= len(raw) + 2
            if room < 0:
                break
            found.append(raw)
        return found

    def _lacking(self, now_ms: int, vector: Vector) -> Iterator[list[bytes]]:
        for circle in (self._members, self._guests):
            for origin, kept in circle.pool.kept():
                spans = vector.get(origin, ())
                yield [one.raw for one in kept if one.expires_ms > now_ms and not within(one.seq, spans)]

    def on_answer(
        self, now: float, now_ms: int, peer: NodeId, asked: Vector, raws: Sequence[bytes]
    ) -> Iterator[Sequence[Effect]]:
        """What `peer` answered to `asked`, one envelope at a time: each checks a signature, so yield between them.

        Ends early with the first one that nobody asked for. It is not carried on: others ask for themselves.
        """
        for raw in raws:
            try:
                envelope, signature = envelopes.decode(raw)
                self._check(envelope)
                if within(envelope.seq, asked.get(envelope.origin, ())):
                    raise Malformed("nobody asked for it")
            except Malformed as error:
                yield (Blame(peer, scores.FAULT, f"an answer about broadcasts: {error}"),)
                return
            if reason := _untimely(envelope, now_ms):
                yield (Blame(peer, scores.RATE, reason),)
                return
            if not _timely(envelope, now_ms):
                continue
            yield self._take(now, peer, _Come(envelope, signature, raw, _ident(raw)), pulled=True)

    # -- shares --

    def _circle(self, origin: NodeId) -> Circle:
        return self._members if self._member(origin) else self._guests

    @property
    def kept_bytes(self) -> int:
        """Of all broadcasts that are kept for others."""
        return self._members.pool.bytes + self._guests.pool.bytes


@dataclass(frozen=True, slots=True)
class _Come:
    """What came, read but not verified. `ident` is that of its bytes."""

    envelope: Envelope
    signature: bytes
    raw: bytes
    ident: bytes


def _charge_own(now: float, share: Bucket) -> None:
    """Others would drop what is over our share: better we say so.

    Raises:
        Refusal: `busy`.
    """
    if not share.take(now):
        raise Refusal(
            "busy",
            what="this node has said as much as others take of it now",
            who="whoever broadcasts here",
            do="wait a moment",
            retry_s=1 + int(share.wait_s(now)),
        )


def _ident(raw: bytes) -> bytes:
    return blake3(raw).digest(16)


def _timely(envelope: Envelope, now_ms: int) -> bool:
    """Whether it counts at this time."""
    return now_ms < envelope.expires_ms <= now_ms + LIFE_MS.value + SKEW_MS.value


def _untimely(envelope: Envelope, now_ms: int) -> str:
    """Why nobody whose clock is right passes it on; empty where it was in time a moment ago, or by another clock.

    Its origin chooses the time, so a peer that carried it on in good faith must not pay for a millisecond.
    """
    if envelope.expires_ms <= now_ms - SKEW_MS.value:
        return "a broadcast that has expired"
    if envelope.expires_ms > now_ms + LIFE_MS.value + 2 * SKEW_MS.value:
        return "a broadcast that expires later than any may"
    return ""
