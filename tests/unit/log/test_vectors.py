"""Bytes that others made: Merkle proofs, a small log, a mirror and its witness, and a signed note.

Read in place from the folder that PYRSIA_VECTORS names; without it every test here skips with one
sentence. Everything tested here is also tested without them.
"""

import base64
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyrsia import keys
from pyrsia._native import merkle
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log import checkpoint, note, tiles, tree
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.note import SignedNote, VerifierKey
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.units import TreeSize
from tests.reference import merkle as oracle
from tests.unit.log.logs import Log

NOT_SET = ""  # the one case when there is no folder; the `vectors` fixture then skips it


def found(*parts: str) -> list[str]:
    """Files below a folder of the vectors, as paths that name the test cases."""
    root = Path(os.environ.get("PYRSIA_VECTORS") or "/nonexistent")
    folder = root.joinpath(*parts)
    return sorted(str(path.relative_to(root)) for path in folder.rglob("*.json")) or [NOT_SET]


# -- merkle --

# Roots of 12 bytes where the authors did not care; a verifier that insists on hashes is right to refuse.
KNOWN_DIFFERENCES = {
    "merkle/consistency/additional/sizes-are-equal-one-and-proof-is-empty.json",
    "merkle/subtreeconsistency/additional/sizes-are-equal-one-and-proof-is-empty.json",
    "merkle/subtreeconsistency/additional/"
    "subtree-is-empty-sizes-are-equal-one-subtree-root-valid-tree-root-random-proof-is-empty.json",
    "merkle/subtreeconsistency/additional/"
    "subtree-is-empty-sizes-are-equal-zero-subtree-root-valid-tree-root-random-proof-is-empty.json",
}
PROOF_CASES = {  # kind -> (positive, negative)
    "inclusion": (6, 92),
    "consistency": (6, 92),
    "subtreeinclusion": (12, 192),
    "subtreeconsistency": (12, 106),
}


def b64(text: str | None) -> bytes:
    return base64.b64decode(text or "", validate=True)


def case_of(vectors: Path, name: str) -> tuple[dict[str, Any], list[bytes]]:
    case = json.loads((vectors / name).read_bytes())
    return case, [b64(one) for one in case["proof"] or []]


@pytest.mark.parametrize("kind", PROOF_CASES)
def test_all_proof_cases_are_there(vectors: Path, kind: str) -> None:
    wrong = [case_of(vectors, name)[0]["wantErr"] for name in found("merkle", kind)]
    assert (wrong.count(False), wrong.count(True)) == PROOF_CASES[kind]


def test_there_are_518_proof_cases_and_four_of_them_are_not_about_hashes(vectors: Path) -> None:
    names = set(found("merkle"))
    assert len(names) == 518 == sum(map(sum, PROOF_CASES.values()))
    assert len(KNOWN_DIFFERENCES & names) == 4
    for name in KNOWN_DIFFERENCES:
        case, _ = case_of(vectors, name)
        assert not case["wantErr"]
        assert 12 in {len(b64(case["root1"])), len(b64(case["root2"]))}


def judged(name: str, case: dict[str, Any], verify: Callable[[], None]) -> None:
    """`verify` returns for a good case; for a bad one it refuses, with its own error and no other."""
    if not case["wantErr"] and name not in KNOWN_DIFFERENCES:
        return verify()
    with pytest.raises(ProofInvalid):
        verify()


@pytest.mark.parametrize("name", found("merkle", "inclusion"))
def test_inclusion(vectors: Path, name: str) -> None:
    case, proof = case_of(vectors, name)
    leaf, index, size, root = b64(case["leafHash"]), case["leafIdx"], case["treeSize"], b64(case["root"])
    judged(name, case, lambda: tree.verify_inclusion(leaf, index, size, proof, root))
    claim = tree.Inclusion(leaf, index, size, proof, root)
    assert tree.unproved([claim] * 3) == ([0, 1, 2] if case["wantErr"] else [])


@pytest.mark.parametrize("name", found("merkle", "consistency"))
def test_consistency(vectors: Path, name: str) -> None:
    case, proof = case_of(vectors, name)
    old, new, root_1, root_2 = case["size1"], case["size2"], b64(case["root1"]), b64(case["root2"])
    judged(name, case, lambda: tree.verify_consistency(old, root_1, new, root_2, proof))


@pytest.mark.parametrize("name", found("merkle", "subtreeinclusion"))
def test_subtree_inclusion(vectors: Path, name: str) -> None:
    case, proof = case_of(vectors, name)
    leaf, index, root = b64(case["leafHash"]), case["leafIdx"], b64(case["root"])
    start, end = case["start"], case["end"]
    judged(name, case, lambda: tree.verify_subtree_inclusion(leaf, index, start, end, proof, root))


