"""Slips in a fact that the log would take for ever, and nobody could read: told before it is said."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pyrsia.errors import Malformed

if TYPE_CHECKING:  # imported when a command runs, not for --help
    from pyrsia.knowledge.versions import Bounds

_DO = (
    "write one as in MIT OR Apache-2.0 (ids: https://spdx.org/licenses, your own: LicenseRef-NAME); what people call \
it goes to `pyrsia facts add licence PURL --text NAME`"
)


def nothing(kind: str, subject: str, text: str, fields: Mapping[str, Any]) -> None:
    """
    Raises:
        click.UsageError: it says nothing, or that there is a list of what is inside and not which; or it would decide
            about what this network compares with nothing.
    """
    from pyrsia.knowledge.ecosystems import DECIDING, strange

    if kind == "sbom":
        raise click.UsageError(
            "an SBOM is its document, which counts nowhere without: `pyrsia facts import sbom FILE --subject"
            f" {subject}`"
        )
    if kind in DECIDING and (unknown := strange(subject)):
        raise click.UsageError(f"{unknown}, and no {kind} of it would decide anything")
    if not text and not any(value or value == 0 for value in fields.values()):
        raise click.UsageError(f"this {kind} says nothing: give it a --field, or a --text")


def spdx(expression: str) -> str:
    """The expression.

    Raises:
        click.BadParameter: it is none, or has an id that SPDX has not: every policy that has a rule for licences
            would refuse the package.
    """
    from pyrsia.knowledge.licences import ids
    from pyrsia.policy.patterns import licence

    found = ids(expression)
    if not found:
        raise click.BadParameter(f"{expression[:200]!r} is no SPDX expression; {_DO}")
    for name in {part for one in found for part in one.split(" WITH ")}:
        try:
            licence(name)
        except Malformed:
            raise click.BadParameter(f"{name} is no SPDX id; {_DO}") from None
    return expression


def homepage(text: str) -> None:
    """
    Raises:
        click.BadParameter: it is no page on the web.
    """
    from pyrsia.knowledge.homepages import strange_page

    if why := strange_page(text):
        raise click.BadParameter(f"{why}; write https://...")


def ranges(subject: str, bounds: "Sequence[Bounds]") -> None:
    """
    Raises:
        click.BadParameter: no version lies in one of them.
    """
    from pyrsia.knowledge.versions import BEGINNING, compare
    from pyrsia.wire.purl import parse

    try:
        kind = parse(subject).type
    except Malformed:
        return  # a file has no ranges: the ledger's form says so
    for one in bounds:
        begin = one["introduced"]
        end = one.get("fixed", one.get("last"))
        order = compare(kind, begin, end) if end is not None and begin != BEGINNING else None
        if order is not None and (order > 0 or (order == 0 and "fixed" in one)):
            raise click.BadParameter(
                f"no version lies in {begin}..{'' if 'fixed' in one else '='}{end}: it begins where it has ended"
            )
