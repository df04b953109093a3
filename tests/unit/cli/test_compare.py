"""`build compare` on the terminal: its words, its exit code, its JSON."""

import json

import pytest

from pyrsia.builds.explain.comparing import Compared, Side
from pyrsia.builds.explain.report import Differing, Pair
from pyrsia.cli import compare

SIDES = (Side("a.tar", "tar@1", ("tar-time:2",)), Side("b\x1b.tar", "tar@1", ()))
PAIR = Pair("a.tar", "A", "B", 3, (Differing("x/y", "content", "date", (("1", "2"),)),))


@pytest.fixture
def ask(pyrsia, tmp_path, monkeypatch):
    (tmp_path / "a.tar").touch()

    def call(found, *more):
        async def made(first, second, kind):
            return found

        monkeypatch.setattr(compare, "_compare", made)
        return pyrsia("build", "compare", tmp_path / "a.tar", tmp_path / "a.tar", *more)

    return call


@pytest.mark.parametrize(("result", "code"), [("identical", 0), ("equivalent", 0), ("different", 1)])
def test_the_exit_code_says_whether_they_differ(ask, result, code):
    pair = PAIR if result == "different" else None
    assert ask(Compared(result, SIDES, pair))[0] == code
    answer, out, _ = ask(Compared(result, SIDES, pair), "--json")
    assert answer == code
    assert json.loads(out)["result"] == result


def test_what_was_taken_away_and_what_differs_is_told(ask):
    _, out, _ = ask(Compared("different", SIDES, PAIR, ("a story",)))
    assert "a.tar  tar@1 took away tar-time:2" in out
    assert "1 of 3 files differ" in out
    assert "x/y: a date or a time" in out
    assert "\x1b" not in out


def test_files_that_cannot_be_compared_by_member_have_their_story_told(ask):
    _, out, _ = ask(Compared("different", SIDES, Pair("a.tar", "A", "B", note="two kinds"), ("a story",)))
    assert "a story" in out


def test_a_file_that_is_not_there_is_a_matter_of_usage(pyrsia, tmp_path):
    assert pyrsia("build", "compare", tmp_path / "absent", tmp_path / "absent")[0] == 2
