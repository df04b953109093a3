"""Addresses of nodes from DNS, and numeric addresses of host names. Nothing that DNS says is believed: it is a hint.

A name of a network has TXT records `pyrsia=<node id>@tcp://host:port`; or SRV records at `_pyrsia._tcp.<name>` whose
targets begin with a node id: `<node id>.example.org`. Whoever answers there has to have that id's key.

What comes is bounded: so many records of a name, a few seconds, and nothing of it raises.

Source: RFC 2782; docs/mesh-discovery.md, "DNS"; docs/adr/0060.
"""

import re
import socket
from functools import partial
from typing import Final, TypeVar

import dns.asyncresolver
import dns.exception
import trio
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.SRV import SRV

from pyrsia.errors import Malformed
from pyrsia.units import Limit, NodeId
from pyrsia.wire.frames import is_address
from pyrsia.wire.text import unb32

MAX_DNS_RECORDS = Limit(64, "records of one name: an answer of 8 KB; a few would do")
DNS_WAIT_S = Limit(5, "a resolver that takes longer is asked again later")
MAX_ADDRESSES = Limit(16, "numeric addresses of one host")
_TXT: Final = re.compile(rb"pyrsia=([a-z2-7]{52})@(tcp://[\x21-\x7e]{1,250})")
RESOLVERS = Limit(4, "host names asked for at once: the threads of files and builds are not for them")
_THREADS: Final = trio.CapacityLimiter(RESOLVERS.value)
_SERVICE: Final = "_pyrsia._tcp"

Hint = tuple[NodeId, str]
Record = TypeVar("Record", TXT, SRV)


class Names:
    """Asks the resolver of the system, or `resolver`."""

    def __init__(self, resolver: dns.asyncresolver.Resolver | None = None) -> None:
        self._resolver = resolver

    async def look_up(self, name: str) -> list[Hint]:
        """Nodes of the network with this name; none where there is none, or no answer."""
        found = [of_txt(bytes(b"".join(one.strings))) for one in await self._ask(name, TXT)]
        found += [
            of_srv(one.target.to_text(omit_final_dot=True), one.port)
            for one in await self._ask(f"{_SERVICE}.{name}", SRV)
        ]
        return [one for one in found if one is not None]

    async def _ask(self, name: str, kind: type[Record]) -> list[Record]:
        """The records of `name` of this kind; none for whatever reason."""
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver()
        with trio.move_on_after(DNS_WAIT_S.value):
            try:
                answer = await self._resolver.resolve(name, kind.__name__, lifetime=DNS_WAIT_S.value)
            except (dns.exception.DNSException, OSError, ValueError):
                return []
            return [one for one in answer if isinstance(one, kind)][: MAX_DNS_RECORDS.value]
        return []


async def resolve(host: str) -> list[str]:
    """Numeric addresses of `host`, as the system resolves it; none where there are none.

    In threads of its own, a few: a name server that says nothing holds one for as long as the system waits for it.
    """
    found: list[str] = []
    ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    with trio.move_on_after(DNS_WAIT_S.value):
        try:
            answer = await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=_THREADS)
            for *_, where in answer:
                address = str(where[0]).partition("%")[0]
                if address not in found:
                    found.append(address)
        except (OSError, UnicodeError):
            return []
    return found[: MAX_ADDRESSES.value]


def of_txt(text: bytes) -> Hint | None:
    """`pyrsia=<node id>@tcp://host:port`; None for anything else, for others have TXT records too."""
    found = _TXT.fullmatch(text)
    if found is None:
        return None
    return _hint(found[1].decode(), found[2].decode())


def of_srv(target: str, port: int) -> Hint | None:
    """A host whose first label is a node id."""
    return _hint(target.partition(".")[0].lower(), f"tcp://{target}:{port}")


def _hint(name: str, address: str) -> Hint | None:
    try:
        node = NodeId(unb32(name))
    except Malformed:
        return None
    return (node, address) if is_address(address) else None
