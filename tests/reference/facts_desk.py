"""A node's desk for facts as a dictionary: it says each at most once, by the ledger's own form, and has a quota."""

import json
import threading

from pyrsia.errors import Malformed
from pyrsia.ledger.bodies.facts import AUTHORED
from tests.reference.fakenode import Posted

ME = "a" * 52


def body_of(fact):
    """What a node writes into the log for a fact that it is told, `supersedes` apart."""
    return {
        "kind": fact["kind"],
        "subject": fact["subject"],
        "text": fact["text"],
        "valid_from": fact["valid_from"],
        **fact["fields"],
    }


def refused(code, what="no", **more):
    return {
        "outcome": "refused",
        "leaf": -1,
        "error": {"code": code, "what": what, "who": "x", "do": "y", **more},
    }


class Desk:
    """`room`: facts that it takes before it is busy once for each of `busy`; `issuer`: may say advisories.

    Attributes:
        stands: (kind, subject, advisory) -> body. `entries`: leaves that were written.
        orders: how many it took, dry runs apart.
    """

    def __init__(self, *, issuer=True, room=None, dies_after=None):
        self.stands, self.entries, self.orders = {}, [], 0
        self.issuer, self.room, self.dies_after = issuer, room, dies_after
        self._lock = threading.Lock()

    @property
    def answer(self):
        return Posted(self._order)

    def _order(self, raw):
        with self._lock:
            order = json.loads(raw)
            dry = order.get("dry_run", False)
            if not dry and self.dies_after is not None and self.orders >= self.dies_after:
                return 503, {"error": {"code": "unavailable", "what": "it stops", "who": "x", "do": "y"}}
            self.orders += not dry
            told = [self._say(fact, dry) for fact in order.get("facts", ())]
            return 200, {"outcomes": told, "whole": [self._gone(one, dry) for one in order.get("whole", ())]}

    def _gone(self, one, dry):
        ended = [
            key
            for key in self.stands
            if key[::2] == ("advisory", one["advisory"]) and key[1] not in one["subjects"]
        ]
        for key in ended:
            self._wrote("withdrawn", dry, key, None)
        return {"withdrawn": len(ended)}

    def _say(self, fact, dry):
        if fact["kind"] in ("advisory", "vex") and not self.issuer:
            return refused("forbidden", "this node is no issuer")
        if not dry and self.room is not None and self.room <= 0:
            self.room = None
            return refused("busy", retry_s=1)
        key = fact["kind"], fact["subject"], fact["fields"].get("advisory", "")
        before = self.stands.get(key)
        if before is not None and fact["fields"].get("modified_ms", 1 << 60) < before.get("modified_ms", 0):
            return {"outcome": "older", "leaf": -1}
        if fact["withdraw"]:
            if before is None:
                return {"outcome": "same", "leaf": -1}
            return self._wrote("withdrawn", dry, key, None)
        body = body_of(fact)
        try:
            AUTHORED["fact.add"](body)
        except Malformed as error:
            return refused("entry-refused", str(error))
        if before == body:
            return {"outcome": "same", "leaf": -1}
        return self._wrote("added" if before is None else "changed", dry, key, body)

    def _wrote(self, outcome, dry, key, body):
        if dry:
            return {"outcome": outcome, "leaf": -1}
        if self.room is not None:
            self.room -= 1
        self.entries.append((key, body))
        if body is None:
            del self.stands[key]
        else:
            self.stands[key] = body
        return {"outcome": outcome, "leaf": len(self.entries) - 1}
