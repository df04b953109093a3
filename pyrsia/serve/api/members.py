"""The rows about members: who they are, motions, this node's keys, and the original's way to authorise a builder.

Reading is open to whoever may read the log, for all of it stands there. What changes something needs the token, the
original's address too, which took anybody's word.
"""

import re
from typing import Annotated, Any, Final

import msgspec
from starlette.requests import Request

from pyrsia.serve.answers import not_found
from pyrsia.serve.desks.knowing import NOW
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.routes import AS_OF, Row, bad, moment, only
from pyrsia.status import KeyStatus, MembersStatus, MotionStatus
from pyrsia.units import MAX_FACT_BYTES

_ID: Final = re.compile(r"[0-9a-f]{6,64}")  # a motion's, or enough of it
_AUTHORIZED: Final = "it was authorised over POST /authorized_node"

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_FACT_BYTES.value)]
Node = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Purpose = Annotated[str, msgspec.Meta(min_length=1, max_length=20)]


class MotionOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A motion to propose: its body as docs/ledger.md has it. `approve`: and approve it, where that counts."""

    motion: dict[str, Any]
    approve: bool = True


class AuthorizeOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The original's body, and the node's member document where it is not linked to this node."""

    peer_id: Node
    member: dict[str, Any] | None = None
    reason: Reason = _AUTHORIZED


class RotateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of this node to make anew. Without `propose` the motion is only told."""

    purposes: Annotated[tuple[Purpose, ...], msgspec.Meta(min_length=1, max_length=8)]
    reason: Reason
    propose: bool = True


class RotateAnswer(msgspec.Struct, frozen=True):
    """The body of the motion, empty where none is needed; the motion once it is proposed; keys replaced at once."""

    body: dict[str, Any]
    motion: MotionStatus | None
    replaced: tuple[str, ...] = ()


class KeysAnswer(msgspec.Struct, frozen=True):
    keys: tuple[KeyStatus, ...]


async def _members(admin: Admin, request: Request) -> MembersStatus:
    only(request, AS_OF)
    return await admin.members(moment(request))


async def _motion(admin: Admin, request: Request) -> MotionStatus:
    only(request, AS_OF)
    at = moment(request)
    motion = await admin.motion(_id(request), at)
    if motion is None:
        then = "" if at == NOW else " at that moment"
        raise not_found(f"the log holds no motion with this id{then}", do="see GET /api/v1/members")
    return motion


async def _propose(admin: Admin, request: Request) -> MotionStatus:
    order = await decoded(request, MotionOrder)
    return await admin.propose(order.motion, approve=order.approve)


async def _approve(admin: Admin, request: Request) -> MotionStatus:
    return await admin.approve(_id(request))


async def _document(admin: Admin, _: Request) -> dict[str, Any]:
    return await admin.document()


async def _keys(admin: Admin, _: Request) -> KeysAnswer:
    return KeysAnswer(tuple(await admin.keys()))


async def _rotate(admin: Admin, request: Request) -> RotateAnswer:
    order = await decoded(request, RotateOrder)
    return RotateAnswer(*await admin.rotate_keys(order.purposes, order.reason, propose=order.propose))


async def _authorize(admin: Admin, request: Request) -> MotionStatus:
    order = await decoded(request, AuthorizeOrder)
    return await admin.authorize(order.peer_id, order.member, order.reason)


async def decoded(request: Request, kind: Any) -> Any:
    """The body as `kind`.

    Raises:
        Refusal: `bad-request`.
    """
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise bad(
            f"the body is not what this address takes: {error}", do="see /api/v1/openapi.json"
        ) from None


def _id(request: Request) -> str:
    text: str = request.path_params["motion"]
    if not _ID.fullmatch(text):
        raise not_found("the address ends in no id of a motion: 6 to 64 hexadecimal digits in lower case")
    return text


_CHANGING: Final = ("bad-request", "busy", "conflict", "entry-refused", "forbidden", "unavailable")

MEMBER_ROWS: Final = (
    Row("GET", "/api/v1/members", _members, "Every member, and the motions that can be approved", MembersStatus,
        query=AS_OF, refusals=("bad-request",)),
    Row("GET", "/api/v1/motions/{motion}", _motion, "One motion, by the start of its id", MotionStatus,
        query=AS_OF, refusals=("bad-request", "not-found")),
    Row("POST", "/api/v1/motions", _propose, "Propose a motion", MotionStatus, MotionOrder, status=201,
        refusals=_CHANGING),
    Row("POST", "/api/v1/motions/{motion}/approve", _approve, "Approve a motion, or accept its seat",
        MotionStatus, refusals=(*_CHANGING, "not-found")),
    Row("GET", "/api/v1/document", _document, "This node's member document", dict[str, Any]),
    Row("GET", "/api/v1/keys", _keys, "This node's public keys", KeysAnswer),
    Row("POST", "/api/v1/keys/rotate", _rotate, "Make new keys and propose them", RotateAnswer, RotateOrder,
        refusals=_CHANGING),
    Row("POST", "/authorized_node", _authorize, "As the original spelled it: propose that a node builds",
        MotionStatus, AuthorizeOrder, status=201, refusals=_CHANGING),
)  # fmt: skip
