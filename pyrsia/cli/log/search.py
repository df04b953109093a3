"""`log search`: entries by type, author, package, time, verdict and text, now or as the log was."""

import json
import re
from typing import Any, Final

import click

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.log.common import Progress
from pyrsia.cli.log.when import Time, moment, told
from pyrsia.cli.tell import json_option, node_option, table
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.ledger.entries import VERDICTS
from pyrsia.ledger.matching import KINDS
from pyrsia.units import MAX_API_ROWS, Limit
from pyrsia.wire.text import safe

MAX_PAGES = Limit(1_000_000, "pages of 20,000 looked-at leaves: a search through any log that one node holds")
_PARAMETER: Final = re.compile(r"the parameter `(\w+)`")
_OPTIONS: Final = {name: f"--{name}" for name in ("type", "author", "purl", "verdict", "since", "until")} | {
    "text": "the text",
    "as_of": "--as-of",
    "as_of_time": "--as-of",
}
_ADVICE: Final = {
    "purl": "write --purl pkg:pypi/idna, with * and ? for any characters and any one",
    "type": f"write --type with one of {', '.join(sorted(KINDS))}",
    "verdict": f"write --verdict with one of {', '.join(sorted(VERDICTS))}",
    "text": "write a shorter text, of at least one character",
}
_COLUMNS: Final = ("index", "time", "type", "what")


@click.command()
@click.argument("text", required=False)
@click.option(
    "--type", "kinds", multiple=True, metavar="TYPE", help="An entry type, such as fact.add. Repeatable."
)
@click.option("--author", metavar="NODE|NAME", help="Who signed it: node id, or a member's name.")
@click.option("--purl", metavar="GLOB", help="A package, with or without a version; * and ? are wildcards.")
@click.option("--verdict", "verdicts", multiple=True, metavar="WORD", help="Such as DIVERGED. Repeatable.")
@click.option("--since", type=Time(), help="From this block time on: a date, a date and time, or 2h ago.")
@click.option("--until", type=Time(), help="Up to this block time.")
@click.option("--as-of", metavar="SIZE|TIME", help="As if the log ended there.")
@click.option("--oldest", is_flag=True, help="Oldest first instead of newest first.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 1_000_000), help="Entries at most."
)
@node_option
@json_option
def search(
    text: str | None,
    kinds: tuple[str, ...],
    author: str | None,
    purl: str | None,
    verdicts: tuple[str, ...],
    since: int | None,
    until: int | None,
    as_of: str | None,
    oldest: bool,
    limit: int,
    target: str | None,
    as_json: bool,
) -> None:
    """Entries with TEXT in them or in their line, and with what the options say; all of it must hold.

    The answer is the node's word; `log prove INDEX` proves an entry. With --json each entry is a line.
    """
    query: dict[str, str | int | None] = {
        "text": text,
        "type": ",".join(kinds) or None,
        "author": author,
        "purl": purl,
        "verdict": ",".join(verdicts) or None,
        "since": since,
        "until": until,
        "order": "oldest" if oldest else "newest",
    }
    query |= moment(as_of)
    wanted = {name: value for name, value in query.items() if value is not None}
    progress = Progress("looked at")
    try:
        with Client(target) as node:
            rows, nothing = _rows(node, wanted, limit, progress)
    except Refusal as refusal:
        raise _of_options(refusal) from None
    finally:
        progress.end()
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, sort_keys=True))
        return
    if not rows:
        click.echo(nothing)
        return
    for line in table(
        ((one["index"], told(one["time_ms"]), one["kind"], one["summary"]) for one in rows), _COLUMNS
    ):
        click.echo(safe(line))


def _rows(
    node: Client, query: dict[str, str | int], limit: int, progress: Progress
) -> tuple[list[dict[str, Any]], str]:
    """Page after page, all of one size of the log, until `limit` or the end; and what to say if none came."""
    rows: list[dict[str, Any]] = []
    looked_at, nothing = 0, "nothing found"
    for _ in range(MAX_PAGES.value):
        page = shaped(
            node.get("/api/v1/log/entries", **query, count=min(limit - len(rows), MAX_API_ROWS.value)),
            answers.Page,
        )
        rows += page["entries"][: limit - len(rows)]
        looked_at += page["scanned"]
        progress(looked_at, page["size"])
        if len(rows) >= limit or not _goes_on(page["next"], query):
            nothing = f"nothing found in the log up to size {page['size']:,}"
            if page["next"] >= 0:
                nothing += f", of which the node looked at {looked_at:,} entries and does not go on"
            break
        query = query | {"first": page["next"]}
        if "as_of" not in query and "as_of_time" not in query:
            query["as_of"] = page["size"]
    return rows, nothing


def _goes_on(following: int, query: dict[str, str | int]) -> bool:
    """Whether there is a page behind this one; a node that sends us round in circles has none."""
    here = query.get("first")
    if following < 0 or not isinstance(here, int):
        return following >= 0
    return following > here if query["order"] == "oldest" else following < here


def _of_options(refusal: Refusal) -> Refusal:
    """A no about a parameter of the API, said about the option that it came from."""
    named = _PARAMETER.search(refusal.what)
    if refusal.code != "bad-request":
        return refusal
    what, do = refusal.what, "correct the option: pyrsia log search --help"
    if named is not None:
        option = _OPTIONS.get(named[1], named[1])
        what = what.replace(named[0], option)
        do = _ADVICE.get(named[1], do)
    elif what.startswith("no member is called"):
        do = "write --author <node id>, or a name from `pyrsia peers`"
    elif "never as long" in what:
        do = "write --as-of <a size that `pyrsia log show` tells, or a smaller one>"
    elif "log" in what:  # of a moment that was not, or is not yet
        do = refusal.do
    return Refusal("usage", what=what, who="your command", do=do)
