"""The data directory of a node that does not run: the same log, and damage in it named."""

import pytest

from pyrsia.audit.copying import Copy
from pyrsia.audit.fetching import Absent
from pyrsia.audit.fsck import check
from pyrsia.audit.heads import Quorum
from pyrsia.audit.keeping import Keeper
from pyrsia.audit.opening import names_of, open_log, open_node, own_names, own_network
from pyrsia.audit.sources import DirectorySource
from pyrsia.audit.stopped import StoppedNode
from pyrsia.config import CONTROL_SOCKET
from pyrsia.errors import Refusal
from pyrsia.ledger.genesis import Genesis
from pyrsia.log.checking import Wrong
from pyrsia.log.tiles import Bundle, Tile
from pyrsia.node.log.archive import Archive, Hole
from pyrsia.store import layout
from pyrsia.store.lock import DataDir
from pyrsia.store.rocks import Batch, Database
from tests.reference.ledger import World
from tests.reference.reigns import KeptReigns, three_epochs
from tests.unit.audit.files import read
from tests.unit.audit.signed import SignedLog


def silent(done, total):
    """Nobody watches."""


class Stored(World):
    """A ledger whose blocks a database keeps, as a node writes them."""

    def __init__(self, folder):
        self.folder = folder
        self.archive = None
        super().__init__()

    def write(self, commit):
        super().write(commit)
        if self.archive is None:
            (self.folder / "genesis.json").write_bytes(self.genesis.raw)
            self.database = Database.open(self.folder / "db")
            self.archive = Archive(self.database, self.genesis)
        self.archive.write(commit, None, None)


@pytest.fixture
def node(tmp_path):
    """(data directory, the log at its checkpoint, the log that it holds)."""
    folder = tmp_path / "data"
    folder.mkdir()
    world = Stored(folder)
    for version in range(30):
        world.block(world.request(version=f"1.{version}")[0])
    signed = SignedLog(world=world).follow()
    world.archive.keep_checkpoint(signed.note)
    for version in range(5):
        world.block(world.request(version=f"2.{version}")[0])
    world.archive = None
    world.database.close()
    return folder, signed, SignedLog(world=world).follow()


def fsck(folder):
    source = open_log(str(folder))
    try:
        return check(source, own_network(source), silent)
    finally:
        source.close()


def test_a_stopped_node_is_checked_up_to_its_own_head(node):
    folder, signed, held = node
    report = fsck(folder)
    assert report.head.checkpoint.size == signed.frontier.size
    assert report.beyond == held.frontier.size - signed.frontier.size > 0
    assert report.formed


def test_a_stopped_nodes_log_is_exported_as_it_is_served(node, tmp_path):
    folder, signed, _ = node
    source = open_node(str(folder))
    keeper = Keeper(tmp_path / "out")
    Copy(source, own_network(source), keeper, silent).round()
    source.close()
    keeper.close()
    honest = {"checkpoint": signed.note, "genesis": signed.world.genesis.raw, **dict(signed.every())}
    assert read(tmp_path / "out") == honest
    assert check(DirectorySource(tmp_path / "out"), signed.rule, silent).notes == ()


@pytest.mark.parametrize("beyond", [False, True])
def test_a_changed_or_lost_fact_is_named(node, beyond):
    folder, _, held = node
    index = held.frontier.size - 2 if beyond else 3

    database = Database.open(folder / "db")
    key, row = database.at_or_before(layout.ENTRIES, layout.number(index))
    leaf = held.entries[index]
    database.write(Batch().put(layout.ENTRIES, key, row.replace(leaf, leaf.replace(b'"', b"'", 1))))
    database.close()
    with pytest.raises(Wrong) as wrong:
        fsck(folder)
    assert (wrong.value.fault.entry, wrong.value.fault.path[:12]) == (index, "tile/entries")

    database = Database.open(folder / "db")
    database.write(Batch().delete(layout.ENTRIES, key))
    database.close()
    with pytest.raises(Wrong) as wrong:
        fsck(folder)
    assert wrong.value.fault.path.startswith("tile/entries")

    database = Database.open(folder / "db")
    tile = database.get(layout.TILES, layout.tile(0, 0))
    at = index * 32
    changed = tile[:at] + bytes([tile[at] ^ 1]) + tile[at + 1 :]
    database.write(Batch().put(layout.ENTRIES, key, row).put(layout.TILES, layout.tile(0, 0), changed))
    database.close()
    with pytest.raises(Wrong) as wrong:
        fsck(folder)
    assert (wrong.value.fault.hash, wrong.value.fault.offset) == (index, at)
    assert wrong.value.fault.path.startswith("tile/0/000")


