"""`member`: who belongs to the network, and the motions by which its members change that and everything else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.groups import Group
from pyrsia.cli.log import when
from pyrsia.cli.log.when import as_of_option
from pyrsia.cli.motions import PATIENCE_S, find_member, finish, follow_option, motion_id, motion_lines
from pyrsia.cli.papers import can_option, role_option, wanted_roles
from pyrsia.cli.proposing import propose
from pyrsia.cli.tell import json_option, node_option, table, tell
from pyrsia.client import Client
from pyrsia.status import MembersStatus, MotionStatus


@click.group(cls=Group)
def member() -> None:
    """Who belongs to the network; propose and approve what changes.

    A member proposes a motion, validators approve it, and with the approvals of a quorum it is enacted: members and
    their keys, where packages come from, the network's numbers, what is withdrawn. Everything stands in the log.
    """


# -- reading --


@member.command("list")
@as_of_option
@node_option
@json_option
def list_members(as_of: str | None, target: str | None, as_json: bool) -> None:
    """Every member, and the motions that wait for approvals."""
    answer = _asked(target, as_of)
    tell(answer, as_json=as_json, text=lambda: _list_lines(answer))


def _asked(target: str | None, as_of: str | None) -> dict[str, Any]:
    """Members and motions, now or at a moment."""
    with Client(target) as node:
        answer: dict[str, Any] = shaped(node.get("/api/v1/members", **when.moment(as_of)), MembersStatus)
    return answer


def _past(answer: dict[str, Any]) -> Iterator[str]:
    """The moment, where one was asked for."""
    if answer["size"] >= 0:
        yield f"as of {answer['size']:,} entries, {when.told(answer['time_ms'])} UTC"


def _list_lines(answer: dict[str, Any]) -> Iterator[str]:
    yield from _past(answer)
    rows = [
        (
            one["name"],
            one["node_id"][:8],
            one["operator"],
            one["domain"],
            ", ".join(one["roles"]) or "-",
            _seat(one),
            {True: "up", False: "down"}.get(one["connected"], "-"),  # of the past nobody knows
        )
        for one in sorted(answer["members"], key=lambda one: str(one["name"]))
    ]
    yield from table(rows, ("name", "id", "operator", "domain", "roles", "validates", "link"))
    yield f"epoch {answer['epoch']}: {answer['validators']} validators, {answer['quorum']} approvals enact a motion"
    for motion in answer["motions"]:
        yield ""
        yield from motion_lines(motion)


def _seat(one: dict[str, Any]) -> str:
    if not one["validates"]:
        return "-"
    return f"since epoch {one['since_epoch']}" + (", convicted of a lie" if one["convicted"] else "")


@member.command()
@click.argument("who", metavar="NAME|ID")
@as_of_option
@node_option
@json_option
def show(who: str, as_of: str | None, target: str | None, as_json: bool) -> None:
    """One member: its roles, its seat, its public keys."""
    with Client(target) as node:
        found = find_member(node, who, when.moment(as_of))
    tell(found, as_json=as_json, text=lambda: _member_lines(found))


def _member_lines(one: dict[str, Any]) -> Iterator[str]:
    yield f"{one['name']} ({one['node_id']})"
    yield f"operator:  {one['operator']}, failure domain {one['domain']}"
    yield f"roles:     {', '.join(one['roles']) or 'none: it follows'}"
    if one["capabilities"]:
        yield f"can build: {', '.join(one['capabilities'])}"
    yield f"validates: {'no' if _seat(one) == '-' else _seat(one)}"
    for purpose, public in sorted(one["keys"].items()):
        yield f"{purpose + ':':<11}{public}"
    for strike in one["strikes"] or ():
        told = f"{strike['word']} in a build of {strike['ecosystem']}, request {strike['request'][:16]}"
        yield f"strike:    {when.told(strike['time_ms'])}: {told}"


@member.command()
@as_of_option
@node_option
@json_option
def motions(as_of: str | None, target: str | None, as_json: bool) -> None:
    """The motions that wait for approvals.

    What each does, who approved, who is awaited.
    """
    answer = _asked(target, as_of)
    moment = {name: answer[name] for name in ("size", "time_ms")} if as_of else {}
    value = {"motions": answer["motions"], **moment}
    tell(value, as_json=as_json, text=lambda: _motions_lines(answer))


def _motions_lines(answer: dict[str, Any]) -> Iterator[str]:
    found = answer["motions"]
    yield from _past(answer)
    if not found:
        yield "no motion waits for approvals"
    for at, motion in enumerate(found):
        if at:
            yield ""
        yield from motion_lines(motion)


@member.command()
@click.argument("motion", metavar="MOTION")
@follow_option
@as_of_option
@node_option
@json_option
def motion(motion: str, follow: bool, as_of: str | None, target: str | None, as_json: bool) -> None:
    """One motion, open or decided.

    What it does, who approved it, and what is missing.

    MOTION is its id, or the first characters of it.
    """
    if follow and as_of:
        raise click.UsageError("--follow waits for what comes: it cannot be asked with --as-of")
    with Client(target) as node:
        told = shaped(node.get(f"/api/v1/motions/{motion_id(motion)}", **when.moment(as_of)), MotionStatus)
        finish(node, told, follow=follow, as_json=as_json)


@member.command()
@click.option(
    "--data",
    "--node",
    "data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory of a node [PYRSIA_NODE where that is one, else the user's].",
)
@click.option("--name", help="What people shall call it [its configuration's, or what the log says].")
@click.option("--operator", help="Who answers for it.")
@click.option("--domain", help="What fails together with it: a rack, a site, a company.")
@role_option
@can_option
@json_option
def document(
    data: Path | None,
    name: str | None,
    operator: str | None,
    domain: str | None,
    roles: tuple[str, ...],
    capabilities: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print this node's member document.

    It says who the node is, and its public keys; nothing in it is secret.

    A member admits the node with it: `pyrsia member propose add --file`. The node need not run, unless
    neither options nor configuration name operator and domain: then the log is asked. It is one line of JSON, with
    --json or without.
    """
    from pyrsia.cli.documents import document_of

    told = document_of(
        data,
        name=name,
        operator=operator,
        domain=domain,
        roles=wanted_roles(roles),
        capabilities=capabilities,
    )
    tell(told, as_json=True, text=list)


member.add_command(propose)


# -- approving --


@member.command()
@click.argument("motion", metavar="MOTION")
@follow_option
@node_option
@json_option
def approve(motion: str, follow: bool, target: str | None, as_json: bool) -> None:
    """Approve a motion, or accept the seat that it gives.

    Validators approve. The member that a motion makes a validator accepts by the same command, on its own node.

    MOTION is its id, or the first characters of it, as `pyrsia member motions` shows it.
    """
    with Client(target, patience_s=PATIENCE_S) as node:
        told = node.post(f"/api/v1/motions/{motion_id(motion)}/approve", {})
        finish(node, shaped(told, MotionStatus), follow=follow, as_json=as_json)
