"""`status`, `ping`: reading a node."""

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.storage import size
from pyrsia.cli.tell import json_option, node_option, tell
from pyrsia.client import Client
from pyrsia.status import AgreementStatus, decided_by


@click.command()
@node_option
@json_option
def status(target: str | None, as_json: bool) -> None:
    """The node at a glance: who it is, its log, its peers, what it builds."""
    with Client(target) as node:
        answer = shaped(node.get("/api/v1/status"), answers.Status)
    tell(answer, as_json=as_json, text=lambda: _status_lines(answer))


def _status_lines(answer: dict[str, Any]) -> Iterator[str]:
    log, moved = answer["log"], answer["transfer"]
    yield f"{answer['name']} ({answer['role']} {answer['node_id'][:8]}) of {answer['network']}"
    if answer["demo"]:
        yield "demo: all operators are one person"
    yield f"log:       {log['size']} entries, root {log['root'][:16]}, block {log['height']}"
    yield f"agreement: {decided_by(msgspec.convert(answer['agreement'], AgreementStatus))}"
    yield f"cosigned:  {log['cosigned']} of {log['validators']} at size {log['checkpoint_size']}"
    yield f"Connected Peers Count:       {answer['peers']}"
    yield f"builds:    {', '.join(answer['building']) or 'none running'} ({answer['isolation']})"
    if answer["queue"]:
        yield f"waiting:   {len(answer['queue'])} builds, next {answer['queue'][0]}"
    yield f"transfer:  {moved['bytes_received']} bytes in, {moved['bytes_sent']} bytes out"
    yield f"packages:  {answer['http']}/pypi/simple/"
    yield from _disk(answer["disk"])
    yield from _upstream(answer["upstream"])
    yield from (f"notice:    {notice}" for notice in answer["notices"])


def _disk(told: dict[str, Any]) -> Iterator[str]:
    """Only of a node that says it: an older one does not."""
    if told["allocated"]:
        pinned = f", {size(told['pinned'])} of it pinned" if told["pinned"] else ""
        yield f"disk:      {size(told['used'])} used of {size(told['allocated'])} allocated{pinned}"


def _upstream(told: dict[str, Any]) -> Iterator[str]:
    """Only where something comes from it."""
    names = [name for name, mode in sorted(told["modes"].items()) if mode == "proxy"]
    if names:
        kept = f"{told['kept_bytes'] >> 20} of {told['quota_bytes'] >> 20} MiB kept"
        old = f", {told['stale']} of them old" if told["stale"] else ""
        given = told["copied"] + told["stale"]
        yield f"upstream:  {', '.join(names)} unverified; {told['asked']} asked, {given} from copies{old}, {kept}"


@click.command()
@node_option
@json_option
def ping(target: str | None, as_json: bool) -> None:
    """Whether the node answers."""
    with Client(target) as node:
        node.get_bytes("/healthz")
        where = node.target
    tell({"ok": True, "node": where}, as_json=as_json, text=lambda: ["Connection Successful !!"])
