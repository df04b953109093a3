"""A new file made of an old one over real data links: what travels, and what lies cost."""

import contextlib
import os
import random
from types import SimpleNamespace

import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

from pyrsia import keys
from pyrsia.errors import Unavailable
from pyrsia.net.data import DataPlane, Served
from pyrsia.net.links import Links
from pyrsia.node.storage import deltas
from pyrsia.node.storage.deltas import AtHand, Deltas
from pyrsia.store.blobs import Blobs
from pyrsia.store.partials import Partials
from pyrsia.store.rocks import Database
from pyrsia.transfer import delta
from pyrsia.transfer.buckets import Flow
from pyrsia.transfer.delta import Recipe
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import NodeId
from tests.reference.waiting import bounded, until
from tests.unit.net.nodes import CHAIN

MEMBERS = 200


def archive(changed):
    """Members of 12 KB with their spans; those in `changed` are others than usual."""
    data, spans = b"PK", []
    for number in range(MEMBERS):
        body = random.Random(number + 1_000 * (number in changed)).randbytes(12_000 + number)
        spans.append((len(data), len(data) + len(body)))
        data += body + b"header of the next"
    return data, delta.recipe_of(memoryview(data), delta.cuts(len(data), spans))


class Kept:
    """Recipes that were made before."""

    def __init__(self, recipe):
        self.recipe, self.forgotten = recipe, []

    def forget(self, sha256):
        self.forgotten.append(sha256)

    async def soon(self, sha256, path, size):
        return self.recipe


def links_of(seed):
    address = "tcp://127.0.0.1:*"
    return Links(
        keys.KeyPair(bytes([seed]) * 32), CHAIN, control_addr=address, data_addr=address,
        allow=lambda node: True, on_message=lambda node, kind, payload: None, methods={},
    )  # fmt: skip


class Town:
    def __init__(self, folder, giver, plane, taker, deltas, partial, manifest, new):
        self.folder, self.giver, self.plane, self.taker, self.deltas = folder, giver, plane, taker, deltas
        self.partial, self.manifest, self.new = partial, manifest, new
        self.blamed = []

    async def fill(self):
        with bounded(20):
            await self.deltas.fill(self.partial, [self.giver.links.node])

    async def finish(self):
        """What is left comes by the swarm; the path of the whole."""
        with bounded(20):
            await self.taker.fetch(
                self.manifest, [self.giver.links.node], self.partial.write_at, held=self.partial.held
            )
            return await self.partial.finish(self.manifest.sha256)


class Giver:
    def __init__(self, path, manifest, recipe, served=None):
        self.links = links_of(1)
        self.plane = DataPlane(self.links, lambda node, ident: Served(manifest.encode(), path))
        self.plane.recipe_of(lambda sha256, served, manifest: recipe)


@contextlib.asynccontextmanager
async def town(folder, *, changed=(3, 90), recipe=None, mode="always", rate=0.0):
    """A node with the new file, and one with the old one that begins to fetch."""
    old, old_recipe = archive(())
    new, new_recipe = archive(set(changed))
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(new)
    manifest = Manifest.of([new])
    giver = Giver(folder / "new", manifest, new_recipe.encode() if recipe is None else recipe(new_recipe))
    links = links_of(2)
    taker = DataPlane(links, lambda node, ident: None)
    database = Database.open(folder / "db")
    partials = Partials(folder / "blobs", Blobs(folder / "blobs", database))
    try:
        async with trio.open_nursery() as nursery:
            for run in (giver.links.run, giver.plane.run, links.run, taker.run):
                await nursery.start(run)
            links.dial([(giver.links.node, giver.links.control_endpoint)])
            await until(lambda: links.connected(giver.links.node))
            at_hand = AtHand(b"o" * 32, folder / "old", len(old))
            partial = await partials.open(manifest)
            here = Town(folder, giver, giver.plane, taker, None, partial, manifest, new)
            here.deltas = Deltas(
                Kept(old_recipe), taker.lines, lambda sha256: [at_hand], mode=mode,
                blame=lambda *said: here.blamed.append(said),
            )  # fmt: skip
            for _ in range(50 if rate else 0):
                here.deltas.measured(10 << 20, (10 << 20) / rate)
            yield here
            nursery.cancel_scope.cancel()
    finally:
        database.close()


