"""Motions as commands tell them: where one stands, and staying until it is decided."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.tell import tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.status import MembersStatus, MotionStatus

PATIENCE_S: Final = 90.0  # until an entry is final, also while a leader is gone
POLL_S: Final = 0.5
LEAST_ID: Final = 6  # characters of a node id; fewer are a slip of the hand
_LIVE: Final = ("open", "awaits-acceptance")
_ID: Final = re.compile("[0-9a-f]{6,64}")

follow_option = click.option("--follow", is_flag=True, help="Stay until it is decided, and say what happens.")


def reason_option(default: str | None = None) -> Callable[[Any], Any]:
    """`--reason`: wanted, unless there is a default."""
    told: dict[str, Any] = (
        {"required": True} if default is None else {"default": default, "show_default": True}
    )
    return click.option("--reason", metavar="TEXT", help="Why; it stands in the log for ever.", **told)


def motion_lines(motion: dict[str, Any]) -> Iterator[str]:
    """What a motion does and where it stands."""
    yield f"motion {motion['id'][:12]}: {motion['summary']}"
    yield f"  {motion['kind']}, proposed by {motion['author']}: {motion['reason']}"
    yield f"  {standing(motion)}"


def standing(motion: dict[str, Any]) -> str:
    """Where a motion stands, in a sentence."""
    phase, needed = motion["phase"], motion["needed"]
    if phase == "enacted":
        opened = f"; epoch {motion['epoch']} begins behind it" if motion["epoch"] >= 0 else ""
        return f"enacted by {', '.join(motion['approvals'])} in entry {motion['decided']}{opened}"
    if phase == "expired":
        return f"expired with {len(motion['approvals'])} of {needed} approvals"
    waits = []
    if len(motion["approvals"]) < needed:
        lacks = needed - len(motion["approvals"])
        waits.append(f"{lacks} more of {', '.join(motion['missing'])}")
    if motion["accepts"]:
        waits.append(f"the acceptance of {motion['accepts']} (pyrsia member approve, on that node)")
    by = f" ({', '.join(motion['approvals'])})" if motion["approvals"] else ""
    by += f", accepted by {motion['accepted']}" if motion["accepted"] else ""
    return f"{len(motion['approvals'])} of {needed} approvals{by}; waiting for {' and '.join(waits)}"


def finish(node: Client, motion: dict[str, Any], *, follow: bool, as_json: bool) -> None:
    """Tell a motion; with `follow` stay until it is decided, a line for each step of the way on standard error."""
    said = ""
    while follow and motion["phase"] in _LIVE:
        if not as_json and standing(motion) != said:
            said = standing(motion)
            click.echo(f"{motion['id'][:12]}: {said}", err=True)
        time.sleep(POLL_S)
        motion = shaped(node.get(f"/api/v1/motions/{motion['id']}"), MotionStatus)
    tell(motion, as_json=as_json, text=lambda: motion_lines(motion))
    if follow and motion["phase"] == "expired":
        raise click.exceptions.Exit(1)


def find_member(node: Client, who: str, at: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The member that people call `who`, or whose id begins so; `at`: of which moment, as nodes are asked.

    Raises:
        Refusal: `not-found`, or `usage` where several are meant.
    """
    everybody = shaped(node.get("/api/v1/members", **(at or {})), MembersStatus)["members"]
    found = [one for one in everybody if who in (one["name"], one["node_id"])]
    found = found or [one for one in everybody if len(who) >= LEAST_ID and one["node_id"].startswith(who)]
    if len(found) == 1:
        member: dict[str, Any] = found[0]
        return member
    raise Refusal(
        "usage" if found else "not-found",
        what=f"{who} is {'several members' if found else 'no member'} of this network{' at that moment' if at else ''}",
        who="your command",
        do=f"see `pyrsia member list{' --as-of ...' if at else ''}`",
    )


def motion_id(text: str) -> str:
    """An id of a motion, or the start of one, as the node finds it.

    Raises:
        Refusal: `usage`; it is neither.
    """
    if _ID.fullmatch(text):
        return text
    raise Refusal(
        "usage",
        what=f"{text} is no id of a motion: 6 to 64 characters of 0-9 and a-f",
        who="your command",
        do="see `pyrsia member motions`",
    )
