"""Appending, roots and proofs, against the definition; and that no lie verifies."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia._native import merkle
from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.log import tiles, tree
from pyrsia.units import MAX_TREE_SIZE, LeafIndex, TreeSize
from tests.reference import merkle as oracle
from tests.unit.log.logs import Log, numbered

ENTRIES = numbered(1_100)
LEAVES = [oracle.leaf_hash(entry) for entry in ENTRIES]
EDGES = [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1_100]


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data) ^ (1 << bit)).to_bytes(len(data))


def test_the_empty_root_is_the_hash_of_nothing() -> None:
    assert tree.Frontier().root() == tree.EMPTY_ROOT == oracle.root([])


@pytest.mark.parametrize("size", EDGES)
def test_root_and_tiles_at_the_edges_of_tiles_are_the_definition_s(size: int) -> None:
    log = Log(ENTRIES[:size])

    assert log.frontier.size == size
    assert log.frontier.root() == oracle.root(LEAVES[:size])
    for tile in tiles.tiles_of(TreeSize(size)):
        span = 256**tile.level
        want = [
            oracle.root(LEAVES[(256 * tile.index + i) * span : (256 * tile.index + i + 1) * span])
            for i in range(tile.width)
        ]
        assert log.tiles[tile.level, tile.index] == b"".join(want)
    assert len(log.tiles) == len(list(tiles.tiles_of(TreeSize(size))))


def test_a_log_of_seventy_thousand_leaves_reaches_the_third_level_of_tiles() -> None:
    hashes = merkle.leaf_hashes(numbered(70_000))
    frontier, updates = tree.Frontier().append(hashes)

    assert frontier.root() == merkle.range_root(hashes)
    assert [sum(1 for level, _ in updates if level == at) for at in range(3)] == [274, 2, 1]
    assert {at: len(row) // 32 for at, row in updates.items() if len(row) < 8192} == {
        (0, 273): 112,
        (1, 1): 17,
        (2, 0): 1,
    }


@settings(max_examples=60)
@given(st.lists(st.one_of(st.integers(0, 5), st.integers(200, 300), st.integers(500, 520)), max_size=6))
def test_growing_in_any_steps_gives_the_same_log(steps: list[int]) -> None:
    stepped = Log()
    for start, end in itertools.pairwise([0, *itertools.accumulate(steps)]):
        stepped.append([b"entry %d" % i for i in range(start, end)])
    at_once = Log([b"entry %d" % i for i in range(sum(steps))])

    assert stepped.frontier == at_once.frontier
    assert stepped.tiles == at_once.tiles


@given(st.integers(0, 600), st.integers(0, 300))
def test_an_append_names_exactly_the_tiles_that_changed(before: int, more: int) -> None:
    old, new = Log(ENTRIES[:before]), Log(ENTRIES[: before + more])
    _, updates = old.frontier.append(b"".join(LEAVES[before : before + more]))
    assert updates == {at: row for at, row in new.tiles.items() if old.tiles.get(at) != row}


@given(st.integers(0, 1_100))
def test_a_frontier_survives_its_bytes_and_its_tiles(size: int) -> None:
    log = Log(ENTRIES[:size])
    again = tree.Frontier.from_tiles(log.frontier.size, lambda level, index: log.tiles[level, index])
    assert tree.Frontier.decode(log.frontier.encode()) == log.frontier == again


@pytest.mark.parametrize("size", EDGES)
def test_the_compact_range_folds_to_the_root(size: int) -> None:
    frontier = Log(ENTRIES[:size]).frontier
    assert len(frontier.hashes) == size.bit_count()
    root = b""
    for left in reversed(frontier.hashes):
        root = oracle.hash_children(left, root) if root else left
    assert (root or tree.EMPTY_ROOT) == frontier.root()


@given(st.binary(max_size=200))
def test_strange_bytes_are_no_frontier_or_the_one_they_encode(data: bytes) -> None:
    try:
        frontier = tree.Frontier.decode(data)
    except Malformed:
        return
    assert frontier.encode() == data


def test_a_frontier_cut_or_lengthened_is_refused() -> None:
    data = Log(ENTRIES[:300]).frontier.encode()
    for wrong in (data[:-1], data + b"\0", b"", b"\xff" * 8):
        with pytest.raises(Malformed):
            tree.Frontier.decode(wrong)


def test_a_short_tile_makes_no_frontier() -> None:
    with pytest.raises(Malformed):
        tree.Frontier.from_tiles(TreeSize(3), lambda level, index: bytes(64))


@pytest.mark.parametrize("count", [1, 31, 33])
def test_appending_half_a_hash_is_the_caller_s_bug(count: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        tree.Frontier().append(bytes(count))


def test_a_log_beyond_its_last_size_is_refused() -> None:
    full = tree.Frontier(TreeSize(MAX_TREE_SIZE.value), (bytes(32 * 255),) * 6 + (bytes(32 * 31),))
    with pytest.raises(ValueError, match="do not fit"):
        full.append(bytes(32))


@pytest.mark.parametrize("size", range(1, 40))
def test_every_proof_of_every_small_log_is_the_definition_s_and_verifies(size: int) -> None:
    log, leaves = Log(ENTRIES[:size]), LEAVES[:size]
    root = oracle.root(leaves)
    for i in range(size):
        proof = tree.inclusion_proof(LeafIndex(i), TreeSize(size), log.nodes())
        assert proof == oracle.path(i, leaves)
        tree.verify_inclusion(leaves[i], i, size, proof, root)
    for old in range(1, size + 1):
        proof = tree.consistency_proof(TreeSize(old), TreeSize(size), log.nodes())
        assert proof == oracle.proof(old, leaves)
        tree.verify_consistency(old, oracle.root(leaves[:old]), size, root, proof)


WHOLE = Log(ENTRIES)
ROOTS = {size: merkle.range_root(b"".join(LEAVES[:size])) for size in range(1, 1_101)}


@settings(max_examples=200)
@given(st.data())
def test_proofs_of_earlier_sizes_come_from_the_tiles_of_a_grown_log(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 1_100))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))

    inclusion = tree.inclusion_proof(LeafIndex(index), TreeSize(size), WHOLE.nodes(size))
    consistency = tree.consistency_proof(TreeSize(old), TreeSize(size), WHOLE.nodes(size))

    tree.verify_inclusion(LEAVES[index], index, size, inclusion, ROOTS[size])
    tree.verify_consistency(old, ROOTS[old], size, ROOTS[size], consistency)


@given(st.data(), st.integers(2, 1_100))
def test_many_inclusion_proofs_are_what_each_would_be_alone(data: st.DataObject, size: int) -> None:
    indices = data.draw(st.lists(st.integers(0, size - 1).map(LeafIndex), max_size=8))
    asked = []
    nodes = WHOLE.nodes(size)

    def counted(coords):  # type: ignore[no-untyped-def]
        asked.append(len(coords))
        return nodes(coords)

    alone = [tree.inclusion_proof(index, TreeSize(size), nodes) for index in indices]
    assert tree.inclusion_proofs(indices, TreeSize(size), counted) == alone
    assert len(asked) == 1


@settings(max_examples=200)
@given(st.data(), st.integers(2, 1_100))
def test_an_inclusion_proof_with_any_one_thing_changed_proves_nothing(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    leaf, root = LEAVES[index], ROOTS[size]
    proof = tree.inclusion_proof(LeafIndex(index), TreeSize(size), WHOLE.nodes(size))
    bit = data.draw(st.integers(0, 255))
    at = data.draw(st.integers(0, len(proof) - 1))
    match data.draw(st.sampled_from(["leaf", "root", "proof", "short", "long", "swap", "index", "cut"])):
        case "leaf":
            leaf = flipped(leaf, bit)
        case "root":
            root = flipped(root, bit)
        case "proof":
            proof[at] = flipped(proof[at], bit)
        case "short":
            del proof[at]
        case "long":
            proof.insert(at, proof[at])
        case "swap":
            proof[at] = leaf
        case "index":
            index = data.draw(st.integers(0, size).filter(lambda other: other != index))
        case "cut":
            proof[at] = proof[at][:-1]
    with pytest.raises(ProofInvalid):
        tree.verify_inclusion(leaf, index, size, proof, root)


@settings(max_examples=200)
@given(st.data(), st.integers(2, 1_100))
def test_a_consistency_proof_with_any_one_thing_changed_proves_nothing(
    data: st.DataObject, size: int
) -> None:
    old = data.draw(st.integers(1, size - 1))
    first, second = ROOTS[old], ROOTS[size]
    proof = tree.consistency_proof(TreeSize(old), TreeSize(size), WHOLE.nodes(size))
    bit = data.draw(st.integers(0, 255))
    at = data.draw(st.integers(0, len(proof) - 1))
    match data.draw(st.sampled_from(["first", "second", "proof", "short", "long", "cut", "turned"])):
        case "first":
            first = flipped(first, bit)
        case "second":
            second = flipped(second, bit)
        case "proof":
            proof[at] = flipped(proof[at], bit)
        case "short":
            del proof[at]
        case "long":
            proof.append(proof[at])
        case "cut":
            proof[at] = proof[at][:-1]
        case "turned":
            old, size, first, second = size, old, second, first
    with pytest.raises(ProofInvalid):
        tree.verify_consistency(old, first, size, second, proof)


# -- many claims at once --


def claims_of(sizes: list[int], wrong: set[int]) -> list[tree.Inclusion]:
    """One claim a size, about its middle leaf; those at the positions `wrong` each lie in another way."""
    found = []
    for position, size in enumerate(sizes):
        index = size // 2
        proof = tree.inclusion_proof(LeafIndex(index), TreeSize(size), WHOLE.nodes(size))
        claim = tree.Inclusion(LEAVES[index], index, size, proof, ROOTS[size])
        found.append(lie(claim, position) if position in wrong else claim)
    return found


def lie(claim: tree.Inclusion, kind: int) -> tree.Inclusion:
    """The claim with one thing wrong."""
    return [
        lambda: dataclasses.replace(claim, leaf=flipped(claim.leaf, kind)),
        lambda: dataclasses.replace(claim, leaf=claim.leaf[:-1]),
        lambda: dataclasses.replace(claim, leaf=b""),
        lambda: dataclasses.replace(claim, root=flipped(claim.root, kind)),
        lambda: dataclasses.replace(claim, root=claim.root + b"\0"),
        lambda: dataclasses.replace(claim, root=b""),
        lambda: dataclasses.replace(claim, index=claim.size),
        lambda: dataclasses.replace(claim, index=-1),
        lambda: dataclasses.replace(claim, size=2**70),
        lambda: dataclasses.replace(claim, size=0),
        lambda: dataclasses.replace(claim, proof=[*claim.proof, claim.leaf]),
        lambda: dataclasses.replace(claim, proof=[*claim.proof, b""]),
        # The same bytes, cut elsewhere.
        lambda: dataclasses.replace(claim, proof=[b"".join(claim.proof)[:31], b"".join(claim.proof)[31:]]),
    ][kind % 13]()


@settings(max_examples=60)
@given(st.lists(st.integers(1, 1_100), max_size=80), st.sets(st.integers(0, 80)))
def test_of_many_claims_exactly_the_false_ones_are_named(sizes: list[int], wrong: set[int]) -> None:
    claims = claims_of(sizes, wrong)
    assert tree.unproved(claims) == sorted(position for position in wrong if position < len(sizes))
    for position, claim in enumerate(claims):
        if position in wrong:
            with pytest.raises(ProofInvalid):
                tree.verify_inclusion(claim.leaf, claim.index, claim.size, claim.proof, claim.root)


@pytest.mark.parametrize("kind", range(13))
def test_every_kind_of_lie_is_named(kind: int) -> None:
    (claim,) = claims_of([700], set())
    assert tree.unproved([claim, lie(claim, kind), claim]) == [1]


# -- subtrees --


def valid(start: int, end: int) -> bool:
    """The definition: `start` is a multiple of the smallest power of two that is >= the width."""
    power = 1
    while power < end - start:
        power *= 2
    return start % power == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 21, 32, 33])
def test_every_subtree_of_every_small_log_is_proved_and_no_other_range_is(size: int) -> None:
    leaves, root = LEAVES[:size], oracle.root(LEAVES[:size])
    for start, end in itertools.combinations(range(size + 1), 2):
        part = oracle.root(leaves[start:end])
        if not valid(start, end):
            with pytest.raises(ProofInvalid, match="no subtree"):
                tree.verify_subtree_consistency(start, end, size, part, root, [])
            with pytest.raises(ProofInvalid, match="no subtree"):
                tree.verify_subtree_inclusion(leaves[start], start, start, end, [], part)
            continue
        proof = oracle.subtree_proof(start, end, leaves)
        tree.verify_subtree_consistency(start, end, size, part, root, proof)
        for index in range(start, end):
            path = oracle.path(index - start, leaves[start:end])
            tree.verify_subtree_inclusion(leaves[index], index, start, end, path, part)
        falsehoods = [proof[:-1], [*proof, root]] if proof else [[root]]
        falsehoods += [
            [*proof[:at], flipped(one, 31 * at + start), *proof[at + 1 :]] for at, one in enumerate(proof)
        ]
        for bent in falsehoods:
            with pytest.raises(ProofInvalid):
                tree.verify_subtree_consistency(start, end, size, part, root, bent)
        for first, second in ((flipped(part, end), root), (part, flipped(root, end))):
            with pytest.raises(ProofInvalid):
                tree.verify_subtree_consistency(start, end, size, first, second, proof)


@pytest.mark.parametrize("size", [2, 3, 8, 13, 33])
def test_a_subtree_from_the_first_leaf_on_is_an_older_log(size: int) -> None:
    for old in range(1, size + 1):
        assert oracle.subtree_proof(0, old, LEAVES[:size]) == oracle.proof(old, LEAVES[:size])


def test_the_empty_subtree_is_part_of_every_log_that_reaches_it_and_includes_nothing() -> None:
    tree.verify_subtree_consistency(3, 3, 5, tree.EMPTY_ROOT, ROOTS[5], [])
    tree.verify_subtree_consistency(0, 0, 0, tree.EMPTY_ROOT, tree.EMPTY_ROOT, [])
    for start, part, proof in ((6, tree.EMPTY_ROOT, []), (3, ROOTS[5], []), (3, tree.EMPTY_ROOT, [ROOTS[5]])):
        with pytest.raises(ProofInvalid):
            tree.verify_subtree_consistency(start, start, 5, part, ROOTS[5], proof)
    with pytest.raises(ProofInvalid):
        tree.verify_subtree_inclusion(LEAVES[3], 3, 3, 3, [], LEAVES[3])


@settings(max_examples=200)
@given(
    st.lists(st.integers(-2, 40) | st.integers(2**63, 2**70), min_size=4, max_size=4),
    st.lists(st.binary(max_size=33) | st.just(bytes(32)), max_size=9),
)
def test_verifiers_of_subtrees_raise_nothing_but_proof_invalid(at: list[int], proof: list[bytes]) -> None:
    with pytest.raises(ProofInvalid):
        tree.verify_subtree_inclusion(bytes(32), *at[:3], proof, bytes(31) + b"\1")
    with pytest.raises(ProofInvalid):
        tree.verify_subtree_consistency(*at[:3], bytes(32), bytes(31) + b"\1", proof)


@settings(max_examples=300)
@given(
    st.integers(-2, 2**70),
    st.integers(-2, 2**70),
    st.lists(st.binary(max_size=33), max_size=70),
    st.booleans(),
)
def test_verifiers_raise_nothing_but_proof_invalid(a: int, b: int, proof: list[bytes], whole: bool) -> None:
    if whole:
        proof = [one.ljust(32, b"\0")[:32] for one in proof]
    with pytest.raises(ProofInvalid):
        tree.verify_inclusion(bytes(32), a, b, proof, bytes(32))
    with pytest.raises(ProofInvalid):
        tree.verify_consistency(a, bytes(32), b, bytes(31) + b"\1", proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_planning_for_a_leaf_outside_the_log_is_the_caller_s_bug(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="is not in a log"):
        tree.plan_inclusion(LeafIndex(index), TreeSize(size))


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (6, 5)])
def test_planning_from_nothing_or_backwards_is_the_caller_s_bug(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no proof leads"):
        tree.plan_consistency(TreeSize(old), TreeSize(new))


def test_other_nodes_than_planned_are_the_caller_s_bug() -> None:
    planned = tree.plan_inclusion(LeafIndex(3), TreeSize(11))
    for wrong in ([bytes(32)] * (len(planned) - 1), [bytes(32)] * (len(planned) + 1), [b""] * len(planned)):
        with pytest.raises(ValueError, match="not the nodes"):
            tree.finish_inclusion(LeafIndex(3), TreeSize(11), wrong)
