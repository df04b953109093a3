"""A snapshot equals what it was taken of, whatever way it came, and no altered answer is believed."""

import hashlib
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed, ProofInvalid
from pyrsia.ledger import index, places, prefixtree, snapshot
from pyrsia.ledger.index import PACKAGES, STATE
from pyrsia.ledger.prefixtree import Tree
from pyrsia.ledger.snapshot import Gathering
from pyrsia.log.tree import EMPTY_ROOT
from pyrsia.wire import snapshots as wire
from pyrsia.wire.snapshots import Fork, Place, Rows
from tests.reference import prefixtree as slow


@dataclass
class Side:
    """State and histories of one node, in dicts, with the trees over them."""

    rows: dict = field(default_factory=lambda: {STATE: {}, PACKAGES: {}})  # tree -> key of 32 bytes -> row
    pages: dict = field(default_factory=dict)
    trees: dict = field(default_factory=lambda: {STATE: Tree.empty(STATE), PACKAGES: Tree.empty(PACKAGES)})
    version: int = 0

    def fetch(self, keys):
        return [self.pages.get(key) for key in keys]

    def change(self, tree, rows, gone=()):
        """Rows come, keys of 32 bytes go."""
        self.version += 1
        made = {snapshot.pair(tree, row)[0]: row for row in rows}
        changes = dict(snapshot.pair(tree, row) for row in rows) | dict.fromkeys(gone)
        done = prefixtree.update(self.trees[tree], self.fetch, changes, self.version)
        self.trees[tree] = done.tree
        self.pages.update(done.pages)
        self.rows[tree].update(made)
        for key in gone:
            self.rows[tree].pop(key, None)

    def install(self, part):
        """What a shell does with a proven part: these rows, and no others below the place."""
        tree = part.place.tree
        assert list(part.pairs) == [snapshot.pair(tree, row) for row in part.rows]
        kept = {key for key, _ in part.pairs}
        self.change(
            tree, part.rows, [key for key in self.rows[tree] if part.place.holds(key) and key not in kept]
        )

    def held(self, place):
        return places.root(self.trees[place.tree], self.fetch, place)

    def rows_of(self, tree, keys):
        return [self.rows[tree].get(key) for key in keys]

    def roots(self):
        return {tree: self.trees[tree].root for tree in self.trees}

    def answer(self, asked, budget=600):
        return snapshot.answer(self.trees, self.fetch, self.rows_of, asked, budget)


def record(number):
    rows = [index.packed([(number + at, bytes(32))]) for at in range(1 + number % 5)]
    return prefixtree.histories([None], [b"".join(rows)])[0][0]


def side(states, packages=0, seed=0):
    made = Side()
    made.change(STATE, [(b"key/%d" % at, b"value %d %d" % (at, seed) * (1 + at % 7)) for at in range(states)])
    made.change(
        PACKAGES, [(hashlib.sha256(b"%d" % at).digest(), record(at + seed)) for at in range(packages)]
    )
    return made


def fetched(giver, taker, *, askers=1, budget=600, cut=None):
    """Everything from `giver` into `taker`; how many questions that took. `cut`: stop after so many."""
    gathering = Gathering(giver.roots(), taker.held)
    for part in gathering.start():
        taker.install(part)
    questions = 0
    while not gathering.finished and questions != cut:
        asked = gathering.ask(askers)
        data = b"".join(map(wire.encode_part, giver.answer(asked, budget)))
        for part in gathering.take(asked, wire.decode_parts(data)):
            taker.install(part)
        questions += 1
    if gathering.finished:
        assert gathering.fraction == pytest.approx(1)
    return questions


sizes = st.integers(0, 200)


