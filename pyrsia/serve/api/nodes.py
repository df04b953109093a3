"""The row by which a node that knows nobody comes to know some: signed records of nodes."""

import base64
from typing import Final

from starlette.requests import Request

from pyrsia.serve.desks.views import Admin
from pyrsia.serve.routes import Row
from pyrsia.wire.records import RecordsAnswer


async def _records(admin: Admin, _: Request) -> RecordsAnswer:
    raws = await admin.node_records()
    return RecordsAnswer(tuple(base64.b64encode(raw).decode() for raw in raws))


NODE_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/mesh/records", _records, "Signed records of nodes to dial", RecordsAnswer),
)
