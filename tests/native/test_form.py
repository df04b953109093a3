"""The scanner of whole bundles against `canonical.decode_plainly`, which says what canonical JSON is."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyrsia._native import form
from pyrsia.errors import Malformed
from pyrsia.log import tiles
from pyrsia.units import MAX_ENTRY_BYTES, MAX_JSON_DEPTH
from pyrsia.wire import canonical

SOURCE = Path(form.__file__).with_name("form.pyx")

NAMES = st.text(st.characters(max_codepoint=127), max_size=6)
VALUES = st.recursive(
    st.booleans()
    | st.integers(0, canonical.MAX_INT)
    | st.text(max_size=12)
    | st.text(st.characters(max_codepoint=130), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)

# What a text may be made of that is JSON, nearly JSON, and not UTF-8.
SIGNS = [bytes([one]) for one in b'{}[],:" \n\x00\x1f\x7f\x80\xff']
TOKENS = (
    rb'"a" "b" "a":1 "\n":1 "A":1 "":[] true false null 0 1 00 -1 -0 1.0 1e3 9007199254740991 9007199254740992 '
    rb"90071992547409910 \u001f \u001F \u000a \u0061 \/ \b \f \\ \" \ud800"
).split()
SEQUENCES = [
    bytes.fromhex(one)
    for one in ("c3a9", "e280a8", "f09f8e89", "eda080", "c080", "f4908080", "e09f80", "f08f8080", "f48fbfbf")
]
PIECES = st.sampled_from([*SIGNS, *TOKENS, *SEQUENCES])


def is_canonical(data: bytes) -> bool:
    try:
        canonical.decode_plainly(data)
    except Malformed:
        return False
    return True


def agree(data: bytes) -> None:
    at = form.malformed_at(data)
    assert (at == -1) == is_canonical(data), (data, at)
    assert -1 <= at <= min(len(data), MAX_ENTRY_BYTES.value)
    assert said(canonical.decode, data) == said(canonical.decode_plainly, data)


def said(decode, data: bytes) -> object:
    """The value, or the words of the refusal."""
    try:
        return decode(data)
    except Malformed as error:
        return str(error)


@given(VALUES)
def test_what_is_encoded_is_canonical(value: canonical.Json) -> None:
    depth = MAX_JSON_DEPTH.value
    try:
        data = canonical.encode(value)
    except ValueError:
        return  # deeper than 8, or half a surrogate pair
    assert form.malformed_at(data) == -1
    # One container more at a time, until they are too many.
    for _ in range(depth + 1):
        data = b"[" + data + b"]"
        agree(data)


@given(VALUES, st.data())
def test_any_change_of_a_canonical_text_is_judged_as_the_oracle_does(
    value: canonical.Json, draw: st.DataObject
) -> None:
    try:
        data = canonical.encode(value)
    except ValueError:
        return
    at = draw.draw(st.integers(0, len(data)))
    piece = draw.draw(PIECES | st.binary(max_size=3))
    cut = draw.draw(st.integers(0, 3))
    agree(data[:at] + piece + data[at + cut :])


@given(st.lists(PIECES, max_size=14).map(b"".join) | st.binary(max_size=40))
@example(b"")
@example(b'{"a":1,"a":1}')
@example(b'{"\\n":1,"A":1}')
@example(b'{"A":1,"\\n":1}')
@example(b'{"":1,"\\u0000":2}')
@example(b'{"\\u0000":1,"":2}')
@example(b'{"ab":1,"a":2}')
@example(b'{"a":1,"ab":2}')
@example(b'{"\\"":1,"#":2}')
@example(b'{"[":1,"\\\\":2}')
@example(b'{"\xc3\xa9":1}')
@example(b'["\\u007f"]')
@example(b"9007199254740991")
@example(b"9007199254740992")
@example(b"18446744073709551617")
@example(b'"0123456789abcdef\x1f"')
@example(b'"01234567\xed\x9f\xbf\xee\x80\x80"')
def test_no_bytes_are_judged_otherwise_than_by_the_oracle(data: bytes) -> None:
    agree(data)


def test_every_byte_and_every_pair_of_bytes_inside_a_text_is_judged_as_the_oracle_does() -> None:
    for one in range(256):
        agree(b'"%c"' % one)
        agree(b'"abcdefgh%c"' % one)
        agree(b'"\\%c"' % one)
        agree(b'{"%c":0}' % one)
        for other in range(0, 256, 5):
            agree(b'["%c%cabcdefgh"]' % (one, other))
            agree(b'"\xe2%c%c"' % (one, other))
            agree(b'"\xf1%c\x80%c"' % (one, other))
            agree(b'"\\u00%c%c"' % (one, other))
            agree(b'{"%c":0,"%c":0}' % (one, other))


@pytest.mark.parametrize("code", range(0x20))
def test_each_control_has_one_escape(code: int) -> None:
    for text in (b'"\\u%04x"' % code, b'"\\u%04X"' % code, b'{"a\\u%04x":1}' % code):
        agree(text)


def test_depth_and_length_end_where_the_oracle_ends() -> None:
    for depth in range(1, 12):
        agree(b"[" * depth + b"]" * depth)
        agree(b'{"a":' * depth + b"1" + b"}" * depth)
    most = MAX_ENTRY_BYTES.value
    for size in (most - 1, most, most + 1):
        agree(b'"' + b"a" * (size - 2) + b'"')


def test_the_numbers_are_those_of_the_units() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    assert re.search(rf"MAX_ENTRY_BYTES = {MAX_ENTRY_BYTES.value:_}\b", source)
    assert re.search(rf"MAX_DEPTH = {MAX_JSON_DEPTH.value}\b", source)


def test_the_offset_points_at_what_is_wrong() -> None:
    assert form.malformed_at(b'{"a":1,"b":nul}') == 11
    assert form.malformed_at(b'{"b":1,"a":2}') == 8
    assert form.malformed_at(b'{"a":"x\xff"}') == 7
    assert form.malformed_at(b'{"a":1} ') == 7
    assert form.malformed_at(b'{"a":1') == 6


@given(st.lists(VALUES, min_size=1, max_size=9), st.data())
def test_a_bundle_names_its_first_malformed_entry(values: list[canonical.Json], draw: st.DataObject) -> None:
    entries = []
    for value in values:
        try:
            entries.append(canonical.encode(value))
        except ValueError:
            entries.append(b"[[[[[[[[[0]]]]]]]]]")
    if draw.draw(st.booleans()):
        entries[draw.draw(st.integers(0, len(entries) - 1))] = draw.draw(st.binary(max_size=5))
    bundle = tiles.bundle_encode(entries)
    bad = [i for i, entry in enumerate(entries) if not is_canonical(entry)]
    assert form.first_malformed(bundle, len(entries)) == (bad[0] if bad else -1)


def test_a_bundle_that_ends_early_or_goes_on_is_malformed_there() -> None:
    bundle = tiles.bundle_encode([b"1", b"2", b"[]"])
    assert form.first_malformed(bundle, 3) == -1
    for cut in range(len(bundle)):
        assert form.first_malformed(bundle[:cut], 3) == min(cut // 3, 2)
    assert form.first_malformed(bundle + b"\x00", 3) == 3
    assert form.first_malformed(bundle, 2) == 2
    assert form.first_malformed(b"", 0) == -1


def test_a_million_random_changes_of_a_real_entry_are_judged_as_the_oracle_does() -> None:
    """A hundredth of a million here; the seed changes nothing but which."""
    entry = canonical.encode(
        {
            "author": "a" * 52,
            "body": {"kind": "note\n", "subject": 'pkg:pypi/"é"@1', "text": "\u2028x\x1f", "valid_from": 0},
            "nonce": "00ff",
            "type": "fact.add",
            "until": canonical.MAX_INT,
            "v": 1,
        }
    )
    chance = random.Random(3)
    for _ in range(10_000):
        changed = bytearray(entry)
        for _ in range(chance.randint(1, 2)):
            changed[chance.randrange(len(changed))] = (
                chance.choice(b'"\\{}[],:019atfnu \x1f\xc3\xa9\x80') % 256
            )
        agree(bytes(changed))


def test_only_bytes_are_taken() -> None:
    with pytest.raises(TypeError):
        form.malformed_at("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        form.first_malformed(None, 1)  # type: ignore[arg-type]
