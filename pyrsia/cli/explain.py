"""`build explain`: who said what about one build, which files differ, and the likely cause in words."""

from collections.abc import Iterator

import click

from pyrsia.builds.explain.report import SENTENCES, Explanation, Pair
from pyrsia.cli.builds.find import called, one
from pyrsia.cli.tell import json_option, node_option, table, tell
from pyrsia.client import Client, typed

EXPLAIN_S = 120.0  # bringing results of builders far away, and a comparison of each
SHOWN = 12  # files of one comparison; --json has all that the node lists


@click.command()
@click.argument("request", metavar="REQUEST")
@click.option("--deep", is_flag=True, help="With diffoscope's report of what differs (needs it on the node).")
@node_option
@json_option
def explain(request: str, deep: bool, target: str | None, as_json: bool) -> None:
    """Why the builders of a request agree or not: who said what, which files differ, and by what.

    REQUEST is its id, or the first 8 or more digits of a recent one.
    """
    with Client(target, patience_s=EXPLAIN_S) as node:
        path = f"/api/v1/builds/{one(node, request)['request']}/explanation"
        answer = node.post(path, {}) if deep else node.get(path)
    found = typed(answer, Explanation)
    tell(answer, as_json=as_json, text=lambda: lines(found))


def lines(found: Explanation) -> Iterator[str]:
    """The explanation for a terminal."""
    yield f"{called(found.purl)}: {found.verdict or found.state}"
    yield ""
    rows = [
        (
            one.builder[:8],
            one.operator or "-",
            one.outcome,
            one.group or "-",
            "agrees" if one.agrees else one.why or "-",
        )
        for one in found.said
    ]
    yield from table(rows, ("builder", "operator", "outcome", "group", "verdict"))
    if found.sentences:
        yield ""
        yield from found.sentences
    for pair in found.pairs:
        yield from members(pair)


def members(one: Pair) -> Iterator[str]:
    """The files that differ, each with its cause and lines of both sides."""
    if one.differing:
        yield ""
        yield f"{one.output}: {one.first} against {one.second}"
    for each in one.differing[:SHOWN]:
        yield f"  {each.path or one.output}: {SENTENCES[each.cause].format(first=one.first, second=one.second)}"
        for first, second in each.shown:
            yield f"    {one.first}  {first}"
            yield f"    {one.second}  {second}"
    rest = len(one.differing) - SHOWN + one.more
    if rest > 0:
        yield f"  and {rest} more"
    if one.deep:
        yield ""
        yield from one.deep.splitlines()
