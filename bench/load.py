"""Load for a running network: entries signed beforehand, sent in batches over few connections that are kept.

A batch is answered only after finality, so its time is the time to durable, agreed entries. Signing and reading
answers are done outside of what is timed, as far as they can be: the generator shares the processors of the nodes.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import trio

from bench.networks import Validators
from pyrsia.demo.network import Node
from pyrsia.keys import KeyRing
from pyrsia.ledger import entries
from pyrsia.ledger.genesis import Genesis

HOST = "127.0.0.1"
PACKAGES = 10_000
UNTIL_MS = 3_600_000
TEXT = "x"  # no `fact.add` is shorter: 450 bytes, of which 330 are keys, signature, nonce and network


@dataclass
class Author:
    """A member who signs entries."""

    ring: KeyRing
    net: str
    numbers: Iterator[int]

    def sign(self, many: int) -> list[bytes]:
        """`many` facts over `PACKAGES` packages."""
        now_ms = int(time.time() * 1000)
        return [
            entries.author(
                "fact.add",
                {
                    "kind": "description",
                    "subject": f"pkg:pypi/load-{next(self.numbers) * 7919 % PACKAGES}@1",
                    "text": TEXT,
                    "valid_from": now_ms,
                },
                net=self.net,
                author=self.ring.node_id,
                nonce=secrets.token_bytes(16),
                until_ms=now_ms + UNTIL_MS,
                sign=self.ring.node.sign,
            )
            for _ in range(many)
        ]


@dataclass
class Load:
    """What its connections were told: how long each entry took, and how many were refused."""

    network: Validators
    waits_s: list[float] = field(default_factory=list)
    refused: int = 0
    own_s: float = 0.0  # processor time of this generator while it ran
    took_s: float = 0.0
    _authors: list[Author] = field(default_factory=list)

    def __post_init__(self) -> None:
        genesis = Genesis.parse(self.network.trust.read_bytes())
        numbers = count()
        self._authors = [Author(guest, genesis.net, numbers) for guest in self.network.guests]

    def full(self, many: int, batch: int = 100) -> float:
        """As fast as the network takes them: every author has one batch under way. Entries per second."""
        share = -(-many // len(self._authors) // batch) * batch
        signed = [author.sign(share) for author in self._authors]
        self._timed(self._all_full, signed, batch)
        return len(self.waits_s) / self.took_s

    def steady(self, rate: float, seconds: float, *, every_s: float = 0.01) -> None:
        """`rate` entries a second in small batches, every `every_s`, whatever becomes of those before."""
        ticks = int(seconds / every_s)
        due = [int(rate * every_s * (tick + 1)) - int(rate * every_s * tick) for tick in range(ticks)]
        authors = self._authors
        signed = [authors[tick % len(authors)].sign(many) for tick, many in enumerate(due) if many]
        self._timed(self._all_steady, signed, every_s)

    def one(self, node: Node) -> float:
        """Seconds of one lone entry."""
        raws = self._authors[0].sign(1)
        before = len(self.waits_s)

        async def send() -> None:
            async with await trio.open_tcp_stream(HOST, node.http_port) as stream:
                await self._post(stream, _token(node), raws, trio.current_time())

        trio.run(send)
        assert len(self.waits_s) == before + 1
        return self.waits_s[-1]

    def _timed(self, run, signed: list[list[bytes]], how: float) -> None:  # type: ignore[no-untyped-def]
        self.waits_s.clear()
        began_s, own_s = time.perf_counter(), time.process_time()
        trio.run(run, signed, how)
        self.took_s, self.own_s = time.perf_counter() - began_s, time.process_time() - own_s

    async def _all_full(self, signed: list[list[bytes]], batch: int) -> None:
        nodes = self.network.nodes
        async with trio.open_nursery() as nursery:
            for number, raws in enumerate(signed):
                nursery.start_soon(self._stream, nodes[number % len(nodes)], raws, batch)

    async def _stream(self, node: Node, raws: list[bytes], batch: int) -> None:
        token = _token(node)
        async with await trio.open_tcp_stream(HOST, node.http_port) as stream:
            for at in range(0, len(raws), batch):
                await self._post(stream, token, raws[at : at + batch], trio.current_time())

    async def _all_steady(self, signed: list[list[bytes]], every_s: float) -> None:
        """Free connections are used again; a tick that finds none opens one."""
        nodes = self.network.nodes
        free: list[list[trio.SocketStream]] = [[] for _ in nodes]
        tokens = [_token(node) for node in nodes]

        async def send(number: int, raws: list[bytes], due_s: float) -> None:
            stream = free[number].pop() if free[number] else None
            if stream is None:
                stream = await trio.open_tcp_stream(HOST, nodes[number].http_port)
            await self._post(stream, tokens[number], raws, due_s)
            free[number].append(stream)

        async with trio.open_nursery() as nursery:
            began_s = trio.current_time()
            for tick, raws in enumerate(signed):
                due_s = began_s + tick * every_s
                await trio.sleep_until(due_s)
                nursery.start_soon(send, tick % len(nodes), raws, due_s)
        for stream in (stream for streams in free for stream in streams):
            await stream.aclose()

    async def _post(self, stream: trio.SocketStream, token: str, raws: Sequence[bytes], due_s: float) -> None:
        await stream.send_all(_request(token, raws))
        status, body = await _answer(stream)
        wait_s = trio.current_time() - due_s
        if status != 200:
            self.refused += len(raws)
            return
        took = body.count(b'"committed"')
        self.waits_s += [wait_s] * took
        self.refused += len(raws) - took


def _token(node: Node) -> str:
    return (node.data / "control.token").read_text().strip()


def _request(token: str, raws: Sequence[bytes]) -> bytes:
    body = b"\n".join(raws)
    head = (
        f"POST /api/v1/entries/batch HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/jsonl\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _answer(stream: trio.SocketStream) -> tuple[int, bytes]:
    """One whole answer: status and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await _some(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    chunks, have = [body], len(body)
    while have < length:
        chunks.append(await _some(stream))
        have += len(chunks[-1])
    return int(head.split()[1]), b"".join(chunks)


async def _some(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some()
    if not data:
        raise ConnectionError("the node closed the connection")
    return data


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0..1) of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
