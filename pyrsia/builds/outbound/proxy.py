"""The one way out of a sandboxed planning run: configured remotes by name, each answer recorded by digest.

A program inside asks `http://127.0.0.1:7999/<remote>/<path>`; our own client fetches it from the remote's base URL,
with the operator's certificates and credentials, which the program never sees. What was given out stands in the
record, and stays in the cache under its SHA-256, so that a lock can name it and a build can have it without network.

Source: docs/sources.md, "The recording proxy"; DESIGN 8, outbound rules.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx
import trio

from pyrsia.builds.model import PhaseFailed
from pyrsia.builds.outbound import target
from pyrsia.builds.outbound.keeping import keep, trim
from pyrsia.builds.outbound.serving import Asked, Reply, serve
from pyrsia.builds.outbound.web import Web, stored
from pyrsia.errors import Malformed, PyrsiaError, Refusal, Unavailable
from pyrsia.units import MAX_CONTROL_PATH_BYTES, MAX_SOURCE_BYTES, Limit

_CACHE_BYTES: Final = Limit(4 << 30, "repositories of some hundred projects")
_CACHE_KEPT_S: Final = Limit(3_600, "what was just fetched is still to be copied into a sandbox")
_REFUSED: Final = Limit(200, "sentences kept of what was refused; the first ones say what is wrong")
_ABSENT: Final = frozenset({"index-unreachable", "source-unreachable", "unavailable"})
_UPLOAD_PACK: Final = "info/refs?service=git-upload-pack"
_GIT_HEADERS: Final = {
    "git-protocol": "version=2",
    "user-agent": "git/2 (pyrsia)",
}  # some hosts ask who is there
_PACK_TYPE: Final = "application/x-git-upload-pack-request"
# What clients need to read an answer; nothing else of a stranger's head goes inside.
_SHOWN: Final = ("content-type", "last-modified", "x-conan-server-capabilities")


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer of a remote, before it goes inside.

    Attributes:
        path: below the remote's base, with its query. headers: of the answer.
    """

    path: str
    headers: httpx.Headers
    file: Path
    size: int


# None leaves the answer as it is; bytes go in its place; what is raised (PyrsiaError) refuses it.
Cut = Callable[[Answered], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True)
class Remote:
    """A configured server.

    Attributes:
        url: base URL; credentials in it are the business of `Outbound.configured`.
        allowed: says of a path (with its query) whether it may be asked for.
        cut: sees each answer, for example to take away what is younger than a cut-off.
        git: a repository over smart HTTP: its upload-pack may be asked, and nothing else. Not in the record.
    """

    url: str
    allowed: Callable[[str], bool] | None = None
    cut: Cut | None = None
    git: bool = False


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """What one run may fetch.

    Attributes:
        seconds: from the start of the proxy. connections: at once; more wait.
    """

    requests: int = 20_000
    total_bytes: int = 2 << 30
    file_bytes: int = MAX_SOURCE_BYTES.value
    seconds: float = 1_800
    connections: int = 32


