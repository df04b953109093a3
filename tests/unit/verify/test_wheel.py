"""The one look into a file: bounded, whatever the archive says of itself."""

import io
import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Malformed
from pyrsia.units import Limit
from pyrsia.verify import wheel as module
from pyrsia.verify.wheel import name_and_version
from tests.reference.story import wheel


def seen(tmp_path, data):
    path = tmp_path / "x.whl"
    path.write_bytes(data)
    return name_and_version(path)


@pytest.mark.parametrize(
    "told",
    [
        "Name: idna\nVersion: 1.0\n",
        "name: idna\r\nVERSION:1.0\r\n\r\nVersion: 9\r\n",
        "Metadata-Version: 2.1\nVersion :1.0\nName:\tidna  ",
    ],
)
def test_name_and_version_are_read_as_they_are_spelled(tmp_path, told):
    assert seen(tmp_path, wheel(metadata=told)) == ("idna", "1.0")


def test_a_member_that_inflates_for_ever_is_cut(tmp_path):
    bomb = wheel(metadata="Name: idna\nVersion: 1.0\n" + "\0" * (64 << 20))
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="too large"):
            seen(tmp_path, bomb)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ARCHIVE_MEMBERS", Limit(5, "a small wheel"))
    with pytest.raises(Malformed, match="7 members"):
        seen(tmp_path, wheel(members=[(f"f{at}", b"") for at in range(5)]))


def test_a_file_that_is_all_directory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """zipfile reads a directory whole and makes an object of each entry."""
    monkeypatch.setattr(zipfile.ZipFile, "infolist", None)
    fields = (b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    directory = (struct.pack("<4s4B4HL2L5H2L", *fields) + b"a") * 100_000
    ends = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), 0, 0)
    data = directory + ends
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="directory has more than"):
            seen(tmp_path, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_an_encrypted_member_is_refused(tmp_path):
    data = bytearray(wheel())
    for at in range(len(data) - 4):  # the flag word of every local and central header
        if data[at : at + 4] in (b"PK\x03\x04", b"PK\x01\x02"):
            offset = at + (6 if data[at + 2] == 3 else 8)
            data[offset : offset + 2] = struct.pack("<H", 1)
    with pytest.raises(Malformed, match="cannot be read"):
        seen(tmp_path, bytes(data))


def test_a_metadata_deeper_in_the_tree_is_none(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("vendored/idna-1.0.dist-info/METADATA", "Name: idna\nVersion: 1.0\n")
    with pytest.raises(Malformed, match="0 METADATA"):
        seen(tmp_path, out.getvalue())


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_malformed_and_nothing_else(tmp_path_factory, data):
    changed = bytearray(wheel())
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.getbasetemp()
    told = None
    try:
        told = seen(folder, bytes(changed))
    except Malformed as error:
        told = str(error)
    assert told
