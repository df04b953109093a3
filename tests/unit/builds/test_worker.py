"""The part that runs inside: what it reads out of archives, what it unpacks, and what it refuses."""

import base64
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pyrsia.builds import inside, unpack
from pyrsia.builds.members import Hostile
from pyrsia.builds.pip import hook, worker
from pyrsia.builds.pip.plugin import PROGRAM
from pyrsia.builds.sandbox import collect

sys.path.insert(0, str(Path(__file__).parent))
import wheels

PYPROJECT = b'[build-system]\nrequires = ["flit_core>=3.2,<4"]\n'


def study(folder: Path, source: bytes, wheel: bytes | None = None) -> dict[str, object]:
    (folder / "archive.tar.gz").write_bytes(source)
    if wheel is not None:
        (folder / "upstream.whl").write_bytes(wheel)
    job = {"source": "archive.tar.gz", "file": "archive.tar.gz" if wheel is None else "upstream.whl"}
    return worker.study(job, folder, folder)


def test_a_source_is_studied_without_being_unpacked(tmp_path: Path):
    source = wheels.sdist({"pyproject.toml": PYPROJECT, "deep/pyproject.toml": b"other", "x.py": b""})

    assert study(tmp_path, source) == {
        "newest": wheels.EPOCH,
        "requires": ["flit_core>=3.2,<4"],
        "generator": "",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["archive.tar.gz"]


def test_the_times_of_upstreams_wheel_come_before_those_of_the_source(tmp_path: Path):
    wheel = wheels.pack(wheels.members(), date=(2020, 1, 2, 3, 4, 6))

    assert study(tmp_path, wheels.sdist({"x": b""}), wheel)["newest"] == 1_577_934_246


def test_a_source_without_build_system_asks_for_setuptools(tmp_path: Path):
    assert study(tmp_path, wheels.sdist({"setup.py": b""}))["requires"] == ["setuptools>=40.8.0"]
    assert study(tmp_path, wheels.sdist({"pyproject.toml": b"[tool.x]\n"}))["requires"] == [
        "setuptools>=40.8.0"
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"[build-system\n",
        b"\xff\xfe",
        b"[build-system]\n",
        b'[build-system]\nrequires = "flit"\n',
        b"[build-system]\nrequires = [1]\n",
        b'build-system = "x"\n',
        b"x = " + b"[" * 20_000,
        b"# " + b"x" * (1 << 20),
    ],
)
def test_a_pyproject_that_cannot_be_read_is_a_reason_and_not_a_crash(tmp_path: Path, text: bytes):
    found = study(tmp_path, wheels.sdist({"pyproject.toml": text}))

    assert "requires" not in found
    assert found["newest"] == wheels.EPOCH
    assert "pyproject.toml" in str(found["unreadable"])


def test_metadata_is_read_up_to_its_description_and_a_broken_wheel_leaves_the_others(tmp_path: Path):
    members = wheels.members()
    text = b"Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n\nName: other\n" + b"x" * 100_000
    members["thing-1.0.dist-info/METADATA"] = text
    (tmp_path / "0.whl").write_bytes(wheels.pack(members))
    (tmp_path / "1.whl").write_bytes(b"not a ZIP")
    (tmp_path / "2.whl").write_bytes(wheels.pack({"thing/x.py": b""}))
    found = worker.metadata({"wheels": ["0.whl", "1.whl", "2.whl"]}, tmp_path, tmp_path)

    assert base64.b64decode(found["metadata"]["0.whl"]) == text.partition(b"\n\n")[0] + b"\n"
    assert sorted(found["broken"]) == ["1.whl", "2.whl"]


