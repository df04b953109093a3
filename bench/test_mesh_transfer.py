"""Large files between processes: beside the honest source alone, and many at once beside a registry.

Givers and takers are processes of their own, as nodes are; they share the machine's cores, so what counts is the ratio.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from bench import registries
from bench.harness import LONG, Figure, row
from tests.chaos.peer import manifest_of
from tests.chaos.peers import at as place
from tests.chaos.peers import peer, write_manifest
from tests.chaos.proxy import Proxy

HOST = "tcp://127.0.0.1"
MIB = 1 << 20
EIGHT = 8
UP = 32e6  # bytes a second that each may send


@dataclass(slots=True)
class Files:
    """A file, its manifest, and a copy that is wrong in its second half."""

    good: Path
    bad: Path
    manifest: Path
    copy: Path

    @classmethod
    def make(cls, folder: Path, count: int) -> "Files":
        """`count` MiB that do not repeat."""
        files = cls(*(folder / name for name in ("good", "bad", "manifest", "copy")))
        piece = os.urandom(MIB)
        with files.good.open("wb") as right, files.bad.open("wb") as wrong:
            for number in range(count):
                mark = number.to_bytes(8, "big")
                right.write(mark + piece[8:])
                wrong.write((mark if number < count // 2 else b"\xff" + mark[1:]) + piece[8:])
        write_manifest(manifest_of(files.good), files.manifest)
        return files


@pytest.fixture
def files(tmp_path: Path, at: str) -> Iterator[Files]:
    made = Files.make(tmp_path, int(at.removesuffix("-MiB")))
    yield made
    for path in (made.good, made.bad, made.copy):
        path.unlink(missing_ok=True)


def seconds(files: Files, *, villains: bool) -> float:
    """One fetch: from an honest process alone, or with one that corrupts and one that is killed half way."""
    with contextlib.ExitStack() as stack:
        sources = (files.good, files.bad, files.good) if villains else (files.good,)
        givers = [
            stack.enter_context(peer("give", number, HOST, path, files.good))
            for number, path in enumerate(sources, start=1)
        ]
        told = [one.line() for one in givers]
        taker = stack.enter_context(peer("take", 9, files.manifest, files.copy, *map(place, told)))
        assert taker.line() == {"half": True}
        if villains:
            givers[2].kill()
        result = taker.line()
    assert list(result["liars"]) == ([told[1]["node"]] if villains else [])
    assert result["duplicates"] < max(1, result["chunks"] / 100)
    return float(result["seconds"])


@pytest.mark.parametrize("at", ["256-MiB", pytest.param("1024-MiB", marks=LONG)])
@row("transfer/three-sources", "one corrupts, one dies half way", unit="s", rounds=3)
def test_three_sources_of_which_one_lies_and_one_dies(measure, files, at):
    measure(
        Figure(lambda: seconds(files, villains=True)),
        {"the honest source alone": Figure(lambda: seconds(files, villains=False))},
    )
    assert files.copy.stat().st_size == files.good.stat().st_size


def seconds_of_all(files: Files, count: int) -> float:
    """`count` processes fetch one file that one other has; each may send `UP` bytes a second."""
    with contextlib.ExitStack() as stack:
        seed = stack.enter_context(peer("give", 1, HOST, files.good, up=UP))
        told = seed.line()
        copies = [files.copy.with_name(f"copy-{number}") for number in range(count)]
        takers = [
            stack.enter_context(peer("share", 10 + number, HOST, files.manifest, copy, up=UP))
            for number, copy in enumerate(copies)
        ]
        others = [one.line() for one in takers]
        for number, one in enumerate(takers):
            one.tell([place(told), *map(place, others[:number])])
        for one in takers:
            assert one.line().keys() == {"linked"}
        began_s = time.monotonic()
        for one in takers:
            one.tell(told["node"])
        results = [one.line() for one in takers]
        took_s = time.monotonic() - began_s
    for copy in copies:
        assert copy.stat().st_size == files.good.stat().st_size
        copy.unlink()
    assert sum(one["duplicates"] for one in results) < max(1, sum(one["chunks"] for one in results) / 100)
    return took_s


@contextlib.contextmanager
def capped(port: int) -> Iterator[int]:
    """A port in front of another one, whose answers share `UP` bytes a second."""
    ready = threading.Event()
    made: list[tuple[Proxy, trio.lowlevel.TrioToken, trio.Event]] = []

    async def stand() -> None:
        proxy, over = Proxy(port), trio.Event()
        proxy.back.bytes_s = UP
        async with trio.open_nursery() as nursery:
            await nursery.start(proxy.run)
            made.append((proxy, trio.lowlevel.current_trio_token(), over))
            ready.set()
            await over.wait()
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(stand,))
    thread.start()
    assert ready.wait(10)
    proxy, token, over = made[0]
    try:
        yield proxy.port
    finally:
        token.run_sync_soon(over.set)
        thread.join()


@contextlib.contextmanager
def a_registry(folder: Path) -> Iterator[str]:
    """The layer of an image at docker-registry, behind a line as thin as ours."""
    folder.mkdir()
    image = registries.Image.make(folder / "image")
    with registries.docker_registry(folder) as (address, pid):
        image.push(address)
        with capped(int(address.rpartition(":")[2])) as port:
            yield image.place(f"http://127.0.0.1:{port}", pid).layer


def seconds_of_pulls(layer: str, count: int, size: int) -> float:
    """`count` clients get `size` bytes of the layer at once; as often as it takes."""
    began_s, most = time.monotonic(), min(size, registries.LAYER_BYTES)
    command = ["curl", "-sS", "-f", "-o", "/dev/null", "-r", f"0-{most - 1}", layer]
    for _ in range(size // most):
        clients = [subprocess.Popen(command) for _ in range(count)]
        assert [one.wait(600) for one in clients] == [0] * count
    return time.monotonic() - began_s


@LONG  # 17 s; three sources and the copies stay in every change's bench
@pytest.mark.parametrize("at", ["32-MiB", "256-MiB"])
@row("transfer/eight-at-once", "one file to 8 nodes, 32 MB/s up each", unit="s", rounds=1)
def test_eight_nodes_fetch_the_same_file_at_once(measure, files, at, tmp_path):
    size = int(at.removesuffix("-MiB")) * MIB
    with a_registry(tmp_path / "registry") as layer:
        measure(
            Figure(lambda: seconds_of_all(files, EIGHT)),
            {
                "one node": Figure(lambda: seconds_of_all(files, 1)),
                "docker-registry": Figure(lambda: seconds_of_pulls(layer, EIGHT, size)),
            },
        )
