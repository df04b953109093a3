"""Archives of strangers: what an honest tool never makes is refused by name."""

import gzip
import io
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds import members, members_tar, members_zip
from pyrsia.builds.members import Hostile, Member

sys.path.insert(0, str(Path(__file__).parent))
import wheels


def read_zip(data: bytes, *, strict: bool = True) -> dict[str, bytes]:
    file = io.BytesIO(data)
    return {
        one.path: b"".join(members_zip.content(file, one)) for one in members_zip.read(file, strict=strict)
    }


def read_tar(data: bytes) -> dict[str, bytes]:
    found = {}
    for path, folder, _, _, _, contents in members_tar.read(io.BytesIO(data)):
        found[path] = b"" if folder or contents is None else contents.read()
    return found


def test_an_honest_zip_is_read_to_the_same_files():
    files = wheels.members()

    assert read_zip(wheels.pack(files)) == files


def test_an_honest_zip_written_as_a_stream_is_read_as_well():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, offset, whence=0):
            raise OSError

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"a" * 1000)
        archive.writestr("b.txt", b"")

    assert read_zip(out.getvalue()) == {"a.txt": b"a" * 1000, "b.txt": b""}


def test_an_honest_source_archive_is_read_to_the_same_files():
    data = wheels.sdist({"setup.py": b"s", "a/b.py": b"b" * 70_000})

    assert read_tar(data) == {"thing-1.0/setup.py": b"s", "thing-1.0/a/b.py": b"b" * 70_000}


def zipped(*names: str, mode: int = stat.S_IFREG | 0o644) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            item = zipfile.ZipInfo("x", (2024, 1, 1, 0, 0, 0))
            item.filename = name
            item.external_attr = mode << 16
            archive.writestr(item, b"" if name.endswith("/") else b"data")
    return out.getvalue()


def bomb() -> bytes:
    data = bytearray(wheels.pack({"a": b"\0" * 2_000_000}))
    at = data.index(b"PK\1\2")
    for offset in (22, at + 24):  # the size that both headers claim
        data[offset : offset + 4] = struct.pack("<L", 1000)
    return bytes(data)


def with_comment() -> bytes:
    out = io.BytesIO(zipped("a"))
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"hello"
    return out.getvalue()


def with_extra() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        item = zipfile.ZipInfo("a")
        item.extra = struct.pack("<HH4s", 0x7875, 4, b"uid!")
        archive.writestr(item, b"a")
    return out.getvalue()


def local_name_differs() -> bytes:
    data = zipped("aaaa")
    return data.replace(b"aaaa", b"bbbb", 1)


def wrong_crc() -> bytes:
    data = bytearray(zipped("a"))
    at = data.index(b"data")
    data[at] ^= 1
    return bytes(data)


def laid(
    *,
    local: dict[str, object] | None = None,
    central: dict[str, object] | None = None,
    second: dict[str, object] | None = None,
    count: int | None = None,
    gap: bytes = b"",
) -> bytes:
    """A ZIP of one stored member `a` holding `data`, laid byte for byte, with fields of its headers replaced.

    Args:
        local, central: fields of the two headers.
        second: of one more record of the directory, without bytes of its own.
        gap: between the member and the directory.
    """
    crc = zlib.crc32(b"data")
    plain = {
        "name": b"a",
        "flags": 0,
        "method": 0,
        "crc": crc,
        "packed": 4,
        "size": 4,
        "extra": b"",
        "offset": 0,
    }
    first, listed = plain | (local or {}), [plain | (central or {})]
    listed += [plain | second] if second is not None else []

    def words(one: dict[str, object]) -> tuple[object, ...]:
        return (
            one["flags"],
            one["method"],
            0,
            33,
            one["crc"],
            one["packed"],
            one["size"],
            len(one["name"]),
            len(one["extra"]),
        )

    head = struct.pack("<4sH2H2H3L2H", b"PK\3\4", 20, *words(first))
    body = head + first["name"] + first["extra"] + b"data" + gap
    directory = b"".join(
        struct.pack("<4sHH2H2H3L2H", b"PK\1\2", 3 << 8 | 20, 20, *words(one))
        + struct.pack("<3H2L", 0, 0, 0, 0o100644 << 16, one["offset"])
        + one["name"]
        + one["extra"]
        for one in listed
    )
    told = len(listed) if count is None else count
    return (
        body + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, told, told, len(directory), len(body), 0)
    )


