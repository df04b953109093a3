"""What builds leave behind: what the log or a job names stays, the rest goes after a day."""

import hashlib
import itertools
import os
from types import SimpleNamespace

import pytest
import trio

from pyrsia.node.builds.keep import ASKED, FOLDER_GRACE_S, GRACE_S, Keeper
from pyrsia.node.storage.shelf import Shelf
from pyrsia.store import layout
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Batch, Database
from pyrsia.units import MANIFEST_ROWS
from pyrsia.wire import canonical

NOW_S = 2_000_000_000.0
PLANE = SimpleNamespace(counters=None)


class House:
    def __init__(self, folder):
        self.database = Database.open(folder / "db")
        self.blobs = Blobs(folder / "blobs", self.database, clock_s=itertools.count(1_000_000_000).__next__)
        self.named, self.forgot, self.waits = set(), 0, set()
        self.kept, self.asked = set(), []  # elsewhere, and what owners were asked about
        self.shelf = Shelf(self.database, self.blobs, PLANE, named=self.named.__contains__)
        self.results, self.cache = folder / "results", folder / "index"
        for place in (self.results, self.cache):
            place.mkdir()
        self.keeper = Keeper(
            self.database,
            self.blobs,
            named=self.named.__contains__,
            folders=(self.results, folder / "scratch-that-is-not-there"),
            longest_s=600.0,
            cache=self.cache,
            cache_bytes=10,
            forget=self.forget,
            waits=lambda: self.waits,
            elsewhere=self.elsewhere,
            now_s=lambda: NOW_S,
        )

    async def elsewhere(self, blobs):
        assert len(blobs) <= ASKED.value
        self.asked += blobs
        return self.kept.intersection(blobs)

    async def forget(self):
        self.forgot += 1

    async def put(self, data, pin, age_s):
        kept = await self.shelf.put(data, pin=pin)
        self.aged(self.blobs.path(kept.sha256), age_s)
        return kept

    def aged(self, path, age_s):
        os.utime(path, (NOW_S - age_s, NOW_S - age_s))


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.database.close()


OLD = GRACE_S.value + 60


async def test_what_nobody_came_to_see_goes_after_a_day_with_its_manifest(house):
    lost = await house.put(b"built and settled without us", "build", OLD)
    unused = await house.put(b"a source that nobody asked for", "source", OLD)
    young = await house.put(b"a reveal that waits", "build", 60)
    swept = await house.keeper.sweep()
    assert (swept.blobs, house.forgot) == (2, 1)
    for gone in (lost, unused):
        assert house.shelf.local(gone.sha256) is None
        assert not house.blobs.path(gone.sha256).exists()
        assert house.database.get(layout.MANIFESTS, gone.manifest) is None
    assert house.shelf.local(young.sha256) is not None


async def test_what_enough_owners_keep_is_cache_here_and_the_rest_stays_pinned(house):
    kept, lone, owed = [await house.put(data, "build", OLD) for data in (b"kept", b"lone", b"owed")]
    both = await house.put(b"ordered, too", "build", OLD)
    await house.blobs.pin(both.sha256, "operator")
    done, open_ = [
        await house.put(data, pin, OLD) for data, pin in ((b"a", "receipt:aa"), (b"b", "receipt:bb"))
    ]
    house.waits = {"bb"}
    house.named |= {one.manifest for one in (kept, lone, owed, both, done, open_)}
    house.kept = {one.sha256 for one in (kept, owed, both, done, open_)}
    job = canonical.encode({"reveal": {"log": owed.as_dict()}})
    await house.database.commit(Batch().put(layout.JOBS, b"job", job))
    await house.keeper.sweep()
    assert [house.blobs.pins(one.sha256) for one in (kept, lone, owed, both, done, open_)] == [
        (), ("build",), ("build",), ("operator",), (), ("receipt:bb",),
    ]  # fmt: skip
    assert all(house.shelf.local(one.sha256) for one in (kept, lone, owed, both, done, open_))
    assert owed.sha256 not in house.asked


async def test_what_the_log_names_stays_whatever_its_age(house):
    kept = [
        await house.put(data, pin, 100 * OLD)
        for data, pin in (
            (b"output", "build"),
            (b"log", "build"),
            (b"lock lines", "lock"),
            (b"src", "source"),
        )
    ]
    house.named |= {one.manifest for one in kept}
    assert (await house.keeper.sweep()).blobs == 0
    assert all(house.shelf.local(one.sha256) for one in kept)


async def test_what_a_job_names_and_what_others_pinned_stays(house):
    owed = await house.put(b"owed", "build", OLD)
    body = {"log": owed.as_dict(), "outputs": [{"raw": {"members": owed.as_dict()}}]}
    await house.database.commit(Batch().put(layout.JOBS, b"j" * 33, canonical.encode(body)))
    other = await house.put(b"somebody else's too", "build", OLD)
    await house.blobs.pin(other.sha256, "environment")
    unpinned = await house.put(b"brought from a peer", "", OLD)
    assert (await house.keeper.sweep()).blobs == 0
    assert all(house.shelf.local(one.sha256) for one in (owed, other, unpinned))


