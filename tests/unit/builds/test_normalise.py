"""The canonical form of a wheel: one for one set of members."""

import io
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.builds import normalise
from pyrsia.builds.containment import containment
from pyrsia.builds.members import Hostile, Member, stable
from pyrsia.builds.normalise import inspect, rewrite
from pyrsia.builds.upstream import relation

sys.path.insert(0, str(Path(__file__).parent))
import wheels


def canonical(data: bytes) -> tuple[bytes, str]:
    file, out = io.BytesIO(data), io.BytesIO()
    wheel = inspect(file)
    rewrite(file, wheel, out, wheels.EPOCH)
    return out.getvalue(), stable(wheel.members)


PACKINGS = st.fixed_dictionaries(
    {
        "order": st.permutations(list(wheels.members())),
        "date": st.tuples(
            st.integers(1980, 2107),
            st.integers(1, 12),
            st.integers(1, 28),
            st.just(0),
            st.just(0),
            st.just(0),
        ),
        "mode": st.sampled_from([0o644, 0o664, 0o600, 0o444]),
        "method": st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
        "folders": st.sampled_from([(), ("thing/",)]),
    }
)


@settings(max_examples=60)
@given(first=PACKINGS, second=PACKINGS)
def test_two_packings_of_the_same_members_have_one_canonical_form(first, second):
    files = wheels.members()

    one, two = canonical(wheels.pack(files, **first)), canonical(wheels.pack(files, **second))

    assert one == two


@settings(max_examples=60)
@given(at=st.integers(0, 998), path=st.sampled_from(["thing/data.txt", "thing-1.0.dist-info/METADATA"]))
def test_the_lie_one_flipped_byte_gives_another_canonical_form_and_another_digest(at, path):
    truth = wheels.members()
    data = bytearray(truth[path])
    data[at % len(data)] ^= 1
    lie = {**truth, path: bytes(data)}
    lie["thing-1.0.dist-info/RECORD"] = wheels.record(
        {name: content for name, content in lie.items() if not name.endswith("RECORD")}, "thing-1.0.dist-info"
    )

    one, two = canonical(wheels.pack(truth)), canonical(wheels.pack(lie))

    assert one[0] != two[0]
    assert one[1] != two[1]


def test_the_exec_bit_is_kept_and_seen():
    files = wheels.members()
    plain, executable = wheels.pack(files), wheels.pack(files, executable=("thing/data.txt",))

    assert canonical(plain)[1] != canonical(executable)[1]
    with zipfile.ZipFile(io.BytesIO(canonical(executable)[0])) as archive:
        modes = {one.filename: one.external_attr >> 16 for one in archive.infolist()}
    assert modes["thing/data.txt"] == 0o100755
    assert modes["thing/__init__.py"] == 0o100644


def test_a_canonical_wheel_is_a_fixed_point_that_every_zip_reader_takes():
    once, _ = canonical(wheels.pack(wheels.members()))

    assert canonical(once)[0] == once
    with zipfile.ZipFile(io.BytesIO(once)) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[-1] == "thing-1.0.dist-info/RECORD"
        assert all(one.compress_type == zipfile.ZIP_STORED and not one.extra for one in archive.infolist())
    assert normalise.removed(inspect(io.BytesIO(once)), wheels.EPOCH) == []


def test_what_was_normalised_away_is_counted():
    files = wheels.members()
    data = wheels.pack(files, mode=0o664, order=list(reversed(files)), folders=("thing/",))

    found = normalise.removed(inspect(io.BytesIO(data)), wheels.EPOCH)

    assert found == ["zip-compression:5", "zip-folders:1", "zip-mode:5", "zip-order:1", "zip-time:5"]


def test_a_name_with_a_comma_survives_in_record():
    data = wheels.pack(wheels.members({}))
    wheel = inspect(io.BytesIO(data))
    odd = [*wheel.members, Member('a,"b".py', "00" * 32, 0, False)]

    assert b'"a,""b"".py",sha256=' in normalise.record_of(odd, wheel.info)


def broken(**changes: bytes | None) -> bytes:
    files = wheels.members()
    for name, data in changes.items():
        path = f"thing-1.0.dist-info/{name}"
        if data is None:
            del files[path]
        else:
            files[path] = data
    return wheels.pack(files)


@pytest.mark.parametrize(
    "data",
    [
        broken(RECORD=b"thing/__init__.py,sha256=AAAA,6\n"),
        broken(RECORD=b""),
        broken(RECORD=wheels.members()["thing-1.0.dist-info/RECORD"] + b"ghost.py,sha256=AA,1\n"),
        broken(RECORD=wheels.members()["thing-1.0.dist-info/RECORD"] * 2),
        broken(METADATA=None),
        broken(WHEEL=None),
        broken(RECORD=None),
        wheels.pack({**wheels.members(), "other-1.0.dist-info/METADATA": b"x"}),
        wheels.pack({**wheels.members(), "thing/hidden.py": b"not in RECORD"}),
        wheels.pack({"thing.py": b""}),
    ],
)
def test_a_wheel_whose_record_or_folder_lies_is_refused(data):
    with pytest.raises(Hostile):
        inspect(io.BytesIO(data))


def test_containment_is_full_partial_or_none():
    source = [Member("src/a.py", "aa", 1, False)]
    inside, outside = Member("a.py", "aa", 1, False), Member("b.py", "bb", 1, False)
    info = Member("t-1.dist-info/METADATA", "cc", 1, False)

    assert containment([inside, info], source) == ("full", ())
    assert containment([inside, outside, info], source) == ("partial", ("b.py",))
    assert containment([outside, info], source) == ("none", ("b.py",))
    assert containment([info], source) == ("full", ())


def test_the_relation_to_upstream_has_four_values():
    ours = [Member("a.py", "aa", 1, False), Member("t-1.dist-info/RECORD", "01", 1, False)]
    repacked = [ours[0], Member("t-1.dist-info/RECORD", "02", 2, False)]
    other = [Member("a.py", "aa", 1, True), ours[1]]

    assert relation(ours, "11", ours, "11") == "identical"
    assert relation(ours, "11", repacked, "22") == "equivalent"
    assert relation(ours, "11", other, "22") == "different"
    assert relation(ours, "11", None, "22") == "different"
    assert relation(ours, "11", None, "") == "none"
