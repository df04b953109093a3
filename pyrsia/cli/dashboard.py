"""`dashboard`: the Textual dashboard, or the same as text, once."""

import sys

import click

from pyrsia.cli.tell import node_option
from pyrsia.client import resolve
from pyrsia.errors import Refusal


@click.command()
@node_option
@click.option("--once", is_flag=True, help="Print one picture as text and exit; so it is without a terminal.")
def dashboard(target: str | None, once: bool) -> None:
    """Live peers, log head, newest entries and builds; q quits."""
    try:
        from pyrsia_tui.app import run
        from pyrsia_tui.once import print_once
    except ImportError:
        raise Refusal(
            "unavailable",
            what="the dashboard is not installed",
            who="this installation",
            do="install it with: pip install 'pyrsia[tui]'",
        ) from None
    if once or not sys.stdout.isatty():
        print_once(resolve(target))
    else:
        run(resolve(target))
