"""Where a fetch may go: which addresses are open to it, and what of a URL may be printed.

A page or a mapping of a stranger names URLs that we fetch, so addresses of loopback, private networks and
link-local are reached only where the operator configured that very host and port. A name is
resolved once and the checked address is the one connected to.

Source: docs/sources.md, "The rules of every fetch".
"""

import ipaddress
import re
import socket
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
        "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "::/96", "fc00::/7",
        "fe80::/10", "fec0::/10", "ff00::/8",
        # NAT64 of a local network's own choice, and what is for documents, tests or nobody.
        "64:ff9b:1::/48", "100::/64", "2001:2::/48", "2001:10::/28", "2001:db8::/32", "3fff::/20", "5f00::/16",
        "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24", "203.0.113.0/24",
    )
)  # fmt: skip
# An IPv4 address in its last bits: NAT64, and SIIT (RFC 2765).
_EMBEDDING: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::ffff:0:0:0/96"))
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f.]*:[0-9a-f:.]*(?:%[a-z0-9._-]+)?", re.IGNORECASE)
_PORTS: Final = {"http": 80, "https": 443}
_MOST_LABEL, _MOST_HOST = 63, 253  # characters, RFC 1035 section 2.3.4; resolvers raise UnicodeError beyond
Origin = tuple[str, str, int]  # scheme, host, port


def address_allowed(text: str) -> bool:
    """Whether a numeric address lies outside loopback, private and link-local networks."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _inner(address)
    return not any(address in network for network in _CLOSED if network.version == address.version)


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one leads to: mapped, 6to4, Teredo, NAT64 or SIIT; else itself."""
    if any(address in one for one in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def check_host(host: str, port: int, open_hosts: frozenset[tuple[str, int]]) -> None:
    """Refuse a host that is a closed address already as it is written, before a proxy would resolve it for us.

    Raises:
        Forbidden: it is this machine, or a numeric address of a closed network, and is not configured.
    """
    host = host.lower().rstrip(".")
    if (host, port) in open_hosts:
        return
    try:
        numeric = socket.inet_ntoa(socket.inet_aton(host))  # also 127.1, 0x7f.1 and 2130706433
    except (OSError, UnicodeError):
        numeric = host
    try:
        closed = not address_allowed(numeric)
    except ValueError:
        closed = host == "localhost" or host.endswith(".localhost")
    if closed:
        raise Forbidden(_closed(host))


def _closed(host: str) -> str:
    return f"{host} is a loopback, private or link-local address and is not configured here"


def origin_of(url: str) -> Origin:
    """(scheme, host, port) of an http or https URL.

    Raises:
        Malformed: it has no host, one that is not plain ASCII or that no name server could know, or a port that is
            not a number.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise Malformed(f"a URL that cannot be read: {shown(url)}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise Malformed(f"a URL that is neither http nor https: {shown(url)}")
    # A proxy would be asked for what IDNA or percent codes make of the name, and that may be a closed address.
    if not parts.hostname.isascii() or _HOST.fullmatch(parts.hostname) is None:
        raise Malformed(f"a URL whose host is not in its ASCII form: {shown(url)}")
    if ":" not in parts.hostname and not _is_name(parts.hostname):
        raise Malformed(f"a URL whose host has a part that is empty or too long: {shown(url)}")
    return parts.scheme, parts.hostname.lower(), port


def _is_name(host: str) -> bool:
    """Whether a host is short enough for a name, with something between any two dots; one may end it."""
    name = host.removesuffix(".")
    return len(name) <= _MOST_HOST and all(0 < len(label) <= _MOST_LABEL for label in name.split("."))


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
        except (OSError, UnicodeError, trio.TooSlowError) as error:  # UnicodeError: what is no name to IDNA
            raise httpcore.ConnectError(f"{host}: the name does not resolve") from error
        addresses = list(dict.fromkeys(str(item[4][0]) for item in found))[:4]
        if (host.lower(), port) not in self._open and not all(map(address_allowed, addresses)):
            raise Forbidden(_closed(host))
        failure: Exception = httpcore.ConnectError(f"{host}: no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)
