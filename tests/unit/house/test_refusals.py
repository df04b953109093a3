"""Every refusal code reads the same in the terminal, in JSON and over HTTP."""

import json

import click
import pytest

from pyrsia.cli.tell import run, tell_refusal
from pyrsia.errors import ANSWERS, MAX_TOLD, Refusal, first_cause, usage


def refusal(code: str) -> Refusal:
    return Refusal(code, what="the lock is not the same", who="builder amber", do="ask again")


@pytest.mark.parametrize("code", sorted(ANSWERS))
def test_every_code_tells_what_who_and_do_in_the_terminal(code, capsys):
    tell_refusal(refusal(code), as_json=False)

    lines = capsys.readouterr().err.splitlines()
    assert lines == ["pyrsia: the lock is not the same", "  who: builder amber", "  do:  ask again"]


@pytest.mark.parametrize("code", sorted(ANSWERS))
def test_every_code_survives_its_json_form(code, capsys):
    tell_refusal(refusal(code), as_json=True)

    fields = json.loads(capsys.readouterr().out)["error"]
    assert Refusal.from_dict(fields).as_dict() == refusal(code).as_dict()


@pytest.mark.parametrize(("code", "answer"), sorted(ANSWERS.items()))
def test_every_code_has_an_http_error_status_and_an_exit_code_of_its_own(code, answer):
    assert 400 <= answer.http <= 599
    assert answer.exit in (1, 2, 3)


@pytest.mark.parametrize("code", sorted(ANSWERS))
def test_every_code_ends_the_command_with_its_exit_code(code, capsys):
    @click.command()
    def refuse() -> None:
        raise refusal(code)

    assert run(refuse, []) == ANSWERS[code].exit
    assert "who: builder amber" in capsys.readouterr().err


def test_an_unknown_code_is_a_bug_of_the_caller():
    with pytest.raises(ValueError, match="is not a refusal code"):
        refusal("no-such-code")


def test_terminal_escapes_in_a_strangers_words_are_neutralised(capsys):
    hostile = Refusal("not-found", what="no \x1b[31mpackage\x1b[0m \u202eevil", who="x", do="y")

    tell_refusal(hostile, as_json=False)

    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_what_a_stranger_says_in_a_refusal_is_cut_and_harmless():
    long = Refusal.from_dict(
        {"code": "busy", "what": "w" * 1_000_000, "who": "\x1b" * 5_000, "do": "a\x1b[2Jb"}
    )
    assert long.what == "w" * (MAX_TOLD - 1) + "\u2026"
    assert len(long.who) == MAX_TOLD
    assert "\x1b" not in str(long)
    assert long.do == "a\\x1b[2Jb"
    whole = {"code": "busy", "what": "w" * MAX_TOLD, "who": "the peer", "do": "one\nanother"}
    assert Refusal.from_dict(whole).as_dict() == whole


def test_what_began_a_group_of_groups_is_found_and_an_error_alone_is_itself():
    began = OSError("the disk")
    inner = ExceptionGroup("inner", [began, ValueError("later")])
    assert first_cause(ExceptionGroup("outer", [inner, KeyError("last")])) is began
    assert first_cause(BaseExceptionGroup("ended", [KeyboardInterrupt()])).__class__ is KeyboardInterrupt
    assert first_cause(began) is began


def test_a_command_that_cannot_be_meant_is_the_callers_own_mistake():
    refusal = usage("it is written twice", "write it once")
    assert (refusal.code, refusal.who, refusal.answer.exit) == ("usage", "your command", 2)