def zip64(*numbers: int) -> bytes:
    return struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


def overlapping() -> bytes:
    """The second record's local header stands inside the first one's bytes (a quoted overlap, as in a ZIP bomb)."""
    inner = zipped("b")
    start = inner.index(b"PK\1\2")
    quoted = inner[:start]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a"), quoted)
    data = out.getvalue()
    at = data.index(b"PK\1\2")
    record = bytearray(inner[start : inner.index(b"PK\5\6")])
    struct.pack_into("<L", record, 42, data.index(quoted))
    first = data[at : data.index(b"PK\5\6")]
    directory = first + bytes(record)
    return data[:at] + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2, 2, len(directory), at, 0)


ONES = 0xFFFFFFFF
HOSTILE_ZIPS = {
    "a record for a version of ZIP that no client reads": laid().replace(
        b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\x4d"
    ),
    "a name that readers read in two ways": laid(local={"name": b"\xc3\xa9"}, central={"name": b"\xc3\xa9"}),
    "local header: another name": laid(local={"name": b"b"}),
    "local header: another size": laid(local={"size": 3}),
    "local header: another packed size": laid(local={"packed": 3}),
    "local header: another checksum": laid(local={"crc": 0}),
    "local header: another method": laid(local={"method": 8}),
    "local header: other flags": laid(local={"flags": 8}),
    "overlapping members": overlapping(),
    "two records for the same bytes": laid(second={"name": b"b"}),
    "a record that leads out of the file": laid(central={"offset": 1 << 20}),
    "zip64: a second size that nothing asks for": laid(central={"extra": zip64(9)}),
    "zip64: two fields": laid(central={"extra": zip64() + zip64()}),
    "zip64: local and directory disagree": laid(
        local={"size": ONES, "packed": ONES, "extra": zip64(4, 4)},
        central={"size": ONES, "packed": ONES, "extra": zip64(5, 5)},
    ),
    "zip64: all ones and no number": laid(
        local={"size": ONES, "packed": ONES}, central={"size": ONES, "packed": ONES}
    ),
    "zip64: an offset that lies": laid(central={"offset": ONES, "extra": zip64(1 << 40)}),
    "zip64: a broken length": laid(central={"extra": struct.pack("<HH3s", 1, 3, b"abc")}),
    "NUL in a name": laid(local={"name": b"a\0b"}, central={"name": b"a\0b"}),
    "a name that is not UTF-8": laid(local={"name": b"\xff"}, central={"name": b"\xff"}),
    "a gap before the directory": laid(gap=b"hidden"),
    "more records than are there": laid(count=2),
    "fewer records than are there": laid(second={"name": b"b"}, count=1),
    "encrypted": laid(local={"flags": 1}, central={"flags": 1}),
    "setgid": zipped("s", mode=stat.S_IFREG | 0o2755),
    "link out of the folder": zipped("l", mode=stat.S_IFLNK | 0o777),
    "path traversal": zipped("a/../../etc/passwd"),
    "absolute path": zipped("/etc/passwd"),
    "absolute path on another system": zipped("C:/x"),
    "backslash": zipped("a\\b"),
    "empty segment": zipped("a//b"),
    "control character": zipped("a\x1bb"),
    "case collision": zipped("a/Read", "a/read"),
    "folder collision": zipped("A/x", "a/y"),
    "file and folder of one name": zipped("a", "a/b"),
    "link": zipped("l", mode=stat.S_IFLNK | 0o777),
    "device": zipped("d", mode=stat.S_IFCHR | 0o666),
    "setuid": zipped("s", mode=stat.S_IFREG | 0o4755),
    "prepended data": b"#!/bin/sh\n" + zipped("a"),
    "trailing data": zipped("a") + b"more",
    "comment": with_comment(),
    "extra field": with_extra(),
    "two names for one record": local_name_differs(),
    "checksum": wrong_crc(),
    "bomb": bomb(),
    "truncated": zipped("a")[:-5],
    "empty": b"",
    "not a zip": b"x" * 500,
}


