"""Roots out of packages: what is taken, where it lies, and what is refused."""

import hashlib
import io
import os
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.environments import facts, worker
from pyrsia.builds.environments.tarball import TarWriter
from pyrsia.builds.members import Hostile

sys.path.insert(0, str(Path(__file__).parent))
import debs
from debs import PYTHON, Kitchen, deb, special

SPECIALS = [special("dev/x", kind) for kind in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)]


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


def test_files_keep_their_content_and_lose_owner_time_and_setuid(kitchen: Kitchen):
    found = kitchen.made([("usr/bin/su", b"su", 0o4755), ("usr/share/x", b"x", 0o640)])

    assert kitchen.content("usr/bin/su") == b"su"
    assert {(item.uid, item.gid, item.uname, item.mtime) for item in found.values()} == {
        (0, 0, "", worker.MTIME)
    }
    assert (found["usr/bin/su"].mode, found["usr/share/x"].mode, found["usr"].mode) == (0o755, 0o644, 0o755)


def test_what_a_package_puts_into_bin_and_lib_lies_below_usr(kitchen: Kitchen):
    found = kitchen.made(
        [("bin", None, 0o755), ("bin/sh", "dash", 0), ("lib64", None, 0o755), ("lib64/ld.so", b"ld", 0o755)]
    )

    assert found["bin"].linkname == "usr/bin"
    assert found["lib64"].linkname == "usr/lib64"
    assert found["usr/bin/sh"].linkname == "dash"
    assert kitchen.content("usr/lib64/ld.so") == b"ld"


def test_a_package_that_brings_the_links_of_the_merged_usr_changes_nothing(kitchen: Kitchen):
    found = kitchen.made([("bin", "usr/bin", 0), ("usr/bin/sh", b"sh", 0o755), ("sbin", "usr/sbin", 0)])

    assert (found["bin"].linkname, found["sbin"].linkname) == ("usr/bin", "usr/sbin")
    assert kitchen.content("usr/bin/sh") == b"sh"


def test_second_names_stay_second_names_and_empty_files_stay_empty(kitchen: Kitchen):
    rows = [
        ("usr/empty", b"", 0o644),
        ("usr/perl", b"perl", 0o755),
        special("usr/perl5", tarfile.LNKTYPE, "./usr/perl"),
    ]

    found = kitchen.made([*rows, ("usr/zero", b"", 0o644)])

    assert found["usr/perl5"].islnk()
    assert found["usr/perl5"].linkname == "usr/perl"
    assert not found["usr/zero"].islnk()
    assert kitchen.content("usr/empty") == kitchen.content("usr/zero") == b""
    assert kitchen.content("usr/perl5") == b"perl"


def test_rules_drop_link_and_write_programs(kitchen: Kitchen):
    rules = [("drop", "usr/share/doc"), ("link", "usr/bin/cc", "gcc-12"), ("run", "usr/bin/x", "x.cli:main")]

    found = kitchen.made([("usr/share/doc/x/copyright", b"x", 0o644), ("usr/share/docs", b"y", 0o644)], rules)

    assert "usr/share/docs" in found
    assert not any(name.startswith("usr/share/doc/") for name in found)
    assert found["usr/bin/cc"].linkname == "gcc-12"
    assert b"from x.cli import main" in kitchen.content("usr/bin/x")
    assert found["usr/bin/x"].mode == 0o755


def test_files_are_joined_in_the_order_of_their_paths(kitchen: Kitchen):
    rows: list[debs.Row] = [
        ("usr/ca/b.crt", b"B", 0o644),
        ("usr/ca/a/z.crt", b"A", 0o644),
        ("usr/cab", b"no", 0o644),
    ]

    kitchen.made(rows, [("join", "usr/ca", "etc/ssl/all.crt")])

    assert kitchen.content("etc/ssl/all.crt") == b"AB"


def test_python_archives_are_laid_where_the_rules_say(kitchen: Kitchen):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (
            ("conan-2/conan/a.py", b"a"),
            ("conan-2/conan/b/c.py", b""),
            ("conan-2/setup.py", b"run me"),
        ):
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    conan = kitchen.part("conan", buffer.getvalue(), "2", "conan-2.tar.gz")

    kitchen.make(
        [conan, kitchen.part("one", deb([PYTHON]))], [("lay", "conan-2.tar.gz", "conan", "usr/lib/py/conan")]
    )

    assert kitchen.content("usr/lib/py/conan/a.py") == b"a"
    assert "usr/lib/py/conan/b/c.py" in kitchen.members()
    assert not any("setup.py" in name for name in kitchen.members())


