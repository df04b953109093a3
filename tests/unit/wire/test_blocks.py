"""Blocks, votes and certificates as bytes: one byte string for each value, and a file that pins it."""

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.units import MAX_BLOCK_ENTRIES
from pyrsia.wire.blocks import (
    FIN,
    NOT,
    NUL,
    Block,
    Blocks,
    Body,
    Cert,
    FinalityProof,
    GetBlock,
    GetBlocks,
    GetCerts,
    Header,
    Justification,
    Message,
    OneBlock,
    Proposal,
    Statement,
    Status,
    Vote,
    checkpoint_text,
    decode_message,
    encode_message,
    entries_root,
    finalize,
    notarize,
    nullify,
    signed_text,
)

VECTORS = Path(__file__).parents[2] / "wire" / "vectors" / "blocks.json"


def some_block(view: int = 9, entries: tuple[bytes, ...] = (b'{"v":1}', b"x")) -> Block:
    just = Justification(
        Cert(Statement(NOT, 0, view - 2, b"p" * 32), 4, (0, 1, 3), (b"a" * 64, b"b" * 64, b"c" * 64)),
        (Cert(nullify(0, view - 1), 4, (1, 2, 3), (b"d" * 64, b"e" * 64, b"f" * 64)),),
    )
    header = Header(
        b"c" * 32, 0, view, 5, b"p" * 32, view - 2, 2, 1_800_000_000_000, 0, len(entries), entries_root(entries),
        77, b"t" * 32, b"m" * 32, b"m" * 32, just.hash(), b"r" * 32, b"b" * 32, bytes(32),
    )  # fmt: skip
    return Block(header, Body(entries, just))


def messages() -> dict[str, Message]:
    block = some_block()
    fin = Cert(finalize(block.header), 4, (0, 2, 3), (b"1" * 64, b"2" * 64, b"3" * 64))
    proof = FinalityProof(fin, (block.header,))
    vote = Vote(notarize(block.header), 2, b"s" * 64)
    return {
        "proposal": Proposal(block, vote),
        "vote-notarize": vote,
        "vote-nullify": Vote(nullify(0, 9), 1, b"n" * 64),
        "vote-finalize": Vote(finalize(block.header), 3, b"f" * 64),
        "cert-finalize": fin,
        "status": Status(0, 10, 5, block.hash, (fin,), vote, 7, 8),
        "status-bare": Status(0, 1, 0, b"g" * 32),
        "get-blocks": GetBlocks(1, 128),
        "blocks": Blocks((block,), proof),
        "get-block": GetBlock(block.hash),
        "one-block": OneBlock(some_block(entries=())),
        "get-certs": GetCerts(0, 3, 9),
    }


def test_the_committed_vectors_pin_every_encoding_the_hash_and_the_signed_texts() -> None:
    """To change a format on purpose, write this file anew: the difference is then seen."""
    block = some_block()
    texts = [nullify(0, 9), notarize(block.header), finalize(block.header)]
    made = {
        "messages": {name: encode_message(m).hex() for name, m in messages().items()},
        "block_hash": block.hash.hex(),
        "signed": [signed_text(b"c" * 32, "demo/abcd", said).hex() for said in texts],
    }

    assert json.loads(VECTORS.read_text()) == made
    assert len(made["messages"]) == 12


@pytest.mark.parametrize("name", messages())
def test_every_message_comes_back_as_it_went(name: str) -> None:
    message = messages()[name]

    assert decode_message(encode_message(message)) == message


@pytest.mark.parametrize("name", messages())
def test_a_message_cut_anywhere_or_with_a_byte_too_many_is_refused(name: str) -> None:
    data = encode_message(messages()[name])
    for end in range(0, len(data), 1 if len(data) < 300 else 7):
        with pytest.raises(Malformed):
            decode_message(data[:end])
    with pytest.raises(Malformed):
        decode_message(data + b"\0")


@settings(max_examples=300)
@given(data=st.data())
def test_whatever_decodes_has_no_other_spelling(data: st.DataObject) -> None:
    whole = bytearray(encode_message(data.draw(st.sampled_from(sorted(messages().items())))[1]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    try:
        message = decode_message(bytes(whole))
    except Malformed:
        return
    assert encode_message(message) == bytes(whole)


@given(st.binary(max_size=600))
def test_no_garbage_raises_anything_but_malformed(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        decode_message(data)


def test_the_checkpoint_text_is_the_one_of_the_specification() -> None:
    said = Statement(FIN, 0, 9, b"\0" * 32, 5, 1_800_000_000_000, 77, b"\xff" * 32)

    assert checkpoint_text("demo/abcd", said) == (
        b"demo/abcd\n77\n" + b"/" * 42 + b"8=\npyrsia 0 9 5 1800000000000 " + b"A" * 43 + b"=\n"
    )
    assert signed_text(b"c" * 32, "demo/abcd", said).startswith(b"pyrsia/simplex/finalize/v1\ndemo/abcd\n")


def test_the_three_kinds_never_sign_the_same_bytes() -> None:
    block = some_block()
    texts = {
        signed_text(b"c" * 32, "o", s)
        for s in (nullify(0, 9), notarize(block.header), finalize(block.header))
    }

    assert len(texts) == 3


def _vote_bytes(kind: int, view: int) -> bytes:
    return b"\x02" + struct.pack(">BQQ", kind, 0, view) + b"h" * 32 + struct.pack(">H", 1) + b"s" * 64


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x63" + bytes(80),
        _vote_bytes(0, 1),  # no such kind
        _vote_bytes(4, 1),
        _vote_bytes(NOT, 0),  # views count from 1
        b"\x03"
        + struct.pack(">BQQ", NUL, 0, 1)
        + struct.pack(">H", 4)
        + b"\x10"
        + bytes(64),  # member 4 of 4
        b"\x03" + struct.pack(">BQQ", NUL, 0, 1) + struct.pack(">H", 4) + b"\x00",  # nobody signed
        b"\x03" + struct.pack(">BQQ", NUL, 0, 1) + struct.pack(">H", 60_000) + bytes(7500),
    ],
)
def test_lies_about_kinds_views_and_members_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode_message(data)


def test_a_header_that_counts_more_entries_than_a_block_may_hold_is_refused() -> None:
    data = bytearray(some_block().encode())
    at = struct.calcsize(">32sQQQ32sQHQB")
    data[at : at + 4] = struct.pack(">I", MAX_BLOCK_ENTRIES.value + 1)
    with pytest.raises(Malformed, match="entries"):
        Block.decode(bytes(data))


def test_a_proposal_whose_vote_speaks_of_another_block_is_refused() -> None:
    wrong = Proposal(some_block(), Vote(notarize(some_block(12).header), 2, b"s" * 64))
    with pytest.raises(Malformed, match="another block"):
        decode_message(encode_message(wrong))
