"""Facts in the state: who said what of what, as far as a later word of the same author needs it.

Source: docs/ledger.md, "Facts".
"""

from pyrsia.ledger.bodies.facts import about
from pyrsia.ledger.context import Context, NotApplied
from pyrsia.ledger.entries import Entry


def add(ctx: Context, entry: Entry, author: str, leaf: int) -> None:
    """`fact.add`: new, or in the place of one's own earlier word on the same subject."""
    view, body = ctx.view, entry.body
    subject, fact = about(body["subject"]), entry.id.hex()
    earlier = body.get("supersedes")
    if earlier is not None:
        before = view.get(f"fact/{earlier}")
        if before is None:
            raise NotApplied("the log has no such earlier fact", later=True)
        if before["author"] != author:
            raise NotApplied("only its own author can supersede or withdraw a fact")
        if (before["kind"], before["subject"]) != (body["kind"], subject):
            raise NotApplied("the earlier fact is of another kind or another subject")
        if "by" in before:
            raise NotApplied("the earlier fact is superseded or withdrawn already")
        view.put(f"fact/{earlier}", {**before, "by": fact})
    if "withdrawn" not in body:
        record = {"author": author, "kind": body["kind"], "leaf": leaf, "subject": subject}
        view.put(f"fact/{fact}", record)
