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


def recipe_of(numbers):
    data, spans = members(numbers)
    return data, delta.recipe_of(memoryview(data), delta.cuts(len(data), spans))


def made(plan, files, data):
    """The long way: every byte of the new file, from copies and asks."""
    out, written = bytearray(len(data)), []
    for copy in plan.copies:
        source = files[copy.place.file]
        out[copy.offset : copy.offset + copy.size] = source[copy.place.offset : copy.place.offset + copy.size]
        written.append((copy.offset, copy.size))
    for offset, size in (one for batch in plan.batches() for one in batch):
        out[offset : offset + size] = data[offset : offset + size]
        written.append((offset, size))
    return out, written


@given(MEMBERS, MEMBERS, MEMBERS)
def test_a_file_is_made_of_what_is_here_and_what_is_asked_for(new, old, older):
    data, recipe = recipe_of(new)
    (first, one), (second, two) = recipe_of(old), recipe_of(older)
    plan = delta.plan(recipe, delta.places([one, two]))
    out, written = made(plan, [first, second], data)
    assert bytes(out) == data
    manifest = Manifest.of([data])
    assert delta.held(manifest, written, lambda at, size: out[at : at + size]) == (1 << manifest.count) - 1
    assert plan.shared + sum(size for _, size in plan.missing) == len(data)
    for number in set(new) & (set(old) | set(older)):
        assert plan.shared >= LEAST + 37 * number


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
    """Whoever lied, the recipe or the giver: a chunk counts when the manifest says so."""
    data = random.Random(1).randbytes(3 * CHUNK_BYTES.value + 100)
    manifest, copy = Manifest.of([data]), bytearray(data)
    copy[CHUNK_BYTES.value] ^= 1
    bits = delta.held(manifest, [(0, len(data))], lambda at, size: copy[at : at + size])
    assert bits == 0b1101


def test_a_chunk_with_a_hole_does_not_count_even_if_it_fits():
    data = bytes(2 * CHUNK_BYTES.value)  # what was never written reads as zeros too
    manifest = Manifest.of([data])
    written = [(0, CHUNK_BYTES.value), (CHUNK_BYTES.value, CHUNK_BYTES.value - 1)]
    assert delta.held(manifest, written, lambda at, size: data[at : at + size]) == 0b01
    assert delta.held(manifest, [(10 * len(data), 5)], lambda at, size: data[at : at + size]) == 0


def test_asks_are_bounded():
    recipe = Recipe(
        b"".join(bytes([at % 256, at // 256]) + bytes(14) for at in range(1_000)), (2_000,) * 1_000
    )
    here = {
        name: delta.Place(0, at, size) for number, (name, at, size) in enumerate(recipe.spans()) if number % 2
    }
    batches = delta.plan(recipe, here).batches()
    assert sum(size for batch in batches for _, size in batch) == 1_000_000
    assert all(len(batch) <= ranges.MAX_RANGES.value for batch in batches)
    assert all(sum(size for _, size in batch) <= ranges.MAX_RANGE_BYTES.value for batch in batches)


def test_files_with_little_in_common_come_the_usual_way():
    _data, recipe = recipe_of([1, 2, 3, 4, 5, 6])
    _, other = recipe_of([1])
    assert not delta.plan(recipe, delta.places([other])).worthwhile
    assert delta.plan(recipe, delta.places([recipe])).worthwhile


def test_a_name_that_says_another_size_finds_nothing():
    _, recipe = recipe_of([1, 2, 3])
    lie = Recipe(recipe.names, tuple(size + 1 for size in recipe.sizes))
    assert delta.plan(lie, delta.places([recipe])).copies == ()
