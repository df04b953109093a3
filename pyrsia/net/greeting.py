"""Greetings: who may be whom. A node id counts once its owner signed for this very connection.

A greeting is believed when it is meant for us, in answer to our nonce where we dialled, of our chain, from
the owner of the transport key that ZeroMQ vouches for, and signed by that node.

Source: docs/network.md, "Control links".
"""

import time
from collections.abc import Callable
from typing import Protocol

from pyrsia import keys
from pyrsia.errors import Malformed
from pyrsia.net.curve import curve_public
from pyrsia.units import NodeId
from pyrsia.wire import frames
from pyrsia.wire.frames import Frame, Greeting, Type


class NodeKey(Protocol):
    """What links need of the node's Ed25519 key."""

    @property
    def public(self) -> bytes: ...
    @property
    def seed(self) -> bytes: ...
    def sign(self, message: bytes) -> bytes: ...


class Greeter:
    """Says who we are and checks who others say they are.

    Args:
        chain_id: 32 bytes; a greeting of another chain is refused.
        name: what we call ourselves.
        addresses: where others reach our control, data and broadcast sockets, asked at every greeting.
        allow: whether a node has a place of its own.
        guest: whether one without may be a guest while there is room.
    """

    def __init__(
        self,
        key: NodeKey,
        chain_id: bytes,
        name: str,
        addresses: Callable[[], tuple[str, str, str]],
        allow: Callable[[NodeId], bool],
        guest: Callable[[NodeId], bool],
    ) -> None:
        self.node = NodeId(key.public)
        self._key = key
        self._chain_id = chain_id
        self._name = name
        self._addresses = addresses
        self._allow = allow
        self._guest = guest

    def allows(self, node: NodeId) -> bool:
        return node != self.node and self._allow(node)

    def may_be_guest(self, node: NodeId) -> bool:
        return node != self.node and self._guest(node)

    def make(self, to: NodeId, nonce: bytes, *, welcome: bool, seen: str = "") -> Frame:
        """Our HELLO, or the WELCOME to a HELLO with `nonce`, which says where we see who said it."""
        now_ms = int(time.time() * 1000)
        seen = seen if frames.is_numeric(seen) else ""
        greeting = Greeting(
            self.node, self._chain_id, to, nonce, now_ms, self._name, *self._addresses(), seen
        )
        signature = self._key.sign(frames.greeting_to_sign(greeting, welcome=welcome))
        body = frames.encode_greeting(greeting, signature)
        return Frame(Type.WELCOME if welcome else Type.HELLO, body=body)

    def check(self, frame: Frame, key: bytes, nonce: bytes | None, expected: Type) -> Greeting:
        """The greeting in `frame`, which came over a connection with the transport key `key`.

        Args:
            nonce: what it must answer; None for the first word of whoever dialled us.
            expected: HELLO or WELCOME.

        Raises:
            Malformed: not from the owner of `key`, not to us, not now, or of another chain.
        """
        if frame.type is not expected:
            raise Malformed("greeting: something else came first")
        greeting, signature = frames.decode_greeting(frame.body)
        if greeting.to != self.node or (nonce is not None and greeting.nonce != nonce):
            raise Malformed("greeting-replayed: meant for another connection")
        if greeting.chain_id != self._chain_id:
            raise Malformed("greeting-wrong-chain: of another network")
        if curve_public(greeting.node) != key:
            raise Malformed("greeting-not-its-key: the node id does not belong to the transport key")
        signed = frames.greeting_to_sign(greeting, welcome=expected is Type.WELCOME)
        if not keys.verify(greeting.node, signed, signature):
            raise Malformed("greeting: the signature is wrong")
        return greeting
