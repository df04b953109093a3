"""The committed byte strings pin the entry codec: these are accepted, those refused, on every version of ours."""

import json
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.ledger.genesis import Genesis
from pyrsia.units import MAX_ENTRY_BYTES
from pyrsia.wire import canonical
from pyrsia.wire.text import unb32

CASES = json.loads((Path(__file__).parent / "vectors" / "entries.json").read_text())


def test_the_number_of_cases():
    assert (len(CASES["accepted"]), len(CASES["refused"])) == (16, 69)


def test_every_type_of_version_1_is_pinned():
    pinned = {case["type"] for case in CASES["accepted"]}
    assert pinned == {*entries.AUTHORED, *entries.DERIVED, "network.genesis"}
    for kind in pinned - {"network.genesis"}:
        assert [case for case in CASES["refused"] if case["name"].startswith(kind)]


@pytest.mark.parametrize("case", CASES["accepted"], ids=lambda case: case["name"])
def test_accepted(case):
    entry = entries.parse(case["raw"].encode())
    assert (entry.kind, entry.id.hex()) == (case["type"], case["id"])
    if entry.author is not None:
        assert entry.signature_holds(verify)


@pytest.mark.parametrize("case", CASES["accepted"], ids=lambda case: case["name"])
def test_the_id_is_the_hash_of_what_the_page_says_is_signed(case):
    """The standard library's JSON is the oracle: sorted, tight, not escaped, without `sig`."""
    said = json.loads(case["raw"])
    signature = bytes.fromhex(said.pop("sig", ""))
    signed = json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    signed = b"pyrsia/entry/v1\x00" + signed
    assert blake3(signed).hexdigest() == case["id"]
    if signature:
        assert verify(unb32(said["author"]), signed, signature)


def test_all_belong_to_the_network_of_the_pinned_genesis():
    raw = next(case["raw"] for case in CASES["accepted"] if case["type"] == "network.genesis")
    genesis = Genesis.parse(raw.encode())
    nets = {entries.parse(case["raw"].encode()).net for case in CASES["accepted"]}
    assert nets == {"", genesis.net}


@pytest.mark.parametrize("case", CASES["refused"], ids=lambda case: case["name"])
def test_refused(case):
    with pytest.raises(Malformed):
        entries.parse(bytes.fromhex(case["hex"]))


def test_an_entry_over_its_size_is_refused_before_it_is_read():
    raw = b'{"body":{"kind":"' + b"x" * MAX_ENTRY_BYTES.value + b'"}}'
    with pytest.raises(Malformed, match="60000 are allowed"):
        entries.parse(raw)


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


@settings(max_examples=300)
@given(st.data())
def test_changed_cut_or_doubled_bytes_are_refused_or_another_entry_in_its_one_form(data):
    raw = data.draw(st.sampled_from([case["raw"].encode() for case in CASES["accepted"]]))
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 40)))
    middle = data.draw(st.binary(max_size=4) | st.just(raw[start:end] * 2))
    changed = raw[:start] + middle + raw[end:]
    try:
        entry = entries.parse(changed)
    except Malformed:
        return
    assert canonical.encode(canonical.decode(changed)) == changed == entry.raw
    before = entries.parse(raw)
    assert (entry.id == before.id) == (entry.signed == before.signed)


def test_manifests_are_found_wherever_an_entry_names_a_blob():
    """The scan of the bytes against a walk over what they say."""

    def walk(value):
        if isinstance(value, dict):
            for name, item in value.items():
                yield from [item] if name == "manifest" else walk(item)
        elif isinstance(value, list):
            for item in value:
                yield from walk(item)

    found = 0
    for case in CASES["accepted"]:
        told = [bytes.fromhex(item) for item in walk(json.loads(case["raw"]))]
        assert sorted(entries.manifests(case["raw"].encode())) == sorted(told)
        found += len(told)
    assert found > 20


def test_a_text_that_looks_like_a_manifest_names_no_blob():
    case = next(case["raw"] for case in CASES["accepted"] if case["name"] == "fact.add")
    said = json.loads(case)
    said["body"]["text"] = '"manifest":"' + "ab" * 32 + '"'
    assert list(entries.manifests(canonical.encode(said))) == []