def test_a_source_is_unpacked_with_plain_modes_and_clamped_times(tmp_path: Path):
    items = [
        wheels.entry("thing-1.0/old.py"),
        wheels.entry("thing-1.0/run.sh", mode=0o777),
        wheels.entry("thing-1.0/new.py"),
    ]
    items[0][0].mtime, items[2][0].mtime = 0, 2_000_000_000
    (tmp_path / "a.tar.gz").write_bytes(wheels.tar(items))
    old = os.umask(0)
    try:
        top = unpack.unpack_source(tmp_path / "a.tar.gz", tmp_path / "src", 1_600_000_000)
    finally:
        os.umask(old)

    assert top == tmp_path / "src" / "thing-1.0"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in top.iterdir()}
    assert modes == {"old.py": 0o644, "run.sh": 0o755, "new.py": 0o644}
    assert {path.name: path.stat().st_mtime for path in top.iterdir()} == {
        "old.py": 315_532_800,
        "run.sh": 1_600_000_000,
        "new.py": 1_600_000_000,
    }


@pytest.mark.parametrize(
    "items",
    [
        [],
        [wheels.entry("a/x"), wheels.entry("b/x")],
        [wheels.entry("loose")],
        [wheels.entry("a/x"), wheels.entry("../x")],
        [wheels.entry("a/x", kind=tarfile.SYMTYPE, link="/etc/passwd")],
    ],
)
def test_a_source_of_another_shape_is_refused(tmp_path: Path, items: list[tuple[tarfile.TarInfo, bytes]]):
    (tmp_path / "a.tar.gz").write_bytes(wheels.tar(items))

    with pytest.raises(Hostile):
        unpack.unpack_source(tmp_path / "a.tar.gz", tmp_path / "src", 0)
    assert not (tmp_path / "x").exists()


def test_tools_are_installed_side_by_side_and_one_may_not_replace_anothers_file(tmp_path: Path):
    first = {
        "tool.py": b"1",
        "tool-1.data/purelib/more.py": b"2",
        "tool-1.data/scripts/run": b"3",
        "tool-1.data/data/x": b"",
    }
    (tmp_path / "a.whl").write_bytes(wheels.pack(first))
    (tmp_path / "b.whl").write_bytes(wheels.pack({"tool.py": b"evil"}))
    (tmp_path / "env").mkdir()
    worker.install([tmp_path / "a.whl"], tmp_path / "env")

    found = {
        path.relative_to(tmp_path / "env").as_posix()
        for path in (tmp_path / "env").rglob("*")
        if path.is_file()
    }
    assert found == {"tool.py", "more.py", "bin/run"}
    (tmp_path / "both").mkdir()
    with pytest.raises(Hostile):
        worker.install([tmp_path / "a.whl", tmp_path / "b.whl"], tmp_path / "both")


def inspect(folder: Path, wheel: bytes, source: bytes, upstream: bytes | None) -> dict[str, object]:
    (folder / "wheel.whl").write_bytes(wheel)
    (folder / "archive.tar.gz").write_bytes(source)
    if upstream is not None:
        (folder / "upstream.whl").write_bytes(upstream)
    job = {"wheel": "wheel.whl", "source": "archive.tar.gz", "epoch": wheels.EPOCH}
    return worker.inspect(job | {"upstream": "upstream.whl" if upstream is not None else ""}, folder, folder)


SOURCE = wheels.sdist({"thing/__init__.py": b"x = 1\n", "thing/data.txt": b"d" * 999})


@pytest.mark.parametrize(
    ("upstream", "relation", "reason"),
    [
        (None, "none", ""),
        (wheels.pack(wheels.members()), "identical", ""),
        (wheels.pack(wheels.members(), date=(2000, 1, 1, 0, 0, 0)), "equivalent", ""),
        (wheels.pack(wheels.members({"thing/__init__.py": b"x = 2\n"})), "different", ""),
        (wheels.pack(wheels.members(), executable=("thing/data.txt",)), "different", ""),
        (b"no ZIP at all", "different", "ZIP"),
        (wheels.pack(wheels.members()) + b"trailing", "different", "ZIP"),
    ],
)
def test_an_inspection_says_how_upstream_relates(
    tmp_path: Path, upstream: bytes | None, relation: str, reason: str
):
    found = inspect(tmp_path, wheels.pack(wheels.members()), SOURCE, upstream)

    assert found["relation"] == relation
    assert bool(found["upstream_reason"]) == bool(reason)
    assert (found["containment"], found["missing"]) == ("full", [])
    with zipfile.ZipFile(tmp_path / "canonical") as archive:
        assert archive.testzip() is None
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}


