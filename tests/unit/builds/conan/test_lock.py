"""The lock of a conan build."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.conan import lock, names
from pyrsia.builds.conan.lock import Locked
from pyrsia.errors import Malformed

A, B = "a" * 32, "b" * 40
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
places = st.sampled_from(
    [f"{A}~{name}" for name in names.RECIPE_FILES] + [f"{A}~{B}~{A}~{name}" for name in names.PACKAGE_FILES]
)
sizes = st.integers(0, 10**9)
sources = st.builds(
    lambda digest, size: Locked("app", "1.0", f"source~{digest}", digest, size), digests, sizes
)
titles = st.sampled_from(["zlib", "zlib@team", "z_1@team/stable"])
files = st.builds(Locked, titles, st.sampled_from(["1.3", "2"]), places, digests, sizes)
distinct = st.lists(files | sources, max_size=20, unique_by=lambda one: (one.title, one.version, one.file))


@given(lines=distinct, data=st.data())
def test_a_lock_has_one_form_and_reads_back(lines, data):
    encoded = lock.encode(lines)

    assert lock.encode(data.draw(st.permutations(lines))) == encoded
    assert lock.decode(encoded) == tuple(sorted(lines))
    assert encoded.startswith(b"pyrsia lock conan v1\n")


def test_one_place_cannot_hold_two_files():
    first = Locked("zlib", "1.3", f"{A}~conanfile.py", "1" * 64, 1)
    with pytest.raises(ValueError, match="once"):
        lock.encode([first, Locked("zlib", "1.3", f"{A}~conanfile.py", "2" * 64, 1)])


GOOD = f"zlib 1.3 {A}~conanfile.py {'1' * 64} 12"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pyrsia lock pip v1\n",
        f"pyrsia lock conan v1\n{GOOD}",
        f"pyrsia lock conan v1\n{GOOD}\n\n",
        f"pyrsia lock conan v1\n{GOOD}\n{GOOD}\n",
        f"pyrsia lock conan v1\n{GOOD.replace('12', '012')}\n",
        f"pyrsia lock conan v1\n{GOOD.replace('conanfile.py', '../x')}\n",
        f"pyrsia lock conan v1\n{GOOD.replace('zlib', 'Zlib')}\n",
        f"pyrsia lock conan v1\napp 1.0 source~{'2' * 64} {'1' * 64} 12\n",
        f"pyrsia lock conan v1\nzzz 1 {A}~conanfile.py {'1' * 64} 1\n{GOOD}\n",
        f"pyrsia lock conan v1\n{GOOD}é\n",
    ],
)
def test_what_is_not_written_so_is_no_lock(text):
    with pytest.raises(Malformed):
        lock.decode(text.encode())
