"""Where a fetch may go: which addresses are open to it, and what of a URL may be printed.

A page of a stranger names the URLs that we fetch, so addresses of loopback, private networks and
link-local are reached only where the user configured that very host and port as an index. A name is
resolved once and the checked address is the one connected to.

Source: docs/builds.md, "Where sources come from".
"""

import ipaddress
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpcore
import trio

from pyrsia.errors import Malformed
from pyrsia.units import INDEX_FETCH_S

# Networks that a page of a stranger must not lead us into.
_CLOSED: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "fc00::/7", "fe80::/10",
        "ff00::/8",
    )
)  # fmt: skip
_PORTS: Final = {"http": 80, "https": 443}
Origin = tuple[str, str, int]  # scheme, host, port


def address_allowed(text: str) -> bool:
    """Whether a numeric address lies outside loopback, private and link-local networks."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return not any(address in network for network in _CLOSED if network.version == address.version)


def origin_of(url: str) -> Origin:
    """(scheme, host, port) of an http or https URL.

    Raises:
        Malformed: it has no host, or a port that is not a number.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise Malformed(f"a URL that cannot be read: {shown(url)}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise Malformed(f"a URL that is neither http nor https: {shown(url)}")
    return parts.scheme, parts.hostname.lower(), port


def shown(url: str) -> str:
    """`url` as it may be printed: without user name and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(unreadable URL)"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def bare(url: str) -> str:
    """`url` without user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class Forbidden(Exception):
    """A name that leads into a closed network."""


class Guard(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked after the one and only resolution of the name."""

    def __init__(self, open_hosts: frozenset[tuple[str, int]]) -> None:
        self._open = open_hosts
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with trio.fail_after(timeout or INDEX_FETCH_S.value):
                found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        except (OSError, trio.TooSlowError) as error:
            raise httpcore.ConnectError(f"{host}: the name does not resolve") from error
        addresses = list(dict.fromkeys(str(item[4][0]) for item in found))[:4]
        if (host.lower(), port) not in self._open and not all(map(address_allowed, addresses)):
            raise Forbidden(f"{host} is a loopback, private or link-local address and is no configured index")
        failure: Exception = httpcore.ConnectError(f"{host}: no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)