def test_the_lie_a_file_that_the_source_does_not_hold_is_named(tmp_path: Path):
    """One byte beside what the source holds, and a file with another file's name, are not contained."""
    wheel = wheels.members(
        {"thing/__init__.py": b"x = 1\n#", "thing/data.txt": b"d" * 999, "thing/extra.py": b"import os\n"}
    )
    found = inspect(tmp_path, wheels.pack(wheel), SOURCE, None)

    assert found["containment"] == "partial"
    assert found["missing"] == ["thing/__init__.py", "thing/extra.py"]


def test_a_wheel_that_may_not_be_published_is_refused_whole(tmp_path: Path):
    members = wheels.members()
    members["thing/__init__.py"] = b"altered after RECORD was written"
    with pytest.raises(Hostile):
        inspect(tmp_path, wheels.pack(members), SOURCE, None)


def test_the_worker_runs_from_its_compiled_form_alone(tmp_path: Path):
    """As in the sandbox: nothing of ours importable but the files of one folder, no site, no cache."""
    for name, data in inside.laid_out(PROGRAM, compiled=True).items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "work").mkdir()
    (tmp_path / "in" / "one.whl").write_bytes(wheels.pack(wheels.members()))
    (tmp_path / "in" / "job.json").write_text(json.dumps({"operation": "metadata", "wheels": ["one.whl"]}))
    argv = [sys.executable, "-S", "-s", "-P", "-B", str(tmp_path / "in" / "worker.pyc")]
    subprocess.run(
        [*argv, str(tmp_path / "in"), str(tmp_path / "work")],
        env={"PYTHONPATH": str(tmp_path / "in" / "lib")},
        check=True,
        cwd="/",
        timeout=30,
    )

    found = json.loads((tmp_path / "work" / "result.json").read_text())
    assert b"Name: thing" in base64.b64decode(found["metadata"]["one.whl"])


def test_a_hostile_input_is_an_answer_and_not_a_crash(tmp_path: Path):
    (tmp_path / "job.json").write_text(json.dumps({"operation": "study", "source": "a.zip", "file": "a.zip"}))
    (tmp_path / "a.zip").write_bytes(b"garbage")

    assert unpack.serve(worker.OPERATIONS, tmp_path, tmp_path) == 0
    assert list(json.loads((tmp_path / "result.json").read_text())) == ["refused"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large", "absent"])
def test_only_a_plain_small_file_of_the_sandbox_is_read_back(tmp_path: Path, kind: str):
    path, secret = tmp_path / "result.json", tmp_path / "secret"
    secret.write_text('{"a": 1}')
    match kind:
        case "link":
            path.symlink_to(secret)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "large":
            path.write_bytes(b"{}" + b" " * 100)

    assert inside.read_plain(path, 50) is None
    path_ = tmp_path / "plain"
    path_.write_bytes(b"x" * 50)
    assert inside.read_plain(path_, 50) == b"x" * 50


def test_a_link_in_place_of_a_folder_leads_nowhere(tmp_path: Path):
    """A backend may put one in place of its output folder, to have the node read the host's files."""
    secret, work = tmp_path / "private", tmp_path / "work"
    secret.mkdir()
    work.mkdir()
    (secret / "secret-1.0-py3-none-any.whl").write_bytes(b"the company's own wheel")
    (work / "out").symlink_to(secret)

    assert inside.read_plain(work / "out" / "secret-1.0-py3-none-any.whl", 1_000) is None
    assert inside.read_plain(secret / "secret-1.0-py3-none-any.whl", 1_000) == b"the company's own wheel"


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "[" * 100_000, "\udc80"])
def test_an_answer_that_is_no_object_is_none(tmp_path: Path, text: str):
    path = tmp_path / "result.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))

    assert inside._result(path) is None