async def test_only_what_changed_travels_and_the_file_is_right(tmp_path):
    async with town(tmp_path) as here:
        await here.fill()
        assert here.partial.held == (1 << here.manifest.count) - 1
        sent = here.giver.plane.counters.bytes_sent
        path = await here.finish()
        assert path.read_bytes() == here.new
        assert here.giver.plane.counters.bytes_sent == sent
        assert sent < len(here.new) // 20
        assert here.deltas.saved > len(here.new) * 9 // 10
        assert here.blamed == []


async def test_what_comes_by_a_recipe_is_counted_and_keeps_this_nodes_limit(tmp_path):
    async with town(tmp_path) as here:
        paid = []

        class Slow:
            async def pay(self, node, size):
                paid.append(size)
                await here.taker.pay(node, size)

            def came(self, node, size):
                here.taker.came(node, size)

        here.taker.down = Flow(1e9)
        here.deltas.meter = Slow()
        await here.fill()
        giver = here.giver.links.node
        assert sum(paid) == here.taker.counters.bytes_received == here.taker.counters.received_from[giver] > 0
        assert here.taker.counters.chunks_received == 0
        assert (await here.finish()).read_bytes() == here.new


async def test_of_a_file_with_little_in_common_nothing_is_made(tmp_path):
    async with town(tmp_path, changed=range(MEMBERS * 9 // 10)) as here:
        await here.fill()
        assert here.partial.held == 0
        assert (await here.finish()).read_bytes() == here.new


def shifted(recipe):
    """Names of other pieces than those that stand there."""
    return Recipe(recipe.names[16:] + recipe.names[:16], recipe.sizes).encode()


def renamed(recipe):
    """Every name is that of the piece of the same size in the old file: the changed ones are lies."""
    _, old = archive(())
    return Recipe(old.names, old.sizes).encode()


LIES = {
    "noise": lambda recipe: random.Random(1).randbytes(500),
    "cut": lambda recipe: recipe.encode()[:-7],
    "of-another-file": lambda recipe: Recipe(recipe.names, (recipe.sizes[0] + 1, *recipe.sizes[1:])).encode(),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_no_recipe_costs_its_giver_and_nothing_else(tmp_path, lie):
    async with town(tmp_path, recipe=LIES[lie]) as here:
        await here.fill()
        assert here.partial.held == 0
        assert [points for _, points, _ in here.blamed] == [-20.0]
        assert (await here.finish()).read_bytes() == here.new


async def test_a_recipe_of_the_wrong_pieces_makes_no_chunk(tmp_path):
    async with town(tmp_path, recipe=shifted) as here:
        await here.fill()
        assert (await here.finish()).read_bytes() == here.new


async def test_chunks_that_a_lie_spoiled_come_by_the_swarm(tmp_path):
    async with town(tmp_path, recipe=renamed) as here:
        await here.fill()
        assert 0 < here.partial.held < (1 << here.manifest.count) - 1
        assert (await here.finish()).read_bytes() == here.new


async def test_a_liar_whose_chunks_are_mostly_wrong_is_named(tmp_path):
    async with town(tmp_path, changed=range(0, MEMBERS, 9), recipe=renamed) as here:
        await here.fill()
        assert [points for _, points, _ in here.blamed] == [-60.0]
        assert (await here.finish()).read_bytes() == here.new


async def test_a_source_without_a_recipe_is_no_fault(tmp_path):
    async with town(tmp_path, recipe=lambda recipe: b"") as here:
        await here.fill()
        assert here.partial.held == 0
        assert here.blamed == []
        assert here.taker.counters.liars == {}


@pytest.mark.parametrize(
    ("mode", "rate", "tried"), [("never", 1.0, False), ("auto", 1e12, False), ("auto", 1e5, True)]
)
async def test_a_fast_line_needs_no_recipe(tmp_path, mode, rate, tried):
    async with town(tmp_path, mode=mode, rate=rate) as here:
        await here.fill()
        assert bool(here.partial.held) is tried


async def test_an_old_file_that_rotted_spoils_only_its_chunks(tmp_path):
    async with town(tmp_path) as here:
        raw = bytearray((tmp_path / "old").read_bytes())
        raw[len(raw) // 2] ^= 1
        (tmp_path / "old").write_bytes(raw)
        await here.fill()
        assert 0 < here.partial.held < (1 << here.manifest.count) - 1
        assert (await here.finish()).read_bytes() == here.new


async def test_an_old_file_that_is_gone_is_no_failure(tmp_path):
    async with town(tmp_path) as here:
        (tmp_path / "old").unlink()
        await here.fill()
        assert here.partial.held == 0
        assert (await here.finish()).read_bytes() == here.new


# -- sources that waste time, disks that say no --

PIECE = 64 << 10
OLD = random.Random(5).randbytes(1 << 20)
NEW = random.Random(6).randbytes(4 << 20)


class Source:
    """Answers stretches with zeros or with what is right, `late_s` each, four at a time."""

    def __init__(self, recipe, late_s, data):
        self._recipe, self.late_s, self.data, self.asked = recipe, late_s, data, 0
        self._slots = trio.CapacityLimiter(4)

    async def recipe(self):
        return self._recipe

    async def get(self, wanted):
        async with self._slots:
            self.asked += 1
            await trio.sleep(self.late_s)
            return [self.data[at : at + size] if self.data else bytes(size) for at, size in wanted]


def promising():
    """A recipe that says of each chunk that a quarter of it is here."""
    old = delta.recipe_of(memoryview(OLD), list(range(0, len(OLD) + 1, PIECE)))
    names, sizes = b"", []
    for number in range(len(NEW) // (4 * PIECE)):
        names += old.names[:16] + number.to_bytes(16, "big")
        sizes += [PIECE, 3 * PIECE]
    return old, Recipe(names, tuple(sizes)).encode()


@contextlib.asynccontextmanager
async def one_source(folder, monkeypatch, *, late_s=0.0, data=b"", recipe=None, new=NEW):
    old, lie = promising()
    source = Source(recipe or lie, late_s, data)
    monkeypatch.setattr(deltas, "open_stretches", lambda line, ident, meter: contextlib.nullcontext(source))
    (folder / "old").write_bytes(OLD)
    database, blamed = Database.open(folder / "db"), []
    partial = await Partials(folder / "blobs", Blobs(folder / "blobs", database)).open(Manifest.of([new]))
    hand = AtHand(b"o" * 32, folder / "old", len(OLD))
    lines = SimpleNamespace(line=nothing)
    making = Deltas(
        Kept(old), lines, lambda sha256: [hand], mode="always", blame=lambda *said: blamed.append(said)
    )
    try:
        yield making, partial, source, blamed
    finally:
        partial.discard()
        database.close()


LIAR = NodeId(b"l" * 32)


async def nothing(*args):
    await trio.lowlevel.checkpoint()


async def never(*args):
    await trio.sleep_forever()


async def test_wrong_bytes_end_it_and_their_giver_is_named_and_not_asked_again(
    tmp_path, monkeypatch, autojump_clock
):
    async with one_source(tmp_path, monkeypatch, late_s=1.0) as (making, partial, source, blamed):
        await making.fill(partial, [LIAR])
        assert trio.current_time() < deltas.MOST_S
        assert source.asked < 12  # of 16
        assert [(node, points) for node, points, _ in blamed] == [(LIAR, -60.0)]
        asked = source.asked
        await making.fill(partial, [LIAR])
        assert source.asked == asked


async def test_a_source_that_answers_late_holds_a_download_for_seconds(tmp_path, monkeypatch, autojump_clock):
    async with one_source(tmp_path, monkeypatch, late_s=5.9) as (making, partial, source, _):
        began_s = trio.current_time()
        await making.fill(partial, [LIAR])
        assert trio.current_time() - began_s <= making.patience_s(len(NEW)) + 1
        asked = source.asked
        await making.fill(partial, [LIAR])
        assert source.asked == asked


async def test_a_recipe_that_is_not_cut_in_time_is_not_waited_for(tmp_path, monkeypatch, autojump_clock):
    async with one_source(tmp_path, monkeypatch) as (making, partial, source, blamed):
        making._recipes = SimpleNamespace(soon=never)
        began_s = trio.current_time()
        await making.fill(partial, [LIAR])
        assert trio.current_time() - began_s <= making.patience_s(len(NEW)) + 1
        assert (source.asked, blamed) == (0, [])


async def test_a_disk_that_says_no_ends_it_without_a_word(tmp_path, monkeypatch):
    new = b"".join(OLD[:PIECE] + NEW[at + PIECE : at + 4 * PIECE] for at in range(0, len(NEW), 4 * PIECE))
    async with one_source(tmp_path, monkeypatch, data=new, new=new) as (making, partial, _, blamed):
        tried = []

        def no(offset, data):
            tried.append(offset)
            raise Unavailable("a blob cannot be written: No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(partial, "write_at", no)
            await making.fill(partial, [LIAR])
        assert len(tried) >= 1
        assert (partial.held, blamed) == (0, [])
        await making.fill(partial, [LIAR])  # nobody is to blame, so it is asked again
        assert partial.held == (1 << partial.manifest.count) - 1


@pytest.mark.parametrize("size", [0, 100])
async def test_an_old_file_that_a_crash_cut_is_no_failure(tmp_path, monkeypatch, size):
    async with one_source(tmp_path, monkeypatch) as (making, partial, _, blamed):
        (tmp_path / "old").write_bytes(bytes(size))
        await making.fill(partial, [LIAR])
        assert (partial.held, blamed) == (0, [])


SHARED = b"".join(OLD[:PIECE] + NEW[at + PIECE : at + 4 * PIECE] for at in range(0, len(NEW), 4 * PIECE))


async def test_an_old_file_that_rotted_is_not_its_givers_fault_and_is_looked_at(tmp_path, monkeypatch):
    async with one_source(tmp_path, monkeypatch, data=SHARED, new=SHARED) as (
        making,
        partial,
        source,
        blamed,
    ):
        doubted = []
        making._doubt = doubted.append
        (tmp_path / "old").write_bytes(bytes(len(OLD)))
        await making.fill(partial, [LIAR])
        assert (partial.held, blamed, doubted) == (0, [], [b"o" * 32])
        assert making._recipes.forgotten == [b"o" * 32]
        asked = source.asked
        await making.fill(partial, [LIAR])  # nor is it shunned
        assert source.asked > asked


def test_what_the_disk_does_not_give_of_an_old_file_is_as_wrong_as_what_rotted(tmp_path):
    (tmp_path / "old").write_bytes(OLD)
    at_hand, recipe = (
        deltas._AtHand(tmp_path / "old", len(OLD)),
        delta.recipe_of(memoryview(OLD), [0, PIECE, len(OLD)]),
    )
    os.truncate(tmp_path / "old", 0)
    assert at_hand[PIECE:] == bytes(len(OLD) - PIECE)
    assert not delta.Again(recipe, at_hand).holds(0, PIECE)


async def test_whose_old_file_rotted_in_part_still_names_a_liar(tmp_path, monkeypatch):
    async with one_source(tmp_path, monkeypatch) as (making, partial, _, blamed):
        doubted = []
        making._doubt = doubted.append
        old = bytearray(OLD)
        old[3 * PIECE + 5] ^= 1  # of a piece that nothing was copied of
        (tmp_path / "old").write_bytes(old)
        await making.fill(partial, [LIAR])
        assert ([points for _, points, _ in blamed], doubted) == ([-60.0], [])


async def test_a_source_whose_client_leaves_is_asked_again(tmp_path, monkeypatch, autojump_clock):
    async with one_source(tmp_path, monkeypatch, late_s=1.0, data=SHARED, new=SHARED) as found:
        making, partial, source, blamed = found
        with trio.move_on_after(1.5):
            await making.fill(partial, [LIAR])
        assert 0 < partial.held < (1 << partial.manifest.count) - 1
        partial.held = 0  # the next one begins in a file of its own
        asked = source.asked
        await making.fill(partial, [LIAR])
        assert source.asked > asked
        assert partial.held
        assert blamed == []


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), at=st.integers(0, 100), size=st.integers(1, 40),
    wrong=st.integers(0, 200),
)  # fmt: skip
def test_exactly_the_pieces_that_a_stretch_lies_in_are_named_again(sizes, at, size, wrong):
    data = bytearray(random.Random(2).randbytes(sum(sizes)))
    ends = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
    recipe = delta.recipe_of(memoryview(bytes(data)), ends)
    at, wrong = at % len(data), wrong % len(data)
    size = min(size, len(data) - at)
    data[wrong] ^= 1
    spoiled = next(number for number in range(len(sizes)) if ends[number] <= wrong < ends[number + 1])
    touched = ends[spoiled] < at + size and at < ends[spoiled + 1]
    assert delta.Again(recipe, memoryview(data)).holds(at, size) is not touched
