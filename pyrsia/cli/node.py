"""`node`: run this machine's node, and hand over what it keeps before it leaves."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from pyrsia import config
from pyrsia.cli.answers import shaped
from pyrsia.cli.groups import Group
from pyrsia.cli.tell import json_option, node_option, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.status import DrainStatus
from pyrsia.wire.text import safe

POLL_S: Final = 1.0
SHOWN: Final = 4  # lines while it waits: how far it is, and the first files with who is in the way


_data_option = click.option(
    "--data",
    "--node",
    "data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory [PYRSIA_NODE where that is one, else the user's].",
)


@click.group(cls=Group, invoke_without_command=True)
@_data_option
@click.pass_context
def node(ctx: click.Context, data: Path | None) -> None:
    """Run a node that `pyrsia init` made; bare `pyrsia node` is `pyrsia node run`."""
    ctx.obj = data
    if ctx.invoked_subcommand is None:
        _run(data)


@node.command()
@_data_option
@click.pass_context
def run(ctx: click.Context, data: Path | None) -> None:
    """Run until SIGINT or SIGTERM."""
    _run(data or ctx.obj)


@node.command()
@click.option("--undo", is_flag=True, help="Stay: keep again what this node kept.")
@click.option("--no-wait", is_flag=True, help="Give the order and leave; ask again to see how far it is.")
@node_option
@json_option
def drain(undo: bool, no_wait: bool, target: str | None, as_json: bool) -> int:
    """Hand over what this node keeps before it leaves for good, and wait until it may be stopped.

    Other storage members take over what it keeps; it takes nothing new meanwhile and goes on serving. Nothing is
    deleted. The order outlives a restart, until it is taken back with --undo. It ends with "safe to stop" and exit
    code 0; with 1 where some files cannot be kept elsewhere as often as the network wants.
    """
    with Client(target) as client:
        before = shaped(client.get("/api/v1/drain"), DrainStatus)["phase"] if undo else ""
        answer = shaped(client.post("/api/v1/drain", {"leave": not undo}), DrainStatus)
        said: list[str] = []
        while not (undo or no_wait) and (answer["phase"] == "working" or not answer["rounds"]):
            told = list(_drain_lines(answer))[:SHOWN]
            if told != said and answer["rounds"] and not as_json:
                click.echo("\n".join(safe(line) for line in told), err=True)
            said = told
            time.sleep(POLL_S)
            answer = shaped(client.get("/api/v1/drain"), DrainStatus)
            if answer["phase"] == "off":
                raise Refusal(
                    "conflict",
                    what="somebody took the order back meanwhile",
                    who="another operator of this node",
                    do="agree with them, then order it again",
                )
    tell(answer, as_json=as_json, text=lambda: _undone(before) if undo else _drain_lines(answer))
    if answer["phase"] != "short":
        return 0
    if not as_json:
        raise Refusal(
            "conflict",
            what=f"only {answer['possible']} other storage members exist, and {answer['wanted']} copies are wanted",
            who="the network's members",
            do="have another storage member admitted, or stop this node all the same: each file has "
            f"{answer['possible']} copies elsewhere",
        )
    return 1


def _undone(before: str) -> Iterator[str]:
    """What --undo did; `before`: the phase until then."""
    yield (
        "this node was not being drained: nothing has changed"
        if before == "off"
        else "the order is taken back: this node stays, and keeps again what it kept"
    )


def _drain_lines(told: dict[str, Any]) -> Iterator[str]:
    status = DrainStatus(**{**told, "unplaced": ()})
    yield status.line() if status.rounds or status.phase == "off" else "asking the others what they have"
    for one in told["unplaced"]:
        yield f"  {one['sha256'][:16]}  {one['copies']} copies elsewhere: {one['why']}"
    more = told["files"] - told["placed"] - len(told["unplaced"])
    if told["unplaced"] and more > 0:
        yield f"  and {more:,} more"


def _run(data: Path | None) -> None:
    gc.disable()  # what modules are made of stays: looking there for garbage is an eighth of a node's start
    from pyrsia.node.service import main

    gc.freeze()
    gc.enable()
    main(config.own_data_dir(data))
