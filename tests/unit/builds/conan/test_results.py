"""What a run left is read as a stranger's letter."""

import json
import os
from pathlib import Path

import pytest

from pyrsia.builds.conan import names, results
from pyrsia.builds.conan.names import Place
from pyrsia.builds.inside import Answer
from pyrsia.builds.model import PhaseFailed

RREV, PREV, PID = "a1" * 16, "b2" * 16, "c3" * 20


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"packages": None},
        {"packages": []},
        {"packages": ["x"]},
        {"packages": [{"package_id": "../x"}]},
        {"packages": [{"package_id": PID}, {"package_id": PID}]},
        {"packages": [{"package_id": f"{number:040x}"} for number in range(5)]},
    ],
)
def test_a_build_that_names_no_packages_is_told_so(value):
    with pytest.raises(PhaseFailed, match="named no packages"):
        results.package_ids(value, "tiny")


def test_a_link_a_pipe_and_nothing_are_no_files(tmp_path: Path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "nothing"):
        with pytest.raises(PhaseFailed):
            results.take(tmp_path / name, tmp_path / "out", "tiny")
        assert not (tmp_path / "out").exists()


def test_outputs_carry_what_the_inspection_said(tmp_path: Path):
    work, folder, theirs = tmp_path / "work", tmp_path / "result", tmp_path / "theirs"
    for one in (work / "outputs", folder):
        one.mkdir(parents=True)
    place = Place(RREV, names.INFO, PID, PREV)
    (work / "outputs" / "1").write_bytes(b"ours")
    (work / "members-0").write_bytes(b"[]")
    (work / "upstream-0").write_bytes(b"[1]")
    theirs.write_bytes(b"theirs")
    row = {
        "name": str(place), "path": "outputs/1", "stable": "s", "normalised": ["a:1"], "containment": "full",
        "missing": [], "relation": "equivalent", "reason": "",
    }  # fmt: skip
    answer = Answer({"outputs": [row]}, b"", work)

    (output,) = results.collect(answer, folder, {f"{PID}~conaninfo.txt": theirs}, "tiny")

    assert (output.name, output.raw, output.upstream_relation) == (str(place), output.canonical, "equivalent")
    assert output.raw.file.path.read_bytes() == b"ours"
    assert output.upstream is not None
    assert output.upstream.file.path.read_bytes() == b"theirs"
    assert output.upstream.members.path.read_bytes() == b"[1]"
    assert json.dumps(row["normalised"]) == json.dumps(list(output.normalised))


def test_an_upstream_file_that_cannot_be_read_is_told_and_not_compared(tmp_path: Path):
    work, folder = tmp_path / "work", tmp_path / "result"
    work.mkdir()
    folder.mkdir()
    (work / "x").write_bytes(b"ours")
    (work / "members-0").write_bytes(b"[]")
    row = {
        "name": f"{RREV}~conanfile.py", "path": "x", "stable": "s", "normalised": [], "containment": "full",
        "missing": [], "relation": "different", "reason": "not gzip data",
    }  # fmt: skip

    (output,) = results.collect(Answer({"outputs": [row]}, b"", work), folder, {}, "tiny")

    assert (output.upstream, output.upstream_relation, output.upstream_reason) == (
        None,
        "none",
        "not gzip data",
    )


def test_no_output_at_all_is_a_failure(tmp_path: Path):
    with pytest.raises(PhaseFailed, match="0 outputs"):
        results.collect(Answer({"outputs": []}, b"", tmp_path), tmp_path, {}, "tiny")
