"""Direct messages on the wire: what a node hands to another one, what is in it, and the receipt. Pure.

Handed over is `hops u8 | envelope`: 0 by who wrote it, 1 by a node that carries it for him; there is no second hop. Who
looks for one to carry it asks before, `2 | node [32]`: have you a link with that node? The answer is one byte. The
payload of a message is `form u8 | text`, as it is or sealed for the recipient's key; under the seal the text stands
behind its author's id, so that nobody can take the seal's content for his own. A receipt is an envelope of the
recipient's, to the author, whose number is when the message came and whose payload is the message's id.

Source: docs/mesh-messages.md, "On the wire".
"""

from enum import IntEnum
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.units import MAX_ENVELOPE_PAYLOAD_BYTES, MAX_MAIL_BYTES, NodeId
from pyrsia.wire import envelopes
from pyrsia.wire.envelopes import Envelope, Kind

_NODE_BYTES: Final = 32
_ASKS: Final = 2
_SEAL_BYTES: Final = 48  # what a sealed box adds
_MOST: Final = 1 + _SEAL_BYTES + _NODE_BYTES + MAX_MAIL_BYTES.value


class Hops(IntEnum):
    """Who hands it over."""

    AUTHOR = 0
    CARRIER = 1


class Form(IntEnum):
    PLAIN = 0
    SEALED = 1


def handed(hops: Hops, envelope: bytes) -> bytes:
    return bytes([hops]) + envelope


def read_handed(data: bytes) -> tuple[Hops, bytes]:
    """Lets only `Malformed` escape."""
    if not 1 < len(data) <= 512 + MAX_ENVELOPE_PAYLOAD_BYTES.value or data[0] not in tuple(Hops):
        raise Malformed("mail: too long, or carried too often")
    return Hops(data[0]), data[1:]


def ask(to: NodeId) -> bytes:
    """Whether a node could carry a message to `to`, before it is given any."""
    return bytes([_ASKS]) + to


def read_ask(data: bytes) -> NodeId | None:
    """The node that is asked about; None where something is handed over. Lets only `Malformed` escape."""
    if data[:1] != bytes([_ASKS]):
        return None
    if len(data) != 1 + _NODE_BYTES:
        raise Malformed("mail: a question about no node")
    return NodeId(data[1:])


def could(linked: bool) -> bytes:
    return bytes([linked])


def read_could(data: bytes) -> bool:
    return data == b"\x01"


def payload(form: Form, text: bytes) -> bytes:
    return bytes([form]) + text


def read_payload(data: bytes) -> tuple[Form, bytes]:
    """Lets only `Malformed` escape."""
    if not data or data[0] not in tuple(Form):
        raise Malformed("mail: a form that is none")
    form = Form(data[0])
    if len(data) > (_MOST if form is Form.SEALED else 1 + MAX_MAIL_BYTES.value):
        raise Malformed(f"mail: {len(data)} bytes of text")
    return form, data[1:]


def under_seal(author: NodeId, text: bytes) -> bytes:
    return author + text


def read_under_seal(author: NodeId, data: bytes) -> bytes:
    """Lets only `Malformed` escape."""
    if data[:_NODE_BYTES] != author or len(data) > _NODE_BYTES + MAX_MAIL_BYTES.value:
        raise Malformed("mail: what is under the seal is somebody else's")
    return data[_NODE_BYTES:]


def receipt(message: Envelope, received_ms: int) -> Envelope:
    """What the recipient signs; it counts as long as the message would have."""
    return Envelope(
        Kind.MAIL_RECEIPT, message.net, message.to, message.origin, received_ms, message.expires_ms, "", message.id
    )  # fmt: skip


def read_receipt(message: Envelope, data: bytes) -> tuple[Envelope, bytes, int]:
    """A receipt for `message`, its signature (not verified), and when the message came. Only `Malformed` escapes."""
    found, signature = envelopes.decode(data)
    if found.seq >= 1 << 53 or found != receipt(message, found.seq):
        raise Malformed("mail: a receipt for something else")
    return found, signature, found.seq
