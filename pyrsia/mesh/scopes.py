"""Where an address can be reached from, and whether we may dial it.

A stranger's record may name any address. One that is not of the whole internet (our own machine, a private network)
means another machine wherever it is heard, and dialling it might knock at doors of ours that nobody outside can reach.
So such an address is dialled only by a node that its operator put into the same scope, by the address that it listens
at, is told to advertise, or has among its peers. What others say opens no scope.

Host names are not looked up here: they have no scope before somebody has resolved them.

Source: docs/mesh-discovery.md, "Scopes".
"""

import ipaddress
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache

REMEMBERED = 8_192  # addresses whose scope and group are not worked out again: twice a full table


class Scope(Enum):
    """From where an address is the same machine."""

    NOWHERE = "nowhere"  # unspecified, multicast, reserved: nobody is there
    MACHINE = "this machine"
    LINK = "this cable"
    PRIVATE = "a private network"
    CARRIER = "a provider's own network"  # behind its address translation
    GLOBAL = "everywhere"
    NAME = "a name"  # not resolved yet


_PRIVATE = [
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
]
# Networks of documentation and of tests: nobody's on the internet, and so of use only where somebody has set them up.
_SET_UP = [
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32")
]
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address behind a gateway to it
_CARRIER = ipaddress.ip_network("100.64.0.0/10")


@lru_cache(REMEMBERED)
def split(address: str) -> tuple[str, int]:
    """Host, without brackets, and port of `tcp://host:port`; no host and 0 where it is none."""
    host, colon, port = address.removeprefix("tcp://").rpartition(":")
    if not colon or not port.isdigit() or not port.isascii():
        return "", 0
    return host.removeprefix("[").removesuffix("]"), int(port)


def join(host: str, port: int) -> str:
    """The address of `host`, in brackets where it is IPv6."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


@lru_cache(REMEMBERED)
def scope_of(host: str) -> Scope:
    """The scope of a numeric address; NAME for what is none."""
    ip = _ip(host)
    if ip is None:
        return Scope.NAME if host else Scope.NOWHERE
    if ip.is_unspecified or ip.is_multicast:
        return Scope.NOWHERE
    if ip.is_loopback:
        return Scope.MACHINE
    if ip.is_link_local:
        return Scope.LINK
    if any(ip in network for network in (*_PRIVATE, *_SET_UP)):
        return Scope.PRIVATE
    if ip in _CARRIER:
        return Scope.CARRIER
    return Scope.GLOBAL if ip.is_global else Scope.NOWHERE


def scopes_of(hosts: Iterable[str]) -> frozenset[Scope]:
    """The scopes that the operator's own addresses put a node into: always the whole internet too."""
    ours = {scope_of(host) for host in hosts} - {Scope.NAME, Scope.NOWHERE}
    return frozenset(ours | {Scope.GLOBAL})


def may_dial(host: str, ours: frozenset[Scope]) -> bool:
    """Whether a node in the scopes `ours` may dial the numeric address `host`."""
    return scope_of(host) in ours


@lru_cache(REMEMBERED)
def group_of(address: str) -> str:
    """What is one owner's for all that we know: a /24, a /48, or a host name's last two labels."""
    host, _ = split(address)
    ip = _ip(host)
    if ip is None:
        return ".".join(host.lower().split(".")[-2:])
    if ip.is_loopback or not ip.is_global:
        return str(ip)  # a cluster on one network is no attack
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        # The same machine in other clothes: what the address within it may not, this may not either.
        if ip in _TRANSLATED:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        within = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        return within if within is not None else ip
    return ip
