"""How the terminal is told: refusals in sentences, JSON for scripts, text of others made harmless."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from pyrsia.errors import PyrsiaError, Refusal
from pyrsia.wire.text import safe

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
            error.show()
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


def table(rows: Iterable[Iterable[object]], header: Iterable[str]) -> list[str]:
    """Aligned columns, two spaces between them."""
    lines = [[safe(str(cell)) for cell in row] for row in rows]
    head = list(header)
    widths = [max([len(head[i]), *(len(line[i]) for line in lines)]) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    ]
