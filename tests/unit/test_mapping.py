"""Mapped files: right bytes without a copy, and an error instead of a signal for what cannot be read."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia import mapping
from pyrsia.errors import Unavailable
from pyrsia.mapping import MappedFile

PAGE = os.sysconf("SC_PAGE_SIZE")
DATA = os.urandom(5 * PAGE + 7)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    made = tmp_path_factory.mktemp("mapped") / "file"
    made.write_bytes(DATA)
    return made


@pytest.fixture(params=[True, False], ids=["populated", "read"])
def ways(request):
    """As on this kernel, and as on one that does not know the question."""
    with pytest.MonkeyPatch.context() as patch:
        if not request.param:
            patch.setattr(mapping, "populates", lambda: False)
        yield


@given(st.integers(-2, 6 * PAGE), st.integers(-2, 6 * PAGE))
def test_any_part_is_what_a_slice_of_the_bytes_is(path, start, stop):
    start, stop = max(0, start), max(0, stop)
    assert MappedFile(path, len(DATA))[start:stop] == DATA[start:stop]


def test_a_part_outlives_the_mapping_and_the_name(tmp_path, ways):
    (tmp_path / "file").write_bytes(DATA)
    part = MappedFile(tmp_path / "file", len(DATA))[PAGE : 3 * PAGE]
    (tmp_path / "file").unlink()
    assert part == DATA[PAGE : 3 * PAGE]


def test_another_size_or_no_file_is_unavailable_and_leaves_no_descriptor(tmp_path, ways):
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "empty").write_bytes(b"")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Unavailable, match="bytes long and not 3"):
        MappedFile(tmp_path / "file", 3)
    with pytest.raises(Unavailable, match="away: No such file"):
        MappedFile(tmp_path / "away", 3)
    assert MappedFile(tmp_path / "empty", 0)[0:0] == b""
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_a_truncation_took_is_an_error_and_what_is_left_is_read(tmp_path, ways):
    (tmp_path / "file").write_bytes(DATA)
    mapped = MappedFile(tmp_path / "file", len(DATA))
    os.truncate(tmp_path / "file", 2 * PAGE)
    assert mapped[PAGE : 2 * PAGE] == DATA[PAGE : 2 * PAGE]
    for part in (slice(2 * PAGE, 3 * PAGE), slice(0, len(DATA)), slice(4 * PAGE, None)):
        with pytest.raises(Unavailable, match=r"^file: "):
            mapped[part]


def test_a_plain_mapping_would_have_ended_the_process(tmp_path):
    """What the question is for: without it this file's reader dies by a signal."""
    (tmp_path / "file").write_bytes(DATA)
    code = (
        "import mmap, os, sys\n"
        "handle = os.open(sys.argv[1], os.O_RDONLY)\n"
        "data = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)\n"
        "os.truncate(sys.argv[1], 0)\n"
        "data[-1]\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")], capture_output=True, timeout=60
    )
    assert ended.returncode == -7  # SIGBUS
