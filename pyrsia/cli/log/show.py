"""`log show`: the newest entries, or those from an index on."""

import click

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.log.when import told
from pyrsia.cli.tell import json_option, node_option, table, tell
from pyrsia.client import Client


@click.command()
@click.option(
    "-n",
    "--newest",
    default=20,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="How many entries to show.",
)
@click.option("--from", "first", type=click.IntRange(0), help="Begin at this index instead of the newest.")
@node_option
@json_option
def show(newest: int, first: int | None, target: str | None, as_json: bool) -> None:
    """Size, root and entries: the newest, or those from --from on."""
    with Client(target) as node:
        head = shaped(node.get("/api/v1/log/head"), answers.Head)
        begin = max(0, head["size"] - newest) if first is None else first
        page = node.get("/api/v1/log/entries", first=begin, count=newest)
    entries = shaped(page, answers.Entries)["entries"]
    value = {"size": head["size"], "root": head["root"], "entries": entries}
    rows = [(one["index"], told(one["time_ms"]), one["kind"], one["summary"]) for one in entries]

    def lines() -> list[str]:
        return [f"size {head['size']}  root {head['root']}", *table(rows, ("index", "time", "type", "what"))]

    tell(value, as_json=as_json, text=lines)
