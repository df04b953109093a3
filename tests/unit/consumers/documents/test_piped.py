"""What a pipe of strangers brings: a ZIP export, one record, a record a line; everything else is a sentence."""

import gzip
import io
import json
import resource
import signal

import pytest

from bench import osv
from pyrsia.consumers.documents import piped as module
from pyrsia.consumers.documents.finding import records
from pyrsia.consumers.documents.outcome import Tally
from pyrsia.consumers.documents.piped import NAME, piped
from pyrsia.errors import Refusal
from pyrsia.units import MAX_OSV_RECORD_BYTES, Limit

ONE = {"id": "A-1", "modified": "2024-01-01T00:00:00Z"}
LINE = json.dumps(ONE).encode()
LONG = MAX_OSV_RECORD_BYTES.value


def read(data):
    """(where, record) of each that comes, and the tally."""
    tally = Tally()
    return [(one.where, one.data) for one in piped(io.BytesIO(data), tally)], tally


class Endless:
    """A pipe that never ends."""

    def __init__(self, piece):
        self.piece, self.given = piece, 0

    def read(self, _):
        self.given += len(self.piece)
        return self.piece


def test_an_export_of_a_pipe_is_what_the_same_file_is(tmp_path):
    path = osv.export(tmp_path / "all.zip", 30)
    found, tally = read(path.read_bytes())
    assert [data for _, data in found] == [one.data for one in records(path, Tally())]
    assert (found[0][0].startswith(f"{NAME}: GHSA-"), tally.refused) == (True, 0)


@pytest.mark.parametrize(
    "text", [LINE, json.dumps(ONE, indent=2).encode(), b"\n\n" + LINE, b"\xef\xbb\xbf{\n}"]
)
def test_one_record_is_one_whatever_lines_it_has(text):
    assert [data.strip() for _, data in read(text)[0]] == [text.strip()]


def test_each_line_is_a_record_and_empty_ones_are_none():
    other = LINE.replace(b"A-1", b"A-2")
    found, tally = read(b"\n" + LINE + b"\r\n\n  \n" + other)
    assert [(where, data.strip()) for where, data in found] == [
        (f"{NAME}, line 2", LINE), (f"{NAME}, line 5", other),
    ]  # fmt: skip
    assert not tally.refused


def test_a_line_that_is_longer_than_a_record_is_refused_and_the_next_is_read():
    long = b'{"id":"' + b"a" * (2 * LONG + 10) + b'"}'
    found, tally = read(LINE + b"\n" + long + b"\n" + LINE + b"\n" + long)
    assert [where for where, _ in found] == [f"{NAME}, line 1", f"{NAME}, line 3"]
    assert [where for where, _ in tally.shown] == [f"{NAME}, line 2", f"{NAME}, line 4"]


def test_what_stands_behind_the_first_line_is_judged_by_who_reads_records():
    found, _ = read(LINE + b"\n<html>\n\x00\xff\n")
    assert [data.strip() for _, data in found] == [LINE, b"<html>", b"\x00\xff"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "nothing came"),
        (gzip.compress(LINE), "gzip"),
        (b"PK\3\4 and no more", "no ZIP file"),
        (b"[" * (LONG + 1), "its first line is no record"),
        (b"<html>\n" + b"x" * LONG, "its first line is no record"),
        (b"\n" * 1_000, "nothing came"),
        (b" " * (LONG + 1), "nothing came"),
        (b"\n" * (LONG + 1), "it has more than 500,000 lines"),
    ],
)
def test_what_is_none_of_the_three_is_refused_with_a_sentence(data, why):
    with pytest.raises(Refusal, match=why) as refused:
        read(data)
    assert refused.value.what.startswith(f"{NAME}: ")


def test_a_pipe_without_an_end_is_cut_at_the_bound(monkeypatch):
    monkeypatch.setattr(module, "MAX_PIPED_BYTES", Limit(20 << 20, "for a test"))
    for piece in (b"\0" * 100_000, LINE + b"\n", b"PK\3\4" * 10_000):
        endless = Endless(piece * max(1, 100_000 // len(piece)))
        with pytest.raises(Refusal, match="20,971,520 bytes"):
            list(piped(endless, Tally()))
        assert endless.given < 22 << 20


def test_lines_without_an_end_are_cut_at_the_records_of_an_import(monkeypatch):
    monkeypatch.setattr(module, "MAX_IMPORTED", Limit(5, "for a test"))
    assert len(read((LINE + b"\n") * 5)[0]) == 5
    with pytest.raises(Refusal, match="more than 5 lines"):
        read(LINE + b"\n" * 9)


def test_a_stream_that_cannot_be_read_is_no_matter_of_the_disk():
    class Broken:
        def read(self, _):
            raise OSError(21, "Is a directory")

    with pytest.raises(Refusal, match="it cannot be read: Is a directory") as told:
        list(piped(Broken(), Tally()))
    assert "TMPDIR" not in told.value.do


@pytest.mark.parametrize("short", [1, 500, 100_000])
def test_a_disk_without_room_is_told_also_when_only_the_last_bytes_lack_it(short):
    """As it was found: what was buffered went to the disk where nobody waited for its no."""
    before, size = resource.getrlimit(resource.RLIMIT_FSIZE), LONG + (1 << 20) + 1_000
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - short, before[1]))
    try:
        with pytest.raises(Refusal, match="it cannot be kept: File too large") as told:
            list(piped(io.BytesIO(b"x" * size), Tally()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "TMPDIR" in told.value.do


def test_nothing_of_it_stays_on_the_disk(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    data = (LINE + b" " * 1_000 + b"\n") * 9_000
    found = piped(io.BytesIO(data), Tally())
    next(found)
    assert len(data) > LONG
    assert not list(folder.iterdir())  # a file without a name
    found.close()
