"""A node's member document, made from its data directory: who it is stands there, or else in the log of the node."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyrsia import config
from pyrsia.client import Client, resolve
from pyrsia.errors import Refusal
from pyrsia.keys import KeyRing
from pyrsia.node.house import KEYS, chain_of
from pyrsia.node.members.founding import document
from pyrsia.node.members.governing import BUILDER


def document_of(
    data: Path | None,
    *,
    name: str | None = None,
    operator: str | None = None,
    domain: str | None = None,
    roles: Sequence[str] | None = None,
    capabilities: Sequence[str] = (),
) -> dict[str, Any]:
    """What the node in `data` says of itself; what is not named stands in its configuration, or the node says it.

    Raises:
        Refusal: `usage` where it lacks an operator or a domain, `data-damaged` where it has no keys.
    """
    folder = data or own_directory()
    told = config.load(folder).node
    keys = KeyRing.load(folder / KEYS)
    known = {"name": told.name, "operator": told.operator, "domain": told.domain}
    if not (operator or told.operator) or not (domain or told.domain):
        known = as_the_log_has_it(folder) or known
    who, where = operator or known["operator"], domain or known["domain"]
    if not who or not where:
        raise Refusal(
            "usage",
            what="a member document says who answers for the node, and what fails together with it",
            who="your command",
            do="add --operator NAME and --domain NAME",
        )
    wanted = tuple(roles or ())
    able = tuple(capabilities) or (BUILDER if "builder" in wanted else ())
    return document(
        keys,
        chain_of(folder, keys).end,
        name=name or known["name"],
        operator=who,
        domain=where,
        roles=wanted,
        capabilities=able,
    )


def own_directory() -> Path:
    """The data directory that commands mean when none is named."""
    found = resolve(None)
    return config.user_data_dir() if found.startswith(("http://", "https://")) else Path(found)


def as_the_log_has_it(folder: Path) -> dict[str, Any] | None:
    """The document that the running node of this directory gives of itself; None where none runs."""
    try:
        with Client(str(folder)) as node:
            told = node.get("/api/v1/document")
    except Refusal:
        return None
    return told if isinstance(told, dict) and {"name", "operator", "domain"} <= told.keys() else None
