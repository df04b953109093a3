"""Dial-back: the question whether the asker's ports answer, and the answer.

The question is three ports (control, data, broadcast; 0 where there is none), the answer a byte for each: 1 where a
socket with the asker's transport key answered. Where to dial is not the asker's to say: where its link comes from.

Pure.

Source: docs/mesh-discovery.md, "Where others reach us".
"""

import struct
from typing import Final

from pyrsia.errors import Malformed

Ports = tuple[int, int, int]
Reached = tuple[bool, bool, bool]
_PORTS: Final = struct.Struct(">HHH")


def encode_ports(ports: Ports) -> bytes:
    return _PORTS.pack(*ports)


def decode_ports(data: bytes) -> Ports:
    """Lets only `Malformed` escape."""
    if len(data) != _PORTS.size:
        raise Malformed("dial-back: not three ports")
    control, data_port, broadcast = _PORTS.unpack(data)
    if not control:
        raise Malformed("dial-back: without a control port there is nothing to dial")
    return control, data_port, broadcast


def encode_reached(reached: Reached) -> bytes:
    return bytes(reached)


def decode_reached(data: bytes) -> Reached:
    """Lets only `Malformed` escape."""
    if len(data) != 3 or not set(data) <= {0, 1}:
        raise Malformed("dial-back: the answer is none")
    control, data_port, broadcast = map(bool, data)
    return control, data_port, broadcast