async def test_what_was_kept_for_a_reveal_that_never_came_goes_and_what_may_come_stays(house):
    gone = await house.put(b"of a settled request", "receipt:old", OLD)
    both = await house.put(b"built here too", "receipt:old", OLD)
    await house.blobs.pin(both.sha256, "build")
    house.waits = {"open"}
    owed = await house.put(b"its reveal may come", "receipt:open", OLD)
    shared = await house.put(b"of two, one open", "receipt:old", OLD)
    await house.blobs.pin(shared.sha256, "receipt:open")
    young = await house.put(b"of today", "receipt:old", 60)
    assert (await house.keeper.sweep()).blobs == 2
    assert [house.shelf.local(one.sha256) for one in (gone, both)] == [None, None]
    assert all(house.shelf.local(one.sha256) for one in (owed, shared, young))


async def test_a_request_that_is_opened_while_the_keeper_looks_keeps_its_blobs(house):
    late = await house.put(b"asked for again today", "receipt:new", OLD)
    answers = [set(), {"new"}]
    house.keeper._waits = lambda: answers.pop(0) if len(answers) > 1 else answers[0]
    assert (await house.keeper.sweep()).blobs == 0
    assert house.blobs.pins(late.sha256) == ("receipt:new",)


async def test_one_pin_of_settled_requests_is_enough_for_what_the_log_names(house):
    log = await house.put(b"the same log of every build", "receipt:a", 100 * OLD)
    for word in "bcd":
        await house.blobs.pin(log.sha256, f"receipt:{word}")
    house.named.add(log.manifest)
    house.waits = {"c"}
    assert (await house.keeper.sweep()).blobs == 0
    assert sorted(house.blobs.pins(log.sha256)) == ["receipt:a", "receipt:c"]


async def test_folders_of_jobs_that_ended_with_their_process_go_and_those_that_may_run_stay(house):
    for name, age_s in (("built-old", 2 * 600 + FOLDER_GRACE_S.value + 60), ("built-new", 600)):
        (house.results / name).mkdir()
        (house.results / name / "file").write_bytes(b"x")
        house.aged(house.results / name, age_s)
    assert (await house.keeper.sweep()).folders == 1
    assert [path.name for path in house.results.iterdir()] == ["built-new"]


async def test_the_cache_of_indexes_keeps_what_was_asked_for_last(house):
    for number, data in enumerate((b"0123456789", b"abcdefghij")):
        path = house.cache / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        os.utime(path, (1_000 + number, 1_000 + number))
    await house.keeper.sweep()
    assert [path.read_bytes() for path in house.cache.iterdir()] == [b"abcdefghij"]


async def many(house):
    """Old blobs of builds, in the order in which a sweep comes to them."""
    datas = sorted(
        (b"blob %d" % number for number in range(40)), key=lambda one: hashlib.sha256(one).digest()
    )
    return datas, [await house.put(data, "build", OLD) for data in datas]


@pytest.mark.parametrize("how", ["made-again", "named-by-a-job"])
async def test_what_a_build_wants_again_while_old_blobs_go_stays_pinned(house, how):
    datas, refs = await many(house)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.keeper.sweep)
        while house.blobs.has(refs[0].sha256):
            await trio.lowlevel.checkpoint()
        assert house.blobs.has(refs[-1].sha256)
        if how == "made-again":
            await house.shelf.put(datas[-1], pin="build")
        else:
            job = canonical.encode({"reveal": {"log": refs[-1].as_dict()}})
            house.database.write(Batch().put(layout.JOBS, b"job", job))
    assert house.blobs.pins(refs[-1].sha256) == ("build",)
    assert house.blobs.path(refs[-1].sha256).exists()
    assert house.database.get(layout.MANIFESTS, refs[-1].manifest) is not None
    assert not house.blobs.has(refs[1].sha256)


async def test_what_comes_back_while_others_go_keeps_its_manifest(house):
    datas, refs = await many(house)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.keeper.sweep)
        while house.blobs.has(refs[0].sha256):
            await trio.lowlevel.checkpoint()
        await house.shelf.put(datas[0], pin="build")
        assert house.blobs.has(refs[-1].sha256)
    assert house.blobs.pins(refs[0].sha256) == ("build",)
    assert house.database.get(layout.MANIFESTS, refs[0].manifest) is not None


async def test_manifests_are_read_a_few_at_a_time_for_each_may_be_large(house, monkeypatch):
    for number in range(2 * MANIFEST_ROWS.value + 1):
        row = number.to_bytes(32, "big")
        house.database.write(Batch().put(layout.MANIFESTS, row, row + b"manifest"))
    pages, scan = [], house.database.scan

    def counted(family, start, limit):
        found = scan(family, start, limit)
        pages.append(len(list(found)))
        return found

    monkeypatch.setattr(house.database, "scan", counted)
    house.named.update(number.to_bytes(32, "big") for number in range(1_000))
    assert len(await house.keeper._needed()) == 2 * MANIFEST_ROWS.value + 1
    assert max(pages) == MANIFEST_ROWS.value
