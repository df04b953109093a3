"""What validators say to each other: blocks, votes, certificates, and the messages around them."""

from collections.abc import Callable

from pyrsia.wire import blocks
from pyrsia.wire.blocks import Block, FinalityProof, Header, OneBlock, Vote
from tests.fuzz import laws
from tests.unit.wire.test_blocks import messages

MAX_BYTES = 4_096

_PARTS: tuple[tuple[Callable[[bytes], object], str], ...] = (
    (Header.decode, "header"),
    (Block.decode, "block"),
    (FinalityProof.decode, "proof"),
    (blocks.decode_vote, "vote"),
    (blocks.decode_cert, "cert"),
)


def check(data: bytes) -> bool:
    message = laws.one_form(data, blocks.decode_message, blocks.encode_message)
    if isinstance(message, Vote):
        blocks.signed_text(bytes(32), "network/abcdefghijklmnop", message.said)
    if isinstance(message, OneBlock):
        assert message.block.hash == message.block.header.hash()
    for decode, _ in _PARTS:  # what lies on disk has no tag in front
        laws.one_form(data[1:], decode, lambda found: found.encode())  # type: ignore[attr-defined]
    return message is not None


def seeds() -> dict[str, bytes]:
    made = {name: blocks.encode_message(message) for name, message in messages().items()}
    return {**made, "cut": made["vote-nullify"][:-1], "no-such-tag": b"\x63" + made["get-block"][1:]}
