"""Signed notes, checkpoints and proof files: what verifies, and that no change of a byte does."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log import checkpoint, note, tree
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignatureLine, SignedNote, VerifierKey
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import MAX_NOTE_BYTES, MAX_NOTE_LINES, MAX_PROOFFILE_BYTES, LeafIndex, TreeSize

ORIGIN = "log.example/abcdefghijklmnop"
ROOT = hashlib.sha256(b"root").digest()
HEAD = Checkpoint(ORIGIN, TreeSize(1_234), ROOT)
LOGS = [keys.KeyPair(bytes([i]) * 32) for i in range(1, 5)]
COSIGNERS = [keys.KeyPair(bytes([i]) * 32) for i in range(11, 15)]
KEYS = checkpoint.validator_keys(
    ORIGIN, [(log.public, cosign.public) for log, cosign in zip(LOGS, COSIGNERS, strict=True)]
)


def signed(head: Checkpoint = HEAD, signers: int = 4, time_s: int = 1_800_000_000) -> SignedNote:
    lines: list[SignatureLine] = []
    for i in range(signers):
        lines.append(checkpoint.log_line(head, LOGS[i].sign, LOGS[i].public))
        lines.append(checkpoint.cosign_line(head, COSIGNERS[i].sign, COSIGNERS[i].public, time_s + i))
    return SignedNote(head.text(), tuple(lines))


# -- notes --


def test_a_note_is_its_bytes_and_back() -> None:
    data = signed().encode()
    assert SignedNote.parse(data) == signed()
    assert SignedNote.parse(data).encode() == data
    assert len(note.verify_note(SignedNote.parse(data), KEYS, keys.verify)) == 8


def test_a_text_may_have_empty_lines_of_its_own() -> None:
    text = b"first\n\nsecond\n\n\nthird\n"
    line = note.sign_line(text, "name", LOGS[0].sign, LOGS[0].public)
    parsed = SignedNote.parse(SignedNote(text, (line,)).encode())
    assert parsed.text == text
    key = VerifierKey("name", note.ED25519, LOGS[0].public)
    assert note.verify_note(parsed, [key], keys.verify) == (note.Signer(key, None),)


LINE = signed().lines[0].encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"text\n",
        b"text\n\n",
        b"text" + LINE,
        b"text\n" + LINE,
        b"text\n\n" + LINE[:-1],
        b"text\n\n" + LINE + b"\n",
        b"text\n\n" + LINE + b"more\n",
        b"text\r\n\n" + LINE,
        b"te\txt\n\n" + LINE,
        b"te\0xt\n\n" + LINE,
        b"\xff\n\n" + LINE,
        b"\xed\xa0\x80\n\n" + LINE,
        b"text\n\n" + LINE.replace(b"\n", b"\r\n"),
        b"text\n\n" + LINE.replace("\u2014".encode(), b"-"),
        b"text\n\n" + LINE.replace("\u2014".encode(), "\u2013".encode()),
        b"text\n\n" + LINE.replace(b" ", b"\t"),
        b"text\n\n" + LINE.replace(b" ", b"  "),
        b"text\n\n" + LINE.replace(b"=", b""),
        b"text\n\n" + LINE.replace(b"\n", b" \n"),
        "text\n\n\u2014 name \n".encode(),
        "text\n\n\u2014 name AAAA\n".encode(),
        "text\n\n\u2014 name AAAAAA==\n".encode(),  # four bytes: a key id without a signature
        "text\n\n\u2014 na+me AAAAAAA=\n".encode(),
        "text\n\n\u2014 na\u00a0me AAAAAAA=\n".encode(),
        "text\n\n\u2014  AAAAAAA=\n".encode(),
        "text\n\n\u2014 name AAAAA-A=\n".encode(),
        "text\n\n\u2014 name AAAAAAB=\n".encode(),  # unused bits set
        b"text\n\n" + LINE * (MAX_NOTE_LINES.value + 1),
        b"x" * MAX_NOTE_BYTES.value + b"\n\n" + LINE,
        b"x" * 10_000_000 + b"\n\n" + LINE,
        b"\n" * 10_000_000,
        b"text\n\n" + LINE * 100_000,
    ],
)
def test_what_is_not_exactly_a_note_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        SignedNote.parse(data)


@settings(max_examples=300)
@given(st.binary(max_size=120), st.booleans())
def test_strange_bytes_are_no_note_or_the_one_they_encode(data: bytes, framed: bool) -> None:
    if framed:
        data = b"text\n\n" + "\u2014 name ".encode() + base64.b64encode(data) + b"\n"
    try:
        parsed = SignedNote.parse(data)
    except Malformed:
        return
    assert parsed.encode() == data


@settings(max_examples=400)
@given(st.data())
def test_no_flipped_bit_leaves_all_signatures_standing(data: st.DataObject) -> None:
    honest = signed(signers=2).encode()
    at = data.draw(st.integers(0, len(honest) - 1))
    lie = honest[:at] + bytes([honest[at] ^ 1 << data.draw(st.integers(0, 7))]) + honest[at + 1 :]
    try:
        signers = note.verify_note(SignedNote.parse(lie), KEYS, keys.verify)
    except Malformed:
        return
    assert len(signers) < 4


def test_a_known_key_s_bad_signature_spoils_the_whole_note() -> None:
    good = signed()
    bad = SignatureLine(good.lines[0].name, good.lines[0].key_id, bytes(64))
    with pytest.raises(Malformed, match="does not hold"):
        note.verify_note(SignedNote(good.text, (bad, *good.lines[1:])), KEYS, keys.verify)


def test_a_key_that_signs_twice_is_refused_and_a_stranger_is_passed_over() -> None:
    good = signed()
    with pytest.raises(Malformed, match="twice"):
        note.verify_note(SignedNote(good.text, (*good.lines, good.lines[1])), KEYS, keys.verify)
    stranger = SignatureLine("stranger", b"abcd", b"?")
    assert len(note.verify_note(SignedNote(good.text, (*good.lines, stranger)), KEYS, keys.verify)) == 8


def test_another_key_with_the_same_id_does_not_pass() -> None:
    line = signed().lines[0]
    with pytest.raises(Malformed):
        note.verify_line(HEAD.text(), line, checkpoint.log_key(ORIGIN, LOGS[1].public), keys.verify)
    for cut in (b"", line.signature[:-1], line.signature + b"\0"):
        with pytest.raises(Malformed):
            note.verify_line(HEAD.text(), SignatureLine(line.name, line.key_id, cut), KEYS[0], keys.verify)


def test_a_cosignature_s_time_is_what_was_signed() -> None:
    line = signed().lines[1]
    assert note.verify_line(HEAD.text(), line, KEYS[1], keys.verify).time_s == 1_800_000_000
    for time_s in (1_800_000_001, 1 << 63):
        moved = time_s.to_bytes(8, "big") + line.signature[8:]
        with pytest.raises(Malformed):
            note.verify_line(HEAD.text(), SignatureLine(line.name, line.key_id, moved), KEYS[1], keys.verify)


def test_a_verifier_key_is_its_text_and_back() -> None:
    for key in KEYS:
        assert VerifierKey.parse(str(key)) == key


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: text.replace("+", "-"),
        lambda text: text.upper(),
        lambda text: "x" + text,
        lambda text: "+" + text,
        lambda text: text + "\n",
        lambda text: "",
        lambda text: "name+00000000+" + base64.b64encode(bytes(33)).decode(),
        lambda text: text.partition("+")[0] + "+" + text,
        lambda text: "\ud800" + text,
    ],
)
def test_a_changed_verifier_key_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Malformed):
        VerifierKey.parse(change(str(KEYS[0])))


# -- checkpoints --


@pytest.mark.parametrize("size", [1, 9, 10, 2**53 - 1])
def test_a_checkpoint_is_three_lines_and_back(size: int) -> None:
    head = Checkpoint(ORIGIN, TreeSize(size), ROOT)
    assert head.text().count(b"\n") == 3
    assert Checkpoint.parse(head.text()) == head


ROOT_LINE = base64.b64encode(ROOT) + b"\n"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"origin\n",
        b"origin\n5\n",
        b"origin\n5\n" + ROOT_LINE[:-1],
        b"origin\n5\n" + ROOT_LINE + b"extension\n",
        b"origin\n5\n" + ROOT_LINE + b"\n",
        b"\n5\n" + ROOT_LINE,
        b"ori gin\n5\n" + ROOT_LINE,
        b"origin\n05\n" + ROOT_LINE,
        b"origin\n+5\n" + ROOT_LINE,
        b"origin\n-5\n" + ROOT_LINE,
        b"origin\n5_0\n" + ROOT_LINE,
        b"origin\n 5\n" + ROOT_LINE,
        b"origin\n\n" + ROOT_LINE,
        b"origin\n0x5\n" + ROOT_LINE,
        "origin\n\u0665\n".encode() + ROOT_LINE,
        b"origin\n9007199254740992\n" + ROOT_LINE,
        b"origin\n9223372036854775808\n" + ROOT_LINE,
        b"origin\n" + b"9" * 5_000 + b"\n" + ROOT_LINE,
        b"origin\n0\n" + ROOT_LINE,
        b"origin\n5\n" + ROOT_LINE.replace(b"=", b""),
        b"origin\n5\n" + base64.b64encode(ROOT[:31]) + b"\n",
        b"origin\n5\n" + base64.b64encode(ROOT + b"\0") + b"\n",
        b"origin\n5\n\n",
    ],
)
def test_a_second_way_to_write_a_checkpoint_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        Checkpoint.parse(text)


def test_the_logs_of_others_may_have_what_ours_has_not() -> None:
    text = b"go.sum database tree\n5\n" + ROOT_LINE + b"an extension\nanother one\n"
    found, extensions = Checkpoint.parse_foreign(text)
    assert (found.origin, found.size, found.root) == ("go.sum database tree", 5, ROOT)
    assert extensions == ("an extension", "another one")
    assert Checkpoint.parse_foreign(b"x\n0\n" + ROOT_LINE)[0].root == ROOT


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"origin\n5\n",
        b"\n5\n" + ROOT_LINE,
        b"origin\n\n" + ROOT_LINE,
        b"origin\n05\n" + ROOT_LINE,
        b"origin\n+5\n" + ROOT_LINE,
        b"origin\n9223372036854775808\n" + ROOT_LINE,
        b"origin\n5\n" + ROOT_LINE + b"\n",
        b"origin\n5\n" + ROOT_LINE + b"one\n\nthree\n",
        b"origin\n5\n" + ROOT_LINE.replace(b"=", b""),
        b"origin\n5\n" + base64.b64encode(ROOT[:31]) + b"\n",
        b"x" * 256 + b"\n5\n" + ROOT_LINE,
        b"ori\tgin\n5\n" + ROOT_LINE,
        b"origin\n5\n" + ROOT_LINE[:-1],
    ],
)
def test_and_no_second_way_to_write_the_rest(text: bytes) -> None:
    with pytest.raises(Malformed):
        Checkpoint.parse_foreign(text)


def test_the_empty_log_has_a_checkpoint() -> None:
    head = Checkpoint(ORIGIN, TreeSize(0), tree.EMPTY_ROOT)
    assert Checkpoint.parse(head.text()) == head


def test_a_quorum_makes_a_checkpoint_trusted_and_its_time_is_the_q_th_newest() -> None:
    trusted = checkpoint.quorum(signed(), KEYS, 3, keys.verify)
    assert trusted.checkpoint == HEAD
    assert trusted.time_s == 1_800_000_001
    assert set(trusted.cosigners) == {pair.public for pair in COSIGNERS}


def test_a_signature_short_of_the_quorum_is_refused() -> None:
    assert checkpoint.quorum(signed(signers=3), KEYS, 3, keys.verify).checkpoint == HEAD
    with pytest.raises(ProofInvalid, match="2 validators signed the checkpoint; 3 are needed"):
        checkpoint.quorum(signed(signers=2), KEYS, 3, keys.verify)


def test_one_key_under_two_names_counts_once() -> None:
    key = VerifierKey("another-name", note.COSIGNATURE, COSIGNERS[0].public)
    twin = note.cosign_line(HEAD.text(), key.name, COSIGNERS[0].sign, COSIGNERS[0].public, 5)
    with pytest.raises(ProofInvalid, match="1 validators"):
        checkpoint.quorum(
            SignedNote(HEAD.text(), (*signed(signers=1).lines, twin)), [*KEYS, key], 2, keys.verify
        )


def test_cosignatures_alone_or_log_lines_alone_are_not_enough() -> None:
    lines = signed().lines
    with pytest.raises(ProofInvalid, match="not signed by the log"):
        checkpoint.quorum(SignedNote(HEAD.text(), lines[1::2]), KEYS, 3, keys.verify)
    with pytest.raises(ProofInvalid, match="0 validators"):
        checkpoint.quorum(SignedNote(HEAD.text(), lines[0::2]), KEYS, 3, keys.verify)


def test_a_quorum_of_nobody_is_the_caller_s_bug() -> None:
    with pytest.raises(ValueError, match="nobody"):
        checkpoint.quorum(signed(), KEYS, 0, keys.verify)


# -- proof files --

PROOF = TlogProof(b'{"a":1}', LeafIndex(7), (ROOT, bytes(32)), signed().encode())
FILE = PROOF.encode()


@pytest.mark.parametrize("extra", [None, b"x", bytes(10_000)])
@pytest.mark.parametrize("count", [0, 1, 64])
def test_a_proof_file_is_its_bytes_and_back(extra: bytes | None, count: int) -> None:
    proof = TlogProof(extra, LeafIndex(0), (ROOT,) * count, signed().encode())
    assert TlogProof.parse(proof.encode()) == proof


def test_a_proof_file_begins_as_the_format_says() -> None:
    assert FILE.split(b"\n")[:3] == [b"c2sp.org/tlog-proof@v1", b"extra eyJhIjoxfQ==", b"index 7"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FILE[:-1],
        FILE + b"\n",
        b"\n" + FILE,
        FILE.replace(b"@v1", b"@v2"),
        FILE.replace(b"index 7", b"index 07"),
        FILE.replace(b"index 7", b"index -7"),
        FILE.replace(b"index 7", b"index 9007199254740992"),
        FILE.replace(b"index 7\n", b""),
        FILE.replace(b"index 7", b"index  7"),
        FILE.replace(b"eyJhIjoxfQ==", b""),
        FILE.replace(b"eyJhIjoxfQ==", b"eyJhIjoxfR=="),
        FILE.replace(b"extra eyJhIjoxfQ==\nindex 7", b"index 7\nextra eyJhIjoxfQ=="),
        FILE.replace(ROOT_LINE, ROOT_LINE[:-2] + b"\n", 1),
        FILE.replace(ROOT_LINE, b"AAAA\n", 1),
        FILE.replace(ROOT_LINE, ROOT_LINE * 64, 1),
        FILE.replace(b"\n\n", b"\n", 1),
        FILE.replace(b"\n", b"\r\n"),
        FILE.replace(b"extra", "extr\u00e4".encode()),
        FILE[: FILE.index(b"\n\n") + 2],
        bytes(MAX_PROOFFILE_BYTES.value + 1),
    ],
)
def test_what_is_not_exactly_a_proof_file_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        TlogProof.parse(data)


@settings(max_examples=300)
@given(st.integers(0, len(FILE) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_read_as_what_it_now_says(at: int, bit: int) -> None:
    lie = FILE[:at] + bytes([FILE[at] ^ 1 << bit]) + FILE[at + 1 :]
    try:
        parsed = TlogProof.parse(lie)
    except Malformed:
        return
    assert parsed != PROOF
    assert parsed.encode() == lie


def test_a_proof_file_too_large_to_read_is_not_written() -> None:
    with pytest.raises(ValueError, match="a proof file of"):
        TlogProof(bytes(MAX_PROOFFILE_BYTES.value), LeafIndex(0), (), signed().encode()).encode()
