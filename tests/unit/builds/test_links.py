"""Links of a source archive: copies where they stay inside, refused where they do not, and never made."""

import hashlib
import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds import links, members_zip
from pyrsia.builds.members import Hostile
from pyrsia.builds.unpack import source_members, unpack_source
from pyrsia.units import MAX_UNPACKED_BYTES

FILES = {"top/a.txt": b"a", "top/d/b.txt": b"b", "top/d/e/c.txt": b"c"}


def pack(files: dict[str, bytes], linked: dict[str, str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        for path, content in files.items():
            packed.writestr(zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0)), content)
        for path, target in linked.items():
            item = zipfile.ZipInfo(path, (2024, 1, 1, 0, 0, 0))
            item.create_system, item.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            packed.writestr(item, target.encode())
    return data.getvalue()


def followed(files: dict[str, bytes], linked: dict[str, str]) -> dict[str, bytes]:
    file = io.BytesIO(pack(files, linked))
    records = members_zip.read(file, strict=False, links=True)
    return {path: b"".join(members_zip.content(file, one)) for path, one in links.followed(file, records)}


@pytest.mark.parametrize(
    ("target", "copies"),
    [
        ("a.txt", {"top/l": b"a"}),
        ("d/b.txt", {"top/l": b"b"}),
        ("./d/../a.txt", {"top/l": b"a"}),
        ("d/", {"top/l/b.txt": b"b", "top/l/e/c.txt": b"c"}),
        ("d/e", {"top/l/c.txt": b"c"}),
    ],
)
def test_a_link_that_stays_inside_is_a_copy(target: str, copies: dict[str, bytes]):
    assert followed(FILES, {"top/l": target}) == FILES | copies


def test_links_may_lead_over_links():
    assert followed(FILES, {"top/x": "y", "top/y": "d/z", "top/d/z": "../a.txt"})["top/x"] == b"a"


@pytest.mark.parametrize(
    ("linked", "why"),
    [
        ({"top/l": "/etc/passwd"}, "out of the archive"),
        ({"top/l": "../../etc/passwd"}, "out of the archive"),
        ({"top/l": "../other/x"}, "out of the archive"),
        ({"top/l": ".."}, "out of the archive"),
        ({"top/l": "."}, "out of the archive"),
        ({"top/l": "nowhere"}, "to nothing"),
        ({"top/l": ""}, "out of the archive"),
        ({"top/l": "l"}, "in a circle"),
        ({"top/l": "m", "top/m": "l"}, "in a circle"),
        ({"top/l": "d", "top/d/m": "../a.txt"}, "a folder with links"),
        ({"top/l": "a\\b"}, "backslash"),
        ({"top/l": "x" * 2_000}, "2000 bytes"),
    ],
)
def test_the_lie_a_link_that_leads_elsewhere_is_refused_by_name(linked: dict[str, str], why: str):
    with pytest.raises(Hostile, match=why):
        followed(FILES, linked)


def test_a_copy_on_a_file_that_is_there_is_refused():
    with pytest.raises(Hostile):
        followed(FILES | {"top/l/b.txt": b"other"}, {"top/l": "d"})


def test_copies_count_like_all_that_is_unpacked():
    large = {"top/large": b"x" * 1_000_000}
    linked = {f"top/l{number}": "large" for number in range(MAX_UNPACKED_BYTES.value // 1_000_000)}

    with pytest.raises(Hostile, match="unpacks to more"):
        followed(large, linked)


def test_no_link_is_ever_made(tmp_path: Path):
    path = tmp_path / "source.zip"
    path.write_bytes(pack(FILES, {"top/l": "a.txt", "top/m": "d"}))

    top = unpack_source(path, tmp_path / "out", 2_000_000_000)

    assert not [name for name in top.rglob("*") if name.is_symlink()]
    assert (top / "l").read_bytes() == b"a"
    assert (top / "m/e/c.txt").read_bytes() == b"c"
    told = {one.path: one.sha256 for one in source_members(path)}
    assert told["top/m/b.txt"] == hashlib.sha256(b"b").hexdigest()


@given(
    st.dictionaries(
        st.sampled_from(["top/l", "top/d/l", "top/d/e/l"]), st.text("./adelt", max_size=12), max_size=3
    )
)
def test_whatever_a_link_says_nothing_comes_from_outside(linked: dict[str, str]):
    try:
        found = followed(FILES, linked)
    except Hostile:
        return
    assert all(os.path.normpath(path) == path and path.startswith("top/") for path in found)
    assert set(found.values()) <= set(FILES.values())
