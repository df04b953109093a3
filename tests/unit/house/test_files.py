"""Writing a file whole."""

import os
import stat

import pytest

from pyrsia import files


def test_a_file_is_written_whole_with_its_mode_and_nothing_beside_it(tmp_path):
    path = tmp_path / "secret"

    files.write_whole(path, b"one", 0o600)
    files.write_whole(path, b"two", 0o600)

    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secret"]


@pytest.mark.parametrize("broken", ["fsync", "rename"])
def test_what_cannot_be_written_leaves_the_old_file_and_no_half(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if broken == "fsync" else (type(path), "rename")), full)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(path, b"new")

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_leftover_of_another_mode_lends_nothing_to_the_new_file(tmp_path):
    leftover = tmp_path / f"key.{os.getpid()}.new"
    leftover.write_bytes(b"x")
    leftover.chmod(0o644)

    files.write_whole(tmp_path / "key", b"seed", 0o600)

    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert not leftover.exists()


def test_names_are_durable_before_it_returns(tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def fsync(handle):
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), (tmp_path / "file").exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_whole(tmp_path / "file", b"data")

    assert synced == [(False, False), (True, True)]  # the bytes before the name, then the name
