"""How our wheel relates to the one that the registry already serves under the same coordinates.

`identical`: the same bytes. `equivalent`: the same member names, exec bits and decompressed bytes in a ZIP
of the form that may be published; RECORD and times may differ. `different`: anything else. `none`: the
registry serves no wheel for every platform. Upstream never takes part in the verdict.

It runs inside the sandbox and imports only the standard library.

Source: docs/builds-how.md, "What else the reveal says"; docs/ledger.md, "The verdict".
"""

from collections.abc import Iterable
from typing import Literal

from pyrsia.builds.members import Member, stable

Relation = Literal["identical", "equivalent", "different", "none"]


def relation(
    ours: Iterable[Member], our_sha256: str, theirs: Iterable[Member] | None, their_sha256: str
) -> Relation:
    """Compare two wheels that were both inspected strictly.

    Args:
        theirs: None when upstream's wheel did not pass inspection, or is not there.
        their_sha256: "" when there is no upstream wheel.
    """
    if not their_sha256:
        return "none"
    if theirs is None:
        return "different"
    if our_sha256 == their_sha256:
        return "identical"
    return "equivalent" if stable(ours) == stable(theirs) else "different"
