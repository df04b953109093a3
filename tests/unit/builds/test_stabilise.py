"""`tar@1`, `gzip@1`, `sdist@1`: how something was packed does not matter, what is in it does."""

import gzip
import io
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds import stabilise
from pyrsia.builds.members import Hostile

EPOCH = 1_700_000_000
FILES = {
    "thing-1/setup.py": b"s" * 3,
    "thing-1/a/run.sh": b"#!/bin/sh\n" * 200,
    "thing-1/b": b"",
    "thing-1/é": b"x" * 512,
}
EXECUTABLE = "thing-1/a/run.sh"

PACKINGS = st.fixed_dictionaries(
    {
        "order": st.permutations(list(FILES)),
        "time": st.integers(0, 2_000_000_000),
        "owner": st.tuples(st.integers(0, 60_000), st.sampled_from(["", "root", "somebody"])),
        "masked": st.sampled_from([0o000, 0o022, 0o002, 0o077]),
        "folders": st.booleans(),
        "form": st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
        "level": st.integers(0, 9),
        "name": st.sampled_from(["", "thing-1.tar"]),
    }
)


def packed(
    files: dict[str, bytes],
    *,
    order: list[str] | None = None,
    time: int = EPOCH,
    owner: tuple[int, str] = (0, ""),
    masked: int = 0o022,
    folders: bool = False,
    form: int = tarfile.PAX_FORMAT,
    level: int = 9,
    name: str = "",
    executable: str = EXECUTABLE,
) -> bytes:
    """A compressed tar file of `files` as one of many tools may pack it."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as archive:
        if folders:
            item = tarfile.TarInfo("thing-1")
            item.type, item.mode, item.mtime = tarfile.DIRTYPE, 0o755, time
            archive.addfile(item)
        for path in order or list(files):
            item = tarfile.TarInfo(path)
            item.size, item.mtime = len(files[path]), time
            item.mode = (0o777 if path == executable else 0o666) & ~masked
            item.uid = item.gid = owner[0]
            item.uname = item.gname = owner[1]
            archive.addfile(item, io.BytesIO(files[path]))
    out = io.BytesIO()
    with gzip.GzipFile(name, "wb", level, out, mtime=time) as file:
        file.write(plain.getvalue())
    return out.getvalue()


def sdist(data: bytes) -> tuple[bytes, stabilise.Stable]:
    out = io.BytesIO()
    found = stabilise.sdist(io.BytesIO(data), out, io.BytesIO(), EPOCH)
    return out.getvalue(), found


@settings(max_examples=60, deadline=None)
@given(first=PACKINGS, second=PACKINGS)
def test_order_times_owners_modes_and_compression_do_not_matter(first, second):
    one, two = sdist(packed(FILES, **first)), sdist(packed(FILES, **second))

    assert one[0] == two[0]
    assert one[1].digest == two[1].digest
    assert one[1].members == two[1].members


@settings(max_examples=60, deadline=None)
@given(
    path=st.sampled_from(["thing-1/setup.py", EXECUTABLE, "thing-1/é"]),
    at=st.integers(0, 511),
    bit=st.integers(0, 7),
)
def test_the_lie_one_flipped_bit_of_content_is_another_digest_and_another_archive(path, at, bit):
    data = bytearray(FILES[path])
    data[at % len(data)] ^= 1 << bit

    one, two = sdist(packed(FILES)), sdist(packed(FILES | {path: bytes(data)}))

    assert one[0] != two[0]
    assert one[1].digest != two[1].digest


@pytest.mark.parametrize(
    "other",
    [
        packed(FILES, executable="thing-1/setup.py"),
        packed(FILES, executable=""),
        packed({name.replace("setup", "Setup"): data for name, data in FILES.items()}),
        packed({name: data for name, data in FILES.items() if name != "thing-1/b"}),
        packed(FILES | {"thing-1/new": b""}),
    ],
)
def test_the_lie_an_exec_bit_a_name_or_a_file_more_or_less_is_another_digest(other):
    one, two = sdist(packed(FILES)), sdist(other)

    assert one[1].digest != two[1].digest
    assert one[0] != two[0]


def test_a_canonical_archive_is_a_fixed_point_that_every_reader_takes():
    once, found = sdist(packed(FILES, order=list(reversed(FILES)), time=5, owner=(7, "me"), folders=True))
    again, same = sdist(once)

    assert again == once
    assert (same.digest, same.removed) == (found.digest, ("gzip-compression:1",))
    with tarfile.open(fileobj=io.BytesIO(once)) as archive:
        read = {item.name: archive.extractfile(item).read() for item in archive}
        modes = {item.name: item.mode for item in archive}
    assert read == FILES
    assert {name for name, mode in modes.items() if mode == 0o755} == {EXECUTABLE}
    assert set(modes.values()) == {0o644, 0o755}
    assert list(read) == sorted(FILES, key=str.encode)


def test_what_was_taken_away_is_listed_with_its_number():
    _, found = sdist(
        packed(
            FILES,
            order=list(reversed(FILES)),
            time=5,
            owner=(7, "me"),
            masked=0o002,
            folders=True,
            name="x.tar",
        )
    )

    assert found.removed == (
        "gzip-compression:1",
        "gzip-misc:1",
        "gzip-name:1",
        "gzip-time:1",
        "tar-folders:1",
        "tar-mode:4",
        "tar-order:1",
        "tar-owner:4",
        "tar-time:4",
    )


@pytest.mark.parametrize("length", [1, 99, 100, 101, 150, 240])
def test_names_of_every_length_survive(length):
    name = "n" * length
    once, _ = sdist(packed({name: b"data"}, executable=""))

    with tarfile.open(fileobj=io.BytesIO(once)) as archive:
        assert archive.getnames() == [name]
        assert archive.extractfile(name).read() == b"data"


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=200_000), level=st.integers(0, 9), time=st.integers(0, 2**31))
def test_a_lone_gzip_file_is_its_content(data, level, time):
    out, other = io.BytesIO(), io.BytesIO()
    one = stabilise.gzip(io.BytesIO(gzip.compress(data, level, mtime=time)), out)
    two = stabilise.gzip(io.BytesIO(gzip.compress(data, 1, mtime=0)), other)

    assert (one.digest, out.getvalue()) == (two.digest, other.getvalue())
    assert gzip.decompress(out.getvalue()) == data
    if data:
        changed = stabilise.gzip(io.BytesIO(gzip.compress(data[1:])), io.BytesIO())
        assert changed.digest != one.digest


def test_stored_blocks_of_every_boundary_are_read_back():
    for size in (0, 1, 65_534, 65_535, 65_536, 131_070, 131_071):
        out = io.BytesIO()
        stabilise.gzip(io.BytesIO(gzip.compress(b"x" * size)), out)
        assert zlib.decompress(out.getvalue(), 31) == b"x" * size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1f\x8b",
        b"PK\3\4" + b"x" * 99,
        gzip.compress(b"x") + b"more",
        gzip.compress(b"x" * 999)[:-9],
        gzip.compress(b"a") * 2,
    ],
)
def test_what_is_no_gzip_file_or_more_than_one_is_refused(data):
    with pytest.raises(Hostile):
        stabilise.gzip(io.BytesIO(data), io.BytesIO())
