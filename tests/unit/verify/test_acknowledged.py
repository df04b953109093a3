"""An acknowledgement is checked with the trust root alone: what holds is believed, and no lie is."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.keys import KeyPair, verify
from pyrsia.ledger import entries
from pyrsia.ledger.genesis import Genesis
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote
from pyrsia.log.prooffile import TlogProof
from pyrsia.node.log.acknowledging import Acknowledgements
from pyrsia.units import LeafIndex, TreeSize, tolerated
from pyrsia.verify.acknowledged import judge
from pyrsia.verify.pins import Pin
from pyrsia.wire.blocks import FinalityProof
from tests.reference import merkle
from tests.reference.certified import Certified
from tests.reference.ledger import key, make_genesis
from tests.reference.story import signature_lines


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = Certified(tmp_path_factory.mktemp("acks"))
    made.alone = {2, 3}
    for height in range(1, 6):
        made.block(*(made.fact(f"{height} {i}") for i in range(height)))
    yield made
    made.close()


def pin_of(genesis):
    return Pin(genesis.name, hashlib.sha256(genesis.raw).hexdigest(), Path("pinned"), genesis)


def authored(world):
    return [at for at, leaf in enumerate(world.leaves) if entries.parse(leaf).author is not None]


def told(world, at, **how):
    """What a node answers for the entry at this leaf, as a client reads it."""
    leaf = world.leaves[at]
    said = Acknowledgements(world.archive, **how).of(entries.parse(leaf).id, at)
    return msgspec.json.decode(msgspec.json.encode(said)), leaf


def judged(world, fields, leaf, genesis=None):
    return judge(fields, leaf, [pin_of(genesis or world.genesis)], verify)


def refused(world, fields, leaf, genesis=None):
    with pytest.raises(Refusal) as caught:
        judged(world, fields, leaf, genesis)
    return caught.value.code


def covered(world, at):
    """The tlog-proof of a leaf under a checkpoint of the whole log."""
    hashes = [merkle.leaf_hash(leaf) for leaf in world.leaves]
    head = Checkpoint(world.genesis.origin, TreeSize(len(hashes)), merkle.root(hashes))
    lines = [
        line
        for i in range(len(world.genesis.validators))
        for line in signature_lines(head, key(i, "log"), key(i, "cosign"), 9)
    ]
    note = SignedNote(head.text(), tuple(lines)).encode()
    return TlogProof(None, LeafIndex(at), tuple(merkle.path(at, hashes)), note).encode()


def test_every_entry_of_the_log_is_acknowledged_and_each_acknowledgement_holds(world):
    for at in authored(world):
        fields, leaf = told(world, at)
        found = judged(world, fields, leaf)
        assert (found.index, found.entry.raw, found.checkpoint) == (at, leaf, None)
        assert found.height == fields["block"]["height"]
    assert {told(world, at)[0]["block"]["height"] for at in authored(world)} == {1, 2, 3, 4, 5}


def test_a_block_delivered_with_later_ones_is_proven_by_the_certificate_of_the_last(world):
    at = next(at for at in authored(world) if told(world, at)[0]["block"]["height"] == 2)
    fields, leaf = told(world, at)
    proof = FinalityProof.decode(base64.b64decode(fields["block"]["finality"]))
    assert [header.height for header in proof.headers] == [4, 3, 2]
    assert judged(world, fields, leaf).height == 2


def test_a_cosigned_checkpoint_proves_it_too_and_alone_where_there_is_no_certificate(world):
    at = authored(world)[3]
    how = {"covered": lambda: len(world.leaves), "of_leaf": lambda at: covered(world, at)}
    fields, leaf = told(world, at, **how)
    found = judged(world, fields, leaf)
    assert (found.height is not None, found.checkpoint) == (True, len(world.leaves))
    fields["block"] = {"height": 3, "size": 9, "root": "", "finality": ""}
    assert judged(world, fields, leaf).height is None
    fields["checkpoint"] = ""
    assert refused(world, fields, leaf) == "proof-invalid"


def test_a_checkpoint_of_another_leaf_or_of_too_few_is_refused(world):
    at, other = authored(world)[3:5]
    fields, leaf = told(world, at)
    fields["checkpoint"] = covered(world, other).decode()
    assert refused(world, fields, leaf) == "proof-invalid"
    few = SignedNote.parse(TlogProof.parse(covered(world, at)).note)
    note = replace(few, lines=few.lines[: 2 * tolerated(len(world.genesis.validators))]).encode()
    fields["checkpoint"] = replace(TlogProof.parse(covered(world, at)), note=note).encode().decode()
    assert refused(world, fields, leaf) == "proof-invalid"


def test_another_network_is_not_pinned_and_another_entry_is_not_acknowledged(world):
    at, other = authored(world)[:2]
    fields, leaf = told(world, at)
    assert refused(world, fields, leaf, Genesis.parse(make_genesis(name="other"))) == "not-pinned"
    assert refused(world, fields, world.leaves[other]) == "proof-invalid"
    assert refused(
        world, {**fields, "entry": entries.parse(world.leaves[other]).id.hex()}, world.leaves[other]
    )


def test_a_signature_that_does_not_hold_is_refused_though_its_leaf_stands_in_the_log(world):
    """Nobody honest writes such a leaf; a client that checks needs no trust in that."""
    at = authored(world)[0]
    fields, leaf = told(world, at)
    forged = leaf.replace(entries.parse(leaf).signature.hex().encode(), b"00" * 64)
    assert refused(world, fields, forged) == "proof-invalid"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_signatures_than_a_quorum_prove_nothing(world, count):
    at = authored(world)[-1]
    fields, leaf = told(world, at)
    proof = FinalityProof.decode(base64.b64decode(fields["block"]["finality"]))
    cert = replace(proof.cert, signers=proof.cert.signers[:count], sigs=proof.cert.sigs[:count])
    fields["block"]["finality"] = base64.b64encode(replace(proof, cert=cert).encode()).decode()
    assert refused(world, fields, leaf) == "proof-invalid"


def test_a_quorum_of_strangers_proves_nothing(world):
    at = authored(world)[-1]
    fields, leaf = told(world, at)
    proof = FinalityProof.decode(base64.b64decode(fields["block"]["finality"]))
    sigs = tuple(KeyPair(bytes([i]) * 32).sign(b"whatever") for i in range(len(proof.cert.sigs)))
    fields["block"]["finality"] = base64.b64encode(
        replace(proof, cert=replace(proof.cert, sigs=sigs)).encode()
    ).decode()
    assert refused(world, fields, leaf) == "proof-invalid"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_an_acknowledgement_with_any_one_thing_changed_is_refused(world, data):
    at = data.draw(st.sampled_from(authored(world)))
    fields, leaf = told(world, at)
    part = data.draw(st.sampled_from(["index", "inclusion", "height", "size", "root", "finality"]))
    block = fields["block"]
    match part:
        case "index":
            fields["index"] = data.draw(st.integers(-1, len(world.leaves) + 1).filter(lambda n: n != at))
        case "inclusion":
            hashes = fields["inclusion"]
            change = data.draw(st.sampled_from(["cut", "more", "flip", "shape"]))
            place = data.draw(st.integers(0, len(hashes) - 1))
            if change == "cut":
                del hashes[place]
            elif change == "more":
                hashes.insert(place, "ab" * 32)
            else:
                flipped = format(int(hashes[place], 16) ^ 1, "064x")
                hashes[place] = flipped if change == "flip" else hashes[place].upper() + "0"
        case "height" | "size":
            block[part] += data.draw(st.sampled_from([-1, 1, 1000]))
        case "root":
            block[part] = format(int(block[part], 16) ^ 1 << data.draw(st.integers(0, 255)), "064x")
        case "finality":
            raw = bytearray(base64.b64decode(block[part]))
            raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            block[part] = base64.b64encode(raw).decode()
    # (another epoch's number is no lie that can be told from an epoch that is not known here yet)
    assert refused(world, fields, leaf) in ("proof-invalid", "no-proof" if part == "finality" else "")


@pytest.mark.parametrize(
    "lie",
    [None, [], {}, {"entry": 5}, {"index": 2.5}, {"inclusion": "x"}, {"block": None}, {"block": {}},
     {"inclusion": ["ab" * 32] * 100_000}, {"checkpoint": "x" * 300_000}, {"checkpoint": "\ud800"},
     {"block": {"height": 1, "size": 1, "root": "", "finality": "x" * 300_000}},
     {"block": {"height": 1, "size": 1, "root": "", "finality": "\ud800"}}],
)  # fmt: skip
def test_what_is_no_acknowledgement_is_refused_in_words(world, lie):
    fields, leaf = told(world, authored(world)[0])
    lied = {**fields, **lie} if isinstance(lie, dict) and lie else lie
    assert refused(world, lied, leaf) == "proof-invalid"
