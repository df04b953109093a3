"""Records of files, folders and archives of strangers: the good ones come out, the others are named."""

import io
import json
import os
import random
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import osv
from pyrsia.consumers.documents import finding
from pyrsia.consumers.documents.finding import records
from pyrsia.consumers.documents.outcome import MAX_REASONS, MAX_REFUSED_SHOWN, Tally
from pyrsia.errors import Refusal
from pyrsia.units import MAX_OSV_RECORD_BYTES

ONE = b'{"id":"A-1","modified":"2024-01-01T00:00:00Z"}'


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


@pytest.fixture
def found(tmp_path):
    """Read bytes as a file of some name: (records, tally)."""

    def read(data, name="all.zip"):
        path = tmp_path / name
        path.write_bytes(data)
        tally = Tally()
        return [one.data for one in records(path, tally)], tally

    return read


def test_a_record_stands_alone_in_an_archive_and_in_a_folder(found, tmp_path):
    assert found(ONE, "one.json")[0] == [ONE]
    assert found(zipped(("a.json", ONE), ("x/b.JSON", ONE)))[0] == [ONE, ONE]
    tally = Tally()
    assert len(list(records(tmp_path, tally))) == 3
    assert not tally.refused


def test_what_is_no_record_is_passed_over_with_its_reason(found):
    inner = zipped(("b.json", ONE))
    data, tally = found(
        zipped(("x/", b""), ("in.zip", inner), ("README.md", b"x"), ("../../etc/a.json", ONE))
    )
    assert data == [ONE]  # a path is only a name here: nothing is written
    assert dict(tally.skipped) == {
        "a folder of an archive": 1, "an archive inside an archive": 1, "no .json file in an archive": 1,
    }  # fmt: skip


def test_a_record_that_is_too_long_is_refused_and_the_others_go_on(found):
    long = b" " * (MAX_OSV_RECORD_BYTES.value + 1)
    data, tally = found(zipped(("long.json", long), ("a.json", ONE), method=zipfile.ZIP_STORED))
    assert (data, tally.refused) == ([ONE], 1)
    assert "long.json" in tally.shown[0][0]
    data, tally = found(long, "long.json")
    assert (data, tally.refused) == ([], 1)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_anything_is_read(found):
    bomb = zipped(*((f"{one}.json", b" " * MAX_OSV_RECORD_BYTES.value) for one in range(9)))
    with pytest.raises(Refusal, match="60 times") as caught:
        found(bomb)
    assert caught.value.code == "bad-request"


def test_a_list_of_members_that_is_too_long_is_refused_before_it_is_read(found, monkeypatch):
    monkeypatch.setattr(finding, "MAX_DIRECTORY_BYTES", type(MAX_OSV_RECORD_BYTES)(100, "for a test"))
    with pytest.raises(Refusal, match="list of members"):
        found(zipped(*((f"{one}.json", ONE) for one in range(9))))
    monkeypatch.setattr(finding, "MAX_IMPORTED", type(MAX_OSV_RECORD_BYTES)(1, "for a test"))
    monkeypatch.setattr(finding, "MAX_DIRECTORY_BYTES", MAX_OSV_RECORD_BYTES)
    with pytest.raises(Refusal, match="9 members"):
        found(zipped(*((f"{one}.json", ONE) for one in range(9))))


