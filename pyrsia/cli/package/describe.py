"""`package describe`: what this node says of a package, into the log; what is said of it already."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.log.when import as_of_option, moment
from pyrsia.cli.motions import PATIENCE_S
from pyrsia.cli.package.show import canonical
from pyrsia.cli.tell import examples, json_option, node_option, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.status import NodeStatus
from pyrsia.units import MAX_FACT_BYTES

KINDS: Final = ("description", "licence")
_FIELDS: Final = ("homepage", "json", "namespace", "tags")
_file: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    "describe",
    epilog=examples(
        "pyrsia package describe pkg:pypi/idna --text 'Domain names beyond ASCII' --tag dns --licence BSD-3-Clause",
        "pyrsia package describe pkg:pypi/idna                    what is said of it",
        "pyrsia package describe pkg:pypi/idna --withdraw         take back what this node said",
    ),
)
@click.argument("purl", metavar="PURL")
@click.option("--text", metavar="TEXT", help="What it is, in a sentence or two.")
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="A word to find it by; all of them, each time."
)
@click.option("--homepage", metavar="URL", help="Its page: http or https.")
@click.option("--namespace", metavar="NAME", help="Whose it is, as people say.")
@click.option(
    "--json-file", type=_file, help=f"Anything else, as JSON: {MAX_FACT_BYTES.value} bytes at most."
)
@click.option("--licence", metavar="EXPR", help="Its licence, an SPDX expression.")
@click.option("--withdraw", is_flag=True, help="Take back what this node said of it.")
@as_of_option
@node_option
@json_option
def describe(
    purl: str,
    text: str | None,
    tags: tuple[str, ...],
    homepage: str | None,
    namespace: str | None,
    json_file: Path | None,
    licence: str | None,
    withdraw: bool,
    as_of: str | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Say what a package is; without options, show what is said of it, now or --as-of.

    PURL names a package, or with @VERSION one version of it. It is said in the name of the node that is asked, a
    member, and replaces what that node said before: an option that is not given stays as it was. Others' words stay
    beside it; which licences count is local policy.
    """
    subject = canonical(purl)
    given = {
        "text": text,
        "tags": sorted(set(tags)) or None,
        "homepage": homepage,
        "namespace": namespace,
        "json": _document(json_file) if json_file is not None else None,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if withdraw and (changes or licence):
        raise click.UsageError("--withdraw takes back; say something new without it")
    if as_of and (changes or licence or withdraw):
        raise click.UsageError("nothing can be said in the past: --as-of shows what was said then")
    if licence:
        _check_licence(licence)
    if homepage:
        _check_homepage(homepage)
    with Client(target, patience_s=PATIENCE_S) as node:
        rows = _present(node, subject, moment(as_of))
        if not (changes or licence or withdraw):
            tell({"subject": subject, "facts": rows}, as_json=as_json, text=lambda: _lines(subject, rows))
            return
        me = shaped(node.get("/api/v1/status"), NodeStatus)["node_id"]
        own = {row["kind"]: row for row in rows if row["author"] == me and row["subject"] == subject}
        facts = _withdrawals(subject, own) if withdraw else _orders(subject, own, changes, licence)
        answer = said(node, facts)
    tell(answer, as_json=as_json, text=lambda: _outcomes(facts, answer))
    if any(one["outcome"] == "refused" for one in answer["outcomes"]):
        raise click.exceptions.Exit(1)


def said(node: Client, facts: list[dict[str, Any]]) -> dict[str, Any]:
    """What became of facts that a node was asked to say."""
    from pyrsia.serve.desks.knowing import FactsOutcome

    answer: dict[str, Any] = shaped(node.post("/api/v1/facts/batch", {"facts": facts}), FactsOutcome)
    return answer


def _present(node: Client, subject: str, at: dict[str, int]) -> list[dict[str, Any]]:
    """What stands about it, or did at a moment, of the kinds that this command says, however much others say."""
    from pyrsia.cli.facts.pages import pages

    return [
        row
        for kind in KINDS
        for row in pages(node, {"of": subject, "kind": kind, **at})
        if row["state"] in ("stands", "to-come")
    ]


def _orders(
    subject: str, own: dict[str, dict[str, Any]], changes: dict[str, Any], licence: str | None
) -> list[dict[str, Any]]:
    facts = []
    if changes:
        before = own.get("description", {"body": {}, "text": ""})
        fields = {name: before["body"][name] for name in _FIELDS if name in before["body"]}
        fields |= {name: value for name, value in changes.items() if name != "text"}
        text = changes.get("text", before["text"])
        facts.append({"kind": "description", "subject": subject, "text": text, "fields": fields})
    if licence:
        facts.append({"kind": "licence", "subject": subject, "fields": {"expression": licence}})
    return facts


def _withdrawals(subject: str, own: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    if not own:
        raise Refusal(
            "not-found", what=f"this node says nothing of {subject}", who="your command",
            do=f"see what others say: pyrsia package describe {subject}",
        )  # fmt: skip
    return [{"kind": kind, "subject": subject, "withdraw": True} for kind in own]


def _outcomes(facts: list[dict[str, Any]], answer: dict[str, Any]) -> Iterator[str]:
    for fact, one in zip(facts, answer["outcomes"], strict=False):
        where = f", entry {one['leaf']}" if one["leaf"] >= 0 else ""
        why = f": {one['error'].get('what', '')}" if one["error"] else ""
        yield f"{fact['kind']} of {fact['subject']}: {one['outcome']}{where}{why}"


def _lines(subject: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield f"nobody describes {subject}"
    for row in rows:
        by = row["author_name"] or row["author"][:8]
        body = row["body"]
        told = body.get("expression", "") if row["kind"] == "licence" else row["text"]
        yield f"{row['kind']} by {by} (entry {row['leaf']}, {row['state']}), {row['subject']}: {told or row['text']}"
        for name in _FIELDS:
            if body.get(name):
                value = body[name]
                yield f"  {name}: {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _check_licence(licence: str) -> None:
    from pyrsia.cli.facts.slips import spdx

    spdx(licence)


def _check_homepage(text: str) -> None:
    from pyrsia.cli.facts.slips import homepage

    homepage(text)


def _document(file: Path) -> str:
    """JSON without idle space, as the log keeps it."""
    with file.open("rb") as opened:
        raw = opened.read(64 * MAX_FACT_BYTES.value)
    try:
        found = json.dumps(json.loads(raw), separators=(",", ":"), ensure_ascii=False)
    except (ValueError, RecursionError):
        raise click.BadParameter(f"{file} is not JSON") from None
    if len(found.encode("utf-8", "surrogatepass")) > MAX_FACT_BYTES.value:
        raise click.BadParameter(f"{file} has more than {MAX_FACT_BYTES.value} bytes without its spaces")
    return found
