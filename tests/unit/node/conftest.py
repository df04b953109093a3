"""Virtual time for the shells: a test that waits an hour takes a millisecond."""

import pytest
import trio.testing


@pytest.fixture
def autojump_clock():
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.fixture
def anyio_backend(request):
    """trio; on virtual time where the test asks for `autojump_clock`."""
    if "autojump_clock" in request.fixturenames:
        return "trio", {"clock": request.getfixturevalue("autojump_clock")}
    return "trio"
