"""The verifiable index against its definition: any history of a set, every version, and every way to lie."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed, ProofInvalid, Refusal
from pyrsia.ledger import index, prefixtree
from pyrsia.ledger.prefixtree import Path, Tree, prove, update, verify_absent, verify_present
from pyrsia.ledger.touches import package_key
from pyrsia.log.tree import EMPTY_ROOT, leaf_hash
from pyrsia.wire import canonical
from tests.reference import prefixtree as oracle

T = TypeVar("T")
TAG = 7
Edits = dict[bytes, bytes | None]


def sha(text: object) -> bytes:
    return hashlib.sha256(str(text).encode()).digest()


def near(*bits: int) -> bytes:
    """A key of zeros but for these bits: few bits make keys that share long prefixes."""
    return sum(1 << 255 - bit for bit in set(bits)).to_bytes(32, "big")


@dataclass
class Store:
    """Pages as a database would keep them, with every version of the tree and what each one dropped."""

    pages: dict[bytes, bytes] = field(default_factory=dict)
    tree: Tree = field(default_factory=lambda: Tree.empty(TAG))
    pairs: dict[bytes, bytes] = field(default_factory=dict)
    past: list[tuple[Tree, dict[bytes, bytes], tuple[bytes, ...]]] = field(default_factory=list)
    asked: int = 0

    def fetch(self, keys: list[bytes]) -> list[bytes | None]:
        self.asked += 1
        return [self.pages.get(key) for key in keys]

    def apply(self, edits: Edits) -> "Store":
        change = update(self.tree, self.fetch, edits, len(self.past))
        assert not change.pages.keys() & self.pages.keys()
        self.pages.update(change.pages)
        for key, value in edits.items():
            if value is None:
                self.pairs.pop(key, None)
            else:
                self.pairs[key] = value
        self.tree = change.tree
        self.past.append((change.tree, dict(self.pairs), change.dropped))
        return self


def holding(keys: list[bytes]) -> Store:
    return Store().apply({key: sha(key) for key in keys})


few_bits = st.lists(st.integers(0, 255), max_size=3).map(lambda bits: near(*bits))
low_bits = st.lists(st.integers(240, 255), max_size=8).map(lambda bits: near(*bits))
spread = st.integers(0, 300).map(sha)
values = st.integers(0, 3).map(lambda i: sha(f"value {i}"))
batches = st.lists(
    st.dictionaries(few_bits | low_bits | spread, st.none() | values, max_size=80), min_size=1, max_size=5
)


def agree(tree: Tree, pairs: dict[bytes, bytes], store: Store, asked: bytes) -> None:
    """What the tree says of one key is what the definition says, and its proof holds."""
    value, path = prove(tree, store.fetch, asked)
    assert value == pairs.get(asked)
    if pairs:
        leaf, steps = oracle.lookup(pairs, asked)
        assert list(path.steps) == steps
        assert path.other == (None if leaf == asked else (leaf, pairs[leaf]))
    if value is None:
        verify_absent(tree.root, asked, path)
    else:
        verify_present(tree.root, asked, value, path)


# -- any history --


@settings(deadline=None, max_examples=120)
@given(edits=batches, asked=st.lists(few_bits | low_bits | spread, min_size=1, max_size=6))
def test_any_history_of_edits_has_the_root_and_the_proofs_of_the_definition(
    edits: list[Edits], asked: list[bytes]
) -> None:
    store = Store()
    for batch in edits:
        store.apply(batch)
        assert store.tree.root == oracle.root(store.pairs)
        assert (store.tree.version is None) == (not store.pairs)
    for tree, pairs, _ in store.past:  # every version still proves
        assert list(prefixtree.walk(tree, store.fetch)) == sorted(pairs.items())
        for key in [*asked, *list(pairs)[:4]]:
            agree(tree, pairs, store, key)


@settings(deadline=None, max_examples=60)
@given(edits=batches)
def test_what_is_dropped_is_exactly_what_no_later_version_needs(edits: list[Edits]) -> None:
    store = Store()
    live: set[bytes] = set()
    for batch in edits:
        before = set(store.pages)
        store.apply(batch)
        dropped = store.past[-1][2]
        assert len(set(dropped)) == len(dropped)
        assert set(dropped) <= live
        live = (live - set(dropped)) | (store.pages.keys() - before)
        assert {key for key, _ in prefixtree.pages(store.tree, store.fetch)} == live
    for number, (_, _, dropped) in enumerate(store.past):
        for key in dropped:  # as the node does some seals later
            del store.pages[key]
        for tree, pairs, _ in store.past[number:]:
            assert dict(prefixtree.walk(tree, store.fetch)) == pairs


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_one_set_has_one_root_however_it_came_about(data: st.DataObject) -> None:
    pairs = data.draw(st.dictionaries(few_bits | spread, values, max_size=60))
    extra = data.draw(st.dictionaries(low_bits | spread, values, max_size=60))
    order = data.draw(st.permutations(list(pairs)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=3)))
    store = Store().apply({key: sha("old") for key in extra})
    for first, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        store.apply({key: pairs[key] for key in order[first:end]})
    store.apply({key: None for key in extra if key not in pairs})

    assert store.tree.root == holding([]).apply(dict(pairs)).tree.root == oracle.root(pairs)


def test_more_keys_than_a_bucket_under_one_long_prefix_make_forks_all_the_way_down() -> None:
    keys = [near(*(248 + bit for bit in range(8) if number >> bit & 1)) for number in range(200)]
    store = holding(keys)
    assert store.tree.root == oracle.root(store.pairs)
    depths = [key[1] for key, _ in prefixtree.pages(store.tree, store.fetch)]
    assert max(depths) == 63
    assert list(prefixtree.walk(store.tree, store.fetch)) == sorted(store.pairs.items())
    for asked in [keys[0], keys[77], near(0), near(247), near(255, 100), b"\xff" * 32]:
        agree(store.tree, store.pairs, store, asked)
    store.apply(dict.fromkeys(keys[1:]))
    assert store.tree.root == oracle.root({keys[0]: sha(keys[0])})
    store.apply({keys[0]: None})
    assert store.tree == Tree.empty(TAG)
    assert set(store.pages) == {key for _, _, dropped in store.past for key in dropped}


def test_keys_that_share_255_bits_part_at_the_last() -> None:
    store = holding([near(), near(255)])
    value, path = prove(store.tree, store.fetch, near(255))
    assert value == sha(near(255))
    assert path.steps == ((255, hashlib.sha256(near() + sha(near())).digest()),)
    verify_present(store.tree.root, near(255), value, path)


def test_storage_is_asked_once_a_level_however_many_keys_change() -> None:
    store = holding([sha(number) for number in range(5_000)])
    levels = 1 + max(key[1] for key, _ in prefixtree.pages(store.tree, store.fetch))
    store.asked = 0
    store.apply({sha(number): sha("new") for number in range(0, 6_000, 3)})
    assert store.asked == levels
    assert store.tree.root == oracle.root(store.pairs)
    store.asked = 0
    prove(store.tree, store.fetch, sha(4_999))
    assert store.asked <= levels


def test_what_changes_nothing_writes_nothing() -> None:
    store = holding([sha(number) for number in range(100)])
    for edits in ({}, {sha(3): sha(sha(3))}, {sha("absent"): None}):
        change = update(store.tree, store.fetch, edits, 9)
        assert change == prefixtree.Change(store.tree, {}, ())
    assert update(Tree.empty(TAG), store.fetch, {sha(1): None}, 0).tree == Tree.empty(TAG)


def test_only_pages_on_the_way_to_a_changed_key_are_written() -> None:
    store = holding([sha(number) for number in range(2_000)])
    change = update(store.tree, store.fetch, {sha(5): sha("new")}, 1)
    assert sorted(key[1] for key in change.pages) == list(range(len(change.pages)))
    assert sorted(change.dropped) == sorted(key[:-8] + bytes(8) for key in change.pages)


def test_two_updates_of_one_version_overwrite_their_own_pages() -> None:
    store = holding([sha(number) for number in range(300)])
    first = update(store.tree, store.fetch, {sha(5): sha("a"), sha(400): sha("b")}, 1)
    store.pages.update(first.pages)
    second = update(first.tree, store.fetch, {sha(5): sha("c"), sha(6): None}, 1)
    store.pages.update(second.pages)

    pairs = {**store.pairs, sha(5): sha("c"), sha(400): sha("b")}
    del pairs[sha(6)]
    assert second.tree.root == oracle.root(pairs)
    assert dict(prefixtree.walk(second.tree, store.fetch)) == pairs
    assert not set(second.dropped) & {key for key, _ in prefixtree.pages(second.tree, store.fetch)}
    assert dict(prefixtree.walk(store.tree, store.fetch)) == store.pairs  # version 0 is untouched


def test_a_page_of_one_version_that_a_second_update_of_it_empties_is_dropped() -> None:
    first = update(Tree.empty(TAG), lambda keys: [], {sha(1): sha(2)}, 3)
    second = update(first.tree, lambda keys: [first.pages[key] for key in keys], {sha(1): None}, 3)
    assert second.tree == Tree.empty(TAG)
    assert second.dropped == tuple(first.pages)


@pytest.mark.parametrize(
    ("edits", "version", "error"),
    [
        ({sha(1): sha(2)}, 4, ValueError),
        ({sha(1)[:31]: sha(2)}, 5, ValueError),
        ({sha(1): sha(2) + b"x"}, 5, ValueError),
        ({"text": sha(2)}, 5, TypeError),
        ({sha(1): 7}, 5, TypeError),
        ({sha(1): bytearray(32)}, 5, TypeError),
        ({sha(1): sha(2)}, 1 << 64, ValueError),
    ],
)
def test_a_caller_s_mistake_is_told_before_anything_is_read(
    edits: Any, version: int, error: type[Exception]
) -> None:
    def never(keys: list[bytes]) -> list[bytes | None]:
        raise AssertionError("read")

    with pytest.raises(error):
        update(
            Tree(TAG, sha("root"), 5), never if error is not OverflowError else holding_five, edits, version
        )


def holding_five(keys: list[bytes]) -> list[bytes | None]:
    return [b"\x01\x01" + sha(1) + sha(1) for _ in keys]


def test_only_a_key_of_32_bytes_can_be_asked_for() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        prove(Tree.empty(TAG), lambda keys: [], bytes(31))


def test_the_worked_example_of_the_documentation() -> None:
    """docs/log.md prints these; a changed byte is a change of the format."""
    leaves = {"attrs": [3], "click": [5, 9], "six": [7]}
    keys = {name: package_key(f"pkg:pypi/{name}") for name in [*leaves, "flask"]}
    held = {
        name: prefixtree.history_value(index.packed((n, leaf_hash(b"entry %d" % n)) for n in at))
        for name, at in leaves.items()
    }
    store = Store().apply({keys[name]: value for name, value in held.items()})

    attrs = "2ef5d543a049b64522c73bfbd0f7250cd3a4e5a94d3df9bd0c4ea4d5e729b9e1"
    click = "1d10a376f4703c15b614b71b4d14f66baee616f7464d305fa0e36886884cd1ee"
    inner = "27532b4002ee8f4dfcaeed889d8119b683b5c0d7f1979b12cf342753c44ef84f"
    assert keys["six"].hex() == "4d5d85fe00ab8dc5e102c1994d136eba94000fccc86210c7f664d4fa89627d9b"
    assert held["six"].hex() == "d4e5a0e7e7b46599ba0a3ceb1f30316e96e506b48e904bda448957be37c8865e"
    assert store.tree.root.hex() == "99fce0b0fd8bf7aaed4ecba0f84fd02826d9c3c083532968aa97db0107c60077"
    value, path = prove(store.tree, store.fetch, keys["six"])
    assert (value, path.as_json()) == (held["six"], {"steps": [[3, click], [2, attrs]]})
    value, path = prove(store.tree, store.fetch, keys["flask"])
    other = [keys["attrs"].hex(), held["attrs"].hex()]
    assert (value, path.as_json()) == (None, {"steps": [[2, inner]], "other": other})
    _, six = prove(store.tree, store.fetch, keys["six"])
    assert refused(
        lambda: verify_absent(store.tree.root, keys["flask"], Path(six.steps, (keys["six"], held["six"])))
    )


# -- lies --


def forest() -> Store:
    return holding([sha(number) for number in range(40)] + [near(*range(bit)) for bit in range(250, 256)])


def refused(check: Callable[[], None]) -> bool:
    try:
        check()
    except ProofInvalid:
        return True
    return False


def flips(path: Path) -> Iterator[Path]:
    """The path with every single bit of every hash, depth, key and value flipped."""

    def flipped(data: bytes) -> Iterator[bytes]:
        for bit in range(8 * len(data)):
            yield data[: bit // 8] + bytes((data[bit // 8] ^ 1 << bit % 8,)) + data[bit // 8 + 1 :]

    for at, (depth, sibling) in enumerate(path.steps):
        others = [(depth ^ 1 << bit, sibling) for bit in range(8)]
        others += [(depth, changed) for changed in flipped(sibling)]
        yield from (Path((*path.steps[:at], step, *path.steps[at + 1 :]), path.other) for step in others)
    if path.other is not None:
        key, value = path.other
        yield from (Path(path.steps, (changed, value)) for changed in flipped(key))
        yield from (Path(path.steps, (key, changed)) for changed in flipped(value))


@pytest.mark.parametrize("asked", [sha(3), near(*range(255))], ids=["spread", "near"])
def test_a_proof_of_presence_with_any_bit_flipped_fails(asked: bytes) -> None:
    store = forest()
    value, path = prove(store.tree, store.fetch, asked)
    assert value is not None
    verify_present(store.tree.root, asked, value, path)
    lies = list(flips(path))
    assert len(lies) == 264 * len(path.steps) > 1_000
    assert all(refused(lambda lie=lie: verify_present(store.tree.root, asked, value, lie)) for lie in lies)
    for wrong in flips(Path((), (asked, value))):
        assert wrong.other is not None
        assert refused(lambda wrong=wrong: verify_present(store.tree.root, *wrong.other, path))


@pytest.mark.parametrize("asked", [sha("absent"), near(*range(240))], ids=["spread", "near"])
def test_a_proof_of_absence_with_any_bit_flipped_fails(asked: bytes) -> None:
    store = forest()
    value, path = prove(store.tree, store.fetch, asked)
    assert value is None
    verify_absent(store.tree.root, asked, path)
    for lie in flips(path):
        assert refused(lambda lie=lie: verify_absent(store.tree.root, asked, lie))


def bent(path: Path) -> Iterator[Path]:
    """The path with a step left out, doubled, moved, at another depth, or one more."""
    steps = path.steps
    for at, (depth, sibling) in enumerate(steps):
        yield Path(steps[:at] + steps[at + 1 :], path.other)
        yield Path((*steps[: at + 1], *steps[at:]), path.other)
        yield Path((*steps[:at], *reversed(steps[at : at + 2]), *steps[at + 2 :]), path.other)
        for other in range(256):
            if other != depth:
                yield Path((*steps[:at], (other, sibling), *steps[at + 1 :]), path.other)
    for at in range(len(steps) + 1):
        for depth in range(0, 256, 5):
            yield Path((*steps[:at], (depth, sha("more")), *steps[at:]), path.other)


def test_no_present_key_can_be_shown_to_be_absent() -> None:
    """Every other leaf is offered with its own honest path, and with every way to bend that."""
    store = forest()
    root, keys = store.tree.root, list(store.pairs)
    for asked in (sha(3), near(*range(255)), near(*range(250))):
        assert refused(lambda asked=asked: verify_absent(root, asked, Path(())))
        for other in keys:
            value, path = prove(store.tree, store.fetch, other)
            assert value is not None
            lie = Path(path.steps, (other, value))
            assert refused(lambda asked=asked, lie=lie: verify_absent(root, asked, lie))
        for other in keys[::9]:
            value, path = prove(store.tree, store.fetch, other)
            assert value is not None
            for lie in bent(Path(path.steps, (other, value))):
                assert refused(lambda asked=asked, lie=lie: verify_absent(root, asked, lie))


def test_no_absent_key_can_be_shown_to_be_present() -> None:
    store = forest()
    asked = near(*range(240))
    _, path = prove(store.tree, store.fetch, asked)
    assert path.other is not None
    for value in (path.other[1], sha(asked), bytes(32)):
        assert refused(lambda value=value: verify_present(store.tree.root, asked, value, path))
        for lie in bent(Path(path.steps)):
            assert refused(lambda value=value, lie=lie: verify_present(store.tree.root, asked, value, lie))


def test_a_proof_for_one_key_proves_nothing_of_another() -> None:
    store = forest()
    value, path = prove(store.tree, store.fetch, sha(3))
    assert value is not None
    for other in [*store.pairs, sha("absent")]:
        if other != sha(3):
            assert refused(lambda other=other: verify_present(store.tree.root, other, value, path))
    _, absence = prove(store.tree, store.fetch, sha("absent"))
    assert refused(lambda: verify_present(store.tree.root, sha("absent"), value, absence))
    assert refused(lambda: verify_absent(store.tree.root, sha(3), path))


@pytest.mark.parametrize(
    "steps",
    [
        ((0, sha(1)), (1, sha(2))),
        ((5, sha(1)), (5, sha(2))),
        ((256, sha(1)),),
        ((-1, sha(1)),),
        ((3, sha(1)[:31]),),
        ((3, b""),),
        ((3, sha(1) + b"x"),),
        tuple((depth, sha(1)) for depth in range(255, -2, -1)),
    ],
)
def test_a_path_of_another_form_is_refused_whatever_its_root(steps: Any) -> None:
    with pytest.raises(ProofInvalid):
        prefixtree.root_if_present(sha(1), sha(2), Path(steps))
    with pytest.raises(ProofInvalid):
        verify_absent(sha(0), sha(1), Path(steps, (sha(2), sha(3))))


def test_lengths_are_checked_so_that_nothing_can_be_read_as_something_else() -> None:
    store = forest()
    root = store.tree.root
    value, path = prove(store.tree, store.fetch, sha(3))
    assert value is not None
    both = sha(3) + value
    for cut in (0, 31, 33, 64):  # the same 64 bytes under the leaf's hash
        assert refused(lambda cut=cut: verify_present(root, both[:cut], both[cut:], path))
    top = sha("anything")
    for other in [(b"", both), (both, b""), (both[:31], both[31:])]:
        assert refused(lambda other=other: verify_absent(root, top, Path(path.steps, other)))
    assert refused(lambda: verify_present(root[:31], sha(3), value, path))
    assert refused(lambda: verify_present(b"", sha(3), value, path))
    assert refused(lambda: verify_absent(b"", sha("absent"), Path(())))
    assert refused(lambda: verify_absent(EMPTY_ROOT, bytes(31), Path(())))


def test_an_empty_tree_proves_every_absence_and_only_an_empty_one_does_so_without_a_leaf() -> None:
    value, path = prove(Tree.empty(TAG), lambda keys: [], sha(1))
    assert (value, path) == (None, Path((), None))
    verify_absent(EMPTY_ROOT, sha(1), path)
    assert refused(lambda: verify_absent(EMPTY_ROOT, sha(1), Path(((3, sha(1)),))))
    assert refused(lambda: verify_absent(EMPTY_ROOT, sha(1), Path((), (sha(2), sha(3)))))
    assert refused(lambda: verify_absent(holding([sha(2)]).tree.root, sha(1), path))
    assert refused(lambda: verify_present(EMPTY_ROOT, sha(1), sha(2), path))


# -- as JSON --


@settings(deadline=None)
@given(data=st.data())
def test_a_path_comes_back_from_canonical_json_as_it_was(data: st.DataObject) -> None:
    hashes = st.binary(min_size=32, max_size=32)
    depths = sorted(data.draw(st.sets(st.integers(0, 255))), reverse=True)
    steps = tuple((depth, data.draw(hashes)) for depth in depths)
    path = Path(steps, data.draw(st.none() | st.tuples(hashes, hashes)))
    assert Path.from_json(canonical.decode(canonical.encode(path.as_json()))) == path


def test_the_longest_path_there_can_be_is_taken() -> None:
    path = Path(tuple((depth, sha(depth)) for depth in range(255, -1, -1)))
    assert Path.from_json(path.as_json()) == path
    prefixtree.root_if_present(sha(1), sha(2), path)


GOOD = sha(1).hex()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "steps",
        {},
        {"other": [GOOD, GOOD]},
        {"steps": [], "more": 1},
        {"steps": {}},
        {"steps": "[]"},
        {"steps": [[1]]},
        {"steps": [[1, GOOD, GOOD]]},
        {"steps": [{"depth": 1}]},
        {"steps": [(1, GOOD)]},
        {"steps": [[True, GOOD]]},
        {"steps": [["1", GOOD]]},
        {"steps": [[1.0, GOOD]]},
        {"steps": [[-1, GOOD]]},
        {"steps": [[256, GOOD]]},
        {"steps": [[1, GOOD.upper()]]},
        {"steps": [[1, GOOD[:-1]]]},
        {"steps": [[1, GOOD + "00"]]},
        {"steps": [[1, GOOD[:-1] + " "]]},
        {"steps": [[1, GOOD[:-1] + "\u0661"]]},
        {"steps": [[1, GOOD[:-2] + "0x"]]},
        {"steps": [[1, None]]},
        {"steps": [[1, 7]]},
        {"steps": [[1, GOOD]] * 257},
        {"steps": [], "other": None},
        {"steps": [], "other": [GOOD]},
        {"steps": [], "other": [GOOD, GOOD, GOOD]},
        {"steps": [], "other": [GOOD, "x" * 64]},
    ],
)
def test_json_of_any_other_shape_is_refused(value: Any) -> None:
    with pytest.raises(ProofInvalid):
        Path.from_json(value)


# -- a damaged database --


def unless_damaged(check: Callable[[], T]) -> T | None:
    try:
        return check()
    except Refusal as refusal:
        if refusal.code != "data-damaged":
            raise
        return None


def damaged(check: Callable[[], object]) -> bool:
    with pytest.raises(Refusal) as found:
        check()
    return found.value.code == "data-damaged"


def test_a_page_that_is_missing_is_damage_wherever_it_is() -> None:
    store = holding([sha(number) for number in range(500)])
    whole = dict(store.pages)
    for key in whole:
        store.pages = {other: page for other, page in whole.items() if other != key}
        inside = [one for one in store.pairs if under(key, one)]
        assert damaged(lambda: list(prefixtree.walk(store.tree, store.fetch)))
        assert damaged(lambda one=inside[0]: prove(store.tree, store.fetch, one))
        assert damaged(lambda one=inside[0]: update(store.tree, store.fetch, {one: None}, 1))


def under(page: bytes, key: bytes) -> bool:
    nibbles, path = page[1], page[2:-8]
    whole, half = divmod(nibbles, 2)
    return key[:whole] == path[:whole] and (not half or key[whole] >> 4 == path[whole] >> 4)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_no_damaged_page_gives_a_wrong_answer_or_another_error(data: st.DataObject) -> None:
    store = holding([sha(number) for number in range(100)])
    key = data.draw(st.sampled_from(sorted(store.pages)))
    page = bytearray(store.pages[key])
    how = data.draw(st.sampled_from(["flip", "cut", "longer", "other", "junk"]))
    if how == "flip":
        page[data.draw(st.integers(0, len(page) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "cut":
        del page[data.draw(st.integers(0, len(page) - 1)) :]
    elif how == "longer":
        page += data.draw(st.binary(min_size=1, max_size=80))
    elif how == "other":
        page[:] = store.pages[data.draw(st.sampled_from(sorted(set(store.pages) - {key})))]
    else:
        page[:] = bytes((data.draw(st.integers(0, 3)),)) + data.draw(st.binary(max_size=200))
    store.pages[key] = bytes(page)

    assert damaged(lambda: list(prefixtree.walk(store.tree, store.fetch)))
    asked = data.draw(spread)
    answer = unless_damaged(lambda: prove(store.tree, store.fetch, asked))
    assert answer is None or answer[0] == store.pairs.get(asked)
    edits = data.draw(st.dictionaries(spread, st.none() | values, max_size=20))
    unless_damaged(lambda: update(store.tree, store.fetch, edits, 1))


def test_a_tree_without_pages_has_no_other_root() -> None:
    assert damaged(lambda: list(prefixtree.walk(Tree(TAG, sha(1), None), lambda keys: [])))


# -- histories --


def rows_of(count: int) -> list[bytes]:
    return [(3 * number).to_bytes(8, "big") + sha(number) for number in range(count)]


@settings(deadline=None, max_examples=60)
@given(cuts=st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4), min_size=1, max_size=6))
def test_histories_grown_in_any_steps_are_those_of_the_definition(cuts: list[list[int]]) -> None:
    records: list[bytes | None] = [None] * len(cuts)
    counts = [0] * len(cuts)
    for step in range(max(map(len, cuts))):
        here = [at for at, cut in enumerate(cuts) if step < len(cut)]
        rows = [rows_of(200)[counts[at] : counts[at] + cuts[at][step]] for at in here]
        made, values = prefixtree.histories([records[at] for at in here], [b"".join(row) for row in rows])
        for at, record, value in zip(here, made, values, strict=True):
            records[at] = record
            counts[at] += cuts[at][step]
            assert record == oracle.history_record(rows_of(counts[at]))
            assert value == oracle.history_value(rows_of(counts[at]))
            assert value == prefixtree.history_value(b"".join(rows_of(counts[at])))
            assert prefixtree.history_count(record) == counts[at]


def test_another_row_or_another_order_or_one_less_is_another_value() -> None:
    rows = rows_of(9)
    value = prefixtree.history_value(b"".join(rows))
    others = [rows[:-1], rows[1:], rows[:3] + rows[4:], [rows[1], rows[0], *rows[2:]], [*rows, rows[-1]]]
    assert value not in [prefixtree.history_value(b"".join(other)) for other in others]


@pytest.mark.parametrize("rows", [b"", bytes(39), bytes(41), bytes(32)])
def test_rows_that_are_not_whole_are_refused(rows: bytes) -> None:
    with pytest.raises(Malformed):
        prefixtree.history_value(rows)
    with pytest.raises(ValueError, match="40 bytes"):
        prefixtree.histories([None], [rows])


@pytest.mark.parametrize(
    "record",
    [
        b"",
        bytes(7),
        bytes(8),
        bytes(8) + bytes(32),
        (1).to_bytes(8, "big"),
        (3).to_bytes(8, "big") + bytes(32),
        (4).to_bytes(8, "big") + bytes(64),
        (1 << 63).to_bytes(8, "big") + bytes(32),
    ],
)
def test_a_record_that_does_not_fit_its_count_is_damage(record: bytes) -> None:
    assert damaged(lambda: prefixtree.histories([record], [bytes(40)]))
