"""`facts history`: how what is known of a package came to be."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from pyrsia.cli.facts.words import about, day, files_of, subject_of
from pyrsia.cli.log.when import as_of_option, moment, told
from pyrsia.cli.naming import by
from pyrsia.cli.tell import examples, json_option, node_option, table, tell
from pyrsia.client import Client

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.knowledge.said import Said


@click.command(
    epilog=examples(
        "pyrsia facts history pkg:pypi/idna", "pyrsia facts history pkg:pypi/idna@3.6 --as-of 2024-04-11"
    )
)
@click.argument("subject", metavar="PURL|sha256:HEX")
@as_of_option
@node_option
@json_option
def history(subject: str, as_of: str | None, target: str | None, as_json: bool) -> None:
    """Every weakness that the log tells of: when it was first known and by whom, what changed, where it is fixed.

    With --as-of as it could be asked on that day. Times are those of the log: when a fact was said, not when its
    author says that it began.
    """
    import msgspec

    from pyrsia.cli.facts.pages import Pages
    from pyrsia.knowledge.history import timeline

    query: dict[str, str | int] = {"of": subject_of(subject), **moment(as_of)}
    with Client(target) as node:
        found = Pages(node, query)
        rows = list(found)
        facts = _said(rows)
    names = {row["author"]: by(row) for row in rows}
    stories = [msgspec.to_builtins(one) for one in timeline(facts, found.time_ms)]
    value = {
        "subject": query["of"], "size": found.size, "time_ms": found.time_ms, "whole": found.whole,
        "advisories": stories,
    }  # fmt: skip
    tell(value, as_json=as_json, text=lambda: _lines(value, names))


def _said(rows: Iterable[dict[str, Any]]) -> Iterator["Said"]:
    """Facts, and what took some of them back: of that a node's answer has the leaf and the time alone."""
    from pyrsia.knowledge.said import Said

    for row in rows:
        yield Said(row["leaf"], row["time_ms"], row["id"], row["author"], row["body"])
        if row["state"] == "withdrawn":
            body = {
                "kind": row["kind"], "subject": row["subject"], "text": "", "valid_from": 0,
                "supersedes": row["id"], "withdrawn": True,
            }  # fmt: skip
            yield Said(row["by"], row["by_ms"], "", row["author"], body)


def _lines(value: dict[str, Any], names: dict[str, str]) -> Iterator[str]:
    for story in value["advisories"]:
        aliases = f" ({', '.join(story['aliases'])})" if story["aliases"] else ""
        yield f"{story['id']}{aliases}"
        yield f"  first known  {told(story['first_ms'])}, leaf {story['first_leaf']}"
        yield f"  severity     {_severity(story)}"
        yield f"  fixed in     {', '.join(story['fixed']) or '-'}"
        if story["withdrawn_ms"] is not None:
            yield f"  withdrawn    {told(story['withdrawn_ms'])}"
        changes = (
            (
                one["leaf"],
                told(one["time_ms"]),
                names.get(one["issuer"], one["issuer"][:8]),
                one["what"],
                about(one["subject"], one),
                _detail(one),
            )
            for one in story["changes"]
        )
        yield from (f"  {line}" for line in table(changes, ("leaf", "when", "by", "what", "about", "")))
        yield ""
    yield from files_of(one["subject"] for story in value["advisories"] for one in story["changes"])
    count = _count(value["advisories"])
    yield f"{count} of {value['subject']} among {value['size']:,} leaves, {told(value['time_ms'])}"
    if not value["whole"]:
        yield "this node does not have all of the log yet: there may be more, and earlier"


def _severity(story: dict[str, Any]) -> str:
    """The one that stands, and the one that comes."""
    coming = story["coming"]
    now = story["severity"] or ("none stands yet" if coming else "nothing of it stands")
    return f"{now} ({coming[0]} from {day(coming[1])})" if coming else now


def _count(stories: list[dict[str, Any]]) -> str:
    """How many are known; what was taken back and what is to come is not."""
    if not stories:
        return "no weakness is known"
    states = [story["state"] for story in stories]
    count, come = states.count("stands"), states.count("to-come")
    gone = len(states) - count - come
    apart = ", ".join(f"{n} {word}" for n, word in ((gone, "withdrawn"), (come, "to come")) if n)
    return f"{count} known weakness{'es' * (count != 1)}" + (f" ({apart})" if apart else "")


def _detail(one: dict[str, Any]) -> str:
    fixed = f"fixed in {', '.join(one['fixed'])}" if one["fixed"] and one["what"] == "known" else ""
    begins = f"from {day(one['from_ms'])}" if one["from_ms"] else ""
    return ", ".join(part for part in (one["severity"], one["detail"] or fixed, begins) if part)
