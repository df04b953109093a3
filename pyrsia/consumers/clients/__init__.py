"""The clients that `pyrsia setup` knows, one module each; imported when one is asked for."""

import importlib
from typing import Final

from pyrsia.consumers.edits import Kind

NAMES: Final = ("pip", "uv", "docker", "containerd", "podman", "maven", "gradle", "conan")


def kind(name: str) -> Kind:
    """The client of this name, one of `NAMES`."""
    found: Kind = importlib.import_module(f"pyrsia.consumers.clients.{name}").KIND
    return found