@pytest.mark.parametrize("name", found("merkle", "subtreeconsistency"))
def test_subtree_consistency(vectors: Path, name: str) -> None:
    case, proof = case_of(vectors, name)
    start, end, size = case["start"], case["end"], case["size"]
    part, root = b64(case["root1"]), b64(case["root2"])
    judged(name, case, lambda: tree.verify_subtree_consistency(start, end, size, part, root, proof))


# -- tessera-log --

WORDS = b"one two three four five six seven eit nain ten ileven twelf threeten fourten fivten".split()
TESSERA_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"


def tessera(vectors: Path, size: int) -> Checkpoint:
    key = VerifierKey.parse(TESSERA_KEY)
    signed = SignedNote.parse((vectors / "tessera-log" / f"checkpoint.{size}").read_bytes())
    (signer,) = note.verify_note(signed, [key], keys.verify)
    assert signer == note.Signer(key, None)
    return Checkpoint.parse(signed.text)


@pytest.mark.parametrize("size", range(16))
def test_step_1_and_3_our_log_has_the_checkpoint_s_root_and_the_same_files(vectors: Path, size: int) -> None:
    head = tessera(vectors, size)
    log = Log()
    for word in WORDS[:size]:
        log.append([word])

    assert head == Checkpoint("example.com/log/testdata", TreeSize(size), log.frontier.root())
    for tile in tiles.tiles_of(TreeSize(size)):
        theirs = (vectors / "tessera-log" / tile.path).read_bytes()
        assert log.tiles[tile.level, tile.index] == theirs
        bundle = tiles.Bundle(tile.index, tile.width)
        assert log.bundle(bundle) == (vectors / "tessera-log" / bundle.path).read_bytes()


@pytest.mark.parametrize("size", range(1, 16))
def test_step_2_bundle_tile_and_checkpoint_belong_together(vectors: Path, size: int) -> None:
    folder = vectors / "tessera-log"
    entries = tiles.bundle_decode((folder / Bundle(0, size).path).read_bytes(), size)
    hashes = (folder / Tile(0, 0, size).path).read_bytes()

    assert list(entries) == WORDS[:size]
    assert hashes == oracle.leaf_hashes(entries)
    assert merkle.range_root(hashes) == tessera(vectors, size).root


def test_step_4_every_consistency_proof_from_the_tiles_verifies(vectors: Path) -> None:
    heads = {size: tessera(vectors, size) for size in range(1, 16)}
    proved = 0
    for new in range(1, 16):
        (tile,) = tiles.tiles_of(TreeSize(new))
        nodes = tiles.reader(TreeSize(new), {tile: (vectors / "tessera-log" / tile.path).read_bytes()})
        for old in range(1, new + 1):
            proof = tree.consistency_proof(TreeSize(old), TreeSize(new), nodes)
            tree.verify_consistency(old, heads[old].root, new, heads[new].root, proof)
            proved += 1
    assert proved == 120


def changed(data: bytes) -> list[bytes]:
    """Every single flipped bit, one byte less, one byte more."""
    bits = [
        data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        for at in range(len(data))
        for bit in range(8)
    ]
    return [*bits, data[:-1], *(data + bytes([one]) for one in (0, 10, 65, 255))]


def test_step_5_no_changed_checkpoint_passes(vectors: Path) -> None:
    honest = (vectors / "tessera-log" / "checkpoint").read_bytes()
    assert honest == (vectors / "tessera-log" / "checkpoint.15").read_bytes()
    key = VerifierKey.parse(TESSERA_KEY)
    for data in changed(honest):
        with pytest.raises(Malformed):  # ProofInvalid is one: no signature of the log is left
            checkpoint.quorum(SignedNote.parse(data), [key], 1, keys.verify)
        try:
            signers = note.verify_note(SignedNote.parse(data), [key], keys.verify)
        except Malformed:
            continue
        assert signers == ()  # another name or key id: a stranger's line


def test_step_5_unused_bits_of_base64_are_refused(vectors: Path) -> None:
    honest = (vectors / "tessera-log" / "checkpoint").read_bytes()
    assert honest.endswith(b"ewI=\n")
    with pytest.raises(Malformed, match="canonical"):
        SignedNote.parse(honest[:-5] + b"ewK=\n")


