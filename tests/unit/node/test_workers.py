"""Worker processes: they serve on the node's address, are replaced when they die, and end with the node."""

import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from pyrsia import config
from pyrsia.node.worker import WorkerSettings
from pyrsia.node.workers import DEATHS, SOCKET, Workers
from pyrsia.serve.http.server import HttpLimits, Receive, Scope, Send, listen_tcp, listen_unix, serve
from tests.reference.waiting import bounded, until
from tests.unit.serve.certificates import make_certificate

SIZE = 400_000


def app_of(blob: Path):
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % SIZE), (b"x-scheme", scope["scheme"].encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with blob.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file, "offset": 0, "count": SIZE})

    return app


@asynccontextmanager
async def working(data: Path, count: int, http: config.HttpSection) -> AsyncIterator[tuple[Workers, int]]:
    """`count` ready workers of a node that does not listen on the port itself, and the port."""
    blob = data / "blobs" / "ab"
    blob.parent.mkdir()
    blob.write_bytes(os.urandom(SIZE))
    with trio.fail_after(30):
        ours = await listen_tcp("127.0.0.1", 0, shared=True)
        private = await listen_unix(data / SOCKET, folder=data)
        settings = WorkerSettings(
            str(data),
            str(data / SOCKET),
            config.HttpSection(port=ours.port, tls_cert=http.tls_cert, tls_key=http.tls_key),
            config.LogSection(level="error"),
            HttpLimits(),
        )
        notices: list[str] = []
        workers = Workers(count, settings, notices.append, again_s=0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, app_of(blob), [private])
            nursery.start_soon(workers.run)
            await until(lambda: workers.ready == count)
            ours.sock.close()  # from here on only they listen
            yield workers, ours.port
            nursery.cancel_scope.cancel()
    assert notices == []
    assert workers.pids == []


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.processes
async def test_workers_serve_files_are_replaced_when_killed_and_end_when_told(tmp_path: Path) -> None:
    async with working(tmp_path, 2, config.HttpSection()) as (workers, port):
        first = workers.pids
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/")).content == (tmp_path / "blobs" / "ab").read_bytes()
        os.kill(first[0], signal.SIGKILL)
        await until(lambda: first[0] not in workers.pids and workers.ready == 2)
        assert len(set(first) & set(workers.pids)) == 1
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(4):
                assert len((await client.get("/")).content) == SIZE
        last = workers.pids
        workers.drain()  # the end of their standard input: what a node that was killed leaves them too
        await until(lambda: not any(alive(pid) for pid in last))


@pytest.mark.processes
async def test_workers_speak_tls_where_the_node_does(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    cert, key = make_certificate(tmp_path)
    http = config.HttpSection(tls_cert=cert.name, tls_key=key.name)
    async with working(tmp_path, 1, http) as (_, port):
        done = await trio.run_process(
            ["curl", "-sS", "--cacert", str(cert), "-D-", "-o", "got", f"https://localhost:{port}/"],
            capture_stdout=True,
            cwd=tmp_path,
        )
    assert b"x-scheme: https" in done.stdout
    assert (tmp_path / "got").read_bytes() == (tmp_path / "blobs" / "ab").read_bytes()


async def test_a_worker_that_cannot_live_is_given_up_after_some_deaths(tmp_path: Path) -> None:
    settings = WorkerSettings("", "", config.HttpSection(), config.LogSection(), HttpLimits())
    notices: list[str] = []
    workers = Workers(1, settings, notices.append, command=["false"], again_s=0)
    with bounded():
        await workers.run()
    assert len(notices) == 1
    assert str(DEATHS.value) in notices[0]
