"""One setuptools package with its tools in an index of files, built by the plug-in and built bare.

The loop of the plug-in runs in a thread of its own, so that a row's call is one build and nothing else.
"""

import compileall
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from pyrsia.builds.model import Inputs, Want
from pyrsia.builds.pip.plugin import PipPlugin
from pyrsia.builds.sandbox import choose
from tests.e2e import sdists

NAME = "thing"
HOOK = "import setuptools.build_meta as backend, sys; print(backend.build_wheel(sys.argv[1]))"


class Workbench:
    """A plug-in with everything fetched: `build` is one whole build, `bare` the backend's hook alone."""

    def __init__(self, folder: Path, plugin: PipPlugin, call: Callable[..., Any]) -> None:
        self.folder, self._plugin, self._call = folder, plugin, call
        self.request: dict[str, Any] = {}
        self.lock = b""
        self.inputs: Inputs | None = None

    def prepare(self) -> None:
        (planned,) = self._call(self._plugin.plan, Want(NAME, "1.0"), sdists.now_ms())
        self.request, self.lock = sdists.request(planned), planned.lock
        self.inputs = self._call(self._plugin.prefetch, self.request, self.lock)
        tools = self.folder / "tools"
        assert self.inputs is not None
        for one in self.inputs.files:
            with zipfile.ZipFile(one.path) as archive:
                archive.extractall(tools)  # noqa: S202 (made above, by us)
        compileall.compile_dir(tools, quiet=2)  # as an installer leaves them

    def build(self) -> str:
        """Build, inspect and throw away; the wheel's SHA-256."""
        return str(self._call(self._built))

    def many(self, count: int, at_once: int) -> None:
        """As a builder does it, all inputs here: lock, inputs, build; `at_once` at a time."""
        self._call(self._all, count, at_once)

    async def _built(self) -> str:
        assert self.inputs is not None
        made = await self._plugin.build(self.request, self.inputs, lambda _: None)
        assert made.outcome == "built", made.why
        digest = made.outputs[0].raw.file.sha256
        await made.discard()
        return digest

    async def _whole(self, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            locked = await self._plugin.relock(self.request)
            assert locked == self.lock
            inputs = await self._plugin.prefetch(self.request, locked)
            made = await self._plugin.build(self.request, inputs, lambda _: None)
            assert made.outcome == "built", made.why
            await made.discard()

    async def _all(self, count: int, at_once: int) -> None:
        limiter = trio.CapacityLimiter(at_once)
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(self._whole, limiter)

    def fresh(self, place: str = "bare") -> Path:
        """The unpacked source, as no build has touched it."""
        where = self.folder / place
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir()
        assert self.inputs is not None
        with tarfile.open(self.inputs.source.path) as archive:
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in every 3.11
            archive.extractall(where, **safe)  # type: ignore[arg-type]  # noqa: S202 (what is fetched is by digest)
        return where

    def bare(self, place: str = "bare") -> str:
        """One `build_wheel` in a process of its own, without a sandbox and without any check."""
        return self.started(place).communicate()[0].decode().strip()

    def started(self, place: str) -> "subprocess.Popen[bytes]":
        where = self.folder / place
        (source,) = [one for one in where.iterdir() if one.is_dir()]
        return subprocess.Popen(
            [sys.executable, "-S", "-c", HOOK, str(where)],
            cwd=source,
            env={
                "PYTHONPATH": str(self.folder / "tools"),
                "PATH": "/usr/bin:/bin",
                "SOURCE_DATE_EPOCH": "1700000000",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


@contextmanager
def workbench() -> Iterator[Workbench]:
    """A workbench whose loop ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="pyrsia-bench-", dir="/var/tmp"))
    folder.chmod(0o755)  # the sandbox's uid is another one
    index = folder / "index"
    version = sdists.setuptools_wheel(index)
    sdists.sdist(
        index,
        NAME,
        files={
            "pyproject.toml": f'[build-system]\nrequires = ["setuptools=={version}"]\n'
            'build-backend = "setuptools.build_meta"\n'
            f'[project]\nname = "{NAME}"\nversion = "1.0"\n[tool.setuptools]\npackages = ["{NAME}"]\n',
            **{f"{NAME}/module_{at}.py": f"value = {at}\n" * 50 for at in range(20)},
            f"{NAME}/__init__.py": "",
        },
    )
    made: list[Workbench] = []
    ready, ended = threading.Event(), trio.Event()
    token: list[trio.lowlevel.TrioToken] = []

    async def loop() -> None:
        token.append(trio.lowlevel.current_trio_token())
        try:
            async with sdists.plugin(await choose(allow_confined=True), folder / "home", index) as plugin:
                made.append(Workbench(folder, plugin, call))
                ready.set()
                await ended.wait()
        finally:
            ready.set()

    def call(function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        return trio.from_thread.run(function, *arguments, trio_token=token[0])

    thread = threading.Thread(target=trio.run, args=(loop,))
    thread.start()
    try:
        ready.wait()
        made[0].prepare()
        yield made[0]
    finally:
        trio.from_thread.run_sync(ended.set, trio_token=token[0])
        thread.join()
        shutil.rmtree(folder, ignore_errors=True)
