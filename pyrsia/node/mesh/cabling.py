"""Beacons as the node sends and believes them: signed, of our network, and fresh.

Source: docs/mesh-discovery.md, "The beacon".
"""

import secrets
import time
from collections.abc import Callable
from typing import Final

from blake3 import blake3

from pyrsia import keys
from pyrsia.errors import Malformed
from pyrsia.keys import KeyPair
from pyrsia.mesh import scopes
from pyrsia.mesh.scopes import Scope
from pyrsia.net import beacon as cables
from pyrsia.net.beacon import Cable
from pyrsia.units import NodeId
from pyrsia.wire import beacons

CABLE: Final = NodeId(blake3(b"the cable").digest())  # whose share of the table it is that beacons fill

Heard = Callable[[NodeId, bytes, str], None]


def make_cable(
    address: str,
    host: str,
    *,
    key: KeyPair,
    chain_id: bytes,
    own: Callable[[], tuple[bytes, int]],
    heard: Heard,
) -> Cable:
    """The cable at `address`.

    Args:
        host: where this node listens.
        own: our encoded record, empty before there is one, and our control port.
        heard: told (node, record, where to dial it) of each good beacon.

    Raises:
        Refusal: `config-invalid` for an address that is none.
    """

    def say() -> bytes:
        raw, port = own()
        now_ms = _now_ms()
        return beacons.encode(port, now_ms, raw, key.sign(beacons.to_sign(port, now_ms, raw))) if raw else b""

    def hear(data: bytes, sender: str) -> None:
        found = believed(data, chain_id, _now_ms())
        if found is not None and found.record.node != key.public:
            heard(found.record.node, found.raw, scopes.join(sender, found.port))

    return Cable(
        address,
        host if scopes.scope_of(host) not in (Scope.NOWHERE, Scope.NAME) else "",
        say=say,
        hear=hear,
        pause_s=lambda: cables.EVERY_S * (0.5 + secrets.randbelow(1_000) / 1_000),
    )


def believed(data: bytes, chain_id: bytes, now_ms: int) -> beacons.Beacon | None:
    """The beacon in a datagram, if it is one of this network, of now, and signed by whom it names."""
    try:
        found, signature = beacons.decode(data)
    except Malformed:
        return None
    fresh = abs(now_ms - found.at_ms) <= beacons.BEACON_LIFE_MS.value
    if found.record.net != chain_id or not fresh:
        return None
    signed = beacons.to_sign(found.port, found.at_ms, found.raw)
    return found if keys.verify(found.record.node, signed, signature) else None


def _now_ms() -> int:
    return int(time.time() * 1000)