def test_every_root_says_what_it_offers_and_has_places_for_the_sandbox(kitchen: Kitchen):
    parts = [
        kitchen.part("libpython3.11-minimal", deb([PYTHON]), "3.11.2-6+deb12u6"),
        kitchen.part("libc6", deb([("usr/lib/libc.so.6", b"c", 0o755)]), "2.36-9+deb12u14"),
        kitchen.part("gcc-12", deb([("usr/bin/gcc", b"gcc", 0o755)]), "12.2.0-14+deb12u1"),
    ]

    answer = kitchen.make(parts)

    assert answer["facts"] == {
        "arch": "x86_64",
        "compiler": "gcc-12.2.0",
        "libc": "glibc-2.36",
        "os": "linux",
        "python": "3.11.2",
    }
    assert kitchen.content(facts.FACTS_FILE) == facts.written(dict(answer["facts"]))
    assert {"build", "in", "proc", "dev", "tmp"} <= {
        name for name, item in kitchen.members().items() if item.isdir()
    }


def test_the_bytes_do_not_depend_on_umask_or_the_order_of_members(tmp_path: Path):
    rows: Sequence[debs.Row] = [("usr/a", b"a", 0o644), ("usr/b/c", b"c", 0o755), ("usr/l", "a", 0)]
    digests = set()
    for number, (mask, order) in enumerate(((0o022, rows), (0o077, rows[::-1]))):
        kitchen = Kitchen(tmp_path / str(number))
        part = kitchen.part("one", deb([PYTHON, *order]))
        before = os.umask(mask)
        try:
            # The lock would differ in the package's digest; the tree must not.
            digests.add(kitchen.make([part])["sha256"])
        finally:
            os.umask(before)

    assert len(digests) == 1


@pytest.mark.parametrize(
    "rows",
    [
        [("../etc/passwd", b"x", 0o644)],
        [("/etc/passwd", b"x", 0o644), ("a/../../b", b"x", 0o644)],
        [("usr/bin/x", "../../../../etc/shadow", 0)],
        [("usr/x", b"1", 0o644), ("usr/x", b"2", 0o644)],
        [("usr/l", "/etc", 0), ("usr/l/passwd", b"x", 0o644)],
        [("usr/f", b"x", 0o644), ("usr/f/below", b"x", 0o644)],
        [special("usr/h", tarfile.LNKTYPE, "./etc/shadow")],
        *([one] for one in SPECIALS),
    ],
)
def test_a_hostile_package_is_refused(kitchen: Kitchen, rows: list[debs.Row]):
    with pytest.raises(Hostile):
        kitchen.made(rows)


def test_two_packages_that_contradict_each_other_are_refused_and_equal_files_are_not(kitchen: Kitchen):
    one = kitchen.part("one", deb([PYTHON, ("usr/x", b"same", 0o644)]))

    kitchen.make([one, kitchen.part("two", deb([("usr/x", b"same", 0o644)]))])
    with pytest.raises(Hostile, match="disagree"):
        kitchen.make([one, kitchen.part("two", deb([("usr/x", b"other", 0o644)]))])


def test_a_file_that_is_not_what_the_lock_says_is_refused(kitchen: Kitchen):
    part = kitchen.part("one", deb([PYTHON]))
    (kitchen.parts / part.sha256).write_bytes(deb([PYTHON, ("usr/evil", b"x", 0o755)]))

    with pytest.raises(Hostile, match="not what the lock says"):
        kitchen.make([part])


def test_a_root_without_python_is_refused(kitchen: Kitchen):
    with pytest.raises(Hostile, match="python3"):
        kitchen.make([kitchen.part("one", deb([("usr/x", b"x", 0o644)]))])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"!<arch>\n",
        deb([], packed=b"not xz"),
        deb([], member="data.tar.br", packed=b"x"),
        deb([], member="data.tar.gz", packed=b"x"),
        deb([PYTHON])[:-40],
    ],
)
def test_what_is_no_package_is_refused(kitchen: Kitchen, data: bytes):
    with pytest.raises(Hostile):
        kitchen.make([kitchen.part("one", data)])


def test_an_archive_of_ours_imports_as_itself(kitchen: Kitchen):
    made = kitchen.make(
        [
            kitchen.part("libpython3.11-minimal", deb([PYTHON]), "3.11.2-6"),
            kitchen.part("libc6", deb([]), "2.36-9"),
        ]
    )
    archive = kitchen.work.parent / "ours.tar"
    (kitchen.work / "rootfs.tar").rename(archive)

    again = worker.taken({"archive": str(archive), "facts": {}, "dropped": []}, kitchen.inputs, kitchen.work)

    assert again["sha256"] == made["sha256"]
    assert again["facts"] == made["facts"]


STATUS = b"Package: libc6\nVersion: 2.36-9\nArchitecture: amd64\n\nPackage: libpython3.11-minimal\nVersion: 3.11.2-6\n"


