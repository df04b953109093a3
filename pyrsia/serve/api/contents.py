"""The row about what a published file holds: the list of its members that its builders agreed on.

Whoever verifies what is installed compares the files with it. The list is a blob that the log names, so it never
changes, and a reader checks it against the digest in the proof.
"""

import re
from typing import Final

from starlette.requests import Request

from pyrsia.serve.answers import not_found
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.routes import JSON, Row

_HEX32: Final = re.compile(r"[0-9a-f]{64}")


async def _contents(admin: Admin, request: Request) -> bytes:
    sha256: str = request.path_params["sha256"]
    if not _HEX32.fullmatch(sha256):
        raise not_found("the address ends in no digest: 64 hexadecimal digits in lower case")
    found = await admin.contents(sha256)
    if found is None:
        raise not_found("the log publishes no file with this digest")
    return found


CONTENT_ROWS: Final = (
    Row("GET", "/api/v1/artifacts/{sha256}/contents", _contents, "Its members: path, sha256, size, exec of each",
        bytes, media=JSON, refusals=("not-found", "too-large", "unavailable")),
)  # fmt: skip
