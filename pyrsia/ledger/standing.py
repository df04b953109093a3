"""What an artifact is worth now: one record for its bytes, and one function that writes it.

The verdict of `artifact.add` says what was found once; the status says what holds today. A proof of it
is a proof of the state key `status/<sha256>`.

Source: docs/ledger.md, "Status".
"""

from typing import Any, Final

from pyrsia.ledger.context import NotApplied
from pyrsia.ledger.state import View

WITHDRAWN: Final = "WITHDRAWN"
DISPUTED: Final = "DISPUTED"
PUBLISHED: Final = ("EQUIVALENT", "REPRODUCED", "WITNESSED")  # verdicts under which bytes are offered
STATUSES: Final = (*PUBLISHED, DISPUTED, WITHDRAWN)


def publish(view: View, artifact: dict[str, Any]) -> None:
    """`artifact` ({body, leaf} of an artifact.add) is in the log; the first one of these bytes counts.

    The same bytes found again change nothing: what was withdrawn does not come back by another build.
    """
    body = artifact["body"]
    if view.raw(f"artifact/{body['sha256']}") is None:
        view.put(f"artifact/{body['sha256']}", artifact)
        _set(view, body["sha256"], body["verdict"], artifact["leaf"])


def check_withdraw(view: View, body: dict[str, Any]) -> None:
    """Whether these bytes can be withdrawn.

    Raises:
        NotApplied: they were not published under this purl, or are withdrawn already.
    """
    if _status(view, body) == WITHDRAWN:
        raise NotApplied("these bytes are withdrawn already")


def withdraw(view: View, body: dict[str, Any], leaf: int) -> None:
    """No longer offered; the history stays."""
    _set(view, body["sha256"], WITHDRAWN, leaf, body["reason"])


def dispute(view: View, sha256: str, leaf: int, reason: str) -> None:
    """A later verdict contradicts published bytes: not offered until a motion resolves it. Withdrawn ones stay so."""
    if view.get(f"status/{sha256}")["status"] in PUBLISHED:
        _set(view, sha256, DISPUTED, leaf, reason)


def check_resolve(view: View, body: dict[str, Any]) -> None:
    """Whether there is a dispute to resolve.

    Raises:
        NotApplied: there is none.
    """
    if _status(view, body) != DISPUTED:
        raise NotApplied("these bytes are not disputed")


def resolve(view: View, body: dict[str, Any], leaf: int) -> None:
    """The verdict under which the bytes were published holds again."""
    published = view.get(f"artifact/{body['sha256']}")
    _set(view, body["sha256"], published["body"]["verdict"], leaf, body["reason"])


def _status(view: View, body: dict[str, Any]) -> str:
    published = view.get(f"artifact/{body['sha256']}")
    if published is None or published["body"]["purl"] != body["purl"]:
        raise NotApplied("the log has not published these bytes under this purl", later=True)
    return str(view.get(f"status/{body['sha256']}")["status"])


def _set(view: View, sha256: str, status: str, leaf: int, reason: str = "") -> None:
    """The one place that writes a status. `leaf`: the entry that made it so, and why, where it says why."""
    assert status in STATUSES  # noqa: S101  (another word would be ours to mend, and would lie for ever)
    why = {"reason": reason} if reason else {}
    view.put(f"status/{sha256}", {"leaf": leaf, "status": status, **why})
