"""Fixtures and habits of every test here.

Loopback only, port 0, no sleeping: a test waits on a condition with a bound, or on virtual time.
Async tests run on trio through anyio's plugin; warnings are errors.
"""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's affair. Hypothesis sees to it where CI is set; elsewhere this does.
settings.register_profile(
    "unhurried",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unhurried")


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
    """Half a million objects of collected tests stay until the end: no collection of garbage looks at them again."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes that nobody reads are named by their place: some are made anew in each process, unlike names."""
    if isinstance(val, bytes) and (
        len(val) > 40 or not val.isascii() or not val.decode("ascii").isprintable()
    ):
        return argname
    return None
