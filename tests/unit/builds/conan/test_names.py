"""References and published file names of Conan packages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.conan import names
from pyrsia.builds.conan.names import Place, Ref
from pyrsia.errors import Malformed

RREV, PREV, PID = "a1" * 16, "b2" * 16, "c3" * 20
words = st.from_regex(r"\A[a-z0-9_][a-z0-9_+.-]{1,20}\Z").filter(lambda text: text != "_")


@given(name=words, version=words, user=st.none() | words, channel=st.none() | words)
def test_a_reference_reads_back_from_every_way_of_writing_it(name, version, user, channel):
    ref = Ref(name, version, user or "_", (channel or "_") if user else "_")

    assert names.parse(str(ref)) == ref
    assert names.titled(ref.title, ref.version) == ref
    assert names.from_namespace(ref.namespace, ref.name, ref.version) == ref


@pytest.mark.parametrize(
    "text",
    [
        *("", "zlib", "zlib/", "/1", "Zlib/1.3", "zlib/1.3@", "zlib/1 3", "zlib/1.3@/stable", "z/1"),
        *("zlib/1.3\n", "../etc/1", "zlib/..%2f", "zlib/1.3@User"),
    ],
)
def test_what_conan_would_not_take_is_no_reference(text):
    with pytest.raises(Malformed):
        names.parse(text)


def test_a_channel_needs_a_user():
    with pytest.raises(Malformed, match="channel without a user"):
        names.ref("zlib", "1.3", "_", "stable")


@pytest.mark.parametrize("file", names.RECIPE_FILES)
def test_a_recipes_file_has_its_revision_in_its_name(file):
    place = Place(RREV, file)

    assert str(place) == f"{RREV}~{file}"
    assert names.place(str(place)) == place


@pytest.mark.parametrize("file", names.PACKAGE_FILES)
def test_a_packages_file_has_all_three_revisions_in_its_name(file):
    place = Place(RREV, file, PID, PREV)

    assert str(place) == f"{RREV}~{PID}~{PREV}~{file}"
    assert names.place(str(place)) == place


@pytest.mark.parametrize(
    "text",
    [
        "conanfile.py",
        f"{RREV}~other.py",
        f"{RREV}~{names.PACKAGE}",
        f"{RREV}~{PID}~{PREV}~{names.CONANFILE}",
        f"{RREV}~{PREV}~{PID}~{names.PACKAGE}",
        f"{RREV.upper()}~{names.CONANFILE}",
        f"{RREV}~{PID}~{names.PACKAGE}",
        f"{RREV}~~{names.CONANFILE}",
        f"{RREV}~{names.CONANFILE}\n",
    ],
)
def test_a_name_that_is_not_written_here_is_none(text):
    with pytest.raises(Malformed):
        names.place(text)
