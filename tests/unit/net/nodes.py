"""Nodes, strangers and waiting, shared by the tests of links and chunks."""

from pyrsia import keys
from pyrsia.net.links import Links
from pyrsia.units import NodeId
from tests.reference.waiting import until

CHAIN = b"c" * 32


def pairs_by_id(count):
    """Key pairs in the order of their node ids, always the same."""
    return sorted((keys.KeyPair(bytes([i + 1]) * 32) for i in range(count)), key=lambda pair: pair.public)


class Node:
    """Links with a memory of what they received."""

    def __init__(
        self, pair, *, chain=CHAIN, allow=lambda node: True, methods=None, address=None, data="", **more
    ):
        self.id = NodeId(pair.public)
        self.got = []
        self.events = []
        self.methods = dict(methods or {})
        self.links = Links(
            pair,
            chain,
            control_addr=address or "tcp://127.0.0.1:*",
            data_addr=data,
            allow=allow,
            on_message=lambda *message: self.hear(*message),
            methods=self.methods,
            name="n" + pair.public.hex()[:4],
            on_link=lambda node, up: self.events.append((node, up)),
            **more,
        )

    def hear(self, node, kind, payload):
        self.got.append((node, kind, payload))

    @property
    def at(self):
        return self.id, self.links.control_endpoint


async def join(nursery, *nodes):
    """Start all; each dials those before it; return when all are linked."""
    for node in nodes:
        await nursery.start(node.links.run)
    for i, node in enumerate(nodes):
        node.links.dial([other.at for other in nodes[:i]])
    await until(lambda: all(a is b or a.links.connected(b.id) for a in nodes for b in nodes))