@pytest.mark.parametrize("kind", HOSTILE_ZIPS)
def test_a_hostile_zip_is_refused(kind):
    with pytest.raises(Hostile):
        read_zip(HOSTILE_ZIPS[kind])


def test_what_the_hostile_archives_are_made_from_is_read_without_their_lies():
    wide = {"size": ONES, "packed": ONES, "extra": zip64(4, 4)}

    assert read_zip(laid()) == {"a": b"data"}
    assert read_zip(laid(local=wide)) == {"a": b"data"}
    assert read_zip(laid(local=wide, central=wide)) == {"a": b"data"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_one_name_twice_is_refused():
    with pytest.raises(Hostile, match="duplicate"):
        read_zip(zipped("a", "a"))


def test_the_lie_in_a_zip_any_byte_changed_is_refused_or_changes_the_answer():
    """No byte of a strict ZIP is free: times, modes and flags are in the answer, the rest is checked."""
    data = wheels.pack({"a.py": b"x = 1\n", "b.py": b"y = 2\n" * 20})
    file = io.BytesIO(data)
    truth = members_zip.read(file, strict=True)
    unseen = 0
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        try:
            other = io.BytesIO(changed)
            found = members_zip.read(other, strict=True)
            same = found == truth and [b"".join(members_zip.content(other, one)) for one in found] == [
                b"".join(members_zip.content(file, one)) for one in truth
            ]
        except Hostile:
            same = False
        unseen += same

    # version-needed, local copies of time and version, disk and internal attributes carry no meaning
    assert len(data) > 200
    assert unseen < 40


def pax(name: str, **headers: str) -> tuple[tarfile.TarInfo, bytes]:
    """A member whose name or size a pax header replaces."""
    item, data = wheels.entry(name)
    item.pax_headers = headers
    return item, data


HOSTILE_TARS = {
    "NUL in a name": [pax("a", path="a\0b")],
    "traversal by a pax header": [pax("a", path="../../x")],
    "absolute path by a pax header": [pax("a", path="/x")],
    "a size that a pax header replaces": [pax("a", size="70000")],
    "backslash": [wheels.entry("a\\b")],
    "control character": [wheels.entry("a\x1bb")],
    "setgid": [wheels.entry("s", mode=0o2755)],
    "folder collision": [wheels.entry("A/x"), wheels.entry("a/y")],
    "file and folder of one name": [wheels.entry("a"), wheels.entry("a/b")],
    "link out of the folder": [wheels.entry("l", kind=tarfile.SYMTYPE, link="../../etc/passwd")],
    "path traversal": [wheels.entry("../x")],
    "inner traversal": [wheels.entry("a/../../x")],
    "absolute path": [wheels.entry("/x")],
    "symbolic link": [wheels.entry("l", kind=tarfile.SYMTYPE, link="/etc")],
    "hard link": [wheels.entry("a"), wheels.entry("l", kind=tarfile.LNKTYPE, link="a")],
    "device": [wheels.entry("d", kind=tarfile.CHRTYPE)],
    "pipe": [wheels.entry("p", kind=tarfile.FIFOTYPE)],
    "setuid": [wheels.entry("s", mode=0o4755)],
    "duplicate": [wheels.entry("a"), wheels.entry("a")],
    "case collision": [wheels.entry("a/X"), wheels.entry("a/x")],
    "one name in two forms": [wheels.entry("caf\u00e9"), wheels.entry("cafe\u0301")],
}


@pytest.mark.parametrize("kind", HOSTILE_TARS)
def test_a_hostile_source_archive_is_refused(kind):
    with pytest.raises(Hostile):
        read_tar(wheels.tar(HOSTILE_TARS[kind]))


@pytest.mark.parametrize(
    "data",
    [
        wheels.tar([wheels.entry("a")], trailing=b"polyglot" * 2000),
        wheels.tar([wheels.entry("a")]) + b"trailing",
        wheels.tar([wheels.entry("a")])[:-30],
        b"#!/bin/sh\n" + wheels.tar([wheels.entry("a")]),
        b"",
        b"\x1f\x8b" + b"\0" * 100,
    ],
)
def test_data_before_behind_or_missing_at_the_end_of_a_source_archive_is_refused(data):
    with pytest.raises(Hostile):
        read_tar(data)


@pytest.mark.parametrize("packed", [True, False])
def test_data_between_the_end_mark_of_a_tar_archive_and_the_end_of_its_record_is_refused(packed):
    """A reader that goes on behind the end mark would see other files than we do."""
    plain = bytearray(gzip.decompress(wheels.tar([wheels.entry("a")])))
    hidden = gzip.decompress(wheels.tar([wheels.entry("b")]))[:1024]
    plain[-2048:-1024] = hidden
    with pytest.raises(Hostile, match="trailing data"):
        read_tar(gzip.compress(bytes(plain)) if packed else bytes(plain))


def test_an_archive_that_is_not_compressed_says_the_same(monkeypatch):
    packed = wheels.tar([wheels.entry("d/a", b"a"), wheels.entry("d/b", b"b" * 9_000)])
    assert read_tar(gzip.decompress(packed)) == read_tar(packed) == {"d/a": b"a", "d/b": b"b" * 9_000}
    for data in (
        gzip.decompress(packed) + b"trailing",
        gzip.decompress(packed)[:700],
        bytes(100),
        b"x" * 600,
    ):
        with pytest.raises(Hostile):
            read_tar(data)
    monkeypatch.setattr(members_tar, "MAX_UNPACKED_BYTES", type(members.MAX_UNPACKED_BYTES)(1_000, "test"))
    with pytest.raises(Hostile, match="unpacks to more"):
        read_tar(gzip.decompress(packed))


def test_a_bomb_in_a_source_archive_stops_at_the_limit(monkeypatch):
    monkeypatch.setattr(members, "MAX_UNPACKED_BYTES", type(members.MAX_UNPACKED_BYTES)(100_000, "test"))

    with pytest.raises(Hostile, match="unpacks to more"):
        read_tar(wheels.sdist({"zeros": b"\0" * 200_000}))


def test_too_many_members_are_refused():
    names = members.Names()
    for index in range(members.MAX_ARCHIVE_MEMBERS.value):
        names.admit(f"f{index}", 0, folder=False)

    with pytest.raises(Hostile, match="more than"):
        names.admit("one-more", 0, folder=False)


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_garbage_is_hostile_and_nothing_else(data):
    for read in (read_zip, read_tar):
        with pytest.raises(Hostile):
            read(data)


LISTS = st.lists(
    st.builds(
        Member,
        st.from_regex(r"[a-z]{1,8}(/[a-zé]{1,8}){0,2}", fullmatch=True),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.integers(0, 2**40),
        st.booleans(),
    ),
    unique_by=lambda one: one.path,
    max_size=8,
)


@settings(max_examples=100)
@given(found=LISTS, data=st.data())
def test_a_member_list_has_one_form_and_its_digest_does_not_depend_on_order(found, data):
    shuffled = data.draw(st.permutations(found))

    assert members.decode(members.encode(shuffled)) == tuple(sorted(found))
    assert members.stable(shuffled) == members.stable(found)


def test_the_difference_between_two_lists_is_named_with_its_likely_cause():
    first = [Member("a.py", "00", 1, False), Member("t-1.dist-info/WHEEL", "01", 1, False)]
    tool = [first[0], Member("t-1.dist-info/WHEEL", "02", 1, False)]
    lie = [Member("a.py", "ff", 1, False), first[1]]

    assert members.compare(first, tool).content == ("t-1.dist-info/WHEEL",)
    assert "build tool" in members.compare(first, tool).likely
    assert members.compare(first, lie).content == ("a.py",)
    assert "contents differ" in members.compare(first, lie).likely
    assert "packing" in members.compare(first, first).likely
    more = members.compare(first, [first[1], Member("b.py", "00", 1, False)])
    assert (more.only_first, more.only_second) == (("a.py",), ("b.py",))
    assert "other files" in more.likely
