"""Ports of a network that nobody else is given, whether its nodes run or not."""

import resource
import socket
import sys
from contextlib import ExitStack, closing

import pytest

from pyrsia.demo.ports import LOOPBACK, Ports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a held port is Linux's")


def listener(port):
    """As nodes make theirs: with SO_REUSEADDR."""
    return socket.create_server((LOOPBACK, port))


def given_to_anybody(count):
    """The ports that `count` sockets get that ask for any; all are open at once."""
    with ExitStack() as held:
        found = set()
        for _ in range(count):
            one = held.enter_context(socket.socket())
            one.bind((LOOPBACK, 0))
            found.add(one.getsockname()[1])
        return found


def most():
    """Sockets that this process may open beside what it has open."""
    return min(1_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 400)


def test_a_node_listens_at_a_held_port_again_and_again():
    with closing(Ports()) as ports:
        (port,) = ports.hold(1)
        for _ in range(3):
            with listener(port) as door, socket.create_connection((LOOPBACK, port)) as near:
                door.accept()[0].close()
                assert near.getpeername() == (LOOPBACK, port)


def test_a_held_port_is_given_to_nobody_who_asks_for_any():
    with closing(Ports()) as ports:
        held = ports.hold(200)
        assert len(set(held)) == 200
        assert not given_to_anybody(most()) & set(held)


def test_two_networks_that_begin_at_once_have_no_port_in_common():
    with closing(Ports()) as one, closing(Ports()) as other:
        assert not set(one.hold(100) + one.hold(100)) & set(other.hold(200))


def test_what_is_closed_is_everybodys_again():
    ports = Ports()
    (port,) = ports.hold(1)
    with socket.socket() as plain, pytest.raises(OSError, match="in use"):
        plain.bind((LOOPBACK, port))
    ports.close()
    with socket.socket() as plain:
        plain.bind((LOOPBACK, port))
        assert plain.getsockname()[1] == port
