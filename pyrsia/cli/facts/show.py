"""`facts show` and `facts list`: facts about one thing, and the newest about anything."""

from collections.abc import Iterator
from typing import Any, Final

import click

from pyrsia.cli.facts.add import KINDS
from pyrsia.cli.facts.words import about, files_of, state, subject_of, what
from pyrsia.cli.log.when import as_of_option, moment, told
from pyrsia.cli.naming import by
from pyrsia.cli.tell import examples, json_option, node_option, table, tell
from pyrsia.client import Client

kind_option = click.option("--kind", type=click.Choice(KINDS), help="Only facts of this kind.")
_STANDING: Final = ("stands", "to-come")


@click.command(
    epilog=examples(
        "pyrsia facts show pkg:pypi/idna",
        "pyrsia facts show pkg:pypi/idna@3.6 --kind advisory --as-of 2024-04-01",
        "pyrsia facts show sha256:...",
    )
)
@click.argument("subject", metavar="PURL|sha256:HEX")
@as_of_option
@kind_option
@click.option("--all", "every", is_flag=True, help="Those too that were replaced or taken back.")
@node_option
@json_option
def show(
    subject: str, as_of: str | None, kind: str | None, every: bool, target: str | None, as_json: bool
) -> None:
    """What stands about a package, a version or a file: now, or at a size or a time of the log.

    Of a purl with a version are shown the facts that mean it or may, and those about its files; without one all of the
    package.
    """
    from pyrsia.cli.facts.pages import Pages

    query: dict[str, str | int] = {"of": subject_of(subject), **moment(as_of)}
    with Client(target) as node:
        found = Pages(node, query | ({"kind": kind} if kind else {}))
        rows = [row for row in found if every or row["state"] in _STANDING]
    value = {
        "subject": query["of"], "size": found.size, "time_ms": found.time_ms, "whole": found.whole, "facts": rows,
    }  # fmt: skip
    tell(value, as_json=as_json, text=lambda: _lines(value, every=every))


def _lines(value: dict[str, Any], *, every: bool) -> Iterator[str]:
    rows = value["facts"]
    if rows:
        yield from table(
            ((*cells(row)[:-1], about(row["subject"], row["body"]), cells(row)[-1]) for row in rows), _ABOUT
        )
        yield from files_of(row["subject"] for row in rows if row["subject"] != value["subject"])
    standing = sum(row["state"] == "stands" for row in rows)
    of = f" of {len(rows)}" if every or standing != len(rows) else ""
    said = f"{standing}{of} stand" if rows else "nothing is said"
    yield f"{said} about {value['subject']} among {value['size']:,} leaves, {told(value['time_ms'])}"
    if not value["whole"]:
        yield "this node does not have all of the log yet: there may be more"


@click.command("list", epilog=examples("pyrsia facts list", "pyrsia facts list --kind review -n 50"))
@click.option("-n", "--count", default=20, show_default=True, type=click.IntRange(1, 1_000), help="How many.")
@kind_option
@as_of_option
@node_option
@json_option
def list_facts(count: int, kind: str | None, as_of: str | None, target: str | None, as_json: bool) -> None:
    """The newest facts about anything, and words that take one back, the newest first."""
    rows = []
    with Client(target) as node:
        rows = newest(node, count, kind, moment(as_of))
    tell({"facts": rows}, as_json=as_json, text=lambda: _table(rows))


def newest(node: Client, count: int, kind: str | None, at: dict[str, int]) -> list[dict[str, Any]]:
    """So many, the newest first."""
    from itertools import islice

    from pyrsia.cli.facts.pages import pages

    query: dict[str, str | int] = {"order": "newest", "count": count, **at}
    return list(islice(pages(node, query | ({"kind": kind} if kind else {})), count))


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    if rows:
        yield from table(((*cells(row), row["subject"]) for row in rows), (*HEADER, "about"))
    else:
        yield "nothing is said"


HEADER: Final = ("leaf", "said", "kind", "by", "state", "what")
_ABOUT: Final = (*HEADER[:-1], "about", HEADER[-1])
_WIDE: Final = 90  # of what a fact says: a table that people read


def cells(row: dict[str, Any]) -> tuple[object, ...]:
    """A fact as a row of a table."""
    said = what(row)
    return (
        row["leaf"],
        told(row["time_ms"]),
        row["kind"],
        by(row),
        state(row),
        said if len(said) <= _WIDE else said[: _WIDE - 1] + "\u2026",
    )
