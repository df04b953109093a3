"""What stands in the `body` of each entry type: exact fields, exact forms, exact bounds.

One module a family of types. A checker says whether a body is one of its type; whether the entry may
stand in the log now is the business of the type's handler beside this package.

Source: docs/ledger.md, "Leaves".
"""

from typing import Final

from pyrsia.ledger import shape
from pyrsia.ledger.bodies import builds, facts, faults, motions, seals

AUTHORED: Final[dict[str, shape.Check]] = {
    **builds.AUTHORED,
    **motions.AUTHORED,
    **facts.AUTHORED,
    **faults.AUTHORED,
}
DERIVED: Final[dict[str, shape.Check]] = {**builds.DERIVED, **seals.DERIVED}
