"""Manifests: the definition, pinned bytes, and lies about size, hashes and chunks."""

import hashlib
import itertools

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.transfer.manifest import MAX_FILE_BYTES, MAX_MANIFEST_BYTES, Manifest, id_of
from pyrsia.units import CHUNK_BYTES, MAX_CHUNKS, MAX_DATA_FRAME_BYTES

CHUNK = CHUNK_BYTES.value
HEAD = 1 + 8 + 32 + 32


def content(size):
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def naive(data):
    """The definition, word for word."""
    pieces = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    return (
        b"\x01"
        + len(data).to_bytes(8, "big")
        + hashlib.sha256(data).digest()
        + blake3.blake3(data, derive_key_context="pyrsia v1 file").digest()
        + b"".join(blake3.blake3(piece, derive_key_context="pyrsia v1 chunk").digest() for piece in pieces)
    )


SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17]


@pytest.mark.parametrize("size", SIZES)
def test_a_manifest_is_what_the_definition_says_and_survives_its_encoding(size):
    data = content(size)
    manifest = Manifest.of([data])

    assert manifest.encode() == naive(data)
    assert Manifest.decode(manifest.encode()) == manifest
    assert manifest.id == blake3.blake3(naive(data), derive_key_context="pyrsia v1 manifest").digest()
    assert manifest.id == id_of(manifest.encode())
    assert manifest.count == -(-size // CHUNK)


@pytest.mark.parametrize(
    ("size", "ident"),
    [
        (0, "3ab6a1dc95e0dc14a4a00cf52cb672b9b88fc4fbbed342193a0c94bfc8ca7a1d"),
        (1, "ff1ec584bd28bc39edadd5d1efd2a9160f69904e24f49293cca16121807ad3a2"),
        (CHUNK, "b1433c70c5f20355da94a7119479f5499c1ce36afbc500f695aead0948efd11d"),
        (CHUNK + 1, "f9566353bef21b6bb9f7ab24ce89cd9f849279cf3e1476b32d009acab39be9c4"),
    ],
)
def test_the_ids_of_known_files_never_change(size, ident):
    assert Manifest.of([content(size)]).id.hex() == ident


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 2 * CHUNK + 99), max_size=6))
def test_pieces_of_any_sizes_give_the_same_manifest(cuts):
    data = content(2 * CHUNK + 99)
    edges = [0, *sorted(cuts), len(data)]
    pieces = [memoryview(data)[a:b] for a, b in itertools.pairwise(edges)]

    assert Manifest.of(pieces) == Manifest.of([data])


def test_each_chunk_is_checked_alone_in_any_order():
    data = content(2 * CHUNK + 5)
    manifest = Manifest.of([data])

    for index in (2, 0, 1):
        offset, length = manifest.span(index)
        assert offset == index * CHUNK
        piece = data[offset : offset + length]
        assert manifest.holds(index, piece)
        assert manifest.holds(index, memoryview(piece))
        assert not manifest.holds(index, piece[:-1])
        assert not manifest.holds(index, piece + b"\0")
        assert not manifest.holds(index, piece[:-1] + bytes([piece[-1] ^ 1]))
    assert not manifest.holds(0, data[CHUNK + 1 : 2 * CHUNK + 1])
    for beyond in (-1, 3):
        with pytest.raises(ValueError, match="of 3"):
            manifest.span(beyond)


def test_hashes_of_one_kind_never_pass_for_another():
    data = content(100)
    manifest = Manifest.of([data])

    assert len({manifest.blake3, manifest.chunks, blake3.blake3(data).digest(), id_of(data)}) == 4


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_manifest_with_any_byte_changed_is_refused_or_has_another_id(data):
    honest = Manifest.of([content(CHUNK + 1)])
    raw = bytearray(honest.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))

    try:
        changed = Manifest.decode(bytes(raw))
    except Malformed:
        assert at < 9  # version or size
        return
    assert changed.encode() == bytes(raw)
    assert changed.id != honest.id


@given(raw=st.binary(max_size=300))
def test_no_bytes_bring_anything_but_a_manifest_or_malformed(raw):
    try:
        manifest = Manifest.decode(raw)
    except Malformed:
        return
    assert manifest.encode() == raw


@given(st.integers(0, HEAD + 64))
def test_a_manifest_cut_short_is_refused(length):
    raw = Manifest.of([content(CHUNK + 1)]).encode()
    if length == len(raw):
        assert Manifest.decode(raw).size == CHUNK + 1
        return
    with pytest.raises(Malformed):
        Manifest.decode(raw[:length])


def with_size(raw, size):
    return raw[:1] + size.to_bytes(8, "big") + raw[9:]


@pytest.mark.parametrize(
    "lie",
    [
        lambda raw: raw + bytes(32),
        lambda raw: raw + b"\0",
        lambda raw: b"\x02" + raw[1:],
        lambda raw: with_size(raw, 0),
        lambda raw: with_size(raw, CHUNK),
        lambda raw: with_size(raw, 2 * CHUNK + 1),
        lambda raw: with_size(raw, 2**64 - 1),
        lambda raw: with_size(raw[:HEAD], 0),
        lambda raw: bytes(MAX_MANIFEST_BYTES + 1),
    ],
)
def test_each_lie_about_size_or_form_is_malformed(lie):
    raw = Manifest.of([content(CHUNK + 1)]).encode()

    with pytest.raises(Malformed, match="manifest:"):
        Manifest.decode(lie(raw))


def test_the_largest_manifest_fits_a_frame_and_a_larger_file_is_the_callers_mistake():
    raw = b"\x01" + MAX_FILE_BYTES.to_bytes(8, "big") + bytes(64) + bytes(32) * MAX_CHUNKS.value
    assert len(raw) == MAX_MANIFEST_BYTES <= MAX_DATA_FRAME_BYTES.value
    assert Manifest.decode(raw).count == MAX_CHUNKS.value
    with pytest.raises(Malformed):
        Manifest.decode(with_size(raw, MAX_FILE_BYTES + 1) + bytes(32))
    with pytest.raises(ValueError, match="bytes of chunk hashes"):
        Manifest(5, bytes(32), bytes(32), b"")
    with pytest.raises(ValueError, match="not 32"):
        Manifest(5, bytes(31), bytes(32), bytes(32))
