"""Trust policies: what the format allows, what it refuses, and which notes satisfy which policy."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log import checkpoint, note, policy, tree
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import COSIGNATURE, ED25519, SignedNote, VerifierKey
from pyrsia.log.policy import (
    MAX_POLICY_PARTS,
    Group,
    Policy,
    Witness,
    check_proof,
    of_network,
)
from pyrsia.log.prooffile import TlogProof
from pyrsia.units import MAX_POLICY_BYTES, LeafIndex, TreeSize

ORIGIN = "log.example/a"
HEAD = Checkpoint(ORIGIN, TreeSize(5), hashlib.sha256(b"root").digest())
LOG = keys.KeyPair(b"l" * 32)
OWN = [keys.KeyPair(bytes([i]) * 32) for i in range(1, 9)]
NAMES = [f"w{i}.example/x" for i in range(8)]
LOG_VKEY = str(VerifierKey(ORIGIN, ED25519, LOG.public))
VKEYS = [str(VerifierKey(name, COSIGNATURE, own.public)) for name, own in zip(NAMES, OWN, strict=True)]
TIME_S = 1_800_000_000


def signed(*cosigners: int, head: Checkpoint = HEAD, log: bool = True) -> SignedNote:
    lines = [note.sign_line(head.text(), head.origin, LOG.sign, LOG.public)] if log else []
    lines += [
        note.cosign_line(head.text(), NAMES[i], OWN[i].sign, OWN[i].public, TIME_S + i) for i in cosigners
    ]
    return SignedNote(head.text(), tuple(lines))


def text(*lines: str) -> bytes:
    return "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")


TWO_LEVELS = text(
    "# who watches example",
    f"log {LOG_VKEY} https://log.example/a",
    "",
    *(f"  witness\tX{i} {VKEYS[i]}" for i in range(3)),
    "group X-witnesses 2 X0 X1 X2 ",
    *(f"witness Y{i} {VKEYS[i]} https://w{i}.example" for i in range(3, 6)),
    "   # not a comment's beginning only",
    "group Y-witnesses any Y3 Y4 Y5",
    "group X-and-Y all X-witnesses Y-witnesses",
    "quorum X-and-Y",
)


def satisfied(data: bytes, *cosigners: int) -> bool:
    try:
        Policy.parse(data).check(signed(*cosigners), keys.verify)
    except ProofInvalid:
        return False
    return True


# -- reading and writing --


def test_the_specification_s_own_example_reads_as_it_means() -> None:
    found = Policy.parse(TWO_LEVELS)
    assert [log.url for log in found.logs] == ["https://log.example/a"]
    assert found.quorum == "X-and-Y"
    assert [part for part in found.parts if isinstance(part, Group)] == [
        Group("X-witnesses", 2, ("X0", "X1", "X2")),
        Group("Y-witnesses", 1, ("Y3", "Y4", "Y5")),
        Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
    ]
    assert Policy.parse(found.text("a comment\nof two lines")) == found


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "without a quorum"),
        (b"quorum none", "no line end"),
        (text("quorum none", "quorum none"), "second quorum"),
        (text("quorum w"), "defined on a line before"),
        (text("quorum"), "0 items"),
        (text("quorum none none"), "2 items"),
        (text("qourum none"), "begins with"),
        (text("log"), "0 items"),
        (text(f"log {LOG_VKEY} a b", "quorum none"), "3 items"),
        (text(f"log {VKEYS[0]}", "quorum none"), "none of a log"),
        (text(f"log {LOG_VKEY}", f"log {LOG_VKEY}", "quorum none"), "second log with the same key"),
        (text(f"log {LOG_VKEY[:-2]}", "quorum none"), "base64"),
        (text(f"witness w {LOG_VKEY}", "quorum none"), "none of a witness"),
        (text(f"witness {VKEYS[0]}", "quorum none"), "1 items"),
        (text(f"witness none {VKEYS[0]}", "quorum none"), "taken by the format"),
        (text(f"witness w {VKEYS[0]}", f"witness w {VKEYS[1]}", "quorum w"), "defined twice"),
        (text(f"witness w {VKEYS[0]}", f"witness v {VKEYS[0]}", "quorum w"), "second witness with the same"),
        (
            text(
                f"witness w {VKEYS[0]}",
                f"witness v {VerifierKey('other', COSIGNATURE, OWN[0].public)}",
                "quorum w",
            ),
            "second witness with the same",
        ),
        (text("group g any", "quorum none"), "2 items"),
        (text("group g 1 w", f"witness w {VKEYS[0]}", "quorum g"), "line before"),
        (text(f"witness w {VKEYS[0]}", "group g 0 w", "quorum g"), "threshold"),
        (text(f"witness w {VKEYS[0]}", "group g 01 w", "quorum g"), "threshold"),
        (text(f"witness w {VKEYS[0]}", "group g +1 w", "quorum g"), "threshold"),
        (text(f"witness w {VKEYS[0]}", "group g \u0661 w", "quorum g"), "threshold"),
        (text(f"witness w {VKEYS[0]}", f"group g {'9' * 5_000} w", "quorum g"), "threshold"),
        (text(f"witness w {VKEYS[0]}", "group g 2 w", "quorum g"), "needs 2 of 1"),
        (text(f"witness w {VKEYS[0]}", "group g 2 w w", "quorum g"), "at most once"),
        (text(f"witness w {VKEYS[0]}", "group g any none", "quorum g"), "line before"),
        (text(f"witness w {VKEYS[0]}", "group g any w", "group h any w g", "quorum h"), "at most once"),
        (text(f"witness w {VKEYS[0]}", "group w any w", "quorum w"), "defined twice"),
        (text("group g any g", "quorum g"), "line before"),
        (b"quorum none\r\n", "control characters"),
        (b"quorum\x00none\n", "control characters"),
        (b"quorum none\x7f\n", "control characters"),
        (b"#" * (MAX_POLICY_BYTES.value + 1), "more than"),
        (b"x" * 10_000_000, "more than"),
        ("quorum\u00a0none\n".encode(), "begins with"),
    ],
)
def test_what_breaks_a_rule_of_the_format_is_refused_with_that_rule(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        Policy.parse(data)


def test_a_refusal_names_its_line() -> None:
    with pytest.raises(Malformed, match="line 3 of the policy"):
        Policy.parse(text("# one", "", "group g any nobody", "quorum none"))


def test_32_of_each_are_read_and_there_is_a_bound() -> None:
    def own(i: int) -> bytes:
        return keys.KeyPair(i.to_bytes(32, "big")).public

    def many(count: int) -> bytes:
        lines = [f"log {VerifierKey(f'l{i}', ED25519, own(i))}" for i in range(count)]
        lines += [f"witness w{i} {VerifierKey(f'w{i}', COSIGNATURE, own(i))}" for i in range(count)]
        lines += [f"group g{i} all w{i}" for i in range(count)]
        return text(*lines, "quorum g0")

    found = Policy.parse(many(32))
    assert (len(found.logs), len(found.parts)) == (32, 64)
    with pytest.raises(Malformed, match="more than"):
        Policy.parse(many(MAX_POLICY_PARTS.value + 1))


def test_names_are_octets_that_no_table_compares() -> None:
    data = (
        b"witness K " + VKEYS[0].encode() + b"\nwitness \xe2\x84\xaa " + VKEYS[1].encode()
        + b"\nwitness \xff\xfe " + VKEYS[2].encode() + b"\ngroup g all K \xff\xfe\nquorum g\n"
    )  # fmt: skip
    found = Policy.parse(data)
    assert [part.label for part in found.parts] == ["K", "\u212a", "\udcff\udcfe", "g"]
    assert Policy.parse(found.text()) == found
    assert b"\xff\xfe" in found.text()


@settings(max_examples=300)
@given(st.integers(0, len(TWO_LEVELS) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_read_as_what_it_now_says(at: int, byte: int) -> None:
    data = TWO_LEVELS[:at] + bytes([byte]) + TWO_LEVELS[at + 1 :]
    try:
        found = Policy.parse(data)
    except Malformed:
        return
    assert Policy.parse(found.text()) == found


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["log", "witness", "group", "quorum", "#", "x"]),
            st.lists(
                st.sampled_from(["a", "b", "none", "any", "2", VKEYS[0], VKEYS[1], LOG_VKEY]), max_size=4
            ),
        ),
        max_size=8,
    )
)
def test_lines_in_any_order_raise_nothing_else(lines: list[tuple[str, list[str]]]) -> None:
    try:
        found = Policy.parse(text(*(" ".join((first, *rest)) for first, rest in lines)))
    except Malformed:
        return
    assert Policy.parse(found.text()) == found


# -- satisfying --


@pytest.mark.parametrize(
    ("cosigners", "yes"),
    [
        ((0, 1, 3), True),
        ((1, 2, 5), True),
        ((0, 1, 2, 3, 4, 5), True),
        ((0, 1, 2), False),
        ((0, 3, 4, 5), False),
        ((), False),
        ((0, 1, 6, 7), False),
    ],
)
def test_thresholds_of_thresholds_are_counted(cosigners: tuple[int, ...], yes: bool) -> None:
    assert satisfied(TWO_LEVELS, *cosigners) == yes


@settings(max_examples=150)
@given(st.data())
def test_the_quorum_is_reached_as_a_plain_recursive_reading_says(data: st.DataObject) -> None:
    """Random policies against the definition word for word."""
    free = [f"w{i}" for i in range(6)]
    lines = [f"log {LOG_VKEY}", *(f"witness w{i} {VKEYS[i]}" for i in range(6))]
    groups: dict[str, tuple[int, list[str]]] = {}
    for number in range(data.draw(st.integers(0, 4))):
        if not free:
            break
        members = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        need = data.draw(st.integers(1, len(members)))
        groups[f"g{number}"] = (need, members)
        lines.append(f"group g{number} {need} {' '.join(members)}")
        free = [*(one for one in free if one not in members), f"g{number}"]
    quorum = data.draw(st.sampled_from(["none", *(f"w{i}" for i in range(6)), *groups]))
    cosigned = data.draw(st.sets(st.integers(0, 5)))

    def reached(name: str) -> bool:
        if name == "none":
            return True
        if name in groups:
            need, members = groups[name]
            return sum(reached(member) for member in members) >= need
        return int(name[1:]) in cosigned

    assert satisfied(text(*lines, f"quorum {quorum}"), *sorted(cosigned)) == reached(quorum)


def test_any_one_of_the_logs_must_have_signed_and_only_for_its_own_origin() -> None:
    found = Policy.parse(text(f"log {LOG_VKEY}", f"witness w {VKEYS[0]}", "quorum w"))
    assert found.check(signed(0), keys.verify).cosigned == {"w": TIME_S}
    with pytest.raises(ProofInvalid, match="not signed by a log"):
        found.check(signed(0, log=False), keys.verify)
    # The same key under the same name, below the text of another log: its signature holds, and says nothing.
    other = Checkpoint("other.example", HEAD.size, HEAD.root)
    line = note.sign_line(other.text(), ORIGIN, LOG.sign, LOG.public)
    with pytest.raises(ProofInvalid, match="not signed by a log"):
        found.check(SignedNote(other.text(), (line,)), keys.verify)
    no_log = Policy.parse(text("quorum none"))
    with pytest.raises(ProofInvalid):
        no_log.check(signed(), keys.verify)
    assert no_log.check(signed(), keys.verify, logs=[VerifierKey.parse(LOG_VKEY)]).checkpoint == HEAD


def test_a_known_witness_s_bad_cosignature_spoils_the_note() -> None:
    found = Policy.parse(text(f"log {LOG_VKEY}", f"witness w {VKEYS[0]}", "quorum none"))
    good = signed(0)
    line = good.lines[1]
    for at in range(len(line.signature)):
        lie = line.signature[:at] + bytes([line.signature[at] ^ 1]) + line.signature[at + 1 :]
        bad = SignedNote(good.text, (good.lines[0], note.SignatureLine(line.name, line.key_id, lie)))
        with pytest.raises(Malformed):
            found.check(bad, keys.verify)


def test_a_witness_of_a_type_that_is_not_verified_here_counts_as_one_that_did_not_sign() -> None:
    public = bytes(1312)
    vkey = f"pq.example+{note.key_id('pq.example', note.ML_DSA_44, public).hex()}+{note.b64(bytes([6]) + public)}"
    lines = (f"log {LOG_VKEY}", f"witness w {VKEYS[0]}", f"witness pq {vkey}", "group both any w pq")
    found = Policy.parse(text(*lines, "quorum both"))
    pq = next(part for part in found.parts if isinstance(part, Witness) and part.label == "pq")
    assert pq.party.key is None
    assert satisfied(text(*lines, "quorum both"), 0)
    assert not satisfied(text(*lines, "quorum pq"), 0)
    wrong = vkey.replace(vkey.split("+")[1], "00000000")
    with pytest.raises(Malformed, match="belongs to another"):
        Policy.parse(text(f"witness pq {wrong}", "quorum none"))


# -- our own networks --

LOGS = [keys.KeyPair(bytes([i]) * 32) for i in range(21, 25)]
COSIGNERS = [keys.KeyPair(bytes([i]) * 32) for i in range(31, 35)]
VALIDATORS = [
    (name, log.public, own.public)
    for name, log, own in zip(["alpha", "a b", "none", "delta"], LOGS, COSIGNERS, strict=True)
]


def network_note(*numbers: int, outside: tuple[int, ...] = ()) -> SignedNote:
    lines = []
    for i in numbers:
        lines.append(checkpoint.log_line(HEAD, LOGS[i].sign, LOGS[i].public))
        lines.append(checkpoint.cosign_line(HEAD, COSIGNERS[i].sign, COSIGNERS[i].public, TIME_S))
    return SignedNote(HEAD.text(), (*lines, *signed(*outside, log=False).lines))


def test_a_network_s_policy_wants_its_quorum_and_names_every_validator() -> None:
    made = of_network(ORIGIN, VALIDATORS, 3, url="https://node.example/log")
    assert Policy.parse(made.text()) == made
    assert made.text().decode().splitlines()[-2:] == [
        "group validators 3 validator-alpha validator.2 validator-none validator-delta",
        "quorum validators",
    ]
    assert len(made.logs) == 4
    assert len(made.check(network_note(0, 1, 2), keys.verify).cosigned) == 3
    with pytest.raises(ProofInvalid, match="quorum validators is not reached"):
        made.check(network_note(0, 1), keys.verify)
    # Lines of witnesses that the policy does not name are passed over.
    assert len(made.check(network_note(1, 2, 3, outside=(0, 1)), keys.verify).cosigned) == 3


def test_no_name_that_somebody_chose_hides_one_that_was_made_for_another() -> None:
    names = ["number-2", "a b", "2", "validators", "outside-1", ".2"]
    for shift in range(len(names)):
        turned = names[shift:] + names[:shift]
        validators = [(name, bytes([i]) * 32, bytes([100 + i]) * 32) for i, name in enumerate(turned)]
        made = of_network(ORIGIN, validators, 4, outside=VKEYS[:1], need=1)
        assert Policy.parse(made.text()) == made
        assert len({part.label for part in made.parts}) == len(made.parts)


def test_outside_witnesses_can_be_asked_for_besides() -> None:
    made = of_network(ORIGIN, VALIDATORS, 3, outside=VKEYS[:2], need=1)
    assert Policy.parse(made.text()) == made
    assert set(made.check(network_note(0, 1, 2, outside=(1,)), keys.verify).cosigned) == {
        "validator-alpha",
        "validator.2",
        "validator-none",
        "outside-2",
    }
    for note_ in (network_note(0, 1, 2), network_note(0, 1, outside=(0, 1))):
        with pytest.raises(ProofInvalid):
            made.check(note_, keys.verify)
    with pytest.raises(Malformed, match="needs 3 of 2"):
        of_network(ORIGIN, VALIDATORS, 3, outside=VKEYS[:2], need=3)
    with pytest.raises(Malformed, match="same key"):
        of_network(ORIGIN, VALIDATORS, 3, outside=[VKEYS[0], VKEYS[0]])


# -- proof files under a policy --

ENTRIES = [b"entry %d" % i for i in range(5)]
HASHES = [tree.leaf_hash(entry) for entry in ENTRIES]


def small_root(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return tree.hash_children(small_root(hashes[:split]), small_root(hashes[split:]))


LOG_HEAD = Checkpoint(ORIGIN, TreeSize(5), small_root(HASHES))
WATCHED = Policy.parse(text(f"log {LOG_VKEY}", f"witness w {VKEYS[0]}", "quorum w"))


def proof_of(index: int, head: Checkpoint = LOG_HEAD) -> TlogProof:
    def nodes(wanted: list[tuple[int, int]]) -> list[bytes]:
        return [small_root(HASHES[at << level : (at + 1) << level]) for level, at in wanted]

    hashes = tree.inclusion_proof(LeafIndex(index), TreeSize(5), nodes)
    return TlogProof(None, LeafIndex(index), tuple(hashes), signed(0, head=head).encode())


@pytest.mark.parametrize("index", range(5))
def test_a_proof_file_of_any_log_is_checked_under_a_policy(index: int) -> None:
    proof = TlogProof.parse(proof_of(index).encode())
    assert check_proof(proof, HASHES[index], WATCHED, keys.verify).checkpoint == LOG_HEAD


def test_a_proof_for_another_log_index_size_or_leaf_is_refused() -> None:
    good = proof_of(2)
    lies = [
        (good, HASHES[3]),
        (TlogProof(None, LeafIndex(3), good.hashes, good.note), HASHES[2]),
        (TlogProof(None, LeafIndex(5), good.hashes, good.note), HASHES[2]),
        (TlogProof(None, good.index, good.hashes[:-1], good.note), HASHES[2]),
        (TlogProof(None, good.index, (*good.hashes, bytes(32)), good.note), HASHES[2]),
        (proof_of(2, Checkpoint("other.example", LOG_HEAD.size, LOG_HEAD.root)), HASHES[2]),
        (proof_of(2, Checkpoint(ORIGIN, TreeSize(4), LOG_HEAD.root)), HASHES[2]),
        (proof_of(2, Checkpoint(ORIGIN, TreeSize(9), LOG_HEAD.root)), HASHES[2]),
        (proof_of(2, Checkpoint(ORIGIN, LOG_HEAD.size, HEAD.root)), HASHES[2]),
    ]
    for proof, leaf in lies:
        with pytest.raises(ProofInvalid):
            check_proof(proof, leaf, WATCHED, keys.verify)
    quorum = Policy.parse(text(f"log {LOG_VKEY}", f"witness w {VKEYS[1]}", "quorum w"))
    with pytest.raises(ProofInvalid, match="quorum"):
        check_proof(good, HASHES[2], quorum, keys.verify)


def test_a_proof_file_that_nobody_could_read_is_not_written() -> None:
    for lie in (
        TlogProof(b"", LeafIndex(0), (), signed().encode()),
        TlogProof(None, LeafIndex(-1), (), signed().encode()),
        TlogProof(None, LeafIndex(0), (b"short",), signed().encode()),
        TlogProof(None, LeafIndex(0), (bytes(32),) * 65, signed().encode()),
    ):
        with pytest.raises(ValueError):
            lie.encode()


def test_the_module_s_own_limits_have_room_for_our_largest_network() -> None:
    many = [
        (
            f"v{i}",
            keys.KeyPair(i.to_bytes(32, "big")).public,
            keys.KeyPair((i + 500).to_bytes(32, "big")).public,
        )
        for i in range(100)
    ]
    origin = "x" * 64 + "/abcdefghijklmnop"
    made = policy.of_network(origin, many, 67, url="https://" + "n" * 200)
    assert Policy.parse(made.text()) == made
