"""What the commands of `inspect-log` do: ask page after page, and write the records as they are wanted."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final

import click
import msgspec

from pyrsia.cli.log.common import Progress
from pyrsia.cli.log.when import moment, read, told
from pyrsia.cli.tell import table
from pyrsia.client import Client, foreign, typed
from pyrsia.errors import Refusal
from pyrsia.serve.api.inspect import read_fields
from pyrsia.serve.desks.inspecting import FIELDS
from pyrsia.serve.inspecting import csv as inspecting_csv
from pyrsia.serve.inspecting.where import parse
from pyrsia.units import MAX_API_ROWS, Limit
from pyrsia.wire.text import safe

MAX_PAGES = Limit(1_000_000, "pages of 20,000 looked-at leaves: any log that one node holds")
_SHOWN: Final = {  # what a table shows where nobody says
    "artifacts": ("time_ms", "operation", "package_specific_id", "file", "status", "advisories"),
    "nodes": ("time_ms", "operation", "node_name", "roles", "node_id", "status"),
    "builds": ("time_ms", "package_specific_id", "status", "verdict", "num_artifacts", "build_id"),
}
_GROUP: Final = "build_id"
_TIMES: Final = frozenset(("time_ms", "timestamp"))
_PARAMETER: Final = re.compile(r"the parameter `(\w+)`")
_OPTIONS: Final = {"pip": "the package", "conan": "the package", "as_of_time": "--as-of", "count": "--limit"}

Row = dict[str, Any]


class Page(msgspec.Struct):
    """What a node answers (`serve.desks.inspecting.InspectPage`), with the fields that were asked for."""

    size: int
    time_ms: int
    rows: tuple[Row, ...]
    next: str
    scanned: int
    whole: bool = True


class Found(msgspec.Struct):
    """All pages together; `next`: where it would go on."""

    size: int
    time_ms: int
    whole: bool
    rows: list[Row]
    next: str


def run(
    what: str,
    package: dict[str, str],
    *,
    text: str | None,
    form: str,
    fields: str | None,
    latest: bool,
    where: tuple[str, ...],
    since: str | None,
    until: str | None,
    as_of: str | None,
    newest: bool,
    group_by: str | None,
    limit: int,
    page: str | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Ask, and write. What cannot be understood is refused before anybody is asked."""
    try:
        shown = _fields(what, fields, form, as_json=as_json)
        for one in where:
            parse(one)
    except Refusal as refusal:
        raise _of_options(refusal) from None
    needed = shown if group_by is None or _GROUP in shown else (*shown, _GROUP)
    query: dict[str, str | int | None] = {
        **package,
        "text": text,
        "fields": ",".join(needed),
        "latest": "true" if latest else None,
        "where": json.dumps(where) if where else None,
        "since": None if since is None else read(since),
        "until": None if until is None else read(until),
        "order": "newest" if newest else None,
        "page": page,
        **moment(as_of),
    }
    wanted = {name: value for name, value in query.items() if value is not None}
    progress = Progress("looked at")
    try:
        with Client(target) as node:
            found = _asked(node, f"/api/v1/inspect/{what}", wanted, needed, limit, progress)
    except Refusal as refusal:
        raise _of_options(refusal) from None
    finally:
        progress.end()
    if as_json:
        _tell_json(found, shown, group_by)
        return
    for line in _written(found.rows, shown, form, group_by):
        click.echo(line, nl=False)
    if form == "table" and not found.rows:
        click.echo(f"pyrsia: the log has no such record at size {found.size:,}", err=True)
    if found.next and not latest:
        click.echo(f"pyrsia: there is more: --page {safe(found.next)}", err=True)
    if not found.whole:
        click.echo("pyrsia: this node does not have the beginning of the log yet", err=True)


def _fields(what: str, fields: str | None, form: str, *, as_json: bool) -> tuple[str, ...]:
    if fields is not None:
        return read_fields(fields)
    return _SHOWN[what] if form == "table" and not as_json else FIELDS


