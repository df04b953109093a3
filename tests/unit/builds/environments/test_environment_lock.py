"""The lock of a root: one form, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.environments import lock
from pyrsia.builds.environments.lock import Part
from pyrsia.errors import Malformed

HEX = "ab" * 32
ONE = Part("libc6", "2.36-9+deb12u14", "libc6_2.36-9+deb12u14_amd64.deb", HEX, 2_759_320)
CONAN = Part("conan", "2.34.0", "conan-2.34.0.tar.gz", "cd" * 32, 5)

words = st.text("abcxyz0129", min_size=1, max_size=8)
parts = st.builds(
    lambda name, version, file, digest, size: Part(name, version, f"{file}_1_amd64.deb", digest, size),
    st.builds("{}{}".format, words, st.sampled_from(["", "+", ".1", "-dev"])),
    st.builds("{}{}{}".format, st.sampled_from(["", "1:"]), words, st.sampled_from(["", "-1", "~rc1+b2"])),
    words,
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.integers(0, 10**11),
)


def test_a_lock_is_written_in_one_form_whatever_the_order():
    rules = [("link", "usr/bin/cc", "gcc"), ("drop", "usr/share/doc")]

    data = lock.encode([ONE, CONAN], rules)

    assert data == lock.encode([CONAN, ONE], rules[::-1])
    assert data.decode().splitlines() == [
        "pyrsia lock rootfs v1",
        f"conan 2.34.0 conan-2.34.0.tar.gz {'cd' * 32} 5",
        f"libc6 2.36-9+deb12u14 libc6_2.36-9+deb12u14_amd64.deb {HEX} 2759320",
        "drop usr/share/doc",
        "link usr/bin/cc gcc",
    ]


@given(st.lists(parts, max_size=8, unique_by=(lambda one: one.name, lambda one: one.file)))
def test_what_is_read_is_what_was_written(found: list[Part]):
    assert lock.decode(lock.encode(found)).parts == tuple(sorted(found))


@given(
    st.lists(parts, min_size=1, max_size=4, unique_by=(lambda one: one.name, lambda one: one.file)), st.data()
)
def test_a_changed_lock_is_refused_or_reads_as_something_else(found: list[Part], data: st.DataObject):
    written = bytearray(lock.encode(found))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != written[place]))

    try:
        read = lock.decode(bytes(written))
    except Malformed:
        return
    assert lock.encode(read.parts, read.rules) == bytes(written)
    assert read.parts != tuple(sorted(found))


@pytest.mark.parametrize(
    "rule",
    [
        "drop ../etc",
        "drop /etc",
        "drop a b",
        "link usr/bin/cc",
        "link usr/../x gcc",
        "run usr/bin/x module",
        "run usr/bin/x os.path:f;g",
        "lay conan.tar.gz conan /etc",
        "exec rm",
        "name 1 file.exe " + HEX + " 1",
        "",
    ],
)
def test_a_line_that_is_none_is_refused(rule: str):
    with pytest.raises(Malformed):
        lock.decode(f"{lock.HEADER}\n{rule}\n".encode())


@pytest.mark.parametrize(
    "data", [b"", b"pyrsia lock pip v1\n", lock.HEADER.encode(), lock.HEADER.encode() + b"\n\xff\n"]
)
def test_a_lock_of_something_else_is_refused(data: bytes):
    with pytest.raises(Malformed):
        lock.decode(data)


def test_two_files_of_one_package_are_no_lock():
    with pytest.raises(ValueError, match="once"):
        lock.encode([ONE, Part("libc6", "3", "libc6_3_amd64.deb", HEX, 1)])
