"""The rows about a node's disk: what takes it, what stays, putting it right. The node's operator only."""

from typing import Final

from starlette.requests import Request

from pyrsia.serve.api.members import decoded
from pyrsia.serve.desks.storage import (
    PinAnswer,
    PinOrder,
    ScrubOrder,
    StorageStatus,
    SweepOrder,
    UnpinOrder,
)
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.grants import require_admin
from pyrsia.serve.routes import Row
from pyrsia.status import Swept


async def _storage_status(admin: Admin, request: Request) -> StorageStatus:
    require_admin(request.scope)
    return await admin.storage.status()


async def _pin(admin: Admin, request: Request) -> PinAnswer:
    return await admin.storage.pin(await decoded(request, PinOrder))


async def _unpin(admin: Admin, request: Request) -> PinAnswer:
    return await admin.storage.unpin((await decoded(request, UnpinOrder)).pattern)


async def _sweep(admin: Admin, request: Request) -> Swept:
    return await admin.storage.sweep(dry=(await decoded(request, SweepOrder)).dry)


async def _scrub(admin: Admin, request: Request) -> StorageStatus:
    return await admin.storage.scrub((await decoded(request, ScrubOrder)).pattern)


_WRITES: Final = ("bad-request", "forbidden", "unavailable", "storage-full")

STORAGE_ROWS: Final[tuple[Row, ...]] = (
    Row("GET", "/api/v1/storage", _storage_status, "What takes this node's disk", StorageStatus,
        refusals=("forbidden", "unavailable")),
    Row("POST", "/api/v1/storage/pins", _pin, "Keep artifacts here", PinAnswer, PinOrder,
        refusals=(*_WRITES, "too-large")),
    Row("POST", "/api/v1/storage/unpin", _unpin, "Keep them no more", PinAnswer, UnpinOrder,
        refusals=(*_WRITES, "not-found")),
    Row("POST", "/api/v1/storage/gc", _sweep, "Remove what nobody knows, and know what is lost", Swept, SweepOrder,
        refusals=_WRITES),
    Row("POST", "/api/v1/storage/scrub", _scrub, "Read artifacts again to see whether they are whole", StorageStatus,
        ScrubOrder, status=202, refusals=(*_WRITES, "not-found", "conflict")),
)  # fmt: skip
