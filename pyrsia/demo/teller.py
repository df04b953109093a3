"""What a person sees while the demo runs: one line a fact, one living line for what takes time."""

import sys
import time
from types import TracebackType
from typing import TextIO

from pyrsia.wire.text import safe


class Teller:
    """Prints sentences with the seconds since the start; on a terminal the last line lives."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._began_s = time.monotonic()
        self._shown = ""
        self._width = 0

    def say(self, sentence: str) -> None:
        """A fact that stays on the screen."""
        self._clear()
        self._print(f"{self._elapsed()}  {safe(sentence)}\n")
        self._shown = sentence

    def title(self, sentence: str) -> None:
        self._clear()
        self._print(f"\n{self._elapsed()}  {safe(sentence)}\n")

    def now(self, sentence: str) -> None:
        """What is going on; replaced by the next line on a terminal, printed once elsewhere."""
        if self._live:
            self._clear()
            line = f"{self._elapsed()}  {safe(sentence)}"[:120]
            self._width = len(line)
            self._print(line)
        elif sentence != self._shown:
            self._print(f"{self._elapsed()}    {safe(sentence)}\n")
        self._shown = sentence

    def raw(self, text: str) -> None:
        self._clear()
        self._print(text)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._began_s:5.1f}s"

    def _clear(self) -> None:
        if self._width:
            self._print("\r" + " " * self._width + "\r")
            self._width = 0

    def _print(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class Timed:
    """Adds the wall time of its body to `seconds[step]`, also when the body fails."""

    def __init__(self, seconds: dict[str, float], step: str) -> None:
        self._seconds = seconds
        self._step = step
        self._began_s = 0.0

    def __enter__(self) -> None:
        self._began_s = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds[self._step] = self._seconds.get(self._step, 0.0) + time.monotonic() - self._began_s
