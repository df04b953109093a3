"""Members and motions as people see them: read from the state, never changed."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from pyrsia.errors import Refusal
from pyrsia.ledger import motions, views
from pyrsia.ledger.genesis import ROLES, Genesis
from pyrsia.ledger.seats import Epoch
from pyrsia.ledger.state import Reads
from pyrsia.node.house import House
from pyrsia.node.log import times
from pyrsia.node.log.times import Moment
from pyrsia.node.members.past import PastMembers
from pyrsia.serve.desks.knowing import NOW, AsOf
from pyrsia.status import MembersStatus, MemberStatus, MotionStatus, StrikeStatus
from pyrsia.units import Limit, NodeId
from pyrsia.wire.text import b32, unb32

EPOCHS_BACK = Limit(1_000, "epochs that are read to tell since when a validator has its seat")
KEYS: Final = ("build", "chain_end", "cosign", "log", "vote")


class Members:
    """Who there is and what is proposed, as one state has it: that of now, or one of the past."""

    def __init__(
        self, reads: Reads, genesis: Genesis, connected: Callable[[NodeId], bool] | None = None
    ) -> None:
        """`connected`: whether there is a link to a node; None of the past, of which no node knows that."""
        self._reads, self._connected = reads, connected
        self._epoch = views.current(reads, genesis)

    def told(self) -> MembersStatus:
        reads, epoch = self._reads, self._epoch
        found = (views.member(reads, unb32(text)) for text in views.members(reads))
        waiting = (self.motion(name) for name in views.motions_open(reads))
        return MembersStatus(
            epoch=epoch.number,
            validators=epoch.n,
            quorum=epoch.q,
            members=tuple(self._member(fields, epoch) for fields in found if fields is not None),
            motions=tuple(one for one in waiting if one is not None),
        )

    def _member(self, fields: dict[str, Any], epoch: Epoch) -> MemberStatus:
        node = NodeId(unb32(fields["node"]))
        seat = epoch.index(node)
        now = self._connected is not None
        return MemberStatus(
            node_id=fields["node"],
            name=fields["name"],
            operator=fields["operator"],
            domain=fields["domain"],
            roles=tuple(fields["roles"]),
            capabilities=tuple(fields["capabilities"]),
            validates=seat is not None,
            since_epoch=-1 if seat is None else self._seat_since(node, epoch),
            convicted=seat is not None and seat in epoch.convicted,
            connected=self._connected(node) if self._connected is not None else None,
            keys={name: fields[name] for name in KEYS if fields[name]},
            strikes=self._strikes(fields["node"]) if now else None,
        )

    def _strikes(self, node: str) -> tuple[StrikeStatus, ...]:
        found = views.struck(self._reads, node)
        return tuple(StrikeStatus(one.time_ms, one.ecosystem, one.request, one.word) for one in found)

    def _seat_since(self, node: bytes, epoch: Epoch) -> int:
        """The first epoch of the seat that a validator has without a break."""
        since = epoch.number
        for number in range(epoch.number - 1, max(-1, epoch.number - 1 - EPOCHS_BACK.value), -1):
            before = views.epoch(self._reads, number)
            if before is None or before.index(node) is None:
                break
            since = number
        return since

    def motion(self, motion: str) -> MotionStatus | None:
        """The motion with this id, which is whole."""
        record = views.motion(self._reads, motion)
        if record is None:
            return None
        names, epoch, body = self._names, self._epoch, record["body"]
        approved = dict.fromkeys(item["validator"] for item in record["approvals"])
        seats = [b32(one.node) for one in epoch.validators]
        accepts = self.accepts(record) if record["phase"] in motions.LIVE else ""
        return MotionStatus(
            id=motion,
            kind=body["kind"],
            summary=summary(body, names),
            phase=record["phase"],
            author=names(record["author"]),
            reason=body["reason"],
            approvals=tuple(
                names(one)
                for one in (approved if record["phase"] == motions.ENACTED else seats)
                if one in approved
            ),
            missing=tuple(sorted(names(one) for one in seats if one not in approved)),
            needed=epoch.q,
            accepts=names(accepts) if accepts else "",
            accepted=names(body["member"]["node"]) if "accepted" in record else "",
            time_ms=record["time_ms"],
            deadline_ms=record["deadline"],
            leaf=record["leaf"],
            decided=record.get("decided", -1),
            epoch=record.get("epoch", -1),
            body=body,
        )

    def accepts(self, record: dict[str, Any]) -> str:
        """Node id of the member that is to validate by this motion and has not accepted yet; empty for nobody."""
        told = record["body"].get("member")
        if told is None or "validator" not in told["roles"] or "accepted" in record:
            return ""
        node = str(told["node"])
        approved = any(item["validator"] == node for item in record["approvals"])
        return "" if approved or self._epoch.index(unb32(node)) is not None else node

    @property
    def _names(self) -> Callable[[str], str]:
        """Node id -> what people call it: of members, and of those that a motion names."""
        known = views.names(self._reads)
        return lambda node: known.get(node, node[:8])


class Membership:
    """One node's view of its network's members and of what is proposed about them."""

    def __init__(
        self, house: House, connected: Callable[[NodeId], bool], *, clock: Callable[[], float] = time.time
    ) -> None:
        """`connected`: whether there is a link to a node."""
        self._house, self._clock = house, clock
        self._connected = connected
        self.past = PastMembers(house.archive, house.genesis, self._rows)

    # -- who there is --

    def members(self) -> MembersStatus:
        return self._now.told()

    def motion(self, text: str) -> MotionStatus | None:
        """The motion whose id begins so."""
        motion = self.find(text)
        return None if motion is None else self._now.motion(motion)

    async def members_at(self, at: AsOf) -> MembersStatus:
        """Who there was, and which motions waited then. Nobody knows of that time who had a link to whom.

        Raises:
            Refusal: `bad-request`: no such moment.
        """
        if at == NOW:
            return self.members()
        moment = await self._moment(at)
        told = await self._then(moment)
        return replace(told.told(), size=moment.size, time_ms=moment.time_ms)

    async def motion_at(self, text: str, at: AsOf) -> MotionStatus | None:
        """How the motion whose id begins so stood; None if it was not proposed yet.

        Raises:
            Refusal: `bad-request`: no such moment, or several begin so.
        """
        if at == NOW:
            return self.motion(text)
        told = await self._then(await self._moment(at))
        motion = self.find(text)
        return None if motion is None else told.motion(motion)

    async def _moment(self, at: AsOf) -> Moment:
        return await times.moment(self._house.archive, at.size, at.time_ms, int(self._clock() * 1000))

    async def _then(self, moment: Moment) -> Members:
        return Members(await self.past.at(moment), self._house.genesis)

    @property
    def _now(self) -> Members:
        me = self._house.keys.node_id
        return Members(self._reads, self._house.genesis, lambda node: node == me or self._connected(node))

    def _rows(self, start: bytes, count: int) -> Sequence[tuple[bytes, bytes]]:
        return self._house.database.scan(self._house.archive.live.state, start, count)

    def find(self, text: str) -> str | None:
        """The id of the motion whose id begins so, of all that there ever were; None if there is none.

        Raises:
            Refusal: `bad-request` where several begin so.
        """
        start = b"motion/" + text.encode()
        found = [
            key.removeprefix(b"motion/").decode() for key, _ in self._rows(start, 2) if key.startswith(start)
        ]
        if len(found) > 1:
            raise Refusal(
                "bad-request",
                what=f"several motions begin with {text}",
                who="your command",
                do="give more of the id",
            )
        return found[0] if found else None

    # -- this node --

    def notices(self) -> tuple[str, ...]:
        """What the log says of this node that its operator should know."""
        return tuple(filter(None, (self._place(), self._rules())))

    def _place(self) -> str:
        house, epoch = self._house, self._epoch
        if house.record is None:
            once = views.member(self._reads, house.keys.node_id)
            if once is not None:
                return (
                    f"this node is no member any more, since entry {once['left']}: members refuse its links"
                )
            return (
                "this node is no member, as far as its log goes: it follows as a guest, while others have room for one"
                " (pyrsia member document, docs/join.md)"
            )
        if epoch.index(house.keys.node_id) in epoch.convicted:
            return (
                "evidence against the vote key of this node is in the log, so it leads no view:"
                " find out who signed; then pyrsia keys rotate vote"
            )
        return ""

    def _rules(self) -> str:
        unknown = views.unknown_rules(self._reads)
        if unknown is None:
            return ""
        version, height = unknown
        return (
            f"rules version {version} begins with block {height} and is not known to this node:"
            " install a newer one before, or agreement stops here"
        )

    def may_approve(self, motion: MotionStatus) -> bool:
        """Whether this node's approval would count now."""
        node = self._house.keys.node_id
        record = views.motion(self._reads, motion.id)
        if record is None or record["phase"] not in motions.LIVE:
            return False
        if self._epoch.index(node) is None:
            return self._now.accepts(record) == b32(node)
        return all(item["validator"] != b32(node) for item in record["approvals"])

    def has_approved(self, motion: str) -> bool:
        """Whether this node's approval, or its acceptance, stands in the log."""
        record, me = views.motion(self._reads, motion), b32(self._house.keys.node_id)
        if record is None:
            return False
        if any(item["validator"] == me for item in record["approvals"]):
            return True
        return "accepted" in record and bool(record["body"]["member"]["node"] == me)

    def is_live(self, motion: str) -> bool:
        """Whether the motion with this id, which is whole, can still be enacted."""
        record = views.motion(self._reads, motion)
        return record is not None and record["phase"] in motions.LIVE

    # -- inside --

    @property
    def _reads(self) -> Reads:
        return self._house.archive.state

    @property
    def _epoch(self) -> Epoch:
        return views.current(self._reads, self._house.genesis)


