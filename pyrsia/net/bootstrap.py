"""Records from the HTTP port of a node: the last way in, when no peer that is known has a link.

The answer is bounded and believed no more than a peer's; whoever cannot answer gives nothing.

Source: docs/mesh-discovery.md, "HTTP".
"""

import base64
import binascii
from typing import Final

import httpx
import msgspec
import trio

from pyrsia.units import Limit
from pyrsia.wire.records import RecordsAnswer

PATH: Final = "/api/v1/mesh/records"
MAX_ANSWER_BYTES = Limit(262_144, "128 records of 1 KiB in base64, and a third more")
WAIT_S = Limit(10, "a node answers at once; one that does not is asked again later")


async def fetch(url: str) -> list[bytes]:
    """Encoded records that the node at `url` gives; none for whatever reason."""
    with trio.move_on_after(WAIT_S.value):  # all of it: a server may send one byte now and then
        try:
            return decoded(await _body(url))
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, ValueError, OSError):
            return []
    return []


async def _body(url: str) -> bytes:
    """The answer, or the beginning of one that is too long: no JSON."""
    async with (
        httpx.AsyncClient(
            timeout=WAIT_S.value,
            follow_redirects=False,
            headers={"user-agent": "pyrsia", "accept-encoding": "identity"},
        ) as client,
        client.stream("GET", url.rstrip("/") + PATH) as answer,
    ):
        body = b""
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > MAX_ANSWER_BYTES.value:
                await answer.aclose()  # the next step raises, and so ends the iterators behind this one too
        return body if answer.status_code == 200 else b""


def decoded(body: bytes) -> list[bytes]:
    """
    Raises:
        ValueError: it is no answer of a node.
    """
    try:
        return [
            base64.b64decode(text, validate=True)
            for text in msgspec.json.decode(body, type=RecordsAnswer).records
        ]
    except (msgspec.MsgspecError, binascii.Error) as error:
        raise ValueError(str(error)) from None
