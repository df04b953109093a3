"""`--as-of` at commands that tell how builds go: refused, with the question that the log can answer.

When builders may reveal is decided by each node for itself and stands in no entry, so nobody can say how far a request
was at a past moment. Who asked, what came of it and who agreed by then is in the log: `inspect-log builds` tells it.
"""

import shlex
from typing import Final

import click

from pyrsia.cli.builds import find
from pyrsia.cli.log.when import moment
from pyrsia.errors import Refusal

_ALL: Final = "--newest --format table"

as_of_option = click.option(
    "--as-of",
    metavar="SIZE|TIME",
    help="Nobody can say: names the `inspect-log builds` command that tells what the log had then.",
)


def refuse(as_of: str | None, request: str | None = None) -> None:
    """Nothing for now.

    Args:
        request: the one that is asked about, as a person wrote it; None for all.

    Raises:
        Refusal: `usage` for a past moment; `not-found` where `request` is no id and no beginning of one.
        click.BadParameter: `as_of` is no moment.
    """
    if as_of is None:
        return
    moment(as_of)  # a slip there is told first
    which = _ALL if request is None else f"--where '{find.condition(request)}'"
    raise Refusal(
        "usage",
        what="how far a build was at a past moment stands in no entry of the log",
        who="your command",
        do=f"for requests with their verdicts of then: pyrsia inspect-log builds --as-of {shlex.quote(as_of)} {which}",
    )
