"""A package with a dependency, so that a whole closure is built."""

from pyrsia_sample_dep import GREETING

__version__ = "0.3.0"


def greet(name: str = "you") -> str:
    return f"hello, {name}: {GREETING}"
