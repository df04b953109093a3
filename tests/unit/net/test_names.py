"""Nodes from DNS: what an honest server says, what a liar may, and a server that is not there."""

import socket as plain
import threading

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rrset
import pytest
import trio

from pyrsia.keys import KeyPair
from pyrsia.net import names
from pyrsia.net.names import MAX_DNS_RECORDS, RESOLVERS, Names, of_srv, of_txt, resolve
from pyrsia.wire.text import b32
from tests.reference.waiting import bounded, until

NODE = KeyPair(bytes(32)).public
ID = b32(NODE)


class Server:
    """A DNS server on loopback that has these records."""

    def __init__(self, rows, garbage=b""):
        self.rows, self.garbage = rows, garbage
        self.asked = []

    async def run(self, task_status=trio.TASK_STATUS_IGNORED):
        sock = trio.socket.socket(plain.AF_INET, plain.SOCK_DGRAM)
        with sock:
            await sock.bind(("127.0.0.1", 0))
            task_status.started(sock.getsockname()[1])
            while True:
                data, where = await sock.recvfrom(4_096)
                await sock.sendto(self.garbage or self.answer(data), where)

    def answer(self, data):
        question = dns.message.from_wire(data)
        asked = question.question[0]
        name, kind = asked.name.to_text(), asked.rdtype.name
        self.asked.append((name, kind))
        answer = dns.message.make_response(question)
        answer.flags |= dns.flags.RA
        found = self.rows.get((name, kind), [])
        if found:
            answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", kind, *found))
        return answer.to_wire(max_size=60_000)


async def looked_up(rows, name="mesh.example", garbage=b""):
    server = Server(rows, garbage)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.run)
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], port
        with bounded():
            found = await Names(resolver).look_up(name)
        nursery.cancel_scope.cancel()
    return found, server.asked


async def test_txt_and_srv_records_name_nodes_and_other_records_do_not():
    found, asked = await looked_up({
        ("mesh.example.", "TXT"): [
            f'"pyrsia={ID}@tcp://203.0.113.7:44000"', '"v=spf1 -all"', f'"pyrsia={ID}@" "tcp://amber.example:1"',
            '"pyrsia=short@tcp://203.0.113.7:44000"', f'"pyrsia={ID}@tcp://203.0.113.7:0"', f'"pyrsia={ID}@ipc:///x"',
        ],
        ("_pyrsia._tcp.mesh.example.", "SRV"): [f"0 0 44000 {ID}.nodes.example.", "0 0 1 amber.example."],
    })  # fmt: skip
    assert sorted(found) == sorted([
        (NODE, "tcp://203.0.113.7:44000"), (NODE, "tcp://amber.example:1"), (NODE, f"tcp://{ID}.nodes.example:44000"),
    ])  # fmt: skip
    assert asked == [("mesh.example.", "TXT"), ("_pyrsia._tcp.mesh.example.", "SRV")]


async def test_a_name_with_more_records_than_anybody_needs_is_read_to_a_bound():
    rows = [f'"pyrsia={ID}@tcp://203.0.113.7:{port}"' for port in range(1, 300)]
    found, _ = await looked_up({("mesh.example.", "TXT"): rows})
    assert len(found) == MAX_DNS_RECORDS.value


async def test_nothing_garbage_and_no_name_give_nobody(monkeypatch):
    monkeypatch.setattr(names, "DNS_WAIT_S", names.Limit(0.3, "soon"))
    assert (await looked_up({}))[0] == []
    assert (await looked_up({}, garbage=b"\xff" * 40))[0] == []
    for name in ("", "..", "a" * 300, "bad\0name.example"):
        assert (await looked_up({}, name=name))[0] == []


@pytest.mark.parametrize(
    "text", [b"", b"pyrsia=", ID.encode(), b"pyrsia=" + ID.encode() + b"@tcp://a b:1",
             b"pyrsia=" + ID.upper().encode() + b"@tcp://a:1", b"pyrsia=" + ID.encode() + b"@tcp://" + b"a" * 300]
)  # fmt: skip
def test_what_is_no_hint(text):
    assert of_txt(text) is None
    assert of_srv("x" + text.decode(errors="replace"), 1) is None


async def test_a_name_server_that_says_nothing_takes_no_thread_of_anybody_else(monkeypatch):
    go_on, asked = threading.Event(), []

    def silent(host, *_, **__):
        asked.append(host)
        go_on.wait(20)
        return []

    monkeypatch.setattr(names.socket, "getaddrinfo", silent)
    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(resolve, f"{number}.example")
        await until(lambda: len(asked) == RESOLVERS.value)
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        nursery.cancel_scope.cancel()
    go_on.set()
    await until(lambda: not names._THREADS.borrowed_tokens)
    assert len(asked) == RESOLVERS.value


async def test_the_systems_resolver_gives_numbers_and_nothing_for_what_is_no_host():
    assert "127.0.0.1" in await resolve("localhost")
    assert await resolve("127.0.0.1") == ["127.0.0.1"]
    for host in ("no.such.host.invalid", "a" * 300, "\ud800"):
        assert await resolve(host) == []
