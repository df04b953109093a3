"""Every `pyrsia ...` line that a page, the README or a help text shows is one that the command understands.

Lines are parsed by the commands' own parsers and nothing is run: that a command and its options exist, that options
have their values, and that arguments are as many as are taken. Words in capitals, in brackets and `...` stand for what
a reader puts in or leaves out.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import pyrsia
from pyrsia.cli.main import cli, rewrite

ROOT = Path(pyrsia.__file__).parents[1]
PAGES = sorted(["README.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))])
# With the names of its help option: a command keeps the one that it was first asked for, in this whole process.
TOP = click.Context(cli, info_name="pyrsia", **cli.context_settings)
ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1"}
FORMATS = re.compile(r"pyrsia (?:lock [a-z]+|v1|seal|header) ?")  # first lines of files, not commands
FREE = re.compile(r"\.\.\.|…|[A-Z][A-Z0-9_|=-]*|<.*>|\[.*|\$.*")


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """Commands of a page, and whether each is a line to copy: prose may name a command without its arguments."""
    fenced = False
    joined = text.replace("\\\n", " ").splitlines()
    for line in joined:
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif FORMATS.match(line.strip(" `|")):
            continue
        elif fenced or line.startswith("    "):
            for found in re.finditer(
                r"(?:^|&& |\| |; |\$\()\s*(?:\$ |sudo )?(?:\S*/bin/)?(pyrsia(?: .*)?)$", line
            ):
                yield found[1], True
        else:
            yield from (
                (found[1], False)
                for found in re.finditer(r"`(pyrsia [^`]+)`", line)
                if not FORMATS.match(found[1])
            )


def words(line: str) -> list[str]:
    """The arguments of the first command of a line, without its comment and the brackets of what may be left out."""
    bare = re.sub(r"(?<= )\[+(?=[-A-Z])|(?<=[a-zA-Z0-9])\]+(?= |$)", "", line)
    found = shlex.split(bare, comments=True)
    end = next((at for at, word in enumerate(found) if word in ENDS), len(found))
    return found[1:end]


def check(arguments: list[str], *, whole: bool) -> None:
    """Parse them as the command does, without running anything.

    Raises:
        click.UsageError: it would be refused.
    """
    command: click.Command = cli
    context = TOP
    rest = rewrite(arguments)
    while True:
        given, left, _ = command.make_parser(context).parse_args(list(rest))
        for param in command.params:
            told = given.get(param.name)
            if isinstance(param.type, click.Choice):
                for one in told if isinstance(told, (tuple, list)) else [told]:
                    if isinstance(one, str) and not FREE.fullmatch(one):
                        param.type.convert(one, param, context)
            missing = not isinstance(told, (str, bool, int)) and not told
            if whole and param.required and (told is None or missing or repr(told) == "Sentinel.UNSET"):
                raise click.MissingParameter(ctx=context, param=param)
        if not isinstance(command, click.Group):
            if left and not all(FREE.fullmatch(one) for one in left):
                raise click.UsageError(f"unexpected: {left}", context)
            return
        if not left or FREE.fullmatch(left[0]):
            if whole and not left and not command.invoke_without_command and "--help" not in rest:
                raise click.UsageError("a group alone does nothing", context)
            return
        found = command.get_command(context, left[0])
        if found is None:
            raise click.UsageError(f"no such command: {left[0]}", context)
        context = click.Context(found, parent=context, info_name=left[0])
        command, rest = found, left[1:]


def wrong(text: str) -> list[str]:
    """What a page shows and the command would refuse."""
    found = []
    for line, whole in lines(text):
        try:
            check(words(line), whole=whole)
        except click.BadOptionUsage as error:
            if whole or isinstance(error, click.NoSuchOption):
                found.append(f"{line}: {error.format_message()}")
        except click.UsageError as error:
            found.append(f"{line}: {error.format_message()}")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_understood(page: str) -> None:
    assert wrong((ROOT / page).read_text(encoding="utf-8")) == []


def test_the_pages_that_begin_with_a_command_show_some() -> None:
    shown = {page: len(list(lines((ROOT / page).read_text(encoding="utf-8")))) for page in PAGES}

    assert sum(shown.values()) > 300
    assert [page for page in ("README.md", "docs/consumers.md", "docs/policy.md", "docs/setup.md", "docs/exports.md")
            if shown[page] < 3] == []  # fmt: skip


def every_command(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        below = click.Context(found, parent=context, info_name=name)
        yield below.command_path, found
        if isinstance(found, click.Group):
            yield from every_command(found, below)


COMMANDS = dict(every_command(cli, TOP))
WITH_EXAMPLES = (
    "setup", "verify", "fetch", "keys token", "policy check", "policy explain", "policy show", "policy init",
    "export pip-requirements", "export maven-trusted-checksums", "export conan-lock", "export oci-digests",
)  # fmt: skip


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_help_of_a_command_shows_it_in_use(name: str) -> None:
    command = COMMANDS[f"pyrsia {name}"]
    shown = [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    told = command.get_help(click.Context(command, parent=TOP))

    assert any(line.startswith(f"pyrsia {name}") for line in shown)
    assert all(f"  {line}" in told for line in shown)  # as written: not wrapped into a paragraph
    assert max(len(line) for line in shown) <= 76  # with its margin in a terminal of 80 columns


def test_every_example_of_a_help_text_is_understood() -> None:
    text = "\n".join(
        f"    {re.split('   ', line.strip())[0]}"
        for command in COMMANDS.values()
        for line in (command.epilog or "").splitlines()
        if line.startswith("  ")
    )

    assert wrong(text) == []


def test_the_page_of_commands_has_every_command() -> None:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")

    assert [name for name in COMMANDS if f"| `{name}` |" not in page] == []
    named = re.findall(r"^\| `(pyrsia [^`]+)` \|", page, re.MULTILINE)
    assert [name for name in named if name not in COMMANDS] == []


@pytest.mark.parametrize(
    "line",
    [
        "pyrsia nonsense",
        "pyrsia setup pip --nonsense",
        "pyrsia setup nobody",
        "pyrsia setup pip --mode whatever",
        "pyrsia setup pip --mode",
        "pyrsia fetch",
        "pyrsia fetch one two",
        "pyrsia policy",
        "pyrsia export conan-lock --image",
    ],
)
def test_the_check_finds_what_a_command_would_refuse(line: str) -> None:
    assert len(wrong(f"```sh\n{line}\n```\n")) == 1


def test_a_line_behind_another_command_or_a_comment_is_read_as_it_is_meant() -> None:
    text = (
        "```sh\ncd x && pyrsia fetch PURL -o lib   # into a folder\n$ pyrsia log show | head --lines 3\n```\n"
    )

    assert [line.split("  ")[0] for line, _ in lines(text)] == [
        "pyrsia fetch PURL -o lib",
        "pyrsia log show | head --lines 3",
    ]
    assert wrong(text) == []
