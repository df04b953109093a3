"""Ports that are held at the start: who listens is told at once, a passing connection is waited for."""

import socket
from collections import Counter

import pytest
import trio

from pyrsia.errors import Refusal
from pyrsia.net.curve import curve_keys
from pyrsia.net.sockets import Sockets
from pyrsia.net.zap import Bans
from pyrsia.node import ports
from pyrsia.node.ports import PATIENCE_S, passing, patiently
from pyrsia.serve.http.listen import listen_tcp
from pyrsia.units import Limit

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ROW = "   0: 0100007F:{port:04X} 0100007F:{port:04X} {state} 00000000:00000000 00:00000000 00000000     0        0 0\n"


def table(tmp_path, *rows):
    path = tmp_path / "tcp"
    path.write_text(HEAD + "".join(ROW.format(port=port, state=state) for port, state in rows))
    return (path, tmp_path / "tcp6")


def taken():
    return Refusal("port-taken", what="cannot listen on tcp://h:1", who="w", do="d")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((), True),
        (((7889, "01"),), True),
        (((7889, "06"), (80, "0A")), True),
        (((7889, "01"), (7889, "0A")), False),
    ],
)
def test_only_who_listens_is_no_passing_connection(tmp_path, rows, expected):
    assert passing({7889}, table(tmp_path, *rows)) is expected


@pytest.mark.parametrize("text", ["x", HEAD + "one two\n", HEAD + "0: zz:zz q 0A rest\n"])
def test_a_system_that_does_not_tell_is_not_waited_for(tmp_path, text):
    assert not passing({7889}, (tmp_path / "away",))
    (tmp_path / "odd").write_text(text)
    assert passing({7889}, (tmp_path / "odd",)) is (text == "x")


@pytest.mark.parametrize("cut", [1, 2, 20, 40, len(ROW.format(port=1, state="01"))])
def test_of_a_long_table_the_beginning_counts_wherever_the_bound_cuts(tmp_path, monkeypatch, cut):
    rows = len(ROW.format(port=1, state="01")) * 3
    monkeypatch.setattr(ports, "MAX_TABLE_BYTES", Limit(rows + cut, "a test's"))
    assert passing({7889}, table(tmp_path, *[(7889, "06")] * 5))
    assert not passing({7889}, table(tmp_path, (7889, "0A"), *[(80, "01")] * 4))


async def test_a_port_that_a_connection_held_is_bound_when_it_ends(monkeypatch, autojump_clock, caplog):
    monkeypatch.setattr(ports, "passing", lambda wanted: wanted == {7889})
    tries = []

    async def bind():
        tries.append(trio.current_time())
        if tries[-1] - tries[0] < 60:
            raise taken()
        return "bound"

    assert await patiently(bind, [7889, 0]) == "bound"
    assert tries[-1] - tries[0] < 61
    assert [one.getMessage() for one in caplog.records] == [
        f"cannot listen on tcp://h:1: a passing connection; trying for {PATIENCE_S.value} s"
    ]


async def test_one_that_never_ends_is_refused_with_what_holds_it(monkeypatch, autojump_clock):
    monkeypatch.setattr(ports, "passing", lambda wanted: True)
    began_s = trio.current_time()

    async def bind():
        raise taken()

    with pytest.raises(Refusal) as caught:
        await patiently(bind, [7889])

    assert (caught.value.code, caught.value.what) == ("port-taken", "cannot listen on tcp://h:1")
    assert "a connection that a program of this machine opened" in caught.value.who
    assert "ip_local_reserved_ports" in caught.value.do
    assert PATIENCE_S.value <= trio.current_time() - began_s < PATIENCE_S.value + 1


async def test_who_listens_is_told_at_once_by_the_system_itself(autojump_clock):
    first = await listen_tcp("127.0.0.1", 0)
    began_s = trio.current_time()
    with first.sock, pytest.raises(Refusal, match="already in use"):
        await patiently(lambda: listen_tcp("127.0.0.1", first.port), [first.port])
    assert trio.current_time() == began_s


async def test_a_socket_that_is_linked_with_itself_passes():
    """What happens to a neighbour that dials a port of the range while nobody listens there."""
    with socket.socket() as looped:
        looped.bind(("127.0.0.1", 0))
        port = looped.getsockname()[1]
        looped.connect(("127.0.0.1", port))
        with pytest.raises(Refusal, match="already in use"):
            await listen_tcp("127.0.0.1", port)
        assert passing({port})

    freed = []

    async def bind():
        freed.append(port)
        return port

    assert await patiently(bind, [port]) == port


async def test_an_address_that_is_not_this_machines_is_the_configurations_fault_and_is_not_waited_for(
    autojump_clock,
):
    """Nobody listens there, so it looked like a port that a passing connection holds: told after 75 s, and wrongly."""
    sockets = Sockets(curve_keys(bytes(32)), Bans(trio.current_time), Counter(), lambda address: True)
    began_s = trio.current_time()

    async def bind():
        sockets.open("tcp://192.0.2.7:46123", "")

    with pytest.raises(Refusal) as refused:
        await patiently(bind, [46123])

    assert refused.value.code == "config-invalid"
    assert "tcp://192.0.2.7:46123" in refused.value.what
    assert "config.toml" in refused.value.who
    assert trio.current_time() == began_s
