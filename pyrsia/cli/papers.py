"""Member documents as commands take them: read from a file, and fitted to the roles that are named."""

import json
from pathlib import Path
from typing import Any, Final

import click

from pyrsia.errors import Refusal
from pyrsia.units import Limit

MAX_DOCUMENT_BYTES = Limit(
    16_384, "a member document has a dozen short fields; a longer file is another file"
)
NONE: Final = "none"  # the roles of a follower
ROLES: Final = ("builder", "issuer", "storage", "validator")

role_option = click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice((*ROLES, NONE)),
    help="A role that it shall have; several times for several; `none` for a follower.",
)
can_option = click.option(
    "--can", "capabilities", multiple=True, metavar="ECOSYSTEM", help="What it can build [pip, of a builder]."
)
file_option = click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its member document, made by `pyrsia member document`.",
)


def read_document(file: Path) -> dict[str, Any]:
    """A member document from a file.

    Raises:
        Refusal: `usage`; the file is none.
    """
    with file.open("rb") as opened:
        data = opened.read(MAX_DOCUMENT_BYTES.value + 1)
    try:
        if len(data) > MAX_DOCUMENT_BYTES.value:
            raise ValueError
        return as_document(json.loads(data))
    except (ValueError, RecursionError):
        raise _no_document(str(file)) from None


def as_document(told: Any) -> dict[str, Any]:
    """`told`, if it has the form of a member document.

    Raises:
        Refusal: `usage`.
    """
    from pyrsia.errors import Malformed
    from pyrsia.ledger.genesis import MEMBER

    try:
        MEMBER(told)
    except Malformed as error:
        raise _no_document(str(error)) from None
    found: dict[str, Any] = told
    return found


def _no_document(why: str) -> Refusal:
    return Refusal(
        "usage",
        what=f"this is no member document: {why}",
        who="the file, or whoever made it",
        do="make it on the node with `pyrsia member document > FILE`",
    )


def wanted_roles(roles: tuple[str, ...]) -> tuple[str, ...] | None:
    """The roles that were named: None for nothing, none for `none`."""
    if NONE in roles and len(roles) > 1:
        raise click.UsageError("--role none stands alone")
    return None if not roles else tuple(role for role in roles if role != NONE)


def fit(told: dict[str, Any], roles: tuple[str, ...], capabilities: tuple[str, ...]) -> dict[str, Any]:
    """The member of a document with the roles that were named, or else its own."""
    from pyrsia.node.members.founding import fitted
    from pyrsia.node.members.governing import BUILDER

    chosen = wanted_roles(roles)
    have = tuple(told["roles"]) if chosen is None else chosen
    able = capabilities or tuple(told["capabilities"]) or (BUILDER if "builder" in have else ())
    return fitted(told, have, able)
