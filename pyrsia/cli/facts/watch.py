"""`facts watch`: facts as the log gets them."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import click

from pyrsia.cli.facts.add import KINDS
from pyrsia.cli.facts.show import kind_option, newest
from pyrsia.cli.facts.words import state, what
from pyrsia.cli.log.when import told
from pyrsia.cli.naming import by
from pyrsia.cli.tell import examples, json_option, node_option
from pyrsia.client import Client, typed
from pyrsia.errors import Refusal
from pyrsia.wire.text import safe

AGAIN_S: Final = 2.0  # before a node that went away is asked again
LONGEST_S: Final = 60.0  # whatever a busy node asks for
_NEWEST: Final = 10
_KIND: Final = max(map(len, KINDS))  # of the column
_AWAY: Final = {  # what is waited for
    "busy": "is busy",
    "not-running": "does not answer",
    "unavailable": "cannot answer now",
}


@click.command(
    epilog=examples(
        "pyrsia facts watch --follow",
        "pyrsia facts watch --follow --kind advisory --purl 'pkg:pypi/*'",
        "pyrsia facts watch --since 1200 --json",
    )
)
@click.option(
    "-f", "--follow", is_flag=True, help="Stay, and print what comes; a node that restarts is waited for."
)
@kind_option
@click.option("--purl", metavar="GLOB", default="", help="Only about these packages; * and ? are wildcards.")
@click.option("--since", type=click.IntRange(0), metavar="LEAF", help="Begin behind this leaf.")
@node_option
@json_option
def watch(
    follow: bool, kind: str | None, purl: str, since: int | None, target: str | None, as_json: bool
) -> None:
    """Facts as the log gets them, and what takes one back, a line each; with --json a line of JSON each.

    Without --follow those since a leaf, or the newest ten, and an end. With --follow and without --since, what comes
    from now on.
    """
    with Client(target) as node:
        if follow:
            _follow(node, kind or "", purl, since, as_json=as_json)
        for row in _until_now(node, kind, purl, since):
            _show(row, as_json=as_json)


def _until_now(node: Client, kind: str | None, purl: str, since: int | None) -> list[dict[str, Any]]:
    from pyrsia.cli.facts.pages import Pages

    if since is None:
        rows = list(reversed(newest(node, _NEWEST, kind, {})))
    else:
        query: dict[str, str | int] = {"first": since + 1, "order": "oldest"}
        found = Pages(node, query | ({"kind": kind} if kind else {}))
        rows = list(found)
        if since >= found.size:
            raise Refusal(
                "usage",
                what=f"this node's log has {found.size:,} leaves, and leaf {since} is beyond its end",
                who="your command",
                do="leave --since out for the newest; `pyrsia status` tells the size",
            )
    return [row for row in rows if not purl or _matches(purl, row["subject"])]


def _matches(glob: str, subject: str) -> bool:
    from pyrsia.errors import Malformed
    from pyrsia.ledger.matching import PurlGlob

    try:
        return PurlGlob.parse(glob).matches(subject)
    except Malformed as error:
        raise click.BadParameter(f"{glob}: {error}") from None


def _follow(node: Client, kind: str, purl: str, since: int | None, *, as_json: bool) -> None:
    """Until interrupted. Where a connection ends it goes on behind the last leaf that was shown: nothing is lost."""
    from pyrsia.serve.desks.knowing import FactRow

    query: dict[str, str | int] = {name: value for name, value in (("kind", kind), ("purl", purl)) if value}
    after = since if since is not None else _end(node)
    away = False
    while True:
        for line in _lines(node, {**query, "after": after}):
            if isinstance(line, Refusal):
                if not away:
                    click.echo(f"the node {_AWAY[line.code]}; waiting for it", err=True)
                away = True
                time.sleep(min(max(AGAIN_S, line.retry_s), LONGEST_S))
                break
            away = False
            row = typed(_json(line), FactRow)
            after = max(after, row.leaf)
            _show(_plain(row), as_json=as_json)
            sys.stdout.flush()


def _lines(node: Client, query: dict[str, str | int]) -> Iterator[bytes | Refusal]:
    """Lines of the feed, and why it ended if that passes.

    Raises:
        Refusal: the node's, which waiting does not change.
    """
    try:
        yield from node.get_lines("/api/v1/facts/follow", **query)
    except Refusal as refusal:
        if refusal.code not in _AWAY:
            raise
        yield refusal


def _end(node: Client) -> int:
    """The newest leaf: what comes is behind it, across a lost connection too."""
    from pyrsia.cli.answers import Head, shaped

    size: int = shaped(node.get("/api/v1/log/head"), Head)["size"]
    return max(0, size - 1)


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _plain(row: Any) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(row)
    return found


def _show(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(row, sort_keys=True))
        return
    comes = f", {state(row)}" if row["state"] == "to-come" else ""
    line = f"{row['leaf']:>8}  {told(row['time_ms'])}  {row['kind']:<{_KIND}} {row['subject']}"
    click.echo(safe(f"{line}  {what(row)}, says {by(row)}{comes}"))
