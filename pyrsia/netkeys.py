"""Whether the keys of `[net]` that name others can do anything: what is taken and does nothing helps nobody.

Pure: nothing is asked of DNS or of the network. Each sentence names its key.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

_PEER: Final = re.compile(
    r"[a-z2-7]{52}@tcp://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(?P<port>[0-9]{1,5})"
)
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NAME_CHARS: Final = 253
_MAX_PORT: Final = 65_535


def peer(text: str) -> str:
    """Why `text` is no item of `net.peers`; "" where it is one."""
    found = _PEER.fullmatch(text)
    if found is None or not 0 < int(found["port"]) <= _MAX_PORT:
        return f"net.peers: {text!r} is no <node id>@tcp://host:port, with the control port of that node"
    return ""


def bootstrap(text: str) -> str:
    """Why `text` is no item of `net.bootstrap`; "" where it is one."""
    try:
        found = urlsplit(text)
        good = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:  # a port that is no number, a bracket that is left open
        good = False
    if not good or found.query or found.fragment or any(letter.isspace() for letter in text):
        return f"net.bootstrap: {text!r} is no http(s)://host:port of a node"
    return ""


def name(text: str) -> str:
    """Why `text` is no item of `net.dns`; "" where it is one."""
    labels = text.removesuffix(".").split(".")
    if len(text) > _NAME_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        return f"net.dns: {text!r} is no name in DNS, such as nodes.packages.example"
    return ""


def lan(text: str) -> str:
    """Why `text` is nothing for `net.lan`; "" where it is, or empty."""
    host, _, port = text.rpartition(":")
    try:
        good = not text or (bool(ipaddress.IPv4Address(host)) and 0 < int(port) <= _MAX_PORT)
    except ValueError:
        good = False
    if not good:
        return f"net.lan: {text!r} is no IPv4 address of a group or cable with a port, such as 239.255.77.77:7893"
    return ""


def ports(taken: Sequence[tuple[str, str, int]]) -> str:
    """Why these addresses cannot all be bound; "" where they can. Key, host and port of each; 0 is a free one."""
    for at, (key, host, port) in enumerate(taken):
        for other, theirs, same in taken[:at]:
            if port == same != 0 and (host == theirs or {host, theirs} & {"0.0.0.0", "::", "*"}):  # noqa: S104
                return f"{key} is {port}, as {other} is: each needs a port of its own"
    return ""