@dataclass(frozen=True, slots=True, order=True)
class Fetched:
    """A file that went inside: what of, its SHA-256 (hex), and where it is kept."""

    remote: str
    path: str
    sha256: str
    size: int
    file: Path = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a path was answered with, for the rest of the run; `found` is None for a 404."""

    found: Fetched | None
    headers: tuple[tuple[str, str], ...]


class RecordingProxy:
    """Use `async with`; give `socket` to `Inside.run(egress=...)`, and read `record` when the run has ended.

    Args:
        web: fetches; its settings open the hosts of `remotes` (`Outbound.configured`).
        remotes: by the name that the program inside knows, 1 to 31 of a-z, 0-9, `-`; a bare string is a base URL.
        cache: folder of files by their SHA-256; made where it lacks.

    Attributes:
        socket: path of a Unix socket, in a folder that only this user can enter.
    """

    def __init__(
        self, web: Web, remotes: Mapping[str, Remote | str], cache: Path, limits: ProxyLimits | None = None
    ) -> None:
        self._web = web
        self._remotes = {
            target.remote_name(name): Remote(one) if isinstance(one, str) else one
            for name, one in remotes.items()
        }
        self._cache = cache
        self._limits = limits or ProxyLimits()
        self._known: dict[tuple[str, str], _Known] = {}
        self._turns: dict[tuple[str, str], trio.Lock] = {}
        self._given: set[tuple[str, str]] = set()
        self._asked = self._bytes = 0
        self._refused: list[str] = []
        self._unanswered = ""
        self._until_s = float("inf")
        self._stack = AsyncExitStack()
        self.socket = Path()

    @property
    def record(self) -> list[Fetched]:
        """What was given out by GET, sorted; a path stands here once."""
        return sorted(known.found for key, known in self._known.items() if known.found and key in self._given)

    @property
    def refused(self) -> tuple[str, ...]:
        """A sentence for each refusal, for the operator: they may name hosts, so they stay out of logs and locks."""
        return tuple(self._refused)

    @property
    def trouble(self) -> PhaseFailed | None:
        """That a server gave no usable answer in this run: if the run failed, its package need not be to blame.

        Whoever ran inside chose what was asked, so it is a run's failure, to be tried again, and no plain refusal.
        """
        if not self._unanswered:
            return None
        return PhaseFailed(
            "prefetch",
            self._unanswered,
            who="that server, or the network between",
            do="check the network, then try again",
            code="index-unreachable",
        )

    async def __aenter__(self) -> "RecordingProxy":
        folder = Path(
            tempfile.mkdtemp(prefix="pyrsia-egress-")
        )  # 0700: only we connect, for whoever is inside
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            await self._listen(folder / "s")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The nursery is not told of `error`, which would come back in a group; it goes on as it is.
        await self._stack.aclose()
        if self._known:
            await trio.to_thread.run_sync(trim, self._cache, _CACHE_BYTES.value, _CACHE_KEPT_S.value)

    async def _listen(self, path: Path) -> None:
        if len(os.fsencode(path)) > MAX_CONTROL_PATH_BYTES.value:
            raise Unavailable(f"a socket needs a shorter folder for temporary files than {path.parent}")
        listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        self._stack.callback(listener.close)
        await listener.bind(str(path))
        listener.listen(64)
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._stack.callback(nursery.cancel_scope.cancel)
        nursery.start_soon(self._accept, listener)
        self._until_s = trio.current_time() + self._limits.seconds
        self.socket = path

    async def _accept(self, listener: trio.socket.SocketType) -> None:
        places = trio.Semaphore(self._limits.connections)
        async with trio.open_nursery() as nursery:
            while True:
                await places.acquire()
                try:
                    peer, _ = await listener.accept()
                except OSError:  # it went away again, or this process is out of descriptors
                    places.release()
                    await trio.sleep(0.05)
                    continue
                nursery.start_soon(self._connection, trio.SocketStream(peer), places)

    async def _connection(self, stream: trio.SocketStream, places: trio.Semaphore) -> None:
        try:
            await serve(stream, self._answer, self._note)
        finally:
            places.release()

    def _note(self, why: str) -> None:
        if len(self._refused) < _REFUSED.value:
            self._refused.append(why)

    def _no(self, status: int, words: str, why: str = "") -> Reply:
        self._note(why or words)
        return Reply(status, words=words)

    async def _answer(self, asked: Asked) -> Reply:
        """The answer to a request; every trouble is one, too."""
        try:
            wanted = target.parse(asked.target)
        except Malformed as error:
            return self._no(403, str(error))
        remote = self._remotes.get(wanted.remote)
        where = f"{wanted.remote}/{wanted.path}"
        if remote is None:
            names = ", ".join(sorted(self._remotes)) or "none"
            return self._no(403, f"there is no remote {wanted.remote} here; there are: {names}")
        if asked.method == "POST" and not (remote.git and wanted.path == "git-upload-pack"):
            return self._no(403, f"nothing is sent to {wanted.remote}: only GET and HEAD are answered")
        if remote.git and asked.method != "POST" and wanted.path != _UPLOAD_PACK:
            return self._no(403, f"of {wanted.remote} only git's smart protocol is answered, not {where}")
        if remote.allowed is not None and not remote.allowed(wanted.path):
            return self._no(403, f"{where} is not what this planning may ask for")
        try:
            with trio.fail_at(self._until_s):
                if asked.method == "POST":
                    return await self._pack(remote, wanted, asked)
                return await self._file(remote, wanted, given=asked.method == "GET")
        except trio.TooSlowError:
            return self._no(502, f"the time for fetching is over ({self._limits.seconds:.0f} s)")
        except _Bound as error:
            return self._no(403, str(error))
        except PyrsiaError as error:
            why = error.what if isinstance(error, Refusal) else str(error)
            words = f"{wanted.remote} gave no usable answer for {wanted.path}"
            if isinstance(error, Unavailable) or (isinstance(error, Refusal) and error.code in _ABSENT):
                self._unanswered = self._unanswered or words[:300]
            return self._no(502, words, f"{where}: {why}")
        except (OSError, ValueError, RecursionError) as error:
            words = "this machine could not keep or read the answer"
            return self._no(502, words, f"{where}: {words}: {error}")

    async def _file(self, remote: Remote, wanted: target.Target, *, given: bool) -> Reply:
        """The same bytes for the same path, however often and however many ask."""
        key = wanted.remote, wanted.path
        if key not in self._turns and len(self._turns) >= self._limits.requests:
            raise _Bound(f"more than {self._limits.requests} fetches in one planning")
        async with self._turns.setdefault(key, trio.Lock()):
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = await self._fetch(remote, wanted)
        if known.found is None:
            return Reply(404, words=f"{wanted.remote} has no {wanted.path}")
        if given and not remote.git:
            self._given.add(key)
        return Reply(200, known.headers, known.found.file, known.found.size)

    async def _fetch(self, remote: Remote, wanted: target.Target) -> _Known:
        headers = dict(_GIT_HEADERS) if remote.git else {}
        url = f"{remote.url.rstrip('/')}/{wanted.path}"
        limit = self._room()
        async with self._web.get(
            url, accept="*/*", limit=limit, missing_ok=True, headers=headers
        ) as response:
            if response.status_code != 200:
                return _Known(None, ())
            sha256, size = await self._kept(response, limit)
            heads = response.headers
        file = self._cache / sha256
        if remote.cut is not None:
            instead = await remote.cut(Answered(wanted.path, heads, file, size))
            if instead is not None:
                sha256, size = await keep(self._cache, _once(instead), len(instead), _too_large)
                file = self._cache / sha256
        return _Known(Fetched(wanted.remote, wanted.path, sha256, size, file), _shown(heads))

    async def _pack(self, remote: Remote, wanted: target.Target, asked: Asked) -> Reply:
        """git's question, as it is; what it says back is for git to check."""
        if asked.headers.get(b"content-type", b"").decode("latin-1") != _PACK_TYPE:
            return self._no(403, "that is no question of git's")
        headers = {"content-type": _PACK_TYPE, "accept": "application/x-git-upload-pack-result"}
        headers |= _GIT_HEADERS
        if asked.headers.get(b"content-encoding", b"identity") == b"gzip":
            headers["content-encoding"] = "gzip"
        limit = self._room()
        url = f"{remote.url.rstrip('/')}/{wanted.path}"
        async with self._web.post(url, asked.body, headers=headers, limit=limit) as response:
            sha256, size = await self._kept(response, limit)
            return Reply(200, _shown(response.headers), self._cache / sha256, size)

    def _room(self) -> int:
        """How large the next answer may be."""
        self._asked += 1
        left = self._limits.total_bytes - self._bytes
        if self._asked > self._limits.requests:
            raise _Bound(f"more than {self._limits.requests} fetches in one planning")
        if left <= 0:
            raise self._full()
        return min(left, self._limits.file_bytes)

    async def _kept(self, response: httpx.Response, limit: int) -> tuple[str, int]:
        return await keep(self._cache, self._counted(response), limit, _too_large)

    async def _counted(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The body; several come at once, and what came of an answer that is given up counts as well."""
        async with aclosing(stored(response)) as pieces:
            async for piece in pieces:
                self._bytes += len(piece)
                if self._bytes > self._limits.total_bytes:
                    raise self._full()
                yield piece

    def _full(self) -> "_Bound":
        return _Bound(f"more than {self._limits.total_bytes} bytes in one planning")


class _Bound(Exception):
    """A bound of the whole run is reached."""


def _too_large() -> Refusal:
    return Refusal(
        "too-large",
        what="an answer is larger than what is left for this planning",
        who="the source that is planned",
        do="give the source along as an archive",
    )


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


def _shown(headers: httpx.Headers) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name in _SHOWN:
        value: Any = headers.get(name, "")
        if 0 < len(value) <= 200 and value.isascii() and value.isprintable():
            found.append((name, value))
    return tuple(found)
