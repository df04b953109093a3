"""What an artifact is worth now: one record for its bytes under a purl, and one function that writes it.

The verdict of `artifact.add` says what was found once; the status says what holds today. Bytes may be published under
several purls (a layer of two images, a copy under somebody's own name), and what happens to them under one says nothing
about the others. A proof of a status is a proof of the state key `status_key` names.

Source: docs/ledger.md, "Status".
"""

from typing import Any, Final

from pyrsia.ledger.context import NotApplied
from pyrsia.ledger.state import View
from pyrsia.units import MAX_NAMES_OF_BYTES
from pyrsia.wire import purl as purls

WITHDRAWN: Final = "WITHDRAWN"
DISPUTED: Final = "DISPUTED"
WITNESSED: Final = "WITNESSED"
BUILT: Final = ("EQUIVALENT", "REPRODUCED")  # verdicts that somebody's own build led to
PUBLISHED: Final = (*BUILT, WITNESSED)  # verdicts under which bytes are offered
STATUSES: Final = (*PUBLISHED, DISPUTED, WITHDRAWN)

_WORST: Final = (WITHDRAWN, DISPUTED, WITNESSED, "EQUIVALENT")


def worst_first(status: str) -> int:
    """To sort by: what several files are worth together is what the worst of them is."""
    return _WORST.index(status) if status in _WORST else len(_WORST)


def status_key(sha256: str, purl: str) -> str:
    """Where the status of these bytes under this purl stands."""
    return f"status/{sha256}/{purl}"


def artifact_key(sha256: str, purl: str) -> str:
    """Where the `artifact.add` stands by which these bytes count under this purl."""
    return f"artifact/{sha256}/{purl}"


def names_key(sha256: str) -> str:
    """Where the purls stand under which these bytes were published, own names last."""
    return f"names/{sha256}"


def raises(published: dict[str, Any], later: dict[str, Any]) -> bool:
    """Whether a later `artifact.add` (bodies) is worth more: what was only seen upstream has been built."""
    return published["verdict"] == WITNESSED and later["verdict"] in BUILT


def publish(view: View, artifact: dict[str, Any]) -> None:
    """`artifact` ({body, leaf} of an artifact.add) is in the log; the first of these bytes under its purl counts.

    The same bytes found again change nothing, but for what was only witnessed: once it is built, that counts. What is
    withdrawn or disputed stays so; a dispute that is resolved then ends in the better verdict.
    """
    body = artifact["body"]
    key = artifact_key(body["sha256"], body["purl"])
    before = view.get(key)
    if before is None:
        view.put(key, artifact)
        _list(view, body["sha256"], body["purl"])
        _set(view, body, body["verdict"], artifact["leaf"])
    elif raises(before["body"], body):
        view.put(key, artifact)
        if _status(view, body) == WITNESSED:
            _set(view, body, body["verdict"], artifact["leaf"])


def _list(view: View, sha256: str, purl: str) -> None:
    """Own names come behind all others and give way to them: else copies under own names could fill the list."""
    names = [*view.get(names_key(sha256), []), purl]
    names.sort(key=lambda name: purls.parse(name).owner != "")
    view.put(names_key(sha256), names[: MAX_NAMES_OF_BYTES.value])


def check_withdraw(view: View, body: dict[str, Any]) -> None:
    """Whether these bytes can be withdrawn.

    Raises:
        NotApplied: they were not published under this purl, or are withdrawn already.
    """
    if _status(view, body) == WITHDRAWN:
        raise NotApplied("these bytes are withdrawn already")


def withdraw(view: View, body: dict[str, Any], leaf: int) -> None:
    """No longer offered under this purl; the history stays."""
    _set(view, body, WITHDRAWN, leaf, body["reason"])


def dispute(view: View, artifact: dict[str, Any], leaf: int, reason: str, *, witnessed: bool) -> None:
    """A later verdict contradicts a published file: not offered until a motion resolves it. Withdrawn ones stay so.

    Args:
        artifact: body of its artifact.add.
        witnessed: whether the later verdict only saw what upstream has now: that says nothing against what was built.
    """
    if _status(view, artifact) in ((WITNESSED,) if witnessed else PUBLISHED):
        _set(view, artifact, DISPUTED, leaf, reason)


def check_resolve(view: View, body: dict[str, Any]) -> None:
    """Whether there is a dispute to resolve.

    Raises:
        NotApplied: there is none.
    """
    if _status(view, body) != DISPUTED:
        raise NotApplied("these bytes are not disputed")


def resolve(view: View, body: dict[str, Any], leaf: int) -> None:
    """The verdict under which the bytes were published holds again."""
    published = view.get(artifact_key(body["sha256"], body["purl"]))
    _set(view, body, published["body"]["verdict"], leaf, body["reason"])


def _status(view: View, body: dict[str, Any]) -> str:
    found = view.get(status_key(body["sha256"], body["purl"]))
    if found is None:
        raise NotApplied("the log has not published these bytes under this purl", later=True)
    return str(found["status"])


def _set(view: View, body: dict[str, Any], status: str, leaf: int, reason: str = "") -> None:
    """The one place that writes a status. `leaf`: the entry that made it so, and why, where it says why."""
    assert status in STATUSES  # noqa: S101  (another word would be ours to mend, and would lie for ever)
    why = {"reason": reason} if reason else {}
    view.put(status_key(body["sha256"], body["purl"]), {"leaf": leaf, "status": status, **why})
