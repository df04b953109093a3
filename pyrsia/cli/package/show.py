"""`package show`: all that a node can tell of a package and its versions, at a moment."""

from collections.abc import Iterator
from typing import Any, Final

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.log.when import moment, told
from pyrsia.cli.tell import examples, json_option, node_option, table, tell
from pyrsia.client import Client
from pyrsia.errors import Malformed
from pyrsia.wire import purl as purls

_HERE: Final = "downloads here"  # others count their own
_COLUMNS: Final = ("version", "verdict", "now", "agree", "disagree", "advisories", "licences", _HERE)
_BAD: Final = ("WITHDRAWN", "DISPUTED")


@click.command(
    "show",
    epilog=examples(
        "pyrsia package show pkg:pypi/idna",
        "pyrsia package show pkg:pypi/idna@3.10          one version, with its files",
        "pyrsia package show pkg:pypi/idna --as-of 2026-01-31",
    ),
)
@click.argument("purl", metavar="PURL")
@click.option("--as-of", metavar="SIZE|TIME", help="What the log said then: its size, a date, or 7d ago.")
@node_option
@json_option
def show(purl: str, as_of: str | None, target: str | None, as_json: bool) -> None:
    """Show what the log says of a package.

    Versions, newest first, each with its verdict and what it is worth now, who agrees and who does not, advisories,
    licences, who built it again, and how often this node gave it away. It is the log that speaks: whether this node's
    clients may have it, says `pyrsia policy check`.
    """
    answer = asked(purl, as_of, target)
    tell(answer, as_json=as_json, text=lambda: lines(answer))


def asked(purl: str, as_of: str | None, target: str | None) -> dict[str, Any]:
    """The overview of a package, as a node has it."""
    with Client(target) as node:
        return overview(node, purl, **moment(as_of))


def overview(node: Client, purl: str, **at: int) -> dict[str, Any]:
    """The same, of a node that is asked already."""
    from pyrsia.serve.desks.providing import Overview

    answer: dict[str, Any] = shaped(
        node.get("/api/v1/packages/overview", purl=canonical(purl), **at), Overview
    )
    return answer


def canonical(text: str) -> str:
    """A purl as the log writes it; a bare name is one of pypi's.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return str(purls.parse(text if text.startswith("pkg:") else f"pkg:pypi/{text}"))
    except Malformed as error:
        raise click.BadParameter(
            f"{text[:80]} is no purl: {error}; write pkg:TYPE/NAME or pkg:TYPE/NAME@VERSION"
        ) from None


def lines(answer: dict[str, Any]) -> Iterator[str]:
    """An overview for people."""
    yield f"{answer['purl']}  as of {answer['size']:,} entries, {told(answer['time_ms'])} UTC"
    if not answer["whole"]:
        yield "  this node has not read all facts about it yet: more may be known than stands here"
    yield from _source(answer["mapping"])
    for one in answer["descriptions"]:
        yield from _description(one)
    yield from table((_row(one) for one in answer["versions"]), _COLUMNS)
    if answer["more"]:
        yield "older versions: ask for one by its own purl"
    for one in answer["versions"]:
        yield from _remarks(one)
    if len(answer["versions"]) == 1:
        yield from _files(answer["versions"][0])


def _source(mapping: dict[str, Any] | None) -> Iterator[str]:
    if mapping is not None:
        keys = len(mapping["keys"])
        yield (
            f"  source: {mapping['repository']}, tags {mapping['tag']} (entry {mapping['leaf']});"
            f" {keys or 'no'} maintainer {'key' if keys == 1 else 'keys'}"
        )


def _description(one: dict[str, Any]) -> Iterator[str]:
    yield f"  {one['by']} says of {one['subject']} (entry {one['leaf']}): {one['text']}"
    told_of = (
        ("tags", ", ".join(one["tags"])),
        ("homepage", one["homepage"]),
        ("namespace", one["namespace"]),
    )
    for name, value in (*told_of, ("json", one["json"])):
        if value:
            yield f"    {name}: {value}"


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    agreeing = dict.fromkeys(name for file in one["files"] for name in file["agreeing"])
    dissenting = dict.fromkeys(name for file in one["files"] for name in file["dissenting"])
    count = len(one["advisories"])
    return (
        one["version"],
        "WITNESSED, not rebuilt" if one["verdict"] == "WITNESSED" else one["verdict"],
        one["status"] if one["status"] in _BAD else "offered",
        ", ".join(agreeing) or "-",
        ", ".join(dissenting) or "-",
        f"{count}, worst {one['worst']}" if count else "-",
        ", ".join(dict.fromkeys(row["expression"] or "in words only" for row in one["licences"])) or "-",
        "-" if one["downloads"] is None else one["downloads"],
    )


def _remarks(one: dict[str, Any]) -> Iterator[str]:
    """What does not fit into a row."""
    version = one["version"]
    if one["status"] in _BAD:
        yield f"{version}: {one['status']}: {one['reason'] or 'the log gives no reason'}"
    for row in one["advisories"]:
        yield f"{version}: {_advisory(row)}"
        for issuer, outcome, leaf in row["vex"]:
            yield f"{version}:   {issuer} says {outcome} (VEX, entry {leaf})"
    for row in one["sboms"]:
        yield f"{version}: {row['format'] or 'an'} SBOM by {row['issuer']} (entry {row['leaf']})"
    for row in one["rechecks"]:
        yield f"{version}: built again by {row['by']}, {told(row['time_ms'])}: {row['outcome']} (entry {row['leaf']})"


def _advisory(row: dict[str, Any]) -> str:
    names = ", ".join((row["id"], *row["aliases"]))
    fixed = f"fixed in {row['fixed']}" if row["fixed"] else "no fixed version is named"
    known = f"known since {told(row['first_known_ms'])}, " if row["first_known_ms"] else ""
    doubt = "" if row["sure"] else " (counts as affected: its version cannot be compared)"
    return f"{names}: {row['severity']}, {fixed}; {known}by {row['issuer']} (entry {row['leaf']}); {row['why']}{doubt}"


def _files(version: dict[str, Any]) -> Iterator[str]:
    rows = (
        (
            one["file"],
            one["size"],
            one["status"],
            "-" if one["downloads"] is None else one["downloads"],
            one["sha256"],
        )
        for one in version["files"]
    )
    yield from table(rows, ("file", "bytes", "status", _HERE, "SHA-256"))
