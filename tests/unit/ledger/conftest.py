"""A small network with fake keys and its chain, ready to build."""

import pytest

from tests.reference.ledger import World


@pytest.fixture
def world():
    return World()
