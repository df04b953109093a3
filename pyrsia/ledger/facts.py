"""Facts in the state: who said what of what, as far as a later word of the same author needs it.

Facts are what a log has most of, so they share keys: the facts of a block stand in lists of a few dozen, which
`state_root` speaks of, and each id leads to its list. Adding one touches no key of the tree of its own.

Source: docs/ledger.md, "Facts".
"""

from itertools import islice
from typing import Any, Final

from pyrsia.ledger import roster
from pyrsia.ledger.bodies.facts import DIGEST, ISSUED, about
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.entries import Entry
from pyrsia.ledger.state import View
from pyrsia.units import Limit
from pyrsia.wire import canonical
from pyrsia.wire.purl import parse
from pyrsia.wire.text import unb32

FACTS_A_LIST = Limit(64, "12 KB: read whole, in some 40 us, by whoever supersedes one of them")

RECHECK: Final = "recheck"

Row = list[str]  # author, id, kind, subject: as a list, since there are thousands


def add(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`fact.add`: new, or in the place of one's own earlier word on the same subject."""
    view, body = ctx.view, entry.body
    fact, kind, subject = entry.id.hex(), body["kind"], about(body["subject"])
    if kind in ISSUED and not _issues(view, author):
        raise NotApplied(
            f"only a member with the role issuer says {kind}s; it can get it by a motion", later=True
        )
    if kind == RECHECK and "withdrawn" not in body:
        _check_recheck(view, body, author, subject)
    earlier = body.get("supersedes")
    if earlier is not None:
        before = ctx.facts.get(earlier) or find(view, earlier)
        if before is None:
            raise NotApplied("the log has no such earlier fact", later=True)
        if before[0] != author:
            raise NotApplied("only its own author can supersede or withdraw a fact")
        if before[2:] != [kind, subject]:
            raise NotApplied("the earlier fact is of another kind or another subject")
        if view.raw(f"superseded/{earlier}") is not None:
            raise NotApplied("the earlier fact is superseded or withdrawn already")
        view.put(f"superseded/{earlier}", fact)
    if "withdrawn" not in body:
        ctx.facts[fact] = [author, fact, kind, subject]


def _issues(view: View, author: str) -> bool:
    member = roster.member(view, unb32(author))
    return member is not None and roster.ISSUER in member.roles


def _check_recheck(view: View, body: dict[str, Any], author: str, subject: str) -> None:
    """A re-check is of a request that has its verdict, and says what it is about; a self-check is its builder's.

    It is a word like any other fact's: it changes no status, and no verdict counts it.
    """
    record = view.get(f"request/{body['request']}")
    if record is None or "verdict" not in record:
        raise NotApplied("the log has no verdict over the request that was checked again", later=True)
    package = str(parse(record["body"]["purl"]).versionless)
    if subject.startswith(DIGEST):
        numbers = record.get("artifacts", ())
        made = [view.get(f"project/{package}/{number:016}")["body"]["sha256"] for number in numbers]
        if subject[len(DIGEST) :] not in made:
            raise NotApplied("the request that was checked again did not publish this file")
    elif subject != package or body["subject"] not in (package, record["body"]["purl"]):
        raise NotApplied("the request that was checked again is of another package")
    if "self" in body and all(item["builder"] != author for item in record["reveals"]):
        raise NotApplied("a self-check is of a builder that revealed a result of this request")


def keep(ctx: Context) -> None:
    """At the end of the block: its facts into their lists, and each id to its list."""
    every = iter(ctx.facts.values())
    number = 0
    while part := list(islice(every, FACTS_A_LIST.value)):
        place = f"facts/{ctx.height}/{number}"
        number += 1
        ctx.view.put(place, part)
        named = canonical.encode(place)
        for _, fact, *_ in part:
            ctx.view.put_encoded(f"fact/{fact}", named)


def find(view: View, fact: str) -> Row | None:
    """What the state knows of a fact of an earlier block."""
    place = view.get(f"fact/{fact}")
    if place is None:
        return None
    rows: list[Row] = view.get(place)
    return next(row for row in rows if row[1] == fact)
