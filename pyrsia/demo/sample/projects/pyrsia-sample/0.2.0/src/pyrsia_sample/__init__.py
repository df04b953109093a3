"""The smallest package that can be built, agreed on and installed."""

__version__ = "0.2.0"


def greet(name: str = "you") -> str:
    return f"hello, {name}"
