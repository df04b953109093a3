"""Answers over HTTP: redirects, repeats, credentials and bounds of every fetch from an index.

A redirect counts as a new fetch, with its own checks; credentials go to the origin they were written for
and nowhere else. How long and how large an answer may be is decided here, what it says is not.

Source: docs/builds.md, "Where sources come from".
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import trio

from pyrsia.builds.outbound.addresses import Forbidden, Origin, bare, origin_of
from pyrsia.builds.outbound.transport import make_client, netrc
from pyrsia.builds.pip.config import PipConfig
from pyrsia.builds.pip.refusals import too_large, unreachable
from pyrsia.errors import Malformed
from pyrsia.units import INDEX_ATTEMPTS, INDEX_FETCH_S, INDEX_REDIRECTS


class Web:
    """Fetches by URL. Call `aclose` when done.

    Args:
        auth: origin -> the credentials written for it; where there are none, the user's netrc.
        open_hosts: (host, port) of the configured indexes, reached whatever their address.
    """

    def __init__(
        self, config: PipConfig, auth: Mapping[Origin, httpx.Auth], open_hosts: frozenset[tuple[str, int]]
    ) -> None:
        self._config = config
        self._auth = auth
        self._netrc = netrc()
        self._open = open_hosts
        self._clients: dict[bool, httpx.AsyncClient] = {}

    async def aclose(self) -> None:
        for client in self._clients.values():
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                await client.aclose()
        self._clients.clear()

    @asynccontextmanager
    async def get(
        self, url: str, *, accept: str, limit: int, missing_ok: bool = False
    ) -> AsyncIterator[httpx.Response]:
        """One answer with status 200 (or 404, 410 where missing is an answer), its body unread.

        Args:
            accept: the media types wanted; `*/*` asks for the bytes as stored.
            limit: bytes; an answer that promises more is refused.

        Raises:
            Refusal: `index-unreachable`, `too-large`; both also while the body is read.
        """
        with trio.move_on_after(INDEX_FETCH_S.value) as scope:
            response = await self._answer(url, accept)
            try:
                if response.status_code != 200 and not (missing_ok and response.status_code in (404, 410)):
                    raise unreachable(url, f"the answer was {response.status_code} {response.reason_phrase}")
                promised = response.headers.get("content-length", "")
                # One without a length is cut while it is read.
                if promised.isdecimal() and int(promised) > limit:
                    raise too_large(url, limit)
                try:
                    yield response
                except httpx.HTTPError as error:
                    raise unreachable(url, _reason(error)) from error
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(2):
                    await response.aclose()
        if scope.cancelled_caught:
            raise unreachable(url, f"no whole answer within {INDEX_FETCH_S.value} s")

    async def _answer(self, url: str, accept: str) -> httpx.Response:
        """Follow redirects ourselves: each hop is a new fetch with its own checks and credentials."""
        first = url
        for _ in range(INDEX_REDIRECTS.value + 1):
            response = await self._send(url, accept)
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            target = response.headers.get("location", "")
            await response.aclose()
            following = str(httpx.URL(url).join(target))
            if urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https":
                raise unreachable(first, "a redirect leads from https to http")
            url = following
        raise unreachable(first, f"more than {INDEX_REDIRECTS.value} redirects")

    async def _send(self, url: str, accept: str) -> httpx.Response:
        try:
            origin = origin_of(url)
        except Malformed as error:
            raise unreachable(url, str(error)) from error
        client = self._client(trusted=self._trusted(origin))
        request = client.build_request(
            "GET", bare(url), headers={"accept": accept, "accept-encoding": "gzip"}
        )
        if accept == "*/*":
            request.headers["accept-encoding"] = "identity"  # a hash speaks of the bytes as stored
        auth = self._auth.get(origin) or self._netrc
        for attempt in range(INDEX_ATTEMPTS.value):
            last = attempt + 1 == INDEX_ATTEMPTS.value
            try:
                response = await client.send(request, auth=auth, stream=True, follow_redirects=False)
            except Forbidden as error:
                raise unreachable(url, str(error)) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if last:
                    raise unreachable(url, _reason(error)) from error
            else:
                if response.status_code < 500 or last:
                    return response
                await response.aclose()
            await trio.sleep(0.25 * 2**attempt)
        raise AssertionError("unreachable")

    def _trusted(self, origin: Origin) -> bool:
        _, host, port = origin
        return host in self._config.trusted_hosts or f"{host}:{port}" in self._config.trusted_hosts

    def _client(self, *, trusted: bool) -> httpx.AsyncClient:
        if trusted not in self._clients:
            self._clients[trusted] = make_client(self._config, self._open, trusted)
        return self._clients[trusted]


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    return str(error) or type(error).__name__
