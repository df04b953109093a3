"""What a job is shown: every file of the lock, readable by the other user that it runs as."""

import os
from pathlib import Path

from pyrsia.builds.maven.runs import Runs
from pyrsia.builds.model import NamedFile


def test_files_that_only_the_node_may_read_are_shown_readable_and_stay_closed_themselves(tmp_path: Path):
    """Blobs that peers brought have mode 0600; files of the cache are links, which cost nothing."""
    names = {"org/example/a/1/a-1.jar": 0o600, "org/example/b/1/b-1.jar": 0o644}
    files = []
    for name, mode in names.items():
        path = tmp_path / Path(name).name
        path.write_bytes(name.encode())
        path.chmod(mode)
        files.append(NamedFile(name, path))

    folder = Runs(None, tmp_path / "scratch")._laid_out(tuple(files))

    for name in names:
        shown = folder / name
        assert shown.read_bytes() == name.encode()
        assert shown.stat().st_mode & 0o777 == 0o644
        assert (folder / Path(name).parent).stat().st_mode & 0o005 == 0o005
    assert (tmp_path / "a-1.jar").stat().st_mode & 0o777 == 0o600
    assert os.path.samefile(folder / "org/example/b/1/b-1.jar", tmp_path / "b-1.jar")
