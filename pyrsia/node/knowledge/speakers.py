"""Who may say which facts, as far as the final log goes: told at once, and not by an entry that waits for a role.

Source: docs/knowledge.md, "Saying facts"; docs/ledger.md, "Facts".
"""

from collections.abc import Collection, Mapping
from typing import Any

from pyrsia.errors import Refusal
from pyrsia.ledger.bodies.facts import ISSUED
from pyrsia.ledger.roster import ISSUER


def roles_of(member: Mapping[str, Any] | None) -> frozenset[str]:
    """Of this node by its fields as a member.

    Raises:
        Refusal: `forbidden`: it is none.
    """
    if member is None:
        raise Refusal(
            "forbidden",
            what="this node is no member of the network, and only members say facts",
            who="this node, as far as its log goes",
            do="see `pyrsia member list`; to be admitted, docs/join.md; or ask another node",
        )
    return frozenset(member["roles"])


def may_say(kind: str, roles: Collection[str]) -> bool:
    return kind not in ISSUED or ISSUER in roles


def check(kind: str, roles: Collection[str]) -> None:
    """
    Raises:
        Refusal: `forbidden`: it is said by issuers only.
    """
    if not may_say(kind, roles):
        raise no_issuer(kind)


def no_issuer(kind: str) -> Refusal:
    return Refusal(
        "forbidden",
        what=f"only a member with the role issuer says facts of the kind {kind}",
        who="this node, which has not got that role",
        do="ask for it by a motion (`pyrsia member propose roles`), or say it through a node that has it",
    )