def _asked(
    node: Client,
    path: str,
    query: dict[str, str | int],
    fields: Sequence[str],
    limit: int,
    progress: Progress,
) -> Found:
    """Page after page until `limit` or the end."""
    found, looked_at, seen = Found(0, 0, True, [], ""), 0, set[str]()
    for _ in range(MAX_PAGES.value):
        count = min(limit - len(found.rows), MAX_API_ROWS.value)
        page = typed(node.get(path, **query, count=count), Page)
        found.rows += [_with(row, fields) for row in page.rows[:count]]
        found.size, found.time_ms, found.next = page.size, page.time_ms, page.next
        found.whole = found.whole and page.whole
        looked_at += page.scanned
        progress(looked_at, page.size)
        over = len(found.rows) >= limit or (found.rows and "latest" in query)
        if over or not page.next or page.next in seen:  # who sends us round in circles has no more
            break
        seen.add(page.next)
        query = query | {"page": page.next}
    return found


def _with(row: Row, fields: Sequence[str]) -> Row:
    if not row.keys() >= set(fields):
        raise foreign("it has records without the fields that were asked for")
    return {name: row[name] for name in fields}


# -- writing --


def _tell_json(found: Found, fields: Sequence[str], group_by: str | None) -> None:
    answer = msgspec.to_builtins(found)
    rows = answer.pop("rows")
    answer |= {"groups": _groups(rows, fields)} if group_by else {"rows": rows}
    click.echo(json.dumps(answer, sort_keys=True))


def _written(rows: list[Row], fields: Sequence[str], form: str, group_by: str | None) -> Iterator[str]:
    """The records as text, piece by piece, each with its line end."""
    if form == "json":
        whole: Any = _groups(rows, fields) if group_by else rows
        yield json.dumps(whole, indent=2) + "\n"
        return
    if group_by:
        rows = [row for _, group in _by_build(rows) for row in group]
        fields = (_GROUP, *(name for name in fields if name != _GROUP))
    if form == "csv":
        yield inspecting_csv.written(rows, fields).replace("\r\n", _line_end())
        return
    heads = ["time" if name == "time_ms" else name for name in fields]  # milliseconds are for programs
    for line in table(([_cell(name, row[name]) for name in fields] for row in rows), heads):
        yield safe(line) + "\n"


def _line_end() -> str:
    """CRLF is RFC 4180's; a text stream of Windows would make another CR of its LF."""
    return "\r\n" if sys.platform != "win32" else "\n"


def _cell(name: str, value: Any) -> str:
    if name in _TIMES and isinstance(value, int):
        return told(value if name == "time_ms" else 1000 * value)
    return inspecting_csv.plain(value) or "-"


def _by_build(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """The records of each build, builds in the order of their first record."""
    place: dict[str, int] = {}
    for row in rows:
        place.setdefault(str(row[_GROUP]), len(place))
    ordered = sorted(rows, key=lambda row: place[str(row[_GROUP])])
    return [(build, list(group)) for build, group in groupby(ordered, key=lambda row: str(row[_GROUP]))]


def _groups(rows: list[Row], fields: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {_GROUP: build, "records": [{name: row[name] for name in fields} for row in group]}
        for build, group in _by_build(rows)
    ]


def _of_options(refusal: Refusal) -> Refusal:
    """A no about a parameter of the API, said about the option that it came from."""
    if refusal.code != "bad-request":
        return refusal
    what = _PARAMETER.sub(lambda found: _OPTIONS.get(found[1], f"--{found[1]}"), refusal.what)
    do = refusal.do
    if "never as long" in what:
        do = "write --as-of <a size that `pyrsia log show` tells, or a smaller one>"
    elif "--page" in what:
        do = "write the page that the shorter answer named, with the same other options"
    return Refusal("usage", what=what, who="your command", do=do)
