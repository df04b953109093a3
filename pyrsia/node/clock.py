"""Unix time in milliseconds: what `until`, deadlines and block times count in. Tests hand in their own."""

import time
from collections.abc import Callable
from typing import TypeAlias

NowMs: TypeAlias = Callable[[], int]


def wall_ms() -> int:
    return int(time.time() * 1000)
