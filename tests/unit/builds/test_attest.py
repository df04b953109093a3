"""Provenance: our envelopes hold under other people's tools, and lies do not hold under ours."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.builds import attest, dsse
from pyrsia.errors import Malformed

PAIR = keys.KeyPair(b"\x07" * 32)
REQUEST = {
    "ecosystem": "pip",
    "purl": "pkg:pypi/thing@1.0",
    "coordinates": {"name": "thing", "version": "1.0"},
    "source": {"file": "thing-1.0.tar.gz", "sha256": "ab" * 32, "size": 7},
    "recipe": {"backend": "pip/wheel@1", "sde": 5},
    "target": {"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.7"},
}


def payload(tools: int = 2) -> bytes:
    return attest.statement(
        request_id="00" * 32,
        request=REQUEST,
        subjects=[("thing-1.0-py3-none-any.whl", "cd" * 32), ("thing (canonical)", "ce" * 32)],
        builder="b" * 52,
        environment="host:" + "ef" * 32,
        isolation="namespace",
        lock_sha256="aa" * 32,
        inputs=[(f"tool-{index}-py3-none-any.whl", f"{index:064x}") for index in range(tools)],
    )


def test_the_pre_authentication_encoding_is_that_of_the_specification():
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_an_envelope_opens_under_its_key_and_names_its_subjects():
    text = attest.envelope(payload(), PAIR.sign, PAIR.public.hex())

    found = attest.open_envelope(text, PAIR.public, keys.verify)

    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {one["digest"]["sha256"] for one in found["subject"]} == {"cd" * 32, "ce" * 32}
    assert found["predicate"]["runDetails"]["metadata"]["invocationId"] == "00" * 32


def test_other_people_s_tools_accept_it():
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    text = attest.envelope(payload(), PAIR.sign, PAIR.public.hex())
    outer = Envelope.from_dict(json.loads(text))
    key = SSlibKey(PAIR.public.hex(), "ed25519", "ed25519", {"public": PAIR.public.hex()})

    assert set(outer.verify([key], 1)) == {PAIR.public.hex()}


def test_the_url_safe_alphabet_is_read_too():
    outer = json.loads(attest.envelope(payload(), PAIR.sign, ""))
    outer["signatures"][0]["sig"] = outer["signatures"][0]["sig"].replace("+", "-").replace("/", "_")

    assert attest.open_envelope(json.dumps(outer), PAIR.public, keys.verify)["_type"] == attest.STATEMENT_TYPE


def test_many_tools_are_left_to_the_lock_s_digest_so_that_the_envelope_stays_small():
    text = attest.envelope(payload(tools=1000), PAIR.sign, PAIR.public.hex())

    assert len(text) <= 16_384
    assert "aa" * 32 in base64.b64decode(json.loads(text)["payload"]).decode()


@settings(max_examples=100)
@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_the_lie_a_changed_payload_does_not_open(at, flip):
    outer = json.loads(attest.envelope(payload(), PAIR.sign, ""))
    data = bytearray(base64.b64decode(outer["payload"]))
    data[at % len(data)] ^= flip
    outer["payload"] = base64.b64encode(data).decode()

    with pytest.raises(Malformed):
        attest.open_envelope(json.dumps(outer), PAIR.public, keys.verify)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"payload":1,"payloadType":2,"signatures":3}', "x" * 20_000, "[" * 5_000],
)
def test_garbage_is_malformed(text):
    with pytest.raises(Malformed):
        attest.open_envelope(text, PAIR.public, keys.verify)


def test_another_key_or_another_payload_type_does_not_open():
    text = attest.envelope(payload(), PAIR.sign, PAIR.public.hex())
    other = json.dumps({**json.loads(text), "payloadType": "text/plain"})

    with pytest.raises(Malformed, match="key"):
        attest.open_envelope(text, keys.KeyPair(b"\x08" * 32).public, keys.verify)
    with pytest.raises(Malformed, match="type"):
        attest.open_envelope(other, PAIR.public, keys.verify)


def test_two_subjects_of_one_name_are_the_caller_s_bug():
    with pytest.raises(ValueError, match="different names"):
        attest.statement(
            request_id="00",
            request=REQUEST,
            subjects=[("a", "00"), ("a", "11")],
            builder="b",
            environment="host:x",
            isolation="namespace",
            lock_sha256="00",
        )
