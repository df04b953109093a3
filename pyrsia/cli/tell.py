"""How the terminal is told: refusals in sentences, JSON for scripts, text of others made harmless."""

import io
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import click

from pyrsia.errors import PyrsiaError, Refusal
from pyrsia.wire.text import safe

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_LEAST_SENTENCE: Final = 16  # of a sentence that is cut, characters that still say something
_LEAST_BROKEN: Final = 10  # of one that goes on below: most words

node_option = click.option(
    "--node",
    "target",
    metavar="URL|DIR",
    help="The node to ask [PYRSIA_NODE, else yours, else the system's].",
)
trust_option = click.option(
    "--trust",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The network's trust file, believed for this call [the networks of `pyrsia trust list`].",
)


def examples(*lines: str) -> str:
    """What stands at the end of a command's help: lines to copy, as they are written here."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


json_option = click.option("--json", "as_json", is_flag=True, help="Answer as one line of JSON.")


def together(*options: Decorator) -> Decorator:
    """Options that several commands share, as one decorator; help lists them in the order that they have here."""

    def over(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return over


def run(command: click.Command, arguments: list[str]) -> int:
    """Run `command`; its exit code. Nothing but an exit code and sentences leaves here."""
    as_json = "--json" in arguments
    try:
        result = command.main(arguments, prog_name="pyrsia", standalone_mode=False)
    except Refusal as refusal:
        tell_refusal(refusal, as_json=as_json)
        return refusal.answer.exit
    except click.ClickException as error:
        if as_json and not isinstance(error, click.exceptions.NoArgsIsHelpError):
            tell_refusal(_spoken(error), as_json=True)
        else:
            _show(error)
        return error.exit_code
    except PyrsiaError as error:
        tell_refusal(_world("unavailable", str(error)), as_json=as_json)
        return 1
    except ImportError as error:
        if error.name != "pyrsia._native":
            raise
        tell_refusal(_unbuilt(str(error)), as_json=as_json)
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("pyrsia: stopped", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        tell_refusal(_world("unavailable", f"{error.strerror or error}{where}"), as_json=as_json)
        return 1
    return result if isinstance(result, int) else 0


def _show(error: click.ClickException) -> None:
    """As click does, but for what a stranger's text in an argument would do to the terminal."""
    shown = io.StringIO()
    error.show(file=shown)
    for line in shown.getvalue().splitlines():
        click.echo(safe(line), err=True)


def _spoken(error: click.ClickException) -> Refusal:
    usage = error.exit_code == 2
    return Refusal(
        "usage" if usage else "internal",
        what=error.format_message(),
        who="your command" if usage else "this command",
        do="see it with --help",
    )


def _world(code: str, what: str) -> Refusal:
    return Refusal(code, what=what, who="this machine", do="correct that and try again")


def _unbuilt(said: str) -> Refusal:
    """What the compiled part says when it cannot work: what is wrong, and behind a semicolon what to do."""
    what, _, do = said.partition("; ")
    return Refusal("config-invalid", what=what, who="this installation", do=do)


def tell_refusal(refusal: Refusal, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": refusal.as_dict()}))
        return
    click.echo(f"pyrsia: {safe(refusal.what)}", err=True)
    click.echo(f"  who: {safe(refusal.who)}", err=True)
    click.echo(f"  do:  {safe(refusal.do)}", err=True)


def tell(value: Any, *, as_json: bool, text: Callable[[], Iterable[str]]) -> None:
    """Print `value` as one line of JSON, or the lines of `text`, neutralised.

    JSON is ASCII: its escapes mean the same to scripts, and nothing of a stranger's reaches a terminal raw.
    """
    if as_json:
        click.echo(json.dumps(value, sort_keys=True))
        return
    for line in text():
        click.echo(safe(line))


def width() -> int:
    """Of the terminal; whoever reads through a pipe gets everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def table(
    rows: Iterable[Iterable[object]], header: Iterable[str], *, whole: bool = False, indent: int = 0
) -> list[str]:
    """Aligned columns, two spaces between them. On a terminal that is narrower, sentences are cut to fit; names,
    numbers and ids never are.

    Args:
        whole: sentences go on below instead of being cut: they are what is asked for.
        indent: columns that the caller leaves free on the left.
    """
    lines = [[safe(str(cell)) for cell in row] for row in rows]
    head = list(header)
    columns = [[line[i] for line in lines] for i in range(len(head))]
    widths = [max([len(name), *map(len, cells)]) for name, cells in zip(head, columns, strict=True)]
    sentences = [
        i for i, cells in enumerate(columns) if max((cell.count(" ") for cell in cells), default=0) > 1
    ]
    over = sum(widths) + 2 * len(widths) - 2 - (width() - indent)
    while over > 0 and sentences:
        widest = max(sentences, key=widths.__getitem__)
        if widths[widest] <= (_LEAST_BROKEN if whole else _LEAST_SENTENCE):
            break
        widths[widest] -= 1
        over -= 1
    if whole:
        lines = [list(part) for line in lines for part in _broken(line, widths)]
    return [
        "  ".join(_fit(cell, size) for cell, size in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    ]


def _broken(line: Sequence[str], widths: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """The lines that a row takes where each cell is broken between words."""
    cells = [
        textwrap.wrap(cell, size, break_on_hyphens=False) if len(cell) > size else [cell]
        for cell, size in zip(line, widths, strict=True)
    ]
    return zip_longest(*cells, fillvalue="")


def _fit(cell: str, size: int) -> str:
    return cell.ljust(size) if len(cell) <= size else cell[: size - 1] + "\u2026"
