"""The smallest package that can be built, agreed on and installed."""

__version__ = "0.1.0"


def greet() -> str:
    return "hello"
