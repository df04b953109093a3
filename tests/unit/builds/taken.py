"""What a plan becomes on the log: the body of its request, checked as every node checks one that comes in."""

import hashlib
from typing import Any

from pyrsia.builds.model import Planned
from pyrsia.ledger import entries


def taken(planned: Planned, requester: str = "a" * 52) -> dict[str, Any]:
    """The body that a node signs for a plan.

    Raises:
        Malformed: the log would refuse it.
    """
    body = {
        "coordinates": planned.coordinates,
        "ecosystem": planned.ecosystem,
        "lock": {
            "manifest": "b" * 64,
            "sha256": hashlib.sha256(planned.lock).hexdigest(),
            "size": len(planned.lock),
        },
        "purl": planned.purl,
        "recipe": planned.recipe,
        "requester": requester,
        "source": planned.source,
        "target": planned.target,
    }
    entries.AUTHORED["build.request"](body)
    return body