def test_a_checkpoint_of_another_past_is_found_below_the_head(node):
    folder, _, held = node
    lie = SignedLog(world=held.world)
    lie.append([*held.entries[:5], b'{"other":1}'])
    database = Database.open(folder / "db")
    Archive(database, held.world.genesis).keep_checkpoint(lie.note)
    database.close()
    with pytest.raises(Wrong) as wrong:
        fsck(folder)
    assert wrong.value.fault.path == "checkpoint"
    assert "the first 6 entries give another root" in wrong.value.fault.what


def test_a_directory_in_use_without_a_log_or_of_nobody_is_refused(node, tmp_path):
    folder, signed, _ = node
    held = DataDir.open(folder, signed.world.genesis.net)
    with pytest.raises(Refusal) as refused:
        open_log(str(folder))
    assert refused.value.code == "data-in-use"
    (folder / CONTROL_SOCKET).write_bytes(b"")  # what a killed node left behind answers nobody
    with pytest.raises(Refusal) as refused:
        open_node(str(folder))
    assert refused.value.code == "data-in-use"
    held.close()
    opened = open_node(str(folder))
    assert isinstance(opened, StoppedNode)
    opened.close()
    (folder / "genesis.json").rename(tmp_path / "genesis.json")
    with pytest.raises(Refusal) as refused:
        open_node(str(folder))
    assert refused.value.code == "not-found"
    with pytest.raises(Refusal) as refused:
        open_node(str(tmp_path))  # a genesis, and no database yet
    assert refused.value.code == "not-found"
    with pytest.raises(Refusal) as refused:
        open_log(str(tmp_path / "nowhere"))
    assert refused.value.code == "not-found"


def test_what_the_log_does_not_have_is_absent(node):
    folder, _, held = node
    with_source = StoppedNode.open(folder)
    try:
        for missing in (Tile(0, 7), Tile(0, 0, 256), Tile(5, 0, 1)):
            with pytest.raises(Absent):
                with_source.tile(missing)
        with pytest.raises(Absent):
            with_source.bundle(Bundle(7, 1))
        assert with_source.head().root == held.frontier.root()
        assert with_source.name == str(folder)
    finally:
        with_source.close()


def test_a_stopped_node_that_began_from_a_snapshot_is_not_audited_before_its_log_is_whole(node):
    folder, _, _ = node
    database = Database.open(folder / "db")
    archive = Archive(database, Genesis.parse((folder / "genesis.json").read_bytes()))
    lacking = Batch()
    for key, _ in database.scan(layout.ENTRIES, layout.number(1), 256, before=layout.number(40)):
        lacking.delete(layout.ENTRIES, key)
    archive.keep_hole(lacking, Hole(1, 60, 40))
    database.close()

    source = StoppedNode.open(folder)
    try:
        with pytest.raises(Refusal, match="not here yet: the log below entry 40 is being fetched") as refused:
            check(source, own_network(source), silent)
        assert (refused.value.code, refused.value.who) == (
            "not-found",
            "this node, which began from a snapshot",
        )
    finally:
        source.close()


def test_a_stopped_node_knows_who_is_a_member_now(node):
    folder, signed, _ = node
    genesis = signed.world.genesis
    members = {member.text: member.name for member in genesis.members}
    source = open_log(str(folder))
    try:
        assert names_of(source, None) == members
        assert own_names(str(folder)) == {}  # nobody answers there
        assert names_of(signed, genesis) == members
        assert names_of(signed, None) == {}
    finally:
        source.close()


def test_a_stopped_node_gives_the_steps_between_its_epochs_and_is_checked_through_them(tmp_path):
    world = three_epochs(KeptReigns(tmp_path))
    world.archive.keep_checkpoint(world.cosigned())
    world.database.close()
    (tmp_path / "genesis.json").write_bytes(world.genesis.raw)
    source = StoppedNode.open(tmp_path)
    try:
        assert [source.epoch(number) for number in range(3)] == [*world.steps, None]
        report = check(source, own_network(source), silent, full=True)
        assert (report.as_dict()["epoch"], report.beyond) == (2, 0)
        keeper = Keeper(tmp_path / "copy")
        Copy(source, own_network(source), keeper, silent).round()
        keeper.close()
    finally:
        source.close()
    assert check(DirectorySource(tmp_path / "copy"), Quorum(world.genesis), silent, full=True).notes == ()
