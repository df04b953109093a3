"""The one packing of a recipe or package, and revisions as Conan computes them."""

import gzip
import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.conan import names, pack
from pyrsia.builds.members import Hostile

# What Conan 2.34 said of a small library: conaninfo.txt, and the manifests of its package and its recipe.
INFO = b"""[settings]
arch=x86_64
build_type=Release
compiler=gcc
compiler.cppstd=gnu17
compiler.libcxx=libstdc++11
compiler.version=12
os=Linux
[options]
fPIC=True
shared=False
"""
PACKAGE = {
    "conaninfo.txt": "8399181381a95cdfbd9fa4242655a959",
    "include/tiny.h": "7c30b3f77c6acd6e0295c20f59a9c947",
    "lib/libtiny.a": "bba3e8e2453077b95a7b2fa2655fe76d",
}
RECIPE = {
    "conanfile.py": "1de7b044b1dc12b72bb59db1cd889db3",
    "export_source/CMakeLists.txt": "5912f3126c5c50c54925eb6528d98437",
    "export_source/src/tiny.c": "5e4e3cfe2135a1ea01f1c872b697163d",
    "export_source/src/tiny.h": "7c30b3f77c6acd6e0295c20f59a9c947",
}


def test_revisions_and_package_ids_are_those_that_conan_computes():
    assert pack.package_id(INFO) == "2b3e00e93be912c4468bf5911338440f07c9b5ac"
    assert pack.revision(PACKAGE) == "df5c4c7dc237cc3a3b0d7786fa81507c"
    assert pack.revision(RECIPE) == "33c306c737584c4bd97cee0fe8f2ac85"
    lines = [f"{name}: {md5}" for name, md5 in sorted(PACKAGE.items())]
    assert pack.manifest(PACKAGE, 1795771805) == "\n".join(["1795771805", *lines, ""]).encode()