def test_a_folder_that_a_stranger_closed_is_removed(tmp_path: Path):
    deep = tmp_path / "job" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    (tmp_path / "job" / "link").symlink_to(tmp_path)
    deep.chmod(0)
    deep.parent.chmod(0)
    collect.discard(tmp_path / "job")

    assert list(tmp_path.iterdir()) == []


def test_the_backend_is_the_one_that_pep_517_names():
    assert hook.backend_of({}) == ("setuptools.build_meta:__legacy__", [])
    assert hook.backend_of({"build-system": {"build-backend": "a:b.c", "backend-path": ["x"]}}) == (
        "a:b.c",
        ["x"],
    )


def test_a_backend_path_that_leads_out_of_the_source_is_refused(tmp_path: Path):
    (tmp_path / "source").mkdir()
    (tmp_path / "evil.py").write_text("def build_wheel(*a): return 'x'\n")
    text = '[build-system]\nrequires = []\nbuild-backend = "evil"\nbackend-path = [".."]\n'
    (tmp_path / "source" / "pyproject.toml").write_text(text)
    done = subprocess.run(
        [sys.executable, hook.__file__, "build", str(tmp_path / "answer"), str(tmp_path)],
        cwd=tmp_path / "source",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert "leads out of the source" in done.stderr
    assert not (tmp_path / "answer").exists()


def test_equal_inputs_inspect_to_equal_bytes(tmp_path: Path):
    digests = set()
    for order in (None, list(reversed(wheels.members()))):
        inspect(tmp_path, wheels.pack(wheels.members(), order=order), SOURCE, None)
        digests.add(hashlib.sha256((tmp_path / "canonical").read_bytes()).hexdigest())
    assert len(digests) == 1
    assert io.BytesIO((tmp_path / "raw.members").read_bytes()).read(1) == b"["


def test_what_packed_upstreams_wheel_is_read_from_its_wheel_file(tmp_path: Path):
    members = wheels.members()
    members["thing-1.0.dist-info/WHEEL"] = (
        b"Wheel-Version: 1.0\r\nGenerator: setuptools (75.1.0) \r\nTag: py3-none-any\r\n"
    )
    source = wheels.sdist({"x": b""})

    assert study(tmp_path, source, wheels.pack(members))["generator"] == "setuptools (75.1.0)"
    assert study(tmp_path, source, wheels.pack({"thing/x.py": b""}))["generator"] == ""
    assert study(tmp_path, source)["generator"] == ""


def test_the_requirements_of_a_folder_of_the_source_are_those_of_its_own_project(tmp_path: Path):
    source = wheels.sdist(
        {"pyproject.toml": b"[build-system]\nrequires = []\n", "python/pyproject.toml": PYPROJECT}
    )
    (tmp_path / "archive.tar.gz").write_bytes(source)
    job = {"source": "archive.tar.gz", "file": "archive.tar.gz", "subdir": "python"}

    assert worker.study(job, tmp_path, tmp_path)["requires"] == ["flit_core>=3.2,<4"]


def test_tools_are_laid_out_with_compiled_modules_that_name_no_place(tmp_path: Path):
    tool = {"tool/__init__.py": b"x = 1\n", "tool/broken.py": b"print 'two'\n", "tool/tests/t.py": b"y = 2\n"}
    (tmp_path / "a.whl").write_bytes(wheels.pack(tool))
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        job = {"wheels": ["a.whl"], "compile": True}
        assert worker.lay(job, tmp_path, tmp_path / name) == {"tools": 1}
        compiled = list((tmp_path / name / "tools").rglob("*.pyc"))
        assert [path.name.partition(".")[0] for path in compiled] == ["__init__"]
        found.append(compiled[0].read_bytes())

    assert found[0] == found[1]
    assert str(tmp_path).encode() not in found[0]
    (tmp_path / "plain").mkdir()
    worker.lay({"wheels": ["a.whl"], "compile": False}, tmp_path, tmp_path / "plain")
    assert not list((tmp_path / "plain" / "tools").rglob("*.pyc"))


HOOK = {
    "operation": "hook",
    "hook": "build",
    "source": "a.tar.gz",
    "epoch": wheels.EPOCH,
    "native": False,
    "version": "",
}
TELLING = b"""
import json, os, pathlib, time
def build_wheel(folder, settings=None, metadata=None):
    mask = os.umask(0)
    os.umask(mask)
    with os.scandir("seen") as found:
        scanned = [entry.name for entry in found]
    return [os.getcwd(), oct(mask), os.environ.get("TZ", ""), os.listdir("seen"), scanned,
            [path.name for path in pathlib.Path("seen").glob("*")], os.environ.get("CFLAGS", ""),
            os.environ.get("PBR_VERSION", ""), next(os.walk("seen"))[2], os.environ.get("CC", "")]
"""


def told(folder: Path, **changes: object) -> list[object]:
    """What a build sees of its surroundings."""
    text = b'[build-system]\nrequires = []\nbuild-backend = "telling"\nbackend-path = ["."]\n'
    files = {"pyproject.toml": text, "telling.py": TELLING, **{f"seen/{name}": b"" for name in "abc"}}
    files |= {f"part/{name}": data for name, data in dict(files).items()}
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "a.tar.gz").write_bytes(wheels.sdist(files))
    (folder / "in" / "hook.py").write_bytes(Path(hook.__file__).read_bytes())
    work = folder / f"work{len(list(folder.iterdir()))}"
    work.mkdir()
    value = worker.hook({**HOOK, "subdir": "", "vary": False} | changes, folder / "in", work)
    assert isinstance(value["ms"], int)
    return [str(one).removeprefix(str(work)) if isinstance(one, str) else one for one in value["file"]]


