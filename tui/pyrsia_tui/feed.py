"""Snapshots of a node, again and again: over its control socket, or over HTTP.

A node that is away is a state, not an error: the feed keeps asking, and says since when.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

import httpx
import msgspec

from pyrsia.config import CONTROL_SOCKET, CONTROL_TOKEN
from pyrsia.status import Snapshot, decode
from pyrsia.units import Limit

PATIENCE_S: Final = 5.0  # an answer is built from memory; a slower one is an absence
MAX_SNAPSHOT_BYTES: Final = Limit(4 << 20, "a thousand peers are a tenth of this")


class Away(Exception):
    """The node gave no snapshot; the text says how."""


class Feed:
    """One node's snapshots. `target` is a URL or a data directory."""

    def __init__(self, target: str) -> None:
        self.target = target
        # Compressed, an answer of some KB could become gigabytes in one piece.
        headers = {"accept-encoding": "identity"}
        transport: httpx.AsyncHTTPTransport | None = None
        base = target.rstrip("/")
        if not target.startswith(("http://", "https://")):
            folder = Path(target)
            transport = httpx.AsyncHTTPTransport(uds=str(folder / CONTROL_SOCKET))
            base = "http://localhost"
            token = _token(folder)
        else:
            token = os.environ.get("PYRSIA_TOKEN", "")
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._http = httpx.AsyncClient(
            transport=transport, base_url=base, headers=headers, timeout=PATIENCE_S
        )

    async def snapshot(self) -> Snapshot:
        """The newest snapshot.

        Raises:
            Away: no answer, or none that is a snapshot.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):  # httpx's own limit is one for each read
                return decode(await self._body())
        except (httpx.HTTPError, OSError) as error:  # a TimeoutError is an OSError
            raise Away(f"no node answers at {self.target} ({type(error).__name__})") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Away("the node's answer is not a snapshot; is its version the same?") from None

    async def _body(self) -> bytes:
        """The answer's body; what is too long is cut off while it comes, not after."""
        async with self._http.stream("GET", "/api/v1/snapshot") as response:
            if response.status_code != 200:
                raise Away(f"the node answered {response.status_code}")
            data = bytearray()
            async for part in response.aiter_bytes():
                data += part
                if len(data) > MAX_SNAPSHOT_BYTES.value:
                    raise Away(f"the node's answer is longer than {MAX_SNAPSHOT_BYTES.value} bytes")
            return bytes(data)

    async def close(self) -> None:
        await self._http.aclose()


def _token(folder: Path) -> str:
    try:
        return (folder / CONTROL_TOKEN).read_text(encoding="ascii").strip()
    except OSError:
        return ""
