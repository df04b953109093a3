"""Fixtures and habits of every test here.

Loopback only, port 0, no sleeping: a test waits on a condition with a bound, or on virtual time.
Async tests run on trio through anyio's plugin; warnings are errors.
"""

import gc
import os
import sys
from pathlib import Path

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Third-party test data; CI always sets the variable."""
    folder = os.environ.get("PYRSIA_VECTORS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PYRSIA_VECTORS names no folder with third-party vectors")
    return Path(folder)


def pytest_collection_finish() -> None:
    """Half a million objects of collected tests stay until the end: no collection of garbage looks at them again.

    Not before Hypothesis is loaded: it then asks what refers to trio's generator, and frozen objects do not count.
    """
    if "hypothesis" in sys.modules:
        gc.collect()
        gc.freeze()


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes that nobody reads are named by their place: some are made anew in each process, unlike names."""
    if isinstance(val, bytes) and (
        len(val) > 40 or not val.isascii() or not val.decode("ascii").isprintable()
    ):
        return argname
    return None
