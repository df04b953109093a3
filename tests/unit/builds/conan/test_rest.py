"""The Conan 2 REST API as a pure function of what is held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.builds.conan import names, rest
from pyrsia.builds.conan.names import Place, Ref

ZLIB = Ref("zlib", "1.3")
TEAM = Ref("zlib", "1.3", "team", "stable")
OLD, NEW, PREV, PID = "0" * 32, "1" * 32, "2" * 32, "3" * 40


def recipe(rrev: str) -> list[str]:
    return [str(Place(rrev, file)) for file in names.RECIPE_FILES]


def package(rrev: str, prev: str = PREV) -> list[str]:
    return [str(Place(rrev, file, PID, prev)) for file in names.PACKAGE_FILES]


HELD = {
    ZLIB: [(name, 1_000) for name in recipe(OLD)] + [(name, 2_500) for name in [*recipe(NEW), *package(NEW)]],
    TEAM: [(name, 3_000) for name in recipe(OLD)],
}


def asked(path: str, held=HELD, **query: str) -> rest.Answer:
    return rest.answer(path, query, lambda: held, lambda ref: rest.Shelf(held.get(ref, ())))


R = "v2/conans/zlib/1.3/_/_"


@pytest.mark.parametrize("path", ["v1/ping", "v2/ping"])
def test_a_ping_is_answered(path):
    assert asked(path) == rest.Pong()


def test_the_newest_recipe_is_the_latest_and_all_are_listed():
    assert asked(f"{R}/latest") == rest.Json({"revision": NEW, "time": "1970-01-01T00:00:02.500000+00:00"})
    listed = asked(f"{R}/revisions")
    assert isinstance(listed, rest.Json)
    assert [row["revision"] for row in listed.value["revisions"]] == [NEW, OLD]


def test_of_two_recipes_of_one_time_the_later_one_in_the_log_is_the_latest():
    held = {ZLIB: [(name, 5) for name in [*recipe(NEW), *recipe(OLD)]]}

    assert asked(f"{R}/latest", held).value["revision"] == OLD


def test_files_are_listed_and_named_with_their_place():
    assert asked(f"{R}/revisions/{NEW}/files").value == {
        "files": {name: {} for name in sorted(names.RECIPE_FILES)}
    }
    assert asked(f"{R}/revisions/{NEW}/files/conanfile.py") == rest.Held(ZLIB, Place(NEW, "conanfile.py"))
    at = f"{R}/revisions/{NEW}/packages/{PID}"
    assert asked(f"{at}/latest").value["revision"] == PREV
    assert [row["revision"] for row in asked(f"{at}/revisions").value["revisions"]] == [PREV]
    assert set(asked(f"{at}/revisions/{PREV}/files").value["files"]) == set(names.PACKAGE_FILES)
    whole = asked(f"{at}/revisions/{PREV}/files/conan_package.tgz")
    assert whole == rest.Held(ZLIB, Place(NEW, "conan_package.tgz", PID, PREV))


@pytest.mark.parametrize("lost", [names.CONANFILE, names.MANIFEST])
def test_half_a_recipe_is_not_shown(lost):
    half = {ZLIB: [(name, 1) for name in recipe(OLD) if not name.endswith(lost)]}

    for path in ("latest", "revisions", f"revisions/{OLD}/files", f"revisions/{OLD}/files/{names.EXPORT}"):
        assert isinstance(asked(f"{R}/{path}", half), rest.Missing)


@pytest.mark.parametrize("lost", names.PACKAGE_FILES)
def test_half_a_package_is_not_shown_and_its_recipe_is(lost):
    half = {
        ZLIB: [(name, 1) for name in [*recipe(OLD), *package(OLD)] if not name.endswith(f"{PREV}~{lost}")]
    }
    at = f"{R}/revisions/{OLD}/packages/{PID}"

    assert isinstance(asked(f"{at}/latest", half), rest.Missing)
    assert isinstance(asked(f"{at}/revisions/{PREV}/files", half), rest.Missing)
    assert asked(f"{R}/revisions/{OLD}/search", half, list_only="True") == rest.Json({})
    assert asked(f"{R}/latest", half).value["revision"] == OLD


def test_packages_are_found_by_their_settings_or_their_ids_alone():
    assert asked(f"{R}/search", list_only="True") == rest.Json({PID: {}})
    told = asked(f"{R}/revisions/{NEW}/search", list_only="False")
    assert told == rest.Infos(ZLIB, {PID: Place(NEW, names.INFO, PID, PREV)})
    assert asked(f"{R}/revisions/{OLD}/search") == rest.Infos(ZLIB, {})


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["zlib/1.3", "zlib/1.3@team/stable"]),
        ("zlib/1.3", ["zlib/1.3"]),
        ("ZLIB*", ["zlib/1.3", "zlib/1.3@team/stable"]),
        ("*@team*", ["zlib/1.3@team/stable"]),
        ("png", []),
    ],
)
def test_recipes_are_found_by_a_pattern(pattern, found):
    assert asked("v2/conans/search", q=pattern) == rest.Json({"results": found})


@pytest.mark.parametrize("pattern", ["a" * 201, "*a*a*a*a*a", "[a-z]*", "a\n"])
def test_a_pattern_that_costs_too_much_is_refused(pattern):
    assert isinstance(asked("v2/conans/search", q=pattern), rest.Missing)


def test_a_user_and_channel_are_another_package():
    assert asked("v2/conans/zlib/1.3/team/stable/latest").value["revision"] == OLD
    assert isinstance(asked("v2/conans/zlib/1.3/team/_/latest"), rest.Missing)


@given(path=st.text(max_size=200) | st.lists(st.text(max_size=12), max_size=14).map("/".join))
def test_whatever_is_asked_there_is_an_answer_and_no_file_that_is_not_held(path):
    for start in ("", "v2/conans/", f"{R}/revisions/{NEW}/"):
        answer = asked(start + path)
        if isinstance(answer, rest.Held):
            assert str(answer.place) in dict(HELD[answer.ref])
        else:
            assert isinstance(answer, rest.Pong | rest.Json | rest.Infos | rest.Missing)
