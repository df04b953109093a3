"""Work of a part that goes on when the disk says no: what failed is told once, and once that it is well again.

Around one turn of a loop, never around the loop: the loop decides when it tries again. Anything but trouble with the
disk or a peer goes through, for it is a fault of ours, and so does a damaged database, which ends the node.

`Border` is for turns that strangers' words lead to: there a fault of ours is told, and ends the turn and nothing else,
as it does in what answers requests and takes messages (`net.requests`, `net.traffic`).
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from pyrsia.errors import DatabaseDamaged, PyrsiaError, first_cause

TOLD_S: Final = 60.0  # between two lines about the same border
TROUBLE: Final = (PyrsiaError, OSError)

_log = logging.getLogger("pyrsia.mesh")


class Enduring:
    """One concern.

    Args:
        what: what does not go on, for the diary: "copies are not kept".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._said = ""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One turn of a loop, or one task; ends early when there is trouble."""
        try:
            yield
        except DatabaseDamaged:  # a node must not go on over it
            raise
        except TROUBLE as error:
            self._say(str(error))
        except BaseExceptionGroup as group:
            trouble, others = group.split(TROUBLE)
            if others is not None or trouble is None or group.subgroup(DatabaseDamaged) is not None:
                raise
            self._say(str(first_cause(trouble)))
        else:
            if self._said:
                self._said = ""
                _log.info("%s: this is over", self._what)

    def _say(self, why: str) -> None:
        if why != self._said:
            _log.warning("%s: %s", self._what, why)
        self._said = why


class Border:
    """One concern that must not end the node, whatever bug those who come and go have found.

    Args:
        what: as for `Enduring`.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._told_s = -math.inf

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One turn; ends early where it meets a bug, which is in the diary, once a minute."""
        try:
            yield
        except DatabaseDamaged:
            raise
        except Exception as error:  # a bug of ours, and strangers choose when it comes
            if isinstance(error, ExceptionGroup) and error.subgroup(DatabaseDamaged) is not None:
                raise  # a nursery brings it in a group
            now_s = trio.current_time()
            if now_s - self._told_s >= TOLD_S:
                self._told_s = now_s
                _log.exception("%s: a fault of ours", self._what)