def tar(members, *, folders=()) -> io.BytesIO:
    """A tar of (name, contents or link target, mode or "link", time)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for name, content, mode, time in members:
            info = tarfile.TarInfo(name)
            info.mtime = time
            if mode == "link":
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size, info.mode = len(content), mode
                archive.addfile(info, io.BytesIO(content))
    out.seek(0)
    return out


def packed(items, time_s=1_000) -> bytes:
    out = io.BytesIO()
    pack.archive(items, out, time_s)
    return out.getvalue()


path = st.lists(st.sampled_from(["a", "b", "lib", "x.h", "ü"]), min_size=1, max_size=3).map("/".join)


@given(
    files=st.dictionaries(path, st.tuples(st.binary(max_size=200), st.booleans()), max_size=6).filter(
        lambda found: not any(other.startswith(f"{one}/") for one in found for other in found)
    ),
    data=st.data(),
)
def test_equal_trees_have_equal_bytes_however_they_were_packed_before(tmp_path_factory, files, data):
    def once() -> tuple[bytes, str]:
        order = data.draw(st.permutations(sorted(files)))
        modes = st.sampled_from([0o600, 0o644, 0o664])
        rows = []
        for name in order:
            content, executable = files[name]
            mode = data.draw(modes) | (0o111 if executable else 0)
            rows.append((name, content, mode, data.draw(st.integers(0, 2**31))))
        items, lost = pack.read(tar(rows), tmp_path_factory.mktemp("items"))
        assert lost == []
        return packed(items), pack.stable(pack.member_list(items))

    first, second = once(), once()

    assert first == second
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(first[0]))) as archive:
        assert {one.name: archive.extractfile(one).read() for one in archive} == {
            name: content for name, (content, _) in files.items()
        }
        assert {one.name: (one.mode, one.mtime) for one in archive} == {
            name: (0o755 if executable else 0o644, 1_000) for name, (_, executable) in files.items()
        }


def test_an_archive_of_more_than_one_block_reads_back(tmp_path):
    content = hashlib.shake_256(b"some").digest(300_000)
    items, _ = pack.read(tar([("big", content, 0o644, 0)]), tmp_path / "items")

    data = packed(items)

    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        assert archive.extractfile("big").read() == content
    assert len(data) < 320_000  # stored, whatever zlib is here


def test_links_stay_links_and_conans_sums_follow_its_rule(tmp_path):
    rows = [
        ("lib/libz.so.1.3", b"code", 0o755, 0),
        ("lib/libz.so", "libz.so.1", "link", 0),
        ("lib/libz.so.1", "libz.so.1.3", "link", 0),
        ("lib64", "lib", "link", 0),
        ("gone", "nowhere", "link", 0),
    ]
    items, _ = pack.read(tar(rows), tmp_path / "items")

    sums = pack.sums(items)

    md5 = hashlib.md5
    assert sums == {
        "lib/libz.so.1.3": md5(b"code").hexdigest(),
        "lib/libz.so": md5(b"libz.so.1").hexdigest(),
        "lib/libz.so.1": md5(b"libz.so.1.3").hexdigest(),
        "gone": md5(b"nowhere").hexdigest(),
    }
    with tarfile.open(fileobj=io.BytesIO(packed(items)), mode="r:gz") as archive:
        assert {one.name: one.linkname for one in archive if one.issym()} == {
            "lib/libz.so": "libz.so.1",
            "lib/libz.so.1": "libz.so.1.3",
            "lib64": "lib",
            "gone": "nowhere",
        }
    assert "lib64 -> lib" in [one.path for one in pack.member_list(items)]


def test_a_link_and_a_file_of_its_words_are_not_the_same(tmp_path):
    link, _ = pack.read(tar([("a", "b", "link", 0)]), tmp_path / "1")
    file, _ = pack.read(tar([("a", b"b", 0o644, 0)]), tmp_path / "2")

    assert pack.stable(pack.member_list(link)) != pack.stable(pack.member_list(file))


def test_exec_bits_are_part_of_what_is_compared(tmp_path):
    plain, _ = pack.read(tar([("a", b"b", 0o644, 0)]), tmp_path / "1")
    run, _ = pack.read(tar([("a", b"b", 0o755, 0)]), tmp_path / "2")

    assert pack.stable(pack.member_list(plain)) != pack.stable(pack.member_list(run))
    assert packed(plain) != packed(run)


def test_what_was_taken_away_is_listed(tmp_path):
    items, lost = pack.read(
        tar([("a/b", b"", 0o600, 0)], folders=["a", "empty", "deep", "deep/er"]), tmp_path / "i"
    )
    place = names.Place("a" * 32, names.SOURCES)

    made = pack.of_archive(place, items, tmp_path / "out.tgz", 5, len(lost))

    assert lost == ["empty", "deep/er"]
    assert made.normalised == ("tar-empty-folder:2", "tar-mode:1", "tar-packing:1")


HOSTILE = {
    "leads up": [("a", "../b", "link", 0)],
    "leads up later": [("a/b", "../../c", "link", 0)],
    "absolute link": [("a", "/etc/passwd", "link", 0)],
    "empty link": [("a", "", "link", 0)],
    "written with dots": [("a/b", "./c", "link", 0)],
    "written with a slash": [("a", "b/", "link", 0)],
    "below a link": [("a", "b", "link", 0), ("a/c", b"x", 0o644, 0)],
    "below a file": [("a", b"", 0o644, 0), ("a/c", b"x", 0o644, 0)],
    "twice": [("a", b"1", 0o644, 0), ("a", b"2", 0o644, 0)],
    "case": [("a", b"1", 0o644, 0), ("A", b"2", 0o644, 0)],
    "climbs": [("../a", b"1", 0o644, 0)],
    "absolute": [("/a", b"1", 0o644, 0)],
    "setuid": [("a", b"1", 0o4755, 0)],
    "reads like a link": [("a -> b", b"1", 0o644, 0)],
    "control": [("a\x01", b"1", 0o644, 0)],
}


@pytest.mark.parametrize("rows", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_tree_is_refused(tmp_path, rows):
    with pytest.raises(Hostile):
        pack.read(tar(rows), tmp_path / "items")


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE])
def test_devices_pipes_and_hard_links_are_refused(tmp_path, kind):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a")
        info.type, info.linkname = kind, "b"
        archive.addfile(info)
    out.seek(0)

    with pytest.raises(Hostile, match="hard link, device"):
        pack.read(out, tmp_path / "items")


@given(data=st.binary(max_size=2_000))
def test_what_is_no_tar_is_refused_or_empty(tmp_path_factory, data):
    try:
        items, _ = pack.read(io.BytesIO(data), tmp_path_factory.mktemp("items"))
    except Hostile:
        return
    assert items == {}


def test_links_in_a_circle_end(tmp_path):
    items, _ = pack.read(tar([("a", "b", "link", 0), ("b", "a", "link", 0)]), tmp_path / "items")

    assert set(pack.sums(items)) == {"a", "b"}


def test_a_link_that_leaves_its_part_of_the_whole_is_refused(tmp_path):
    rows = [("export/a", "../sources/b", "link", 0), ("sources/b", b"", 0o644, 0)]
    items, _ = pack.read(tar(rows), tmp_path / "items")

    with pytest.raises(Hostile, match="leads outside"):
        pack.below(items, "export")


def test_a_manifests_time_is_not_compared_and_its_sums_are(tmp_path):
    place = names.Place("a" * 32, names.MANIFEST)
    digests = []
    for number, text in enumerate((b"1\na: b\n", b"22\na: b\n", b"1\na: c\n")):
        (tmp_path / str(number)).write_bytes(text)
        digests.append(pack.of_file(place, tmp_path / str(number)).stable)

    assert digests[0] == digests[1] != digests[2]
