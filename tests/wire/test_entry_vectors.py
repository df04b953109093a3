"""The committed byte strings pin the entry codec: these are accepted, those refused, on every version of ours."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.keys import verify
from pyrsia.ledger import entries

CASES = json.loads((Path(__file__).parent / "vectors" / "entries.json").read_text())


def test_the_number_of_cases():
    assert (len(CASES["accepted"]), len(CASES["refused"])) == (8, 23)


@pytest.mark.parametrize("case", CASES["accepted"], ids=lambda case: case["name"])
def test_accepted(case):
    entry = entries.parse(case["raw"].encode())
    assert (entry.kind, entry.id.hex()) == (case["type"], case["id"])
    if entry.author is not None:
        assert entry.signature_holds(verify)


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["name"])
def test_refused(case):
    with pytest.raises(Malformed):
        entries.parse(bytes.fromhex(case["hex"]))


@given(st.data())
def test_a_flipped_bit_never_keeps_the_signature(data):
    case = data.draw(st.sampled_from([case for case in CASES["accepted"] if '"sig"' in case["raw"]]))
    raw = bytearray(case["raw"].encode())
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    try:
        entry = entries.parse(bytes(raw))
    except Malformed:
        return
    assert not entry.signature_holds(verify)
