"""Work of a part that goes on when the disk says no: what failed is told once, and once that it is well again.

Around one turn of a loop, never around the loop: the loop decides when it tries again. Anything but trouble with the
disk or a peer goes through, for it is a fault of ours, and so does a damaged database, which ends the node.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyrsia.errors import DatabaseDamaged, PyrsiaError

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
            self._say(str(_first(trouble)))
        else:
            if self._said:
                self._said = ""
                _log.info("%s: this is over", self._what)

    def _say(self, why: str) -> None:
        if why != self._said:
            _log.warning("%s: %s", self._what, why)
        self._said = why


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
