"""Recipes: pieces that are the file, plans that make it again, and lies that cost no more than a chunk."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.transfer import delta
from pyrsia.transfer.delta import Recipe
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES
from pyrsia.wire import ranges

LEAST = delta.LEAST_PIECE.value
MEMBERS = st.lists(st.integers(0, 40), min_size=0, max_size=40)


def members(numbers):
    """An archive of members that are told apart by their number; the same number has the same bytes everywhere."""
    data, spans = b"head", []
    for number in numbers:
        body = random.Random(number).randbytes(LEAST + 37 * number)
        spans.append((len(data), len(data) + len(body)))
        data += body + b"between" + bytes([number])
    return data, spans


def recipe_of(numbers, pad=0):
    """The file and its recipe; `pad` lays chunk borders through its members."""
    data, spans = members(numbers)
    more = random.Random(pad).randbytes(pad * CHUNK_BYTES.value - pad * LEAST)
    data, spans = more + data, [(start + len(more), stop + len(more)) for start, stop in spans]
    return data, delta.recipe_of(memoryview(data), delta.cuts(len(data), spans))


def made(plan, files, data):
    """Every chunk that can be made, from copies and answers to asks: index -> bytes."""
    answers = {}
    for group in delta.asks(delta.chunks(plan)):
        stretches = [one for chunk in group for one in chunk.missing]
        assert 1 <= len(stretches) <= ranges.MAX_RANGES.value
        assert sum(size for _, size in stretches) <= ranges.MAX_RANGE_BYTES.value
        answers |= {chunk.index: [data[at : at + size] for at, size in chunk.missing] for chunk in group}

    def copied(copy):
        return files[copy.file][copy.at : copy.at + copy.size]

    return {one.index: one.made(copied, answers.get(one.index, ())) for one in delta.chunks(plan)}


@given(MEMBERS, MEMBERS, MEMBERS, st.integers(0, 3))
def test_a_file_is_made_of_what_is_here_and_what_is_asked_for(new, old, older, pad):
    data, recipe = recipe_of(new, pad)
    (first, one), (second, two) = recipe_of(old), recipe_of(older)
    plan = delta.plan(recipe, delta.places([one, two]))
    assert plan.shared + sum(size for _, size in plan.missing) == len(data)
    for number in set(new) & (set(old) | set(older)):
        assert plan.shared >= LEAST + 37 * number
    manifest, found = Manifest.of([data]), made(plan, [first, second], data)
    assert all(manifest.holds(index, chunk) for index, chunk in found.items())
    quarters, step = set(), CHUNK_BYTES.value
    here = bytearray(len(data))
    for copy in plan.copies:
        here[copy.offset : copy.offset + copy.size] = b"x" * copy.size
    for at in range(0, len(data), step):
        piece = here[at : at + step]
        if 4 * piece.count(b"x") >= len(piece):
            quarters.add(at // step)
    assert found.keys() <= quarters
    assert {chunk.index for chunk in delta.chunks(plan)} == found.keys()


@given(MEMBERS)
def test_a_recipe_is_read_as_it_was_written(numbers):
    data, recipe = recipe_of(numbers)
    assert Recipe.decode(recipe.encode(), len(data)) == recipe
    assert b"".join(name for name, _, _ in recipe.spans()) == recipe.names
    assert [name for name, at, size in recipe.spans()] == [
        delta.name_of(data[at : at + size]) for _, at, size in recipe.spans()
    ]


@given(
    st.integers(0, 20_000), st.lists(st.tuples(st.integers(-5, 25_000), st.integers(-5, 25_000)), max_size=30)
)
def test_odd_spans_cut_coarsely_and_never_wrongly(size, spans):
    found = delta.cuts(size, spans)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, size)
    whole = [(start, stop) for start, stop in spans if start >= 0 and stop <= size and stop - start >= LEAST]
    if not whole:
        assert found == sorted({0, size})


def test_more_members_than_pieces_leave_one_long_rest():
    count = delta.MAX_PIECES.value
    spans = [(number * 2 * LEAST, (number * 2 + 1) * LEAST) for number in range(count)]
    offsets = delta.cuts(2 * LEAST * count, spans)
    assert len(offsets) - 1 <= count
    assert offsets[-1] - offsets[-2] > LEAST * count // 2


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:5],
        lambda raw: b"\2" + raw[1:],
        lambda raw: raw + raw[-20:],
        lambda raw: raw[:-4] + bytes(4),
        lambda raw: raw[:-4] + b"\xff\xff\xff\xff",
        lambda raw: raw[:1] + (2**64 - 1).to_bytes(8, "big") + raw[9:],
    ],
    ids=["cut", "stump", "version", "longer", "empty-piece", "overflow", "size"],
)
def test_what_is_no_recipe_of_this_file_is_refused(change):
    data, recipe = recipe_of([1, 2, 3])
    with pytest.raises(Malformed):
        Recipe.decode(change(recipe.encode()), len(data))


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_noise_is_refused_or_is_pieces_of_the_right_size(noise, size):
    try:
        recipe = Recipe.decode(noise, size)
    except Malformed:
        return
    assert recipe.size == size


def test_a_recipe_over_the_limit_is_refused_before_it_is_read():
    size = delta.MAX_PIECES.value + 1
    with pytest.raises(Malformed):
        Recipe.decode(Recipe(bytes(16) * size, (1,) * size).encode(), size)


def test_wrong_bytes_are_no_chunk_of_the_file():
    """Whoever lied, the recipe, the giver or our own disk: the manifest says so, chunk by chunk."""
    data, recipe = recipe_of(range(25), 1)
    manifest, plan = Manifest.of([data]), delta.plan(recipe, delta.places([recipe_of(range(20))[1]]))
    old = bytearray(recipe_of(range(20))[0])
    old[-200] ^= 1
    found = made(plan, [bytes(old)], data)
    assert found
    assert not all(manifest.holds(index, chunk) for index, chunk in found.items())
    short = made(plan, [b""], data)
    assert not any(manifest.holds(index, chunk) for index, chunk in short.items())


def test_asks_are_bounded_and_a_chunk_in_too_many_pieces_is_brought_whole():
    names = [at.to_bytes(16, "big") for at in range(4_000)]
    recipe = Recipe(b"".join(names), (600, 400) * 2_000)
    here = {
        name: delta.Place(0, at, size)
        for number, (name, at, size) in enumerate(recipe.spans())
        if not number % 2
    }
    assert [one.index for one in delta.chunks(delta.plan(recipe, here))] == [7]  # the last one is short
    coarse = Recipe(b"".join(names[:600]), (9_000, 7_000) * 300)
    here = {
        name: delta.Place(0, at, size)
        for number, (name, at, size) in enumerate(coarse.spans())
        if not number % 2
    }
    groups = delta.asks(delta.chunks(delta.plan(coarse, here)))
    assert len(groups) > 5
    for group in groups:
        assert sum(len(one.missing) for one in group) <= ranges.MAX_RANGES.value
        assert sum(one.lacks for one in group) <= ranges.MAX_RANGE_BYTES.value


def test_files_with_little_in_common_come_the_usual_way():
    _data, recipe = recipe_of([1, 2, 3, 4, 5, 6])
    _, other = recipe_of([1])
    assert not delta.plan(recipe, delta.places([other])).worthwhile
    assert delta.plan(recipe, delta.places([recipe])).worthwhile


def test_a_name_that_says_another_size_finds_nothing():
    _, recipe = recipe_of([1, 2, 3])
    lie = Recipe(recipe.names, tuple(size + 1 for size in recipe.sizes))
    assert delta.plan(lie, delta.places([recipe])).copies == ()
