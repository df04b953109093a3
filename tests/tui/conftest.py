"""Textual runs on asyncio, so these tests do too."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
