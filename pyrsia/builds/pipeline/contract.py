"""The three addresses of the original's build pipeline, asked within bounds.

`PUT /build` with a mapping answers an id as a JSON string; `GET /build/{id}` its state; what was built is fetched from
the addresses that `Success` names, below the pipeline only. The server is the operator's own and configured, yet its
answers are read as a stranger's.

Source: the original's build pipeline protocol (`MappingInfo`, `BuildStatus`).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

import httpx
import trio

from pyrsia.builds.outbound.keeping import keep
from pyrsia.builds.outbound.settings import Blame, Outbound
from pyrsia.builds.outbound.web import Web, stored
from pyrsia.errors import Refusal
from pyrsia.units import MAX_SOURCE_BYTES, Limit

POLL_S = Limit(2, "the original asked every five; a build takes minutes")
MAX_ARTIFACTS = Limit(24, "files of one build; a Maven module has three, an image some twenty blobs")
MAX_STATE_BYTES = Limit(262_144, "a state with the addresses of that many files")
ASK_S = Limit(30, "for one answer; it says where a build is, and builds nothing meanwhile")

BLAME: Final = Blame(
    code="source-unreachable",
    who="the build pipeline of builds.pipeline_url",
    do="look at its own log, then ask again",
)
_ID: Final = re.compile("[A-Za-z0-9_-]{1,64}")
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~-]{0,199}")


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that the pipeline made: its name, and where its bytes are kept here."""

    name: str
    path: Path


class Pipeline:
    """One pipeline. Use `async with`.

    Args:
        url: its base, http or https; the host may be one of the own network, since it is configured.
        cache: folder of files by SHA-256.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._url = url.rstrip("/") + "/"
        self._cache = cache
        settings = Outbound(blame=BLAME, timeout_s=float(ASK_S.value), netrc=False).configured([self._url])
        self._web = Web(settings)

    async def __aenter__(self) -> "Pipeline":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._web.aclose()

    async def start(self, mapping: dict[str, Any]) -> str:
        """Ask for a build; its id.

        Raises:
            Refusal: `source-unreachable`.
        """
        body = json.dumps(mapping).encode()
        url = urljoin(self._url, "build")
        async with self._web.put(
            url, body, headers={"content-type": "application/json"}, limit=MAX_STATE_BYTES.value
        ) as response:
            told = _json(await _limited(response), url)
        if not isinstance(told, str) or not _ID.fullmatch(told):
            raise BLAME.unreachable(url, "it answered no id of a build")
        return told

    async def finished(self, build: str, wall_s: float, progress: Callable[[str], None]) -> list[str]:
        """The addresses of what was built, once it is.

        Raises:
            Refusal: `build-failed` with what the pipeline says, or when it took longer than `wall_s`.
        """
        with trio.move_on_after(wall_s):
            while True:
                state = await self._state(build)
                if isinstance(state, dict):
                    return _addresses(state)
                progress("the pipeline builds")
                await trio.sleep(POLL_S.value)
        raise Refusal(
            "build-failed",
            what=f"the pipeline was not done after {wall_s:.0f} s",
            who=BLAME.who,
            do="look at its own log; builds.wall_s is the limit",
        )

    async def _state(self, build: str) -> Any:
        url = urljoin(self._url, f"build/{quote(build, safe='')}")
        async with self._web.get(url, accept="application/json", limit=MAX_STATE_BYTES.value) as response:
            told = _json(await _limited(response), url)
        state = told.get("status") if isinstance(told, dict) else None
        if state != "Running" and not isinstance(state, dict):
            raise BLAME.unreachable(url, "it answered no state of a build")
        return state

    async def fetch(self, address: str) -> Artifact:
        """One file of a build.

        Raises:
            Refusal: `source-unreachable`, also for an address outside the pipeline; `too-large`.
        """
        url = urljoin(self._url, address)
        name = urlsplit(url).path.rpartition("/")[2]
        if not url.startswith(self._url) or not _FILE.fullmatch(name):
            raise BLAME.unreachable(self._url, f"it names a file elsewhere: {address[:100]!r}")

        def too_large() -> Refusal:
            return BLAME.too_large(url, MAX_SOURCE_BYTES.value)

        async with self._web.get(url, accept="*/*", limit=MAX_SOURCE_BYTES.value) as response:
            sha256, _ = await keep(self._cache, stored(response), MAX_SOURCE_BYTES.value, too_large)
        return Artifact(name, self._cache / sha256)


def _addresses(state: dict[str, Any]) -> list[str]:
    success, failure = state.get("Success"), state.get("Failure")
    if failure is not None:
        raise Refusal(
            "build-failed",
            what=f"the pipeline says: {str(failure)[:200]}",
            who=BLAME.who,
            do="look at its own log; if the source is to blame, tell its author",
        )
    found = success.get("artifact_urls") if isinstance(success, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise BLAME.unreachable("its state", "it names no files")
    if not 1 <= len(found) <= MAX_ARTIFACTS.value:
        raise Refusal(
            "build-failed",
            what=f"the pipeline made {len(found)} files, 1 to {MAX_ARTIFACTS.value} are taken",
            who=BLAME.who,
            do="have it name what is to be published only",
        )
    return found


async def _limited(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_STATE_BYTES.value:
            raise BLAME.too_large(str(response.url), MAX_STATE_BYTES.value)
    return bytes(body)


def _json(data: bytes, url: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BLAME.unreachable(url, "its answer is no JSON") from None
