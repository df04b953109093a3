"""Beacons on the cable: datagrams to a broadcast or multicast address, sent now and then, and heard.

What a datagram says is for `hear` to judge; here only its size and how many come are bounded. A cable without the
address, or a system that refuses it, is no reason to end a node: it is said once, and tried again.

Source: docs/mesh-discovery.md, "The beacon".
"""

import ipaddress
import logging
import socket as system
import struct
from collections.abc import Callable
from typing import Final

import trio
from trio import socket

from pyrsia.buckets import Bucket, Buckets
from pyrsia.errors import Refusal
from pyrsia.mesh.scopes import split
from pyrsia.units import Limit
from pyrsia.wire.beacons import MAX_BEACON_BYTES
from pyrsia.wire.text import safe

EVERY_S: Final = 15.0
AGAIN_S: Final = 60.0
HEARD_BURST = Limit(64, "datagrams at once: a rack that starts together")
HEARD_RATE: Final = 20.0
HEARD_OF_ONE: Final = 4  # at once, and then one in five seconds

_log = logging.getLogger("pyrsia.mesh")


class Cable:
    """The address that beacons go to.

    Args:
        address: `host:port`, of broadcast (192.168.1.255) or multicast (239.255.77.77).
        at: our own address on that cable; empty: wherever the system sends it.
        say: the datagram to send now; empty for none.
        hear: called with (datagram, address of its sender).
        pause_s: until the next one.
    """

    def __init__(
        self,
        address: str,
        at: str,
        *,
        say: Callable[[], bytes],
        hear: Callable[[bytes, str], None],
        pause_s: Callable[[], float],
    ) -> None:
        self._group, self._port = parsed(address)
        self._at = at
        self._say = say
        self._hear = hear
        self._pause_s = pause_s
        self._all = Bucket(HEARD_RATE, HEARD_BURST.value)
        self._each: Buckets[str] = Buckets(0.2, HEARD_OF_ONE)
        self.dropped = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                with self._socket() as sock:
                    await self._bind(sock)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._send, sock)
                        nursery.start_soon(self._receive, sock)
            except* OSError as errors:
                _log.warning("no beacon on %s: %s", self._group, errors.exceptions[0])
            await trio.sleep(AGAIN_S)

    def _socket(self) -> socket.SocketType:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        return sock

    async def _bind(self, sock: socket.SocketType) -> None:
        await sock.bind(
            (str(self._group), self._port)
        )  # the group's own: other datagrams to the port are not ours
        if self._group.is_multicast:
            interface = socket.inet_aton(self._at) if self._at else bytes(4)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            joined = struct.pack("4s4s", self._group.packed, interface)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)

    async def _send(self, sock: socket.SocketType) -> None:
        while True:
            said = self._say()
            if said:
                await sock.sendto(said, (str(self._group), self._port))
            await trio.sleep(self._pause_s())

    async def _receive(self, sock: socket.SocketType) -> None:
        while True:
            data, (host, *_) = await sock.recvfrom(MAX_BEACON_BYTES + 1)
            now_s = trio.current_time()
            if (
                len(data) > MAX_BEACON_BYTES
                or not self._each.of(host).take(now_s)
                or not self._all.take(now_s)
            ):
                self.dropped += 1
                continue
            self._hear(data, host)


def on_cable(host: str) -> bool:
    """Whether the system reaches `host` without a router. Nothing is sent."""
    with system.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
        try:
            sock.connect((host, 9))
        except OSError:
            return False
    return True


def parsed(address: str) -> tuple[ipaddress.IPv4Address, int]:
    """Group and port of `net.lan`.

    Raises:
        Refusal: `config-invalid`.
    """
    host, port = split(address)
    try:
        group = ipaddress.IPv4Address(host)
    except ValueError:
        group, port = ipaddress.IPv4Address(0), 0
    if not 0 < port < 1 << 16:
        raise Refusal(
            "config-invalid",
            what=f"{safe(address)} is no address for a beacon",
            who="net.lan in config.toml",
            do="write a broadcast or multicast address of IPv4 with a port, like 239.255.77.77:44003",
        )
    return group, port
