"""A process that is one end of data links and nothing else: it gives files, or takes one and says how that went.

    python -m tests.chaos.peer give SEED ADDRESS FILE [MANIFEST_OF]    serves FILE under the manifest of MANIFEST_OF
    python -m tests.chaos.peer take SEED MANIFEST TARGET NODE@CONTROL...
    python -m tests.chaos.peer share SEED ADDRESS MANIFEST TARGET      takes a file and gives what it has of it

Addresses are `tcp://host` for free ports there; the first line of output is JSON with those that were bound. A taker
prints one more line when half of the file is here, and at the end what it measured. A giver ends with its input. A
sharer reads the others' places (JSON, a list), says when it is linked with all, begins at the next line (JSON, the node
that has the file), and gives until its input ends. PEER_UP: bytes a second that may go up.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import trio

from pyrsia import keys
from pyrsia.net.data import DataPlane, Served
from pyrsia.net.links import Links
from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, NodeId
from pyrsia.wire.text import b32, unb32

CHAIN = b"c" * 32


def manifest_of(path: Path) -> Manifest:
    with path.open("rb") as file:
        return Manifest.of(iter(lambda: file.read(CHUNK_BYTES.value), b""))


def flow() -> Flow | None:
    """What may go up."""
    rate = float(os.environ.get("PEER_UP", "0"))
    return Flow(rate) if rate else None


def links_of(seed: int, host: str) -> Links:
    return Links(
        keys.KeyPair(seed.to_bytes(2, "big") * 16),
        CHAIN,
        control_addr=f"{host}:0",
        data_addr=f"{host}:0",
        allow=lambda node: True,
        on_message=lambda node, kind, payload: None,
        methods={},
    )


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def place_of(text: str) -> tuple[NodeId, str]:
    name, _, address = text.partition("@")
    return NodeId(unb32(name)), address


def memory_kb() -> int:
    """Anonymous memory of this process now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0])


async def give(seed: int, host: str, path: Path, manifest: Manifest) -> None:
    links = links_of(seed, host)
    plane = DataPlane(links, lambda node, ident: Served(manifest.encode(), path), up=flow())
    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await nursery.start(plane.run)
        say(node=b32(links.node), control=links.control_endpoint, data=links.data_endpoint)
        await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


async def take(seed: int, manifest: Manifest, target: Path, givers: list[tuple[NodeId, str]]) -> None:
    host = givers[0][1].rpartition(":")[0]
    links = links_of(seed, "tcp://0.0.0.0" if "127.0.0.1" not in host else host)
    plane = DataPlane(links, lambda node, ident: None)
    handle = os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
    os.posix_fallocate(handle, 0, manifest.size)
    got = 0

    def write(offset: int, data: bytes | memoryview) -> None:
        nonlocal got
        os.pwrite(handle, data, offset)
        before, got = got, got + len(data)
        if before < manifest.size // 2 <= got:
            say(half=True)

    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await nursery.start(plane.run)
        links.dial(givers)
        with trio.fail_after(30):
            while not all(links.connected(node) for node, _ in givers):
                await trio.sleep(0.01)
        before_kb, began_s = memory_kb(), trio.current_time()
        most = trio.Event()
        nursery.start_soon(_watch, most, before_kb)
        await plane.fetch(manifest, [node for node, _ in givers], write)
        took_s = trio.current_time() - began_s
        most.set()
        counters = plane.counters
        say(
            seconds=took_s,
            chunks=counters.chunks_received,
            duplicates=counters.duplicates,
            liars={b32(node): why for node, why in counters.liars.items()},
            given={b32(node): count for node, count in counters.received_from.items()},
            grown_kb=_MOST[0] - before_kb,
        )
        nursery.cancel_scope.cancel()
    os.close(handle)


async def share(seed: int, host: str, manifest: Manifest, target: Path) -> None:
    links, bits, encoded = links_of(seed, host), 0, manifest.encode()
    plane = DataPlane(
        links, lambda node, ident: Served(encoded, target, bits) if ident == manifest.id else None, up=flow()
    )
    handle = os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
    os.posix_fallocate(handle, 0, manifest.size)

    def write(offset: int, data: bytes | memoryview) -> None:
        nonlocal bits
        os.pwrite(handle, data, offset)
        bits |= 1 << offset // CHUNK_BYTES.value

    async def told() -> Any:
        return json.loads(await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True))

    async with trio.open_nursery() as nursery:
        await nursery.start(links.run)
        await nursery.start(plane.run)
        say(node=b32(links.node), control=links.control_endpoint)
        others = [place_of(one) for one in await told()]
        links.dial(others)
        with trio.fail_after(30):
            while not all(links.connected(node) for node, _ in others):
                await trio.sleep(0.01)
        say(linked=len(others))
        source = NodeId(unb32(await told()))
        began_s = trio.current_time()
        await plane.fetch(manifest, [source], write)
        counters = plane.counters
        say(
            seconds=trio.current_time() - began_s,
            chunks=counters.chunks_received,
            duplicates=counters.duplicates,
            given={b32(node): count for node, count in counters.received_from.items()},
        )
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()
    os.close(handle)


_MOST = [0]


async def _watch(over: trio.Event, first_kb: int) -> None:
    """The most memory that was held, looked at twenty times a second."""
    _MOST[0] = first_kb
    while not over.is_set():
        _MOST[0] = max(_MOST[0], memory_kb())
        with trio.move_on_after(0.05):
            await over.wait()


def main(arguments: list[str]) -> None:
    role, seed = arguments[0], int(arguments[1])
    if role == "give":
        path = Path(arguments[3])
        trio.run(give, seed, arguments[2], path, manifest_of(Path(arguments[4]) if arguments[4:] else path))
        return
    if role == "share":
        manifest = Manifest.decode(Path(arguments[3]).read_bytes())
        trio.run(share, seed, arguments[2], manifest, Path(arguments[4]))
        return
    manifest = Manifest.decode(Path(arguments[2]).read_bytes())
    givers = [place_of(one) for one in arguments[4:]]
    trio.run(take, seed, manifest, Path(arguments[3]), givers)


if __name__ == "__main__":
    main(sys.argv[1:])