def test_a_list_that_only_zip64_says_the_length_of_is_bounded_too(found, monkeypatch):
    monkeypatch.setattr(finding, "MAX_DIRECTORY_BYTES", type(MAX_OSV_RECORD_BYTES)(100, "for a test"))
    data = bytearray(zipped(*((f"{one}.json", ONE) for one in range(9))))
    length, start = struct.unpack_from("<2L", data, len(data) - 10)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 9, 9, length, start)
    where = struct.pack("<4sLQL", b"PK\6\7", 0, len(data) - 22, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    with pytest.raises(Refusal, match="list of members"):
        found(bytes(data[:-22]) + wide + where + end)


@pytest.mark.parametrize(
    "data", [b"", b"PK\3\4", b"PK\5\6", b"PK\3\4" + b"x" * 90, b"hello", b"PK\5\6" + b"\xff" * 40]
)
def test_what_calls_itself_an_archive_and_is_none_is_refused_whole(found, data):
    with pytest.raises(Refusal) as caught:
        found(data)
    assert caught.value.code == "bad-request"


def test_a_cut_archive_is_refused_whole(found):
    whole = zipped(("a.json", ONE), ("b.json", ONE))
    with pytest.raises(Refusal):
        found(whole[:-30])


def test_a_damaged_or_encrypted_member_is_named_and_the_others_go_on(found):
    data = bytearray(zipped(("a.json", ONE), ("b.json", ONE), method=zipfile.ZIP_STORED))
    data[data.index(ONE) + 3] ^= 1
    good, tally = found(bytes(data))
    assert (good, tally.refused) == ([ONE], 1)
    assert "a.json" in tally.shown[0][0]
    data = bytearray(zipped(("a.json", ONE), ("b.json", ONE)))
    data[data.index(b"PK\1\2") + 8] |= 1
    good, tally = found(bytes(data))
    assert (good, tally.shown[0][1]) == ([ONE], "it is encrypted")


def test_a_member_that_is_packed_in_another_way_or_lies_about_its_place_is_refused(found):
    data, tally = found(zipped(("a.json", ONE), method=zipfile.ZIP_BZIP2))
    assert (data, tally.shown[0][1]) == (
        [],
        "it cannot be unpacked: it is packed by method 12, which records are not",
    )
    moved = bytearray(zipped(("a.json", ONE), ("b.json", ONE), method=zipfile.ZIP_STORED))
    struct.pack_into("<L", moved, moved.index(b"PK\1\2") + 42, 7)
    data, tally = found(bytes(moved))
    assert (data, tally.refused) == ([ONE], 1)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_two_records(found):
    other = ONE.replace(b"A-1", b"A-2")
    assert found(zipped(("a.json", ONE), ("a.json", other)))[0] == [ONE, other]


@settings(max_examples=60)
@given(st.integers(0, 400), st.integers(0, 255))
def test_an_archive_with_any_byte_changed_is_read_or_refused(tmp_path_factory, at, byte):
    data = bytearray(zipped(("a.json", ONE), ("b.json", ONE)))
    data[at % len(data)] = byte
    path = tmp_path_factory.mktemp("changed") / "all.zip"
    path.write_bytes(data)
    tally = Tally()
    try:
        list(records(path, tally))
    except Refusal as refusal:
        assert refusal.code == "bad-request"  # noqa: PT017


def test_links_in_a_folder_are_passed_over_and_no_loop_is_walked(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.json").write_bytes(ONE)
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    (tmp_path / "b.json").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "c.txt").write_text("x")
    (tmp_path / "bad.zip").write_bytes(b"PK")
    tally = Tally()
    assert [one.data for one in records(tmp_path, tally)] == [ONE]
    assert dict(tally.skipped) == {
        "a link inside a folder": 2, "no plain file": 1, "no .json and no .zip file": 1,
    }  # fmt: skip
    assert tally.refused == 1  # a bad archive inside a folder leaves the others whole


def test_folders_nest_as_deep_as_they_like_and_what_cannot_be_read_is_refused_by_name(tmp_path, monkeypatch):
    deep = [tmp_path / "/".join("d" * depth) for depth in range(1, 1_100)]
    for one in deep:
        one.mkdir()
    (deep[-1] / "a.json").write_bytes(ONE)
    (tmp_path / "b.json").write_bytes(ONE)
    (tmp_path / "shut").mkdir()
    scandir = os.scandir

    def shut(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(finding.os, "scandir", shut)
    tally = Tally()
    assert [one.data for one in records(tmp_path, tally)] == [ONE, ONE]
    assert tally.shown == [(str(tmp_path / "shut"), "it cannot be read: Permission denied")]
    (deep[-1] / "a.json").unlink()
    for one in reversed(deep):  # what tidies up behind tests walks by calling itself
        one.rmdir()


def test_a_path_that_is_nothing_is_refused(tmp_path):
    with pytest.raises(Refusal, match="no such file"):
        list(records(tmp_path / "gone", Tally()))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refusal, match="no plain file"):
        list(records(tmp_path / "pipe", Tally()))


def test_a_tally_is_bounded_whatever_is_counted():
    tally = Tally()
    for one in range(MAX_REASONS.value + 50):
        tally.skip(f"unknown ecosystem {one}\x1b")
        tally.refuse(f"{one}\n" * 200, "why\x1b")
    assert len(tally.skipped) == MAX_REASONS.value + 1
    assert tally.refused == MAX_REASONS.value + 50
    assert len(tally.shown) == MAX_REFUSED_SHOWN.value
    assert json.dumps(tally.as_dict()).isascii()
    assert all(where.isprintable() and why.isprintable() for where, why in tally.shown)


def test_an_export_as_databases_make_them_is_read(tmp_path):
    tally = Tally()
    assert len(list(records(osv.export(tmp_path / "all.zip", 300), tally))) == 300
    assert (tally.refused, tally.skipped) == (0, {})


def sharing(count, packed_bytes):
    """An archive whose members are all the same packed stretch: two bytes, and what no unpacking looks at."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body, name = b"{}", b"a.json"
    packed = packer.compress(body) + packer.flush()
    crc = zlib.crc32(body)
    own = (20, 0, 8, 0, 0, crc, packed_bytes, len(body), len(name), 0)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", *own) + name
    listed = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, *own, 0, 0, 0, 0, 0) + name
    start = len(local) + packed_bytes
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(listed) * count, start, 0)
    return local + packed + bytes(packed_bytes - len(packed)) + listed * count + end


def test_members_that_share_one_packed_stretch_are_refused_before_any_is_read(found):
    """As it was found: 16 MiB were read and copied for each of them, three hours for a file of 42 MB."""
    with pytest.raises(Refusal, match="its members overlap"):
        found(sharing(300, 1 << 20))
    with pytest.raises(Refusal, match="its members overlap"):
        found(sharing(3_000, 60_000))


def test_a_member_that_says_it_is_packed_to_much_more_than_itself_is_not_read(found):
    data, tally = found(sharing(1, 1 << 20))
    assert (data, tally.refused) == ([], 1)
    assert "1,048,576 packed bytes are no 2 unpacked ones" in tally.shown[0][1]
    noise = random.Random(7).randbytes(1 << 20)  # does not pack: it grows by a little
    assert found(zipped(("a.json", noise), ("b.json", b""), ("c.json", ONE)))[0] == [noise, b"", ONE]


def listed(count, *, pointer=None, claimed=None):
    """An archive in the long form with so many members of no bytes, and a pointer to its end."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 45, 45, *[0] * 7, 1, *[0] * 6) + b"x"
    start, length = 64, len(entry) * count
    many = count if claimed is None else claimed
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, many, many, length, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + length if pointer is None else pointer, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", *[0] * 7)
    return b"PK\3\4" + bytes(60) + entry * count + wide + locator + end


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"pointer": 0}, "not where it says"),
        ({"pointer": 1 << 63}, "not where it says"),
        ({"claimed": 1}, "it has 500,001 members"),
        ({}, "it has 500,001 members"),
    ],
)
def test_the_long_form_of_an_end_hides_no_list_and_no_count(found, monkeypatch, how, why):
    """As it was found: a pointer to another place led past the bound; 1.5 million objects were made, then counted."""
    monkeypatch.setattr(finding.zipfile, "ZipFile", None)  # nothing of it is read
    with pytest.raises(Refusal, match=why):
        found(listed(500_001, **how))


def test_the_long_form_of_an_end_is_read_also_behind_a_long_comment(found, tmp_path):
    data, tally = found(listed(3))
    assert (data, tally.skipped["no .json file in an archive"]) == ([], 3)
    commented = listed(3)[:-2] + struct.pack("<H", 65_535) + bytes(65_535)
    assert found(commented)[1].skipped["no .json file in an archive"] == 3
    with pytest.raises(Refusal, match="not where it says"):
        found(listed(3, pointer=0)[:-2] + struct.pack("<H", 65_535) + bytes(65_535))
