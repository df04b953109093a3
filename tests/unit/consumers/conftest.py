"""A user's machine, as the tests of the commands have it."""

from tests.unit.cli.conftest import home, pyrsia

__all__ = ["home", "pyrsia"]
