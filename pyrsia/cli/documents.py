"""A node's member document, made from its data directory: the node need not run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyrsia import config
from pyrsia.errors import Refusal
from pyrsia.keys import KeyRing
from pyrsia.node.founding import document
from pyrsia.node.governing import BUILDER
from pyrsia.node.house import KEYS, chain_of


def document_of(
    data: Path | None,
    *,
    name: str | None = None,
    operator: str | None = None,
    domain: str | None = None,
    roles: Sequence[str] | None = None,
    capabilities: Sequence[str] = (),
) -> dict[str, Any]:
    """What the node in `data` says of itself; what is not named stands in its configuration.

    Raises:
        Refusal: `usage` where it lacks an operator or a domain, `data-damaged` where it has no keys.
    """
    folder = data or config.user_data_dir()
    told = config.load(folder).node
    keys = KeyRing.load(folder / KEYS)
    who, where = operator or told.operator, domain or told.domain
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
        name=name or told.name,
        operator=who,
        domain=where,
        roles=wanted,
        capabilities=able,
    )
