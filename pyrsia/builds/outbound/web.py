"""Answers over HTTP: redirects, repeats, credentials and bounds of every fetch from outside.

A redirect counts as a new fetch, with its own checks; credentials go to the origin they were written for
and nowhere else. How long and how large an answer may be is decided here, what it says is not.

Source: docs/sources.md, "The rules of every fetch".
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

import httpx
import trio

from pyrsia.builds.outbound.addresses import Forbidden, Origin, bare, check_host, origin_of
from pyrsia.builds.outbound.bodies import severable
from pyrsia.builds.outbound.settings import Outbound
from pyrsia.builds.outbound.transport import make_client, netrc
from pyrsia.errors import Malformed
from pyrsia.units import INDEX_ATTEMPTS, INDEX_FETCH_S, INDEX_REDIRECTS

_MISSING: Final = (404, 410)
_REDIRECTS: Final = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class _Ask:
    """One question, as it is put to each origin that a chain of redirects leads through.

    Attributes:
        auth: credentials of this question alone; they go to `origin` only.
        attempts: at each origin, where nobody answers or the answer is a failure of the server; 0: the usual number.
    """

    method: str
    headers: Mapping[str, str]
    body: bytes
    auth: httpx.Auth | None
    origin: Origin = field(default=("", "", 0))
    attempts: int = 0


class Web:
    """Fetches by URL, as `settings` says. Call `aclose` when done."""

    def __init__(self, settings: Outbound) -> None:
        self._settings = settings
        self._netrc = netrc() if settings.netrc else None
        self._clients: dict[tuple[bool, bool], httpx.AsyncClient] = {}

    async def __aenter__(self) -> "Web":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        for client in self._clients.values():
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                await client.aclose()
        self._clients.clear()

    @asynccontextmanager
    async def get(
        self,
        url: str,
        *,
        accept: str,
        limit: int,
        missing_ok: bool = False,
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """One answer with status 200 (or 404, 410 where missing is an answer), its body unread.

        Args:
            accept: the media types wanted; `*/*` asks for the bytes as stored.
            limit: bytes; an answer that promises more is refused.
            headers: more of them, not for secrets: redirects get them too.
            auth: credentials of this fetch alone, for the origin of `url` only.

        Raises:
            Refusal: the settings' code (`index-unreachable` for pip), `too-large`; both also while the body is read.
        """
        told = {"accept": accept, "accept-encoding": "identity" if accept == "*/*" else "gzip"}
        ask = _Ask("GET", told | dict(headers or {}), b"", auth)
        async with self._asked(url, ask, limit, missing_ok) as response:
            yield response

    @asynccontextmanager
    async def ask(
        self, url: str, *, headers: Mapping[str, str], auth: httpx.Auth | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Whatever is answered, of whatever status, its body unread; asked once.

        For who tells one no from another: how much is read, and for how long, is the caller's to bound.

        Raises:
            Refusal: nobody answered, or the way there is closed; its cause is httpx's error in the first case.
        """
        response = await self._answer(url, _Ask("GET", headers, b"", auth, attempts=1))
        try:
            yield response
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                await response.aclose()

    async def challenge(self, url: str) -> str:
        """What the server at `url` asks of a stranger: its WWW-Authenticate, "" where it lets everybody in.

        Raises:
            Refusal: as `get`.
        """
        with trio.move_on_after(INDEX_FETCH_S.value):
            response = await self._answer(url, _Ask("GET", {"accept": "*/*"}, b"", None))
            try:
                return response.headers.get("www-authenticate", "") if response.status_code == 401 else ""
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(2):
                    await response.aclose()
        raise self._settings.blame.unreachable(url, f"no answer within {INDEX_FETCH_S.value} s")

    @asynccontextmanager
    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str], limit: int
    ) -> AsyncIterator[httpx.Response]:
        """The same for a question that changes nothing on the other side, like git's; it may be put twice."""
        ask = _Ask("POST", {"accept-encoding": "identity"} | dict(headers), body, None)
        async with self._asked(url, ask, limit, False) as response:
            yield response

    @asynccontextmanager
    async def put(
        self, url: str, body: bytes, *, headers: Mapping[str, str], limit: int
    ) -> AsyncIterator[httpx.Response]:
        """The same with PUT, for a server of the operator's own that starts something by it; never put twice."""
        ask = _Ask("PUT", {"accept-encoding": "identity"} | dict(headers), body, None, attempts=1)
        async with self._asked(url, ask, limit, False) as response:
            yield response

    @asynccontextmanager
    async def tell(
        self, url: str, body: bytes, *, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """Whatever is answered to a POST that was sent once, its body unread. A redirect is an answer too.

        Raises:
            Refusal: nobody answered, or the way there is closed.
        """
        response = await self._send(url, _Ask("POST", headers, body, None, self._origin(url), attempts=1))
        try:
            yield response
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                await response.aclose()

    @asynccontextmanager
    async def _asked(
        self, url: str, ask: _Ask, limit: int, missing_ok: bool
    ) -> AsyncIterator[httpx.Response]:
        unreachable = self._settings.blame.unreachable
        with trio.move_on_after(INDEX_FETCH_S.value) as scope:
            response = await self._answer(url, ask)
            try:
                if response.status_code != 200 and not (missing_ok and response.status_code in _MISSING):
                    raise unreachable(url, f"the answer was {response.status_code} {response.reason_phrase}")
                promised = response.headers.get("content-length", "")
                # One without a length is cut while it is read.
                if promised.isdecimal() and int(promised) > limit:
                    raise self._settings.blame.too_large(url, limit)
                try:
                    yield response
                except httpx.HTTPError as error:
                    raise unreachable(url, _reason(error)) from error
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(2):
                    await response.aclose()
        if scope.cancelled_caught:
            raise unreachable(url, f"no whole answer within {INDEX_FETCH_S.value} s")

    async def _answer(self, url: str, ask: _Ask) -> httpx.Response:
        """Follow redirects ourselves: each hop is a new fetch with its own checks and credentials."""
        first, unreachable = url, self._settings.blame.unreachable
        ask = replace(ask, origin=self._origin(url))
        for _ in range(INDEX_REDIRECTS.value + 1):
            response = await self._send(url, ask)
            if response.status_code not in _REDIRECTS:
                return response
            target = response.headers.get("location", "")
            await response.aclose()
            try:
                following = str(httpx.URL(url).join(target))
                leaves_tls = urlsplit(url).scheme == "https" and urlsplit(following).scheme != "https"
            except (httpx.InvalidURL, ValueError):
                raise unreachable(first, "a redirect leads to something that is no URL") from None
            if leaves_tls:
                raise unreachable(first, "a redirect leads from https to http")
            url = following
        raise unreachable(first, f"more than {INDEX_REDIRECTS.value} redirects")

    def _origin(self, url: str) -> Origin:
        try:
            return origin_of(url)
        except Malformed as error:
            raise self._settings.blame.unreachable(url, str(error)) from error

    async def _send(self, url: str, ask: _Ask) -> httpx.Response:
        origin, unreachable = self._origin(url), self._settings.blame.unreachable
        try:
            check_host(origin[1], origin[2], self._settings.open_hosts)
        except Forbidden as error:
            raise unreachable(url, str(error)) from error
        client = self._client(origin)
        try:
            request = severable(
                client.build_request(
                    ask.method, bare(url), headers=dict(ask.headers), content=ask.body or None
                )
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise unreachable(url, _reason(error)) from error
        auth = (ask.auth if origin == ask.origin else None) or self._settings.auth.get(origin) or self._netrc
        attempts = ask.attempts or INDEX_ATTEMPTS.value
        for attempt in range(attempts):
            last = attempt + 1 == attempts
            try:
                response = await client.send(request, auth=auth, stream=True, follow_redirects=False)
            except Forbidden as error:
                raise unreachable(url, str(error)) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if last:
                    raise unreachable(url, _reason(error)) from error
            except ValueError as error:  # a host that TLS or IDNA take for no name: asking again helps nobody
                raise unreachable(url, f"its host is no name: {_reason(error)}") from error
            else:
                if response.status_code < 500 or last:
                    return response
                await response.aclose()
            await trio.sleep(0.25 * 2**attempt)
        raise AssertionError("unreachable")

    def _client(self, origin: Origin) -> httpx.AsyncClient:
        _, host, port = origin
        trusted = host in self._settings.trusted_hosts or f"{host}:{port}" in self._settings.trusted_hosts
        kind = trusted, (host, port) in self._settings.open_hosts
        if kind not in self._clients:
            self._clients[kind] = make_client(self._settings, trusted=kind[0], own=kind[1])
        return self._clients[kind]


async def stored(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body as it was sent. Who stops reading early closes this (`aclosing`), and with it all that lies below."""
    source, whole = response.aiter_raw(), False
    try:
        async for piece in source:
            yield piece
        whole = True
    finally:
        if not whole:
            # httpx nests generators that only an end of theirs closes; a closed connection is such an end.
            with trio.CancelScope(shield=True), trio.move_on_after(2), suppress(httpx.HTTPError):
                await response.aclose()
                async for _ in source:
                    pass


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    return str(error) or type(error).__name__