@given(states=sizes, packages=sizes, budget=st.sampled_from((1, 300, 5_000, 10**6)), askers=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_what_was_fetched_is_what_there_is(states, packages, budget, askers):
    giver, taker = side(states, packages), Side()
    fetched(giver, taker, askers=askers, budget=budget)

    assert taker.rows == giver.rows
    assert taker.roots() == giver.roots()
    pairs = {snapshot.pair(STATE, row) for row in giver.rows[STATE].values()}
    assert taker.trees[STATE].root == slow.root(dict(pairs))


@given(before=sizes, after=sizes, packages=sizes, cut=st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_an_interrupted_fetch_goes_on_and_an_old_state_becomes_the_new_one(before, after, packages, cut):
    """What was there before, from another state or from the first half, costs nothing and stays nowhere."""
    taker = side(before, packages, seed=0)
    giver = side(after, packages, seed=1 if before % 2 else 0)
    fetched(giver, taker, cut=cut)
    fetched(giver, taker)

    assert taker.rows == giver.rows
    assert taker.roots() == giver.roots()
    assert fetched(giver, taker) == 0


def test_small_places_share_a_question():
    giver = side(2_000)
    alone = fetched(giver, Side(), budget=5_000)
    assert alone < 2_000 * 30 / 5_000 * 4


@pytest.fixture(scope="module")
def giver():
    return side(300, 50)


def lies(giver):
    """An honest answer to the first question, and ways to alter it."""
    roots = [Place(STATE, 0, bytes(32)), Place(PACKAGES, 0, bytes(32))]
    parts = giver.answer(roots, 3_000)
    fork = next(part for part in parts if isinstance(part, Fork))
    rows = next(part for part in parts if isinstance(part, Rows) and len(part.rows) > 1)
    key, value = rows.rows[0]

    def put(old, new):
        return [new if part is old else part for part in parts]

    yield "a value", put(rows, rows._replace(rows=((key, value + b"!"), *rows.rows[1:])))
    yield "a key", put(rows, rows._replace(rows=((key + b"!", value), *rows.rows[1:])))
    yield "a row left out", put(rows, rows._replace(rows=rows.rows[1:]))
    yield "no row at all", put(rows, rows._replace(rows=()))
    yield "a row twice", put(rows, rows._replace(rows=(*rows.rows, rows.rows[0])))
    yield "a row more", put(rows, rows._replace(rows=(*rows.rows, (b"more", b"1"))))
    yield "another place's rows", put(rows, rows._replace(place=rows.place.child(3)))
    yield "a root", put(fork, fork._replace(slots=((fork.slots[0][0], bytes(32)), *fork.slots[1:])))
    yield "a slot left out", put(fork, fork._replace(slots=fork.slots[1:]))
    yield (
        "slots exchanged",
        put(
            fork,
            fork._replace(
                slots=(
                    (fork.slots[0][0], fork.slots[1][1]),
                    (fork.slots[1][0], fork.slots[0][1]),
                    *fork.slots[2:],
                )
            ),
        ),
    )
    yield "a part twice", [*parts, rows]
    within = Place(STATE, 62, snapshot.pair(STATE, rows.rows[0])[0][:31] + bytes(1))
    yield "a part of what nobody asked for", [*parts, *giver.answer([within])]
    yield "nothing", []


def test_every_altered_answer_is_refused_and_leaves_no_trace(giver):
    names = []
    for name, parts in lies(giver):
        taker = Side()
        gathering = Gathering(giver.roots(), taker.held)
        gathering.start()
        asked = gathering.ask(1) + gathering.ask(1)
        with pytest.raises(ProofInvalid):
            gathering.take(asked, parts)
        gathering.give_back(asked)
        for part in gathering.take(again := gathering.ask(1), giver.answer(again)):
            taker.install(part)
        while not gathering.finished:
            asked = gathering.ask(2)
            for part in gathering.take(asked, giver.answer(asked)):
                taker.install(part)
        assert taker.rows == giver.rows, name
        names.append(name)
    assert len(names) == 13


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_byte_of_an_answer_can_change(giver, data):
    gathering = Gathering(giver.roots(), lambda place: None)
    gathering.start()
    asked = gathering.ask(1) + gathering.ask(1)
    raw = bytearray(b"".join(map(wire.encode_part, giver.answer(asked, 2_000))))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Malformed):
        gathering.take(asked, wire.decode_parts(bytes(raw)))
    assert gathering.fraction == 0


def test_a_record_leads_to_the_value_that_the_index_holds():
    for count in range(1, 40):
        rows = b"".join(index.packed([(at, hashlib.sha256(b"%d" % at).digest())]) for at in range(count))
        [made], [value] = prefixtree.histories([None], [rows])
        assert snapshot.record_value(made) == value
        with pytest.raises(ProofInvalid):
            snapshot.record_value(made + bytes(32))
    with pytest.raises(ProofInvalid):
        snapshot.record_value(bytes(8))


def test_a_liar_that_only_parts_places_is_stopped(monkeypatch):
    """Forks all the way down are true and lead nowhere: what is remembered of them is bounded."""
    monkeypatch.setattr(snapshot, "MAX_WAITING", replace(snapshot.MAX_WAITING, value=20))
    giver = side(5_000)
    gathering = Gathering(giver.roots(), lambda place: None)
    gathering.start()

    def parted():
        asked = gathering.ask(1)
        return gathering.take(
            asked, [Fork(at, places.slots(giver.trees[at.tree], giver.fetch, at)) for at in asked]
        )

    assert parted() == []
    with pytest.raises(ProofInvalid, match="without giving a row"):
        [parted() for _ in range(10)]
    assert not gathering.finished


def test_an_empty_tree_needs_no_question():
    gathering = Gathering({STATE: EMPTY_ROOT, PACKAGES: EMPTY_ROOT}, Side().held)
    assert gathering.start() == []
    assert gathering.finished
    held = side(3, 3)
    gone = Gathering({STATE: EMPTY_ROOT, PACKAGES: EMPTY_ROOT}, held.held).start()
    for part in gone:
        held.install(part)
    assert held.rows == {STATE: {}, PACKAGES: {}}
