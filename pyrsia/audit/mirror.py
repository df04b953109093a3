"""Following a log with a copy: round after round, patient with the world, never with the signers.

What ends it is an alarm, or a folder that cannot be written. A server that is down, slow or hands out something
else than what was signed is asked again, less and less often; nothing of that reaches the folder.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pyrsia.audit.copying import Round
from pyrsia.errors import Malformed, Unavailable
from pyrsia.units import Limit

LONGEST_S = Limit(300, "between two attempts at a log that fails: five minutes late at most when it is back")


@dataclass(slots=True)
class Follow:
    """The loop.

    Attributes:
        once: one round, from opening the source to closing it.
        every_s: between two rounds that went well.
        told: hears of every round that brought something.
        warned: hears why a round failed, once until another reason comes.
    """

    once: Callable[[], Round]
    every_s: float
    told: Callable[[Round], None]
    warned: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep

    def run(self) -> None:
        """For ever.

        Raises:
            Refusal: an `Alarm`, or something that waiting does not mend.
            OSError: the folder cannot be written.
        """
        failures = 0
        last = ""
        while True:
            try:
                done = self.once()
            except (Malformed, Unavailable) as error:
                failures += 1
                if str(error) != last:
                    last = str(error)
                    self.warned(last)
            else:
                failures, last = 0, ""
                if done.files or done.head.checkpoint.size > done.old:
                    self.told(done)
            self.sleep(self.pause_s(failures))

    def pause_s(self, failures: int) -> float:
        """Twice as long after each failure in a row."""
        return min(self.every_s * float(1 << min(failures, 16)), max(self.every_s, LONGEST_S.value))
