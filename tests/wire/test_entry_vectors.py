"""The committed byte strings pin the entry codec: these are accepted, those refused, on every version of ours."""

import hashlib
import json
import re

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.ledger.bodies import facts, faults, motions
from pyrsia.ledger.genesis import Genesis
from pyrsia.units import MAX_ENTRY_BYTES
from pyrsia.wire import canonical
from pyrsia.wire.text import unb32
from tests.wire.make_entries import FILE, written

CASES = json.loads(FILE.read_text())
ACCEPTED = [case["raw"].encode() for case in CASES["accepted"]]

# Why a byte string is refused, told from our words; what is none of these is a `value`.
WHY = {
    "json": re.compile(
        r"^not JSON|canonical form|a value of type|nested deeper|outside 0\.\.|field name|of JSON,"
    ),
    "envelope": re.compile(r"^an entry (is|has)|^an unknown type, or fields"),
    "fields": re.compile("missing or not allowed"),
}


def of(case):
    return bytes.fromhex(case["hex"]) if "hex" in case else case["raw"].encode()


def test_the_file_is_what_its_script_writes():
    """So a change of any byte of any type is a change of a committed file."""
    assert FILE.read_text() == written()


def test_the_number_of_cases():
    assert (len(CASES["accepted"]), len(CASES["refused"])) == (51, 419)
    for part in CASES.values():
        assert len({case["name"] for case in part}) == len(part)
        assert len({of(case) for case in part}) == len(part)


def test_every_kind_of_motion_fact_and_evidence_is_pinned():
    said = [json.loads(raw) for raw in ACCEPTED]

    def kinds(of_type):
        return {entry["body"]["kind"] for entry in said if entry["type"] == of_type}

    assert kinds("motion.propose") == set(motions.MOTIONS)
    assert kinds("fact.add") == set(facts.KINDS)
    assert kinds("fault.evidence") == set(faults.EVIDENCE)


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
    with pytest.raises(Malformed) as caught:
        entries.parse(of(case))
    said = str(caught.value)
    told = next((why for why, words in WHY.items() if words.search(said)), "value")
    assert (told, said != "") == (case["why"], True)


def test_what_is_accepted_is_written_again_as_it_was():
    for raw in ACCEPTED:
        assert canonical.encode(canonical.decode(raw)) == raw == entries.parse(raw).raw


def test_every_changed_byte_is_refused_or_says_something_else():
    """Each byte of each entry: to its neighbour, to another case, to a quote."""
    seen = accepted = 0
    for raw in ACCEPTED:
        before = canonical.decode(raw)
        for at, byte in enumerate(raw):
            for other in {byte ^ 1, byte ^ 0x20, 0x22} - {byte}:
                changed = raw[:at] + bytes([other]) + raw[at + 1 :]
                seen += 1
                try:
                    entries.parse(changed)
                except Malformed:
                    continue
                accepted += 1
                after = canonical.decode(changed)
                assert after != before
                assert canonical.encode(after) == changed
    assert seen > 2 * sum(map(len, ACCEPTED))
    assert accepted > 1_000


def test_every_byte_of_a_small_entry_may_be_any_other():
    raw = min((raw for raw in ACCEPTED if b'"sig"' in raw), key=len)
    before = canonical.decode(raw)
    for at in range(len(raw)):
        for other in range(256):
            if other == raw[at]:
                continue
            try:
                entries.parse(raw[:at] + bytes([other]) + raw[at + 1 :])
            except Malformed:
                continue
            assert canonical.decode(raw[:at] + bytes([other]) + raw[at + 1 :]) != before


def test_signatures_inside_bodies_cover_the_texts_that_the_page_gives():
    """The standard library's JSON is the oracle again."""

    def text(domain, **fields):
        return domain + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()

    gone = next(json.loads(raw) for raw in ACCEPTED if b'"type":"artifact.withdraw"' in raw)
    body = gone["body"]
    said = text(
        b"pyrsia/withdraw/v1\0",
        net=gone["net"],
        purl=body["purl"],
        reason=body["reason"],
        sha256=body["sha256"],
    )
    assert verify(bytes.fromhex(body["key"]), said, bytes.fromhex(body["sig"]))
    [reveal] = [json.loads(raw) for raw in ACCEPTED if b'"receipts":[{' in raw]
    asked = next(json.loads(raw) for raw in ACCEPTED if b'"type":"build.request"' in raw)
    body, (output,) = reveal["body"], reveal["body"]["outputs"]
    assert len(body["receipts"]) == 2
    assert "manifest" not in asked["body"]["source"]
    named = [body["log"], asked["body"]["lock"]]
    for file in (output["canonical"], output["raw"]):
        named += [file, file["members"], file["metadata"]]
    rows = sorted([one["manifest"], one["sha256"], one["size"]] for one in named)
    told = json.dumps(rows, separators=(",", ":")).encode()
    for one in body["receipts"]:
        said = text(
            b"pyrsia/receipt/v1\0",
            blobs=hashlib.sha256(told).hexdigest(),
            builder=reveal["author"],
            net=reveal["net"],
            request=body["request"],
        )
        assert verify(unb32(one["node"]), said, bytes.fromhex(one["sig"]))


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
    raw = data.draw(st.sampled_from(ACCEPTED))
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
