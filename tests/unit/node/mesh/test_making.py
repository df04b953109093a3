"""Which files of a node resemble one that is wanted, and whose recipes it gives."""

import io
import zipfile
from types import SimpleNamespace

import pytest
import trio

from pyrsia.errors import Unavailable
from pyrsia.ledger.views import Placed
from pyrsia.net.data import Served
from pyrsia.node.mesh import making
from pyrsia.node.mesh.making import Making
from pyrsia.node.storage import recipes as recipes_module
from pyrsia.node.storage.recipes import FAILED_S, LARGEST, WAITING, Recipes, _row
from pyrsia.store import layout
from pyrsia.store.rocks import Batch, Database
from pyrsia.transfer import delta
from pyrsia.transfer.manifest import Manifest
from tests.reference.waiting import bounded, until

MIB = 1 << 20


def placed(number, file="big-{}-py3-none-any.whl", size=2 * MIB):
    body = {
        "sha256": f"{number:064x}",
        "file": file.format(number),
        "size": size,
        "purl": f"pkg:pypi/big@{number}",
    }
    return Placed(number, body)


class Shelf:
    """Files that are here, by digest."""

    def __init__(self, folder):
        self.folder, self.here, self.bringing = folder, set(), SimpleNamespace(before=None, measured=None)
        self.told = []

    def local(self, sha256):
        return self.folder / sha256.hex() if sha256.hex() in self.here else None

    def on_gone(self, told):
        self.told.append(told)


@pytest.fixture
def log(monkeypatch):
    """Published files, oldest first."""
    files = []

    def artifact(reads, sha256, package=""):
        return next((one for one in files if one.body["sha256"] == sha256), None)

    def project_files(reads, name, *, every=False):
        assert name == "pkg:pypi/big"
        return tuple(files)

    monkeypatch.setattr(making, "views", SimpleNamespace(artifact=artifact, project_files=project_files))
    return files


@pytest.fixture
def here(tmp_path):
    database = Database.open(tmp_path / "db")
    shelf = Shelf(tmp_path)
    plane = SimpleNamespace(lines=None, recipe_of=lambda made: None)
    recipes = Recipes(database, SimpleNamespace(sandbox=None, scratch=tmp_path, limits=None))
    yield Making(recipes, shelf, plane, None, mode="auto", blame=lambda *said: None, doubt=bytes), shelf
    database.close()


def digests(found):
    return [int.from_bytes(one.sha256, "big") for one in found]


def test_the_newest_files_of_the_package_that_are_here_resemble_it(here, log):
    part, shelf = here
    log += [placed(number) for number in range(1, 8)]
    shelf.here = {f"{number:064x}" for number in (1, 2, 4, 5, 7)}
    assert digests(part.similar(bytes.fromhex(f"{7:064x}"))) == [5, 4, 2]
    assert digests(part.similar(bytes.fromhex(f"{3:064x}"))) == [7, 5, 4]


@pytest.mark.parametrize(
    ("file", "size"),
    [("big-{}.tar.gz", 2 * MIB), ("big-{}-any.whl", MIB - 1), ("big-{}-any.whl", LARGEST.value + 1)],
)
def test_what_is_no_archive_or_not_its_size_resembles_nothing(here, log, file, size):
    part, shelf = here
    log += [placed(1), placed(2, file, size)]
    shelf.here = {f"{number:064x}" for number in (1, 2)}
    assert part.similar(bytes.fromhex(f"{2:064x}")) == ()
    assert part.similar(bytes(32)) == ()
    assert digests(part.similar(bytes.fromhex(f"{1:064x}"))) == []


def test_a_recipe_is_given_when_it_is_made_and_wanted_until_then(here, tmp_path):
    part, shelf = here
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("one", bytes(2 * MIB))
    data, name = out.getvalue(), b"n" * 32
    (tmp_path / "file").write_bytes(data)
    served, manifest = Served(b"", tmp_path / "file"), Manifest.of([data])
    assert part._give(name, served, manifest) == b""
    assert list(part.recipes._waiting) == [name]
    recipe = delta.recipe_of(memoryview(data), [0, len(data)])
    part.recipes._database.write(making_row(name, recipe))
    assert part._give(name, served, manifest) == recipe.encode()
    (told,) = shelf.told
    told(name)
    part.recipes._waiting.clear()
    (tmp_path / "file").write_bytes(b"no archive" + data)
    assert part._give(name, served, manifest) == b""
    assert list(part.recipes._waiting) == []


