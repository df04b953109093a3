"""A network of real processes, shared by the tests that kill and damage its nodes."""

from collections.abc import Iterator

import pytest

from pyrsia.demo.network import Network


@pytest.fixture
def network() -> Iterator[Network]:
    """Four validators and a follower that run; all gone at the end."""
    net = Network.create(isolation="namespace", environment="host:" + "0" * 64)
    try:
        net.start_all()
        yield net
    finally:
        net.stop_all()
        net.remove()
