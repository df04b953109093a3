"""Logs that others made, read from files as a mirror reads them; see the README of the vectors."""

import gzip
import shutil

import pytest

from pyrsia.audit import heads
from pyrsia.audit.copying import Copy
from pyrsia.audit.fsck import check
from pyrsia.audit.keeping import Keeper
from pyrsia.audit.sources import DirectorySource
from pyrsia.log.checking import Wrong
from tests.unit.audit.files import read

TESSERA = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
MIRROR = "mirror.example.org+3fb148ef+BAAjjch9GyYz0sJsJx7ALhbdAtz2ov0unbzSl1vMp94O"
WITNESS = "witness.example.org+b8a2cf20+BFLN3yikSfFkVAJtrnh/CiY3Zozkoy7clp+P7XB28qUN"
HASHED = "000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706"


def silent(done, total):
    """Nobody watches."""


def fsck(folder, vkey, **options):
    return check(DirectorySource(folder), heads.named([vkey], None), silent, **options)


def at(vectors, size, folder):
    """The Tessera log as it was at `size`."""
    shutil.copytree(vectors / "tessera-log", folder)
    shutil.copyfile(folder / f"checkpoint.{size}", folder / "checkpoint")
    return folder


@pytest.mark.parametrize("size", range(16))
def test_the_tessera_log_is_whole_at_each_of_its_checkpoints(vectors, tmp_path, size):
    report = fsck(at(vectors, size, tmp_path / "log"), TESSERA)
    assert report.head.checkpoint.size == size
    assert report.head.signers == ("example.com/log/testdata",)
    assert report.entries


def test_the_tessera_log_is_mirrored_as_it_grew(vectors, tmp_path):
    rule = heads.named([TESSERA], None)
    logs = [DirectorySource(at(vectors, size, tmp_path / f"log{size}")) for size in range(16)]
    for first in (0, 1, 7, 14):
        keeper = Keeper(tmp_path / f"copy{first}")
        for size in range(first, 16):
            done = Copy(logs[size], rule, keeper, silent).round()
            assert done.head.checkpoint.size == size
        keeper.close()
        assert fsck(tmp_path / f"copy{first}", TESSERA).notes == ()
    copied = read(tmp_path / "copy0")
    for path in ("tile/0/000.p/15", "tile/entries/000.p/15", "tile/0/000.p/7", "checkpoint"):
        assert copied[path] == (vectors / "tessera-log" / path).read_bytes()


def test_every_changed_byte_of_the_tessera_log_is_found(vectors, tmp_path):
    folder = at(vectors, 15, tmp_path / "log")
    for path in ("tile/0/000.p/15", "tile/entries/000.p/15", "checkpoint", "tile/0/000.p/7"):
        honest = (folder / path).read_bytes()
        for at_byte in range(len(honest)):
            changed = bytearray(honest)
            changed[at_byte] ^= 1 << at_byte % 8
            (folder / path).write_bytes(changed)
            with pytest.raises(Wrong) as wrong:
                fsck(folder, TESSERA)
            assert wrong.value.fault.path == path
        (folder / path).write_bytes(honest)
    assert fsck(folder, TESSERA).head.checkpoint.size == 15


def test_the_tiles_of_the_sunlight_mirror_are_whole(vectors):
    report = fsck(vectors / "sunlight-mirror" / HASHED, MIRROR, read_entries=False)
    assert (report.head.checkpoint.size, report.head.time_s) == (300, 1_767_139_200)
    assert report.objects == 4
    assert report.head.checkpoint.origin == "rome2026h1.example.org"


def test_the_sunlight_mirror_is_whole_with_the_entries_that_its_readme_names(vectors, tmp_path):
    folder = tmp_path / "log"
    shutil.copytree(vectors / "sunlight-mirror" / HASHED, folder)
    records = [b"record %d" % i for i in range(300)]
    for path, entries in (("000", records[:256]), ("001.p/44", records[256:])):
        bundle = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
        (folder / "tile" / "entries" / path).write_bytes(bundle)
    assert fsck(folder, MIRROR).entries


def test_the_fake_bundles_of_the_sunlight_mirror_are_refused_packed_and_unpacked(vectors, tmp_path):
    folder = tmp_path / "log"
    shutil.copytree(vectors / "sunlight-mirror" / HASHED, folder)
    with pytest.raises(Wrong) as wrong:
        fsck(folder, MIRROR)
    assert (wrong.value.fault.path, wrong.value.fault.entry) == ("tile/entries/000", 0)
    for path in ("000", "001.p/44"):
        packed = folder / "tile" / "entries" / path
        packed.write_bytes(gzip.decompress(packed.read_bytes()))
    with pytest.raises(Wrong) as wrong:
        fsck(folder, MIRROR)
    assert wrong.value.fault.path == "tile/entries/000"


def test_the_mirrors_signature_is_not_the_logs(vectors):
    """A mirror's cosignature alone never stands for a key that signs as the log."""
    with pytest.raises(Wrong, match="not signed by"):
        fsck(vectors / "sunlight-mirror" / HASHED, WITNESS, read_entries=False)
    with pytest.raises(Wrong, match="not signed by"):
        fsck(vectors / "sunlight-mirror" / HASHED, TESSERA, read_entries=False)


def test_the_witness_has_a_root_without_tiles(vectors, tmp_path):
    """The two checkpoints of one size are a split view: one of them has no tree."""
    folder = tmp_path / "log"
    shutil.copytree(vectors / "sunlight-mirror" / HASHED, folder)
    shutil.copyfile(vectors / "sunlight-mirror" / "witness" / HASHED / "checkpoint", folder / "checkpoint")
    with pytest.raises(Wrong) as wrong:
        fsck(folder, WITNESS, read_entries=False)
    assert wrong.value.fault.path == "checkpoint"
    assert "another root" in wrong.value.fault.what
