"""A file that was put into its place has its name on the disk, also in a folder that somebody else just made."""

import threading

from pyrsia import files


def test_who_finds_a_new_folder_syncs_its_name_before_it_is_done(tmp_path, monkeypatch):
    first, second = tmp_path / "aa" / "bb" / "one", tmp_path / "aa" / "bb" / "two"
    for name in ("1", "2"):
        (tmp_path / name).write_bytes(b"x")
    made, go, synced, real = threading.Event(), threading.Event(), [], files.sync_folder

    def sync(folder):
        if threading.current_thread() is maker and folder == tmp_path:
            made.set()
            assert go.wait(10)
        real(folder)
        synced.append((threading.current_thread() is maker, folder))

    monkeypatch.setattr(files, "sync_folder", sync)
    maker = threading.Thread(target=files.into_place, args=(tmp_path / "1", first))
    maker.start()
    assert made.wait(10)
    try:
        files.into_place(tmp_path / "2", second)
        assert synced == [(False, tmp_path), (False, tmp_path / "aa"), (False, tmp_path / "aa" / "bb")]
    finally:
        go.set()
        maker.join(10)
    assert first.exists()
    assert second.exists()
    synced.clear()
    (tmp_path / "3").write_bytes(b"x")
    files.into_place(tmp_path / "3", tmp_path / "aa" / "bb" / "three")
    assert synced == [(False, tmp_path / "aa" / "bb")]
