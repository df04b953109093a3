"""This node's part in governance: it proposes, approves, accepts, and rotates its keys.

What a motion needs and does is the ledger's business; here it is asked before anything is sent, so that a no
comes at once and from this node.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import trio

from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.keys import CHAIN, ROTATED, verify
from pyrsia.ledger import entries, execute, motions, views
from pyrsia.ledger.bodies.motions import MOTIONS
from pyrsia.ledger.context import NotApplied
from pyrsia.ledger.genesis import MEMBER
from pyrsia.ledger.seats import Epoch
from pyrsia.node.clock import NowMs, wall_ms
from pyrsia.node.house import FIELDS, House
from pyrsia.node.log.submission import Submitter
from pyrsia.node.members.founding import document, fitted
from pyrsia.node.members.membership import Membership
from pyrsia.node.pulse import Pulse
from pyrsia.status import KeyStatus, MotionStatus
from pyrsia.units import Limit, NodeId
from pyrsia.wire.text import b32, unb32

KNOWN_S = Limit(5, "a motion that another node has just seen become final is here within a block or two")
DECIDED_S = Limit(
    1, "an approval that decides a motion is told by its own way; one that came too late waits no longer"
)
BUILDER: Final = ("pip",)  # what a builder can, where nothing is said

Ask = Callable[[NodeId], Awaitable[bytes]]


class Governing:
    """One node's voice among its network's members.

    Args:
        seen: what it sees of them.
        pulse: beats with each final block.
        ask: a linked node for its member document, as JSON; may raise `Unavailable`.
    """

    def __init__(
        self,
        house: House,
        submitter: Submitter,
        seen: Membership,
        *,
        pulse: Pulse,
        ask: Ask,
        now_ms: NowMs = wall_ms,
    ) -> None:
        self._house = house
        self._submitter = submitter
        self._seen = seen
        self._pulse = pulse
        self._ask = ask
        self._now_ms = now_ms

    # -- this node's part --

    def document(
        self, roles: Sequence[str] | None = None, capabilities: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """This node as a member: what the log has of it, or else what its configuration says, with all its keys."""
        house, record = self._house, self._house.record or {}
        told = house.settings.node
        wanted = list(record.get("roles", ()) if roles is None else roles)
        able = list(record.get("capabilities", ()) if capabilities is None else capabilities)
        return document(
            house.keys,
            house.chain().end,
            name=record.get("name", told.name),
            operator=record.get("operator", told.operator),
            domain=record.get("domain", told.domain),
            roles=wanted,
            capabilities=able or (BUILDER if "builder" in wanted else ()),
        )

    async def propose(self, body: dict[str, Any]) -> MotionStatus:
        """Put a motion into the log; it stands there, final, when this returns.

        Raises:
            Refusal: `bad-request` for what is no motion, `conflict` where the author has too many open, `entry-refused`
                with the ledger's reason.
        """
        body = self._completed(body)
        kind = body.get("kind")
        if not isinstance(kind, str) or kind not in MOTIONS:
            raise _bad(f"{str(kind)[:40]!r} is no kind of motion", f"use one of {', '.join(MOTIONS)}")
        self._check_room()
        self._check_fresh(body.get("member"))
        try:
            raw = self._submitter.author("motion.propose", body)
        except (ValueError, Malformed) as error:
            raise _bad(f"not a motion: {error}", "correct it") from None
        self._check(raw)
        entry, _ = await self._submitter.submit_entry(raw)
        return self._known(entry.hex())

    async def approve(self, text: str) -> MotionStatus:
        """Approve as a validator, or accept the seat that the motion gives this node; final when this returns.

        Args:
            text: the motion's id, or its first characters.

        Raises:
            Refusal: `not-found`, `bad-request`, `entry-refused` with the ledger's reason.
        """
        motion = await self._await_known(text)
        raw = self._submitter.author("motion.approve", {"motion": motion})
        self._check(raw)
        await self._see_through(raw, motion)
        return self._known(motion)

    async def _see_through(self, raw: bytes, motion: str) -> None:
        """Until the approval stands in the log, or is needless and never will.

        That is so when several approve at once and the motion is decided without it, and when this node had approved
        already, was killed, and its log had yet to catch up.

        Raises:
            Refusal: as `Submitter.submit_entry`, while the approval is needed.
        """
        told: Refusal | None = None
        again = self._seen.has_approved(motion)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_needless, motion, again, nursery.cancel_scope)
            try:
                await self._submitter.submit_entry(raw)
            except Refusal as refusal:
                told = refusal
            nursery.cancel_scope.cancel()
        if told is not None and self._needed(motion, again):
            raise told

    def _needed(self, motion: str, again: bool) -> bool:
        """Whether an approval of this node may change anything.

        `again`: it had approved before, and does so again to complete a quorum that has become smaller.
        """
        return self._seen.is_live(motion) and self._seen.has_approved(motion) == again

    async def _until_needless(self, motion: str, again: bool, scope: trio.CancelScope) -> None:
        """Cancel `scope` when the approval is needless, and whoever waits for it has had time to be told."""
        while True:
            seen = self._pulse.beats
            if not self._needed(motion, again):
                break
            await self._pulse.after(seen)
        await trio.sleep(DECIDED_S.value)
        scope.cancel()

    async def authorize(self, node: str, told: dict[str, Any] | None, reason: str) -> MotionStatus:
        """Propose that a node build, and approve it where this node's approval counts.

        Args:
            told: its member document; None: it is asked for it, over the link that a member has.

        Raises:
            Refusal: `bad-request` for an id that is none, another node's document, or a builder already.
        """
        key = _node(node)
        found = views.member(self._reads, key)
        member = found is not None and "left" not in found
        if found is not None and member and "builder" in found["roles"]:
            raise _bad(
                f"{found['name']} already exists as a builder of this network", "nothing is left to do"
            )
        if told is None:
            told = await self._asked(key, member=member)
        try:
            MEMBER(told)
        except Malformed as error:
            raise _bad(
                f"this is no member document: {error}", "make it with `pyrsia member document`"
            ) from None
        if told["node"] != node:
            raise _bad("the member document is another node's", "make it on the node that you name")
        roles = {*(found["roles"] if found is not None and member else ()), "builder"}
        fields = fitted(told, sorted(roles), told["capabilities"] or BUILDER)
        if found is not None and member:
            kept = {name: found[name] for name in ("name", "operator", "domain")}
            motion = {"kind": "member.replace", "member": {**fields, **kept}, "node": node, "reason": reason}
        else:
            motion = {"kind": "member.add", "member": fields, "reason": reason}
        proposed = await self.propose(motion)
        return await self.approve(proposed.id) if self._seen.may_approve(proposed) else proposed

    async def _asked(self, node: NodeId, *, member: bool) -> dict[str, Any]:
        try:
            answer = await self._ask(node)
            return msgspec.json.decode(answer, type=dict[str, Any])
        except (Unavailable, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            why = (
                "does not answer with its member document"
                if member
                else "has no link to this node to be asked over"
            )
            raise _bad(
                f"{b32(node)[:8]} {why}",
                "give its member document (--file), which `pyrsia member document` prints there",
            ) from None

    # -- keys --

    def own_keys(self) -> tuple[KeyStatus, ...]:
        """This node's keys: those in use, and those made for a rotation."""
        house = self._house
        record = house.record or {}
        rows = [KeyStatus("node", b32(house.keys.node.public), "in force" if record else "not in force")]
        for purpose in ROTATED:
            field = FIELDS.get(purpose, purpose)
            present = house.chain().end if purpose == CHAIN else getattr(house.keys, purpose).public
            rows.append(self._key(purpose, present, present.hex() == record.get(field)))
            if purpose in house.keys.coming:
                coming = house.coming(purpose)
                rows.append(
                    self._key(purpose, coming, coming.hex() == record.get(field), otherwise="to come")
                )
        return tuple(rows)

    def _key(self, purpose: str, public: bytes, named: bool, otherwise: str = "not in force") -> KeyStatus:
        why = self._house.votes.stopped(public)
        if purpose == "vote" and public == self._house.keys.vote.public:
            why = why or self._house.votes.why
        return KeyStatus(
            purpose, public.hex(), "must not sign" if why else "in force" if named else otherwise, why
        )

    async def rotate(
        self, purposes: Sequence[str], reason: str, *, propose: bool
    ) -> tuple[dict[str, Any], MotionStatus | None, tuple[str, ...]]:
        """Make new keys beside the present ones and propose them.

        Those that the log does not name, since this node's roles need none, are replaced at once.

        Returns:
            The body of the motion, empty where none is needed; the motion, if it was proposed; what was replaced.

        Raises:
            Refusal: `bad-request` for what cannot be rotated, `conflict` while an old key may still be needed.
        """
        wrong = [purpose for purpose in purposes if purpose not in ROTATED]
        if wrong or not purposes:
            raise _bad(
                f"{', '.join(wrong)[:80] or 'nothing'} cannot be rotated",
                f"name some of {', '.join(ROTATED)}; another node key is another node: `pyrsia member propose replace`",
            )
        record = self._house.record
        if record is None:
            raise _bad("this node is no member yet, so nobody knows its keys", "join first: docs/join.md")
        named = sorted({purpose for purpose in purposes if record[FIELDS.get(purpose, purpose)]})
        unnamed = tuple(sorted({*purposes} - {*named}))
        if unnamed:
            head = self._house.archive.head
            await self._house.database.sync()
            self._house.renew(unnamed, 0 if head is None else head.height)
        if not named:
            return {}, None, unnamed
        body = {"kind": "member.rotate", "node": b32(self._house.keys.node_id), "reason": reason}
        body.update(self._house.prepare(named))
        if not propose:
            return body, None, unnamed
        proposed = await self.propose(body)
        motion = await self.approve(proposed.id) if self._seen.may_approve(proposed) else proposed
        return body, motion, unnamed

    # -- inside --

    @property
    def _reads(self) -> Callable[[bytes], bytes | None]:
        return self._house.archive.state

    @property
    def _epoch(self) -> Epoch:
        return views.current(self._reads, self._house.genesis)

    def _completed(self, body: dict[str, Any]) -> dict[str, Any]:
        """What this node knows better than whoever asks it: the version of a mapping that is to be replaced."""
        if body.get("kind") == "mapping.set" and "replaces" not in body:
            there = views.mapping(self._reads, str(body.get("purl", "")))
            return {**body, "replaces": there["version"] if there is not None else 0}
        return body

    def _check_room(self) -> None:
        """An author with too many motions open would wait for one to end."""
        me = b32(self._house.keys.node_id)
        open_now = [
            record
            for name in views.motions_open(self._reads)
            if (record := views.motion(self._reads, name)) is not None and record["author"] == me
        ]
        seated = self._epoch.index(self._house.keys.node_id) is not None
        most = (motions.VALIDATOR_MOTIONS if seated else motions.MEMBER_MOTIONS).value
        if len(open_now) >= most:
            raise Refusal(
                "conflict",
                what=f"this node has {len(open_now)} motions open, and may have {most}",
                who="this node",
                do="wait until one is decided or expires; see `pyrsia member motions`",
            )

    def _check_fresh(self, told: Any) -> None:
        """Whoever had a seat, or built, and shall again, needs other keys: say so, and how."""
        try:
            MEMBER(told)
        except Malformed:
            return  # no member, or none that the ledger takes: it says so
        before = views.member(self._reads, unb32(told["node"])) or {}
        used = [
            purpose
            for purpose in ROTATED
            if (key := told[FIELDS.get(purpose, purpose)])
            and key != before.get(FIELDS.get(purpose, purpose))
            and self._reads(b"key/" + key.encode()) is not None
        ]
        if used:
            raise Refusal(
                "conflict",
                what=f"{told['name']} would have a key again that is or was somebody's: {', '.join(used)}",
                who="the member document: no key is used twice",
                do=f"make new ones on that node (pyrsia keys rotate {' '.join(used)}) and propose it anew",
            )

    def _check(self, raw: bytes) -> None:
        """What the ledger would say of this entry now."""
        try:
            execute.admit(entries.parse(raw), self._reads, self._house.genesis, self._now_ms(), verify)
        except NotApplied as no:
            raise Refusal(
                no.code,
                what=no.why,
                who="the network's rules, as this node's log has them now",
                do="see docs/ledger.md, Motions",
            ) from None

    async def _await_known(self, text: str) -> str:
        """The id of a motion that another node may have seen a moment before this one."""
        with trio.move_on_after(KNOWN_S.value):
            while (motion := self._seen.find(text)) is None:
                seen = self._pulse.beats
                await self._pulse.after(seen)
            return motion
        raise Refusal(
            "not-found",
            what="the log has no such motion",
            who="your command",
            do="see `pyrsia member motions`",
        )

    def _known(self, motion: str) -> MotionStatus:
        found = self._seen.motion(motion)
        if found is None:
            raise Refusal(
                "internal", what="a motion in the log is not in the state", who="this node", do="report this"
            )
        return found


def _node(text: str) -> NodeId:
    try:
        return NodeId(unb32(text))
    except Malformed:
        raise _bad("this is no node id: 52 characters of a-z and 2-7", "see `pyrsia member list`") from None


def _bad(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="your command", do=do)
