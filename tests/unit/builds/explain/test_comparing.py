"""Two files without their packing: what is the same content is found to be, and nothing else is."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds.explain import comparing, report, stable, worker
from pyrsia.errors import Refusal
from tests.unit.builds import wheels
from tests.unit.builds.explain.test_explain import tarred, zipped

FILES = {"a/x": b"1\n", "a/y": b"built 2024-05-06\n"}
CHANGED = FILES | {"a/y": b"built 2025-01-01\n"}
MANIFEST = {"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\n\r\n", "A.class": b"\xca\xfe"}


def turned(members):
    return dict(reversed(members.items()))


def linked(target):
    out = io.BytesIO(tarred(FILES))
    with tarfile.open(fileobj=out, mode="a") as archive:
        link = tarfile.TarInfo("a/z")
        link.type, link.linkname = tarfile.SYMTYPE, target
        archive.addfile(link)
    return out.getvalue()


def asked(folder, first, second, names, kind=""):
    for side, data in (("first", first), ("second", second)):
        (folder / side).write_bytes(data)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    return worker.unpacked({"names": names, "kind": kind}, folder, work)


@pytest.mark.parametrize(
    ("name", "first", "second", "changed", "kind"),
    [
        ("x.tar", tarred(FILES), tarred(turned(FILES), mtime=9), tarred(CHANGED), "tar@1"),
        ("x.tgz", gzip.compress(tarred(FILES)), gzip.compress(tarred(FILES), 1), gzip.compress(tarred(CHANGED)),
         "sdist@1"),
        ("x.txt.gz", gzip.compress(b"a 1\n", 9, mtime=1), gzip.compress(b"a 1\n", 1, mtime=2),
         gzip.compress(b"a 2\n"), "gzip@1"),
        ("x.jar", zipped(MANIFEST), zipped(MANIFEST, time=(2025, 1, 1, 0, 0, 0)),
         zipped(MANIFEST | {"A.class": b"\xca\xff"}), "jar@1"),
        ("x~conan_package.tgz", gzip.compress(linked("x")), gzip.compress(linked("x"), 1),
         gzip.compress(linked("y")), "conan@1"),
        ("sha256~00", linked("x"), gzip.compress(linked("x")), linked("y"), "oci-layer@1"),
    ],
)  # fmt: skip
def test_packing_makes_no_difference_and_contents_do(tmp_path, name, first, second, changed, kind):
    same = asked(tmp_path, first, second, [name, name])
    other = asked(tmp_path, first, changed, [name, name])

    assert same["same"]
    assert same["kinds"] == [kind, kind]
    assert any(same["removed"])
    assert not other["same"]
    assert len(other["differing"]) == 1


def test_two_wheels_in_another_order_are_equivalent(tmp_path):
    members = wheels.members({"thing/__init__.py": b"x = 1\n"})
    other = wheels.members({"thing/__init__.py": b"x = 2\n"})
    packed = [wheels.pack(one) for one in (members, turned(members), other)]
    name = "thing-1.0-py3-none-any.whl"

    assert asked(tmp_path, packed[0], packed[1], [name, name])["same"]
    assert not asked(tmp_path, packed[0], packed[2], [name, name])["same"]


def test_a_tar_file_and_a_compressed_one_are_compared_and_a_wheel_with_neither(tmp_path):
    tar = tarred(FILES)
    assert asked(tmp_path, tar, gzip.compress(tar), ["x.tar", "x.tar.gz"])["same"]
    mixed = asked(tmp_path, tar, wheels.pack(wheels.members({"t.py": b""})), ["x.tar", "y.whl"])
    assert not mixed["same"]
    assert "tar@1" in mixed["unread"]


@pytest.mark.parametrize("at", [0, 1])
def test_a_hostile_side_is_named_and_nothing_is_said_of_the_other(tmp_path, at):
    sides = [tarred(FILES), tarred({"../x": b"1"})]
    told = asked(tmp_path, sides[at], sides[1 - at], ["x.tar", "y.tar"])
    assert told["hostile"] == ("second", "first")[at]
    with pytest.raises(Refusal, match="traversal") as caught:
        comparing._read(told, ["x.tar", "y.tar"])
    assert caught.value.who == ("y.tar", "x.tar")[at]


@given(st.dictionaries(st.sampled_from(["a", "b", "c/d"]), st.binary(max_size=40), min_size=1), st.randoms())
@settings(max_examples=30, deadline=None)
def test_one_content_has_one_digest_however_it_was_packed(tmp_path_factory, members, random):
    folder = tmp_path_factory.mktemp("packed")
    order = list(members)
    random.shuffle(order)
    shuffled = tarred({name: members[name] for name in order}, mtime=random.randrange(1 << 31))
    told = asked(folder, tarred(members), gzip.compress(shuffled), ["x.tar", "y.tgz"])
    altered = {name: data + b"!" for name, data in members.items()}

    assert told["same"]
    assert not asked(folder, tarred(altered), shuffled, ["x.tar", "y.tar"])["same"]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@given(
    st.dictionaries(
        st.sampled_from(["kinds", "removed", "same", "members", "differing", "more", "packing", "unread"]),
        JUNK,
    )
)
def test_a_worker_that_lies_about_everything_is_told_as_two_files_that_differ(value):
    found = comparing._read(value, ["x", "y"])
    assert found.result == ("equivalent" if value.get("same") is True else "different")
    assert [one.name for one in found.sides] == ["x", "y"]


def test_every_kind_that_a_file_can_have_may_be_asked_for():
    assert set(report.KINDS) == set(stable._KINDS)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [("a.WHL", b"", "wheel@1"), ("conan_export.tgz", b"", "conan@1"), ("a.zip", b"PK", "bytes"),
     ("a", gzip.compress(b"text"), "gzip@1"), ("a", b"\x1f\x8bno", "bytes"), ("a", b"", "bytes")],
)  # fmt: skip
def test_the_kind_is_told_by_the_name_and_else_by_the_first_bytes(tmp_path, name, data, kind):
    path = Path(tmp_path, "first")
    path.write_bytes(data)
    assert stable.kind_of(name, path) == kind


async def test_equal_bytes_are_identical_and_nothing_is_started(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"../ anything")
    found = await comparing.compare((tmp_path / "a", tmp_path / "b"), None, tmp_path)  # (no sandbox)
    assert found.result == "identical"
