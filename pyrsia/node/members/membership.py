"""Members and motions as people see them: read from the state, never changed."""

from collections.abc import Callable, Sequence
from typing import Any

from pyrsia.errors import Refusal
from pyrsia.ledger import motions, views
from pyrsia.ledger.genesis import ROLES
from pyrsia.ledger.seats import Epoch
from pyrsia.node.house import House
from pyrsia.status import MembersStatus, MemberStatus, MotionStatus, StrikeStatus
from pyrsia.units import Limit, NodeId
from pyrsia.wire.text import b32, unb32

EPOCHS_BACK = Limit(1_000, "epochs that are read to tell since when a validator has its seat")


class Membership:
    """One node's view of its network's members and of what is proposed about them."""

    def __init__(self, house: House, connected: Callable[[NodeId], bool]) -> None:
        """`connected`: whether there is a link to a node."""
        self._house = house
        self._connected = connected

    # -- who there is --

    def members(self) -> MembersStatus:
        reads, epoch = self._reads, self._epoch
        found = (views.member(reads, unb32(text)) for text in views.members(reads))
        return MembersStatus(
            epoch=epoch.number,
            validators=epoch.n,
            quorum=epoch.q,
            members=tuple(self._member(fields, epoch) for fields in found if fields is not None),
            motions=self.motions(),
        )

    def _member(self, fields: dict[str, Any], epoch: Epoch) -> MemberStatus:
        node = NodeId(unb32(fields["node"]))
        seat = epoch.index(node)
        keys = {
            name: fields[name] for name in ("build", "chain_end", "cosign", "log", "vote") if fields[name]
        }
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
            connected=node == self._house.keys.node_id or self._connected(node),
            keys=keys,
            strikes=tuple(
                StrikeStatus(one.time_ms, one.ecosystem, one.request, one.word)
                for one in views.struck(self._reads, fields["node"])
            ),
        )

    def _seat_since(self, node: bytes, epoch: Epoch) -> int:
        """The first epoch of the seat that a validator has without a break."""
        since = epoch.number
        for number in range(epoch.number - 1, max(-1, epoch.number - 1 - EPOCHS_BACK.value), -1):
            before = views.epoch(self._reads, number)
            if before is None or before.index(node) is None:
                break
            since = number
        return since

    def motions(self) -> tuple[MotionStatus, ...]:
        """Those that can be approved, oldest first."""
        found = (self.motion(name) for name in views.motions_open(self._reads))
        return tuple(one for one in found if one is not None)

    def find(self, text: str) -> str | None:
        """The id of the motion whose id begins so, of all that there ever were; None if there is none.

        Raises:
            Refusal: `bad-request` where several begin so.
        """
        start = b"motion/" + text.encode()
        rows = self._house.database.scan(self._house.archive.live.state, start, 2)
        found = [key.removeprefix(b"motion/").decode() for key, _ in rows if key.startswith(start)]
        if len(found) > 1:
            raise Refusal(
                "bad-request",
                what=f"several motions begin with {text}",
                who="your command",
                do="give more of the id",
            )
        return found[0] if found else None

    def motion(self, text: str) -> MotionStatus | None:
        """The motion whose id begins so."""
        motion = self.find(text)
        record = None if motion is None else views.motion(self._reads, motion)
        if motion is None or record is None:
            return None
        names, epoch, body = self._names, self._epoch, record["body"]
        approved = {item["validator"] for item in record["approvals"]}
        seats = [b32(one.node) for one in epoch.validators]
        accepts = self._accepts(record) if record["phase"] in motions.LIVE else ""
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

    def _accepts(self, record: dict[str, Any]) -> str:
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
            return self._accepts(record) == b32(node)
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
    def _reads(self) -> Callable[[bytes], bytes | None]:
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
