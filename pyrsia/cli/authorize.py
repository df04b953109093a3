"""`authorize`: the original's way to let a node build, through the door that all changes take."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.motions import PATIENCE_S, finish, follow_option, motion_lines, reason_option
from pyrsia.cli.papers import file_option, read_document
from pyrsia.cli.tell import json_option, node_option, tell
from pyrsia.client import Client
from pyrsia.status import MotionStatus


@click.command()
@click.option("-p", "--peer", required=True, metavar="ID", help="Node id of the peer that shall build.")
@file_option
@reason_option("authorized to build")
@follow_option
@node_option
@json_option
def authorize(
    peer: str, file: Path | None, reason: str, follow: bool, target: str | None, as_json: bool
) -> None:
    """Propose that a node builds for the network, and approve it where this node validates.

    The original let anybody say so; here it is a motion, which a quorum of the validators approves. A peer with a
    link to this node is asked for its member document; for any other give it with --file.
    """
    order: dict[str, Any] = {"peer_id": peer, "reason": reason}
    if file is not None:
        order["member"] = read_document(file)
    with Client(target, patience_s=PATIENCE_S) as node:
        told = shaped(node.post("/authorized_node", order), MotionStatus)
        if follow:
            finish(node, told, follow=True, as_json=as_json)
        else:
            tell(told, as_json=as_json, text=lambda: _lines(told))


def _lines(told: dict[str, Any]) -> Iterator[str]:
    yield "Authorize request successfully handled."
    yield from motion_lines(told)
