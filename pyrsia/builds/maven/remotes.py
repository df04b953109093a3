"""Files of the operator's Maven repositories: by path for planning, by digest for building.

The first repository that has a path wins, in the order of the settings, for our own fetches and for what a planning
run asks through the recording proxy alike. A `file:` repository is a folder of this machine, such as the one that
Debian's packages fill.

Source: docs/builds-maven.md, "Where the source comes from".
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx
import trio

from pyrsia.builds.maven.coordinates import METADATA, of_path
from pyrsia.builds.maven.lock import Locked
from pyrsia.builds.maven.settings import MavenSettings
from pyrsia.builds.model import FileOut
from pyrsia.builds.outbound.addresses import origin_of
from pyrsia.builds.outbound.keeping import keep
from pyrsia.builds.outbound.proxy import RecordingProxy, Remote
from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web
from pyrsia.errors import Refusal
from pyrsia.units import MAX_MAVEN_FILE_BYTES

REMOTE: Final = "central"  # what a planning run calls all of them together
_ALL: Final = "maven:"  # the URL of that one remote, for ourselves
_BLAME: Final = Blame(
    code="index-unreachable",
    who="the Maven repositories of your settings",
    do="check the network and ~/.m2/settings.xml, then try again",
)


class Remotes(Web):
    """A client of all repositories of `settings`; use `async with`."""

    def __init__(self, settings: MavenSettings, cache: Path) -> None:
        """`cache`: folder of files by SHA-256."""
        super().__init__(outbound(settings))
        self._bases = [one.url for one in settings.repositories]
        self._cache = cache

    async def __aenter__(self) -> "Remotes":
        return self

    @asynccontextmanager
    async def get(
        self,
        url: str,
        *,
        accept: str = "*/*",
        limit: int,
        missing_ok: bool = False,
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """As `Web.get`; a URL that begins with `maven:` is a path that every repository is asked for in turn."""
        path = url.removeprefix(f"{_ALL}/")
        if path == url:
            async with super().get(url, accept=accept, limit=limit, missing_ok=missing_ok) as response:
                yield response
            return
        for base in self._bases:
            if base.startswith("file:"):
                found = await trio.to_thread.run_sync(_from_folder, base, path)
                if found is None:
                    continue
                try:
                    yield found
                finally:
                    await found.aclose()
                return
            async with super().get(f"{base}/{path}", accept=accept, limit=limit, missing_ok=True) as response:
                if response.status_code == 200:
                    yield response
                    return
        yield httpx.Response(404, content=b"")

    def recording(self, moving: set[str]) -> RecordingProxy:
        """A way out for one planning run.

        Args:
            moving: is told each path that was asked for and names another file from day to day; none is answered.
        """

        def allowed(path: str) -> bool:
            moves = moving_path(path)
            if moves:
                moving.add(path)
            return not moves and of_path(path) is not None

        return RecordingProxy(self, {REMOTE: Remote(_ALL, allowed=allowed)}, self._cache)

    async def find(self, path: str, limit: int = MAX_MAVEN_FILE_BYTES.value) -> FileOut | None:
        """The file at `path` of the first repository that has it, fetched now; None where none has.

        Raises:
            Refusal: `index-unreachable`, `too-large`.
        """
        async with self.get(f"{_ALL}/{path}", limit=limit, missing_ok=True) as response:
            if response.status_code != 200:
                return None

            def too_large() -> Refusal:
                return _BLAME.too_large(path, limit)

            sha256, size = await keep(self._cache, response.aiter_raw(), limit, too_large)  # type: ignore[arg-type]
        return FileOut(self._cache / sha256, sha256, size)

    async def locked(self, line: Locked) -> Path:
        """The file of one line of a lock, from the cache or from the first repository that has its path.

        Raises:
            Refusal: `digest-mismatch`, `version-unknown`.
        """
        path = self._cache / line.sha256
        if await trio.Path(path).is_file():
            return path
        found = await self.find(line.path, line.size)
        if found is None:
            raise Refusal(
                "version-unknown",
                what=f"{line.path} is in no repository",
                who="the Maven repositories of your settings",
                do="compare them with the requester's",
            )
        if found.sha256 != line.sha256:
            raise other_digest(line.path, found.sha256, line.sha256)
        return found.path


def outbound(settings: MavenSettings) -> Outbound:
    """How fetches go under Maven's settings: proxy, hosts, and the credentials of each repository for itself."""
    web = [one for one in settings.repositories if urlsplit(one.url).scheme != "file"]
    auth: dict[tuple[str, str, int], httpx.Auth] = {
        origin_of(one.url): httpx.BasicAuth(one.user, one.password) for one in web if one.user
    }
    found = Outbound(proxy=settings.proxy, timeout_s=60.0, auth=auth, blame=_BLAME)
    return found.configured(one.url for one in web)


def moving_path(path: str) -> bool:
    """Whether a path of a repository names another file tomorrow: lists of versions and snapshots."""
    return METADATA in path or "-SNAPSHOT" in path.upper()


def other_digest(name: str, mine: str, theirs: str) -> Refusal:
    return Refusal(
        "digest-mismatch",
        what=f"{name} has the SHA-256 {mine} here, and {theirs} in the request",
        who="the Maven repositories of your settings or the request",
        do="do not use this file; compare both repositories",
    )


def _from_folder(base: str, path: str) -> httpx.Response | None:
    """A file of a `file:` repository; links are followed, since the operator's own packages lay them."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        return None
    place = Path(unquote(urlsplit(base).path)) / path
    if not place.is_file():
        return None
    return httpx.Response(200, stream=_Pieces(place))


class _Pieces(httpx.AsyncByteStream):
    """A file as the body of an answer. No generator: one that is left half read would stay open."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await trio.to_thread.run_sync(self._file.read, 1 << 18)
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._file.close()
