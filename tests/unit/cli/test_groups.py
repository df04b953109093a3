"""What every group of commands tells: whole sentences, and what was meant by a slip of the fingers."""

import click
import pytest
from click.testing import CliRunner

from pyrsia.cli.main import cli
from tests.unit.cli.test_main import every_command

GROUPS = {(): cli} | {path: one for path, one in every_command() if isinstance(one, click.Group)}


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_the_list_of_a_group_says_each_sentence_to_its_end_however_narrow_the_terminal(path):
    told = CliRunner().invoke(cli, [*path, "--help"], terminal_width=60)
    assert told.exit_code == 0
    listed = told.output.partition("\n\n")[2]
    assert not [line for line in listed.splitlines() if line.endswith("...")]


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_a_slip_of_the_fingers_is_told_the_command_that_was_meant(path):
    names = GROUPS[path].list_commands(click.Context(GROUPS[path]))
    name = max(names, key=len)
    slip = name[:-1]
    told = CliRunner().invoke(cli, [*path, slip])
    assert told.exit_code == 2
    assert name in told.output
    assert "Did you mean" in told.output


def test_what_is_like_nothing_is_no_guess():
    told = CliRunner().invoke(cli, ["xyzzy"])
    assert told.exit_code == 2
    assert "No such command 'xyzzy'" in told.output
    assert "Did you mean" not in told.output