def summary(body: dict[str, Any], names: Callable[[str], str]) -> str:
    """What a motion does, in a sentence."""
    member = body.get("member", {})
    as_what = _roles(member.get("roles", ()))
    match body["kind"]:
        case "member.add":
            return f"{member['name']} of {member['operator']} becomes a member {as_what}"
        case "member.remove":
            return f"{names(body['node'])} is a member no more"
        case "member.rotate":
            purposes = [name for name in ("build", "chain_end", "cosign", "log", "vote") if name in body]
            return f"{names(body['node'])} has new keys: {', '.join(purposes)}"
        case "member.replace" if member["node"] == body["node"]:
            return f"{names(body['node'])} is a member {as_what}"
        case "member.replace":
            return f"{member['name']} takes the place of {names(body['node'])}, {as_what}"
        case "mapping.set":
            return f"{body['purl']} is built from {body['repository']} at {body['tag']}"
        case "network.set":
            changed = [
                name for name in ("agreeing", "builders", "environments", "limits", "rules") if name in body
            ]
            return f"the network has new {', '.join(changed)}"
        case "artifact.withdraw":
            return f"{body['purl']} is withdrawn"
        case _:
            return f"the dispute about {body['purl']} is over"


def _roles(roles: Sequence[str]) -> str:
    return (
        f"as {' and '.join(role for role in ROLES if role in roles)}"
        if roles
        else "without a role: it follows"
    )
