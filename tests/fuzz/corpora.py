"""Which targets there are, and the inputs that are kept for each."""

import importlib
from pathlib import Path
from typing import Protocol, cast

TARGETS = Path(__file__).resolve().parent / "targets"
CORPUS = Path(__file__).resolve().parent / "corpus"
GROWN = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"  # what the fuzzer grows; not kept
HELPERS = {"__init__", "samples"}


class Target(Protocol):
    """What a module below `targets/` offers. `JSON = True` besides: inputs are changed as JSON, too."""

    MAX_BYTES: int

    def check(self, data: bytes) -> bool:
        """Raise if a law is broken; else whether `data` was accepted."""
        ...

    def seeds(self) -> dict[str, bytes]:
        """Inputs to begin with, by a word for each: at least one that is accepted, one that is refused."""
        ...


def targets() -> list[str]:
    return sorted(file.stem for file in TARGETS.glob("*.py") if file.stem not in HELPERS)


def target(name: str) -> Target:
    return cast("Target", importlib.import_module(f"tests.fuzz.targets.{name}"))


def kept(name: str) -> list[Path]:
    return sorted((CORPUS / name).iterdir())