@pytest.mark.parametrize("size", [0, 5])
async def test_a_file_that_a_crash_cut_ends_neither_the_cutting_nor_the_wait_for_it(
    here, tmp_path, monkeypatch, size
):
    part, _ = here
    data = b"a file that is whole"
    (tmp_path / "cut").write_bytes(bytes(size))
    (tmp_path / "whole").write_bytes(data)

    async def spans(inside, path, size):
        if path.name == "crash":
            raise ValueError("a fault of ours")
        await trio.lowlevel.checkpoint()
        return [(0, size)]

    monkeypatch.setattr(recipes_module, "spans", spans)
    with bounded(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(part.run)
            assert await part.recipes.soon(b"c" * 32, tmp_path / "cut", 2 * MIB) is None
            assert await part.recipes.soon(b"d" * 32, tmp_path / "crash", 2 * MIB) is None
            assert (await part.recipes.soon(b"w" * 32, tmp_path / "whole", len(data))).size == len(data)
            nursery.cancel_scope.cancel()


async def test_who_waits_no_longer_has_the_recipe_the_next_time(here, tmp_path, monkeypatch):
    part, _ = here
    data, go = b"a file that is whole", trio.Event()
    (tmp_path / "whole").write_bytes(data)

    async def spans(inside, path, size):
        await go.wait()
        return [(0, size)]

    monkeypatch.setattr(recipes_module, "spans", spans)
    with bounded(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(part.run)
            with trio.move_on_after(0.01) as left:
                await part.recipes.soon(b"w" * 32, tmp_path / "whole", len(data))
            assert left.cancelled_caught
            go.set()
            await until(lambda: part.recipes.kept(b"w" * 32, len(data)) is not None)
            nursery.cancel_scope.cancel()
    assert part.recipes._waiting == {}


def making_row(name, recipe):
    return Batch().put(layout.MISC, _row(name), recipe.encode())


@pytest.mark.parametrize("again", [False, True])
async def test_a_recipe_that_is_made_while_its_file_goes_is_not_kept(here, tmp_path, monkeypatch, again):
    part, _ = here
    name = b"g" * 32
    (tmp_path / "going").write_bytes(b"a file that goes")

    async def spans(inside, path, size):
        await trio.lowlevel.checkpoint()
        if path.name == "going":
            part.recipes.forget(name)
            if again:  # and comes back meanwhile
                part.recipes.want(name, tmp_path / "back", 5)
        return [(0, size)]

    monkeypatch.setattr(recipes_module, "spans", spans)
    (tmp_path / "back").write_bytes(b"again")
    with bounded(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(part.run)
            assert await part.recipes.soon(name, tmp_path / "going", 16) is None
            while part.recipes._waiting:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert (part.recipes.kept(name, 5) is not None) is again
    assert part.recipes.kept(name, 16) is None


def test_what_the_database_would_not_drop_is_dropped_with_the_next(here, monkeypatch):
    recipes, data = here[0].recipes, b"bytes"
    recipe = delta.recipe_of(memoryview(data), [0, len(data)])
    recipes._database.write(making_row(b"1" * 32, recipe))

    def no(batch):
        raise Unavailable("the database: Write stall")

    with monkeypatch.context() as patched:
        patched.setattr(recipes._database, "write", no)
        recipes.forget(b"1" * 32)
    recipes.forget(b"2" * 32)
    assert (recipes.kept(b"1" * 32, len(data)), recipes._gone) == (None, {})


async def test_what_could_not_be_cut_is_tried_again_after_ten_minutes_and_what_we_want_goes_first(
    here, tmp_path, monkeypatch, autojump_clock
):
    part, _ = here
    tried, data = [], b"a file that is whole"
    (tmp_path / "ours").write_bytes(data)

    async def spans(inside, path, size):
        tried.append(path.name)
        await trio.sleep(1)
        if path.name != "ours":
            raise Unavailable("the sandbox does not start")
        return [(0, size)]

    monkeypatch.setattr(recipes_module, "spans", spans)
    async with trio.open_nursery() as nursery:
        for number in range(2 * WAITING.value):
            part.recipes.want(bytes([number]) * 32, tmp_path / "theirs", 2 * MIB)
        nursery.start_soon(part.run)
        await trio.sleep(0.5)
        assert len(part.recipes._waiting) == WAITING.value
        assert (await part.recipes.soon(b"w" * 32, tmp_path / "ours", len(data))).size == len(data)
        assert tried[:2] == ["theirs", "ours"]
        await trio.sleep(100)
        assert len(tried) == WAITING.value + 1
        for _ in range(3):
            part.recipes.want(bytes(32), tmp_path / "theirs", 2 * MIB)
            await trio.sleep(10)
        assert len(tried) == WAITING.value + 1
        await trio.sleep(FAILED_S.value)
        part.recipes.want(bytes(32), tmp_path / "theirs", 2 * MIB)
        await trio.sleep(10)
        assert len(tried) == WAITING.value + 2
        nursery.cancel_scope.cancel()
