"""Proof files that somebody edited: refused, or, where nobody is misled, the same finding. Never a crash."""

import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import MAX_PROOFFILE_BYTES
from pyrsia.verify import evidence
from pyrsia.verify.artifact import judge
from tests.reference.story import NOW_MS, WHEEL, Story

QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def story():
    return Story(dissenter=True)


@pytest.fixture(scope="module")
def file(story, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / WHEEL
    path.write_bytes(story.data)
    return path


@pytest.fixture(scope="module")
def proof(story):
    """With an exact quorum: a signature lost is a quorum lost."""
    return story.proof(note=story.note(signers=3))


@pytest.fixture(scope="module")
def honest(story, file, proof):
    return judged(story, file, proof)


def judged(story, file, proof):
    return judge(file, proof, [story.pin], now_ms=NOW_MS, expected=None, verify=verify)


def harmless(story, file, proof, honest):
    """Whether it was refused; if not, it said exactly what the true proof says."""
    refusal = None
    try:
        found = judged(story, file, proof)
    except Refusal as no:
        refusal = no
    if refusal is None:
        assert found == honest
        return False
    assert refusal.code in ("proof-invalid", "not-pinned", "too-old")
    assert refusal.what
    assert refusal.do
    return True


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_every_flipped_byte_of_a_proof_is_refused_or_changes_nothing(story, file, proof, honest, bit):
    step = max(1, len(proof) // 400)
    flipped = [*range(0, len(proof), step), *range(len(proof) - 1200, len(proof), 3)]
    kept = 0
    for at in flipped:
        changed = bytearray(proof)
        changed[at] ^= bit
        kept += not harmless(story, file, bytes(changed), honest)
    # Lines of the log key are three where one is needed; nothing else may be touched.
    assert kept < len(flipped) // 20


def test_every_flipped_byte_of_the_leaves_is_refused(story, file, proof):
    parsed = TlogProof.parse(proof)
    for at in range(0, len(parsed.extra), 41):
        extra = bytearray(parsed.extra)
        extra[at] ^= 0x04
        changed = TlogProof(bytes(extra), parsed.index, parsed.hashes, parsed.note).encode()
        with pytest.raises(Refusal) as caught:
            judged(story, file, changed)
        assert caught.value.code == "proof-invalid"


def test_every_cut_of_a_proof_is_refused_or_changes_nothing(story, file, proof, honest):
    assert all(harmless(story, file, proof[:at], honest) for at in range(0, len(proof) - 1000, 211))
    for at in range(len(proof) - 1000, len(proof)):
        harmless(story, file, proof[:at], honest)
    assert harmless(story, file, b"", honest)


def test_a_proof_file_beyond_its_limit_is_refused(story, file, proof, honest):
    assert harmless(story, file, proof + b"x" * MAX_PROOFFILE_BYTES.value, honest)


@QUIET
@given(data=st.data())
def test_pieces_moved_within_a_proof_are_refused_or_change_nothing(story, file, proof, honest, data):
    changed = bytearray(proof)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(proof) - 1))
        length = data.draw(st.integers(0, 200))
        to = data.draw(st.integers(0, len(proof) - 1))
        changed[to : to + data.draw(st.integers(0, 200))] = proof[at : at + length]
    harmless(story, file, bytes(changed), honest)
    assert judged(story, file, proof) == honest


@QUIET
@given(extra=st.binary(min_size=1, max_size=2_000))
def test_any_bytes_as_leaves_are_refused(story, file, proof, honest, extra):
    lines = proof.split(b"\n")
    lines[1] = b"extra " + base64.b64encode(extra)
    assert harmless(story, file, b"\n".join(lines), honest)


@QUIET
@given(proof=st.binary(max_size=3_000))
def test_any_bytes_as_a_proof_are_refused(story, file, honest, proof):
    assert harmless(story, file, proof, honest)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@QUIET
@given(fields=json_values)
def test_any_json_as_the_proof_of_a_leaf_is_refused(story, fields):
    with pytest.raises(Refusal):
        evidence.check_leaf(fields, [story.pin], verify=verify)


@QUIET
@given(entry=json_values, index=json_values, proof=json_values)
def test_any_json_in_the_fields_of_a_leafs_proof_is_refused(story, entry, index, proof):
    with pytest.raises(Refusal):
        evidence.check_leaf({"entry": entry, "index": index, "proof": proof}, [story.pin], verify=verify)
