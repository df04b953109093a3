"""`keys`: this node's keys, new ones in their place, and tokens for clients (tokens.py)."""

from collections.abc import Iterator
from typing import Any, Final

import click
import msgspec

from pyrsia.cli.answers import shaped
from pyrsia.cli.groups import Group
from pyrsia.cli.motions import PATIENCE_S, finish, follow_option, reason_option
from pyrsia.cli.tell import json_option, node_option, table, tell
from pyrsia.cli.tokens import token
from pyrsia.client import Client
from pyrsia.status import KeyStatus, MotionStatus

PURPOSES: Final = ("vote", "log", "cosign", "build", "chain")


class _Keys(msgspec.Struct):
    keys: tuple[KeyStatus, ...]


class _Rotated(msgspec.Struct):
    body: dict[str, Any]
    motion: MotionStatus | None
    replaced: tuple[str, ...] = ()


@click.group(cls=Group)
def keys() -> None:
    """The keys of this node, one for each purpose, and tokens for its clients. Only public halves are ever shown."""


keys.add_command(token)


@keys.command("list")
@node_option
@json_option
def list_keys(target: str | None, as_json: bool) -> None:
    """Every key: its purpose, its state, its public half."""
    with Client(target) as node:
        answer = shaped(node.get("/api/v1/keys"), _Keys)
    tell(answer, as_json=as_json, text=lambda: _lines(answer["keys"]))


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from table(
        ((one["purpose"], one["state"], one["public"]) for one in rows), ("key", "state", "public")
    )
    for one in rows:
        if one["why"]:
            yield f"{one['purpose']}: {one['why']}"


@keys.command()
@click.argument("purposes", nargs=-1, required=True, type=click.Choice(PURPOSES))
@reason_option("rotated by its operator")
@click.option(
    "--propose/--no-propose",
    default=True,
    show_default=True,
    help="Propose the motion, or only print its body for another member to propose.",
)
@follow_option
@node_option
@json_option
def rotate(
    purposes: tuple[str, ...], reason: str, propose: bool, follow: bool, target: str | None, as_json: bool
) -> None:
    """Make new keys, and propose that they replace the present ones.

    The present keys go on until the validators have approved and the epoch that this opens has begun; then they are
    deleted. Asked again before that, the same new keys are proposed. This is also how a validator votes again whose
    vote key must not sign any more.

    Keys that the log does not name, since the node's roles need none, are replaced at once and without a motion.
    Whoever validated, left, and is to validate again needs that: no key is used twice.
    """
    with Client(target, patience_s=PATIENCE_S) as node:
        order = {"purposes": list(purposes), "reason": reason, "propose": propose}
        answer = shaped(node.post("/api/v1/keys/rotate", order), _Rotated)
        if answer["motion"] is None:
            tell(answer, as_json=as_json, text=lambda: _rotated(answer))
            return
        if answer["replaced"] and not as_json:
            click.echo(_replaced(answer))
        finish(node, answer["motion"], follow=follow, as_json=as_json)


def _rotated(answer: dict[str, Any]) -> Iterator[str]:
    if answer["replaced"]:
        yield _replaced(answer)
    if answer["body"]:
        yield from _command(answer["body"])


def _replaced(answer: dict[str, Any]) -> str:
    return f"new at once, since the log names none of this node: {', '.join(answer['replaced'])}"


def _command(body: dict[str, Any]) -> Iterator[str]:
    """What another member runs."""
    named = [name for name in ("build", "chain_end", "cosign", "log", "vote") if name in body]
    told = " ".join(f"--{name.replace('_', '-')} {body[name]}" for name in named)
    yield f"pyrsia member propose rotate {body['node']} {told} --reason '...'"
