"""The rows about copies of blobs: how many there are, and handing over those of this node. The node's operator only."""

from typing import Final

from starlette.requests import Request

from pyrsia.serve.api.members import decoded
from pyrsia.serve.desks.replication import DrainOrder
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.grants import require_admin
from pyrsia.serve.routes import Row
from pyrsia.status import DrainStatus, ReplicationStatus


async def _replication(admin: Admin, request: Request) -> ReplicationStatus:
    require_admin(request.scope)
    return admin.copies.status()


async def _drained(admin: Admin, request: Request) -> DrainStatus:
    require_admin(request.scope)
    return admin.copies.drained()


async def _drain(admin: Admin, request: Request) -> DrainStatus:
    return await admin.copies.drain(leave=(await decoded(request, DrainOrder)).leave)


REPLICATION_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/replication", _replication, "How many copies there are of what this node keeps",
        ReplicationStatus, refusals=("forbidden",)),
    Row("GET", "/api/v1/drain", _drained, "How far this node is with handing over what it keeps", DrainStatus,
        refusals=("forbidden",)),
    Row("POST", "/api/v1/drain", _drain, "Hand over what this node keeps, or stay", DrainStatus, DrainOrder,
        status=202, refusals=("bad-request", "forbidden", "conflict", "unavailable")),
)  # fmt: skip
