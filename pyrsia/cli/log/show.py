"""`log show`: the newest entries, or those from an index on."""

from typing import Any

import click

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.log.when import as_of_option, moment, told
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
@as_of_option
@node_option
@json_option
def show(newest: int, first: int | None, as_of: str | None, target: str | None, as_json: bool) -> None:
    """Size, root and entries: the newest, or those from --from on; with --as-of those of the log of then."""
    with Client(target) as node:
        head, entries = _then(node, newest, first, moment(as_of)) if as_of else _now(node, newest, first)
    value = {"size": head["size"], "root": head["root"], "entries": entries}
    rows = [(one["index"], told(one["time_ms"]), one["kind"], one["summary"]) for one in entries]

    def lines() -> list[str]:
        return [f"size {head['size']}  root {head['root']}", *table(rows, ("index", "time", "type", "what"))]

    tell(value, as_json=as_json, text=lines)


def _now(node: Client, newest: int, first: int | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    head = shaped(node.get("/api/v1/log/head"), answers.Head)
    begin = max(0, head["size"] - newest) if first is None else first
    page = node.get("/api/v1/log/entries", first=begin, count=newest)
    return head, shaped(page, answers.Entries)["entries"]


def _then(
    node: Client, newest: int, first: int | None, at: dict[str, int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    begin = {} if first is None else {"first": first}
    page = shaped(node.get("/api/v1/log/entries", **begin, **at, count=newest), answers.Page)
    return page, page["entries"]
