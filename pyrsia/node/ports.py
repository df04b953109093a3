"""Ports that are held when a node starts: by a program that listens there, which is told at once, or only by a
connection that some program opened to somewhere else, which is waited for.

A system takes the near ends of its outgoing connections from a range (Linux: 32768 to 60999). A port of a node that
lies in it may be taken while the node is down, by anybody; its own neighbours on the same machine, which dial it again
and again, may even be given the port that they dial, and be linked with themselves. Such a holder goes by itself.

Source: ip-sysctl, `ip_local_port_range` and `ip_local_reserved_ports`; proc(5), /proc/net/tcp.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import Final, TypeVar

import trio

from pyrsia.errors import Refusal
from pyrsia.units import Limit

PATIENCE_S = Limit(75, "a connection that was closed holds its port for 60 s; ZeroMQ gives one up after 30 s")
AGAIN_S: Final = 0.5  # between two tries
MAX_TABLE_BYTES = Limit(
    16 << 20, "100,000 connections of a machine, 150 bytes each; the rest is not looked at"
)

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS: Final = "0A"  # TCP_LISTEN

T = TypeVar("T")
_log = logging.getLogger("pyrsia.node")


async def patiently(bind: Callable[[], Awaitable[T]], ports: Collection[int]) -> T:
    """What `bind` gives, as soon as no passing connection holds one of its ports.

    Args:
        ports: that it binds; 0 is none.

    Raises:
        Refusal: as `bind`; `port-taken` at once where a program listens, else after `PATIENCE_S`.
    """
    wanted = frozenset(ports) - {0}
    ends_s = trio.current_time() + PATIENCE_S.value
    told = False
    while True:
        try:
            return await bind()
        except Refusal as refusal:
            if refusal.code != "port-taken" or not passing(wanted):
                raise
            if trio.current_time() >= ends_s:
                raise _still_held(refusal) from None
            if not told:
                _log.warning("%s: a passing connection; trying for %d s", refusal.what, PATIENCE_S.value)
            told = True
        await trio.sleep(AGAIN_S)


def passing(ports: Collection[int], tables: Collection[Path] = _TABLES) -> bool:
    """Whether nobody listens at any of `ports`; False where the system does not tell."""
    try:
        return not any(
            state == _LISTENS and port in ports
            for table in tables
            if table.exists()
            for port, state in _rows(table)
        ) and any(table.exists() for table in tables)
    except (OSError, ValueError):
        return False


def _rows(table: Path) -> Iterator[tuple[int, str]]:
    """Each connection's port here, and its state."""
    with table.open() as opened:
        next(opened, "")
        text = opened.read(MAX_TABLE_BYTES.value)
        if len(text) == MAX_TABLE_BYTES.value:  # the bound cuts a row; who listens comes first in a table
            text = text[: text.rfind("\n") + 1]
        for line in text.splitlines():
            _, here, _, state, *_ = line.split(maxsplit=4)
            yield int(here.rpartition(":")[2], 16), state


def _still_held(refusal: Refusal) -> Refusal:
    return Refusal(
        "port-taken",
        what=refusal.what,
        who="a connection that a program of this machine opened to somewhere else",
        do="choose a port below 32768, or keep this one for the node: sysctl net.ipv4.ip_local_reserved_ports",
    )