def test_a_varied_build_sees_another_path_umask_time_zone_and_order_of_folders(tmp_path: Path):
    plain, varied = told(tmp_path), told(tmp_path, vary=True)

    assert plain[:2] == ["/src/thing-1.0", "0o22"]
    assert varied[:3] == ["/elsewhere/varied/src/thing-1.0", "0o2", "VAR-9"]
    for at in (3, 4, 5, 8):
        assert varied[at] == ["c", "b", "a"], at
        assert sorted(plain[at]) == ["a", "b", "c"]


def test_a_compiler_is_told_to_forget_the_path_only_where_there_is_one(tmp_path: Path):
    plain, native, varied = (
        told(tmp_path),
        told(tmp_path, native=True),
        told(tmp_path, native=True, vary=True),
    )

    assert (plain[6], plain[9]) == ("", "false")
    assert native[9] != "false"
    assert "-ffile-prefix-map=" in native[6]
    assert native[6].endswith("=.")
    assert varied[6].endswith("/elsewhere/varied=.")


def test_a_folder_of_the_source_is_built_where_the_recipe_says_so_and_its_version_is_told(tmp_path: Path):
    found = told(tmp_path, subdir="part", version="2.5")

    assert (found[0], found[7]) == ("/src/thing-1.0/part", "2.5")
    with pytest.raises(Hostile):
        told(tmp_path, subdir="nowhere")


def test_tools_bring_the_commands_that_their_entry_points_name(tmp_path: Path):
    text = b"""[other]
bad = tool:main
[console_scripts]
hello = tool.cli:App.main [extra]
own = tool.cli:main
../out = tool.cli:main
evil = tool.cli:main; import os
"""
    cli = b"class App:\n    @staticmethod\n    def main():\n        print('hello from a tool')\n"
    members = {"tool/__init__.py": b"", "tool/cli.py": cli, "tool-1.data/scripts/own": b"#!/bin/sh\n"}
    members["tool-1.dist-info/entry_points.txt"] = text
    (tmp_path / "a.whl").write_bytes(wheels.pack(members))
    worker.lay({"wheels": ["a.whl"], "compile": False}, tmp_path, tmp_path)

    there = tmp_path / "tools" / "bin"
    assert sorted(path.name for path in there.iterdir()) == ["hello", "own"]
    assert (there / "own").read_bytes() == b"#!/bin/sh\n"
    done = subprocess.run(
        [there / "hello"],
        env={"PYTHONPATH": str(tmp_path / "tools")},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "hello from a tool\n"