def test_an_archive_of_another_tool_says_its_facts_by_its_list_of_packages(kitchen: Kitchen):
    rows = [
        ("bin", "usr/bin", 0),
        PYTHON,
        ("var/lib/dpkg/status", STATUS, 0o644),
        special("dev/null", tarfile.CHRTYPE),
    ]
    archive = kitchen.work.parent / "theirs.tar"
    archive.write_bytes(debs.data_tar(rows))

    made = worker.taken(
        {"archive": str(archive), "facts": {"jdk": "17"}, "dropped": []}, kitchen.inputs, kitchen.work
    )

    assert made["facts"] == {
        "arch": "x86_64",
        "jdk": "17",
        "libc": "glibc-2.36",
        "os": "linux",
        "python": "3.11.2",
    }
    assert "dev/null" not in kitchen.members()
    assert kitchen.members()["bin"].linkname == "usr/bin"


def test_an_archive_that_does_not_say_what_it_is_asks_for_facts(kitchen: Kitchen):
    archive = kitchen.work.parent / "theirs.tar"
    archive.write_bytes(debs.data_tar([PYTHON]))

    with pytest.raises(Hostile, match="arch, libc, python"):
        worker.taken({"archive": str(archive), "facts": {}, "dropped": []}, kitchen.inputs, kitchen.work)


def unpack(kitchen: Kitchen, archive: Path, digest: str) -> dict[str, object]:
    return worker.unpacked({"archive": str(archive), "sha256": digest}, kitchen.inputs, kitchen.work)


def test_an_archive_is_unpacked_as_it_was_packed(kitchen: Kitchen):
    answer = kitchen.make([kitchen.part("libc6", deb([PYTHON, ("usr/l", "bin/python3", 0)]), "2.36-9")])

    found = unpack(kitchen, kitchen.work / "rootfs.tar", str(answer["sha256"]))

    root = kitchen.work / "root"
    assert found["facts"] == answer["facts"]
    assert (root / "usr/bin/python3").read_bytes() == PYTHON[1]
    assert os.readlink(root / "usr/l") == "bin/python3"
    assert (root / "bin").is_symlink()


def test_an_archive_that_is_not_the_one_that_was_asked_for_is_not_unpacked(kitchen: Kitchen):
    kitchen.make([kitchen.part("one", deb([PYTHON]))])

    with pytest.raises(Hostile, match="not the one"):
        unpack(kitchen, kitchen.work / "rootfs.tar", "00" * 32)
    assert not (kitchen.work / "root").exists()


GOOD = ("etc/pyrsia-environment.json", b'{"python":"3.11.2"}', 0o644)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([GOOD, ("../x", b"x", 0o644)], "traversal"),
        ([GOOD, ("l", "/tmp", 0), ("l/x", b"x", 0o644)], "behind a link"),
        ([GOOD, special("n", tarfile.CHRTYPE, start="")], "neither file"),
        ([GOOD, special("n", tarfile.LNKTYPE, "../../x", start="")], "traversal"),
        ([PYTHON], "says nothing of itself"),
        ([("etc/pyrsia-environment.json", b"[", 0o644)], "not JSON"),
        ([("etc/pyrsia-environment.json", b'{"python": 3}', 0o644)], "table of words"),
    ],
)
def test_a_hostile_archive_is_not_unpacked(kitchen: Kitchen, rows: list[debs.Row], why: str):
    folders: list[debs.Row] = [("etc", None, 0o755), ("usr", None, 0o755), ("usr/bin", None, 0o755)]
    data = debs.data_tar([*folders, *rows], start="")
    archive = kitchen.work.parent / "hostile.tar"
    archive.write_bytes(data)

    with pytest.raises(Hostile, match=why):
        unpack(kitchen, archive, hashlib.sha256(data).hexdigest())


names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs", "Cc")),
    min_size=1,
    max_size=60,
)
paths = st.lists(names, min_size=1, max_size=6).map("/".join)


@given(st.dictionaries(paths, st.binary(max_size=700), max_size=6), st.integers(0, 8**11 - 1))
def test_what_our_writer_packs_every_reader_reads(files: dict[str, bytes], mtime: int):
    out = io.BytesIO()
    writer = TarWriter(out, mtime)
    for path in sorted(files):
        writer.file(path, 0o644, len(files[path]), [files[path]])
    writer.close()

    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        items = archive.getmembers()
        read = {item.name: archive.extractfile(item) for item in items}
        assert {path: file.read() for path, file in read.items() if file is not None} == files
        assert all(item.mtime == mtime and item.mode == 0o644 for item in items)


def test_our_writer_refuses_a_file_of_another_length():
    with pytest.raises(ValueError, match="3 bytes"):
        TarWriter(io.BytesIO(), 0).file("x", 0o644, 4, [b"abc"])
