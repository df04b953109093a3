"""The parts of an authored entry, cut out at once, against the reading of its fields one by one."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia._native import form
from pyrsia.errors import Malformed
from pyrsia.ledger import entries
from pyrsia.units import MAX_ENTRY_BYTES
from pyrsia.wire import canonical
from tests.wire.test_entry_vectors import CASES, of

EVERY = [of(case) for kind in ("accepted", "refused") for case in CASES[kind]]
AUTHORED = [raw for raw in EVERY if form.authored(raw, entries.DOMAIN) is not None]
SIGNS = b'"\\{}[],:019afgAZ2 \x00\x1f\x7f\x80\xc3\xff'


def said(parse, raw: bytes) -> object:
    """The entry, or the words of the refusal."""
    try:
        return parse(raw)
    except Malformed as error:
        return str(error)


def agree(raw: bytes) -> None:
    assert said(entries.parse, raw) == said(entries.parse_plainly, raw), raw
    parts = form.authored(raw, entries.DOMAIN)
    if parts is not None:
        agree_with_json(raw, parts)


def agree_with_json(raw: bytes, parts) -> None:
    fields = json.loads(raw)
    author, body, net, signature, kind, until, signed = parts
    assert fields.keys() == {"author", "body", "net", "nonce", "sig", "type", "until", "v"}
    assert (author, net, kind, until) == tuple(fields[name] for name in ("author", "net", "type", "until"))
    assert canonical.decode_plainly(raw) == fields
    assert json.loads(body) == fields["body"]
    assert signature == bytes.fromhex(fields.pop("sig"))
    assert signed == entries.DOMAIN + canonical.encode(fields)


def test_most_of_the_pinned_entries_are_cut_up_and_all_are_read_as_before() -> None:
    assert len(AUTHORED) > 100
    for raw in EVERY:
        agree(raw)


def test_a_change_of_any_byte_is_judged_as_before() -> None:
    raw = min(AUTHORED, key=len)
    for at in range(len(raw)):
        for sign in SIGNS:
            agree(raw[:at] + bytes([sign]) + raw[at + 1 :])
        agree(raw[:at])
        agree(raw[:at] + raw[at + 1 :])
        agree(raw[:at] + b'"' + raw[at:])


@given(st.sampled_from(AUTHORED), st.data())
def test_random_changes_are_judged_as_before(raw: bytes, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        piece = data.draw(st.binary(max_size=3) | st.sampled_from([b'{"a":1}', b'"x"', b",", b"0"]))
        raw = raw[:at] + piece + raw[at + data.draw(st.integers(0, 3)) :]
    agree(raw)


def test_parts_of_two_entries_put_together_are_judged_as_before() -> None:
    chance = random.Random(5)
    for _ in range(3_000):
        one, other = chance.choice(AUTHORED), chance.choice(AUTHORED)
        agree(one[: chance.randrange(len(one))] + other[chance.randrange(len(other)) :])


@pytest.mark.parametrize("sign", [0x1F, 0x20, 0x7E, 0x7F, 0x80])
def test_only_printable_signs_stand_in_names(sign: int) -> None:
    raw = min(AUTHORED, key=len)
    for name in (b'"author":"', b'"net":"', b'"type":"'):
        at = raw.index(name) + len(name)
        agree(raw[:at] + bytes([sign]) + raw[at + 1 :])


def test_an_entry_as_long_as_it_may_be_is_cut_up_and_a_longer_one_is_not() -> None:
    raw = min((raw for raw in AUTHORED if b'"body":{"' in raw), key=len)
    at = raw.index(b'"body":{') + len(b'"body":{')
    grown = [
        raw[:at] + b'"":"%b",' % (b"x" * (MAX_ENTRY_BYTES.value - len(raw) - 6 + more)) + raw[at:]
        for more in (0, 1)
    ]
    assert [len(one) - MAX_ENTRY_BYTES.value for one in grown] == [0, 1]
    assert [form.authored(one, b"") is not None for one in grown] == [True, False]
    for one in grown:
        agree(one)


def test_what_is_no_bytes_is_a_bug_of_the_caller() -> None:
    with pytest.raises(TypeError):
        form.authored(None, b"")  # type: ignore[arg-type]
