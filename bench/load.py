"""Load for a running network: facts written over HTTP by many keep-alive connections, each timed.

Every request is answered only after finality, so its time is the time to a durable, agreed entry.
"""

import json
import time
from dataclasses import dataclass, field

import trio

from pyrsia.demo.network import Network, Node

HOST = "127.0.0.1"


@dataclass
class Load:
    """Writers on every validator. `waits_s` holds the wait of each acknowledged entry."""

    network: Network
    writers_per_node: int
    text_bytes: int = 200  # with its envelope an entry is about 600 bytes
    packages: int = 10_000
    waits_s: list[float] = field(default_factory=list)
    refused: int = 0
    _count: int = 0

    def run(self, seconds: float) -> float:
        """Write for `seconds`; acknowledged entries per second."""
        began_s = time.perf_counter()
        trio.run(self._run, seconds)
        return len(self.waits_s) / (time.perf_counter() - began_s)

    async def _run(self, seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            end_s = trio.current_time() + seconds
            for node in self.network.validators:
                token = (node.data / "control.token").read_text().strip()
                for _ in range(self.writers_per_node):
                    nursery.start_soon(self._write, node, token, end_s)

    async def _write(self, node: Node, token: str, end_s: float) -> None:
        stream = await trio.open_tcp_stream(HOST, node.http_port)
        async with stream:
            while trio.current_time() < end_s:
                began_s = time.perf_counter()
                await stream.send_all(self._request(token))
                if await _status(stream) == 200:
                    self.waits_s.append(time.perf_counter() - began_s)
                else:
                    self.refused += 1

    def _request(self, token: str) -> bytes:
        self._count += 1
        text = f"{self._count} ".ljust(self.text_bytes, "x")
        subject = f"pkg:pypi/load-{self._count % self.packages}@1"
        body = json.dumps({"kind": "description", "subject": subject, "text": text}).encode()
        head = (
            f"POST /api/v1/facts HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _status(stream: trio.SocketStream) -> int:
    """Read one whole answer; its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more:
            raise ConnectionError("the node closed the connection")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += await stream.receive_some()
    return int(head.split()[1])


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0..1) of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
