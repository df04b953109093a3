"""`facts webhooks`: the servers that a node tells of facts, and how that goes."""

from collections.abc import Iterator
from typing import Any

import click

from pyrsia.cli.log.when import told
from pyrsia.cli.tell import examples, json_option, node_option, table, tell
from pyrsia.client import Client


@click.command(epilog=examples("pyrsia facts webhooks", "pyrsia facts webhooks --json"))
@node_option
@json_option
def webhooks(target: str | None, as_json: bool) -> None:
    """The servers that the node tells of facts: what each is told of, how far it is, what is wrong with it.

    They stand in config.toml under [knowledge]; docs/knowledge.md, "Webhooks". Only the node's operator may ask.
    """
    from pyrsia.cli.answers import shaped
    from pyrsia.serve.desks.knowing import WebhooksTold

    with Client(target) as node:
        answer = shaped(node.get("/api/v1/facts/webhooks"), WebhooksTold)
    tell(answer, as_json=as_json, text=lambda: _lines(answer["webhooks"]))


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield 'no webhooks; docs/knowledge.md, "Webhooks", says how to have one'
        return
    yield from table(map(_cells, rows), ("URL", "FACTS", "SIGNED", "STATE", "BEHIND", "TOLD", "LAST"))
    for row in rows:
        if row["trouble"]:
            since = f" since {told(row['since_ms'])}, {row['failures']} calls" if row["since_ms"] else ""
            yield f"{row['url']}: {row['trouble']}{since}"
    yield (
        "what was told and what failed is counted since the node's start; where each goes on, and since when it fails,"
        " it remembers"
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    what = " ".join(row["kinds"]) or "every kind"
    if row["severity"] != "none":
        what += f", {row['severity']} or worse"
    if row["packages"]:
        what += f", {' '.join(row['packages'])}"
    signed = "yes" if row["signed"] else "no"
    return (
        row["url"],
        what,
        signed,
        row["state"],
        str(row["behind"]),
        str(row["delivered"]),
        told(row["last_ms"]),
    )