def test_step_5_no_changed_tile_or_bundle_passes(vectors: Path) -> None:
    folder, root = vectors / "tessera-log", tessera(vectors, 15).root
    size = TreeSize(15)
    (tile,) = tiles.tiles_of(size)
    for data in changed((folder / tile.path).read_bytes()):
        try:
            tiles.nodes_in([(3, 0)], size, {tile: data})
        except Malformed:
            continue
        assert merkle.range_root(data) != root
    for data in changed((folder / Bundle(0, 15).path).read_bytes()):
        try:
            entries = tiles.bundle_decode(data, 15)
        except Malformed:
            continue
        assert merkle.range_root(oracle.leaf_hashes(entries)) != root


# -- sunlight-mirror --

HASHED_ORIGIN = "000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706"
MIRROR_KEY = "mirror.example.org+3fb148ef+BAAjjch9GyYz0sJsJx7ALhbdAtz2ov0unbzSl1vMp94O"
WITNESS_KEY = "witness.example.org+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN"


def mirror(vectors: Path) -> Path:
    return vectors / "sunlight-mirror" / HASHED_ORIGIN


def witnessed(vectors: Path) -> bytes:
    return (vectors / "sunlight-mirror" / "witness" / HASHED_ORIGIN / "checkpoint").read_bytes()


def test_both_cosignatures_verify_and_unknown_lines_are_passed_over(vectors: Path) -> None:
    for data, text, lines in (
        ((mirror(vectors) / "checkpoint").read_bytes(), MIRROR_KEY, 1),
        (witnessed(vectors), WITNESS_KEY, 2),
    ):
        signed, key = SignedNote.parse(data), VerifierKey.parse(text)
        assert str(key) == text
        assert signed.encode() == data
        assert len(signed.lines) == lines
        assert note.verify_note(signed, [key], keys.verify) == (note.Signer(key, 1_767_139_200),)


def test_the_mirror_s_tiles_are_those_of_three_hundred_records(vectors: Path) -> None:
    log = Log(b"record %d" % i for i in range(300))
    head = Checkpoint.parse(SignedNote.parse((mirror(vectors) / "checkpoint").read_bytes()).text)

    assert head == Checkpoint("rome2026h1.example.org", TreeSize(300), log.frontier.root())
    paths = []
    for tile in tiles.tiles_of(TreeSize(300)):
        assert log.tiles[tile.level, tile.index] == (mirror(vectors) / tile.path).read_bytes()
        paths.append(tile.path)
    assert paths == ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"]


def test_a_cosigned_checkpoint_without_the_log_s_signature_is_not_trusted(vectors: Path) -> None:
    signed = SignedNote.parse((mirror(vectors) / "checkpoint").read_bytes())
    with pytest.raises(ProofInvalid, match="not signed by the log"):
        checkpoint.quorum(signed, [VerifierKey.parse(MIRROR_KEY)], 1, keys.verify)


@pytest.mark.parametrize(("path", "count"), [("tile/entries/000", 256), ("tile/entries/001.p/44", 44)])
def test_what_is_no_bundle_is_refused(vectors: Path, path: str, count: int) -> None:
    data = (mirror(vectors) / path).read_bytes()
    for wrong in (data, gzip.decompress(data)):
        with pytest.raises(Malformed):
            tiles.bundle_decode(wrong, count)


def test_two_roots_of_one_size_are_two_checkpoints(vectors: Path) -> None:
    one = Checkpoint.parse(SignedNote.parse((mirror(vectors) / "checkpoint").read_bytes()).text)
    two = Checkpoint.parse(SignedNote.parse(witnessed(vectors)).text)
    assert (one.origin, one.size) == (two.origin, two.size)
    assert one.root != two.root


# -- signed-note --


def test_the_specification_s_example_verifies_and_none_of_its_changes(vectors: Path) -> None:
    data = (vectors / "signed-note" / "example.note.txt").read_bytes()
    key = VerifierKey.parse((vectors / "signed-note" / "example.vkey.txt").read_text().removesuffix("\n"))
    signed = SignedNote.parse(data)

    assert key.id.hex() == "530d903a"
    assert signed.text == b"This is an example message.\n"
    assert signed.encode() == data
    assert note.verify_note(signed, [key], keys.verify) == (note.Signer(key, None),)
    dash = "\u2014".encode()
    for wrong in [
        *changed(data),
        data.replace(b"\n\n", b"\n\n\n"),
        data.replace(b"\n", b"\r\n"),
        data.replace(dash, b"-"),
        data.replace(dash + b" ", dash + b"  "),
        data.rstrip(b"=\n") + b"\n",
    ]:
        try:
            signers = note.verify_note(SignedNote.parse(wrong), [key], keys.verify)
        except Malformed:
            continue
        assert signers == ()
