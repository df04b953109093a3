"""`package badge`: a picture of what the log says of a package, and what to write into a README to show it."""

from pathlib import Path
from typing import Any, Final

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.log.when import as_of_option, moment
from pyrsia.cli.package.show import canonical
from pyrsia.cli.tell import examples, json_option, node_option, tell
from pyrsia.client import Client, typed
from pyrsia.files import write_whole
from pyrsia.status import NodeStatus

METRICS: Final = ("verdict", "advisories", "downloads", "licence")


@click.command(
    "badge",
    epilog=examples(
        "pyrsia package badge pkg:pypi/idna                       Markdown for a README",
        "pyrsia package badge pkg:pypi/idna@3.10 --out idna.svg   and the picture in a file",
    ),
)
@click.argument("purl", metavar="PURL")
@click.option(
    "--metric", type=click.Choice(METRICS), default="verdict", show_default=True, help="What it tells."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the picture to a file.")
@click.option("--base", metavar="URL", help="Where readers reach the node [the address that the node says].")
@as_of_option
@node_option
@json_option
def badge(
    purl: str,
    metric: str,
    out: Path | None,
    base: str | None,
    as_of: str | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Make a badge of a package's newest version, or of a version.

    It says what the log says (REPRODUCED by 3; WITNESSED, not rebuilt; DISPUTED; WITHDRAWN), never what a node's policy
    allows. A node serves it at /badge/TYPE/NAME[@VERSION].svg to whoever may read there. With --as-of it says for ever
    what the log said then.
    """
    from pyrsia.serve import badges
    from pyrsia.serve.desks.providing import Overview

    subject = canonical(purl)
    with Client(target) as node:
        told = typed(node.get("/api/v1/packages/overview", purl=subject, **moment(as_of)), Overview)
        reached = base.rstrip("/") if base else shaped(node.get("/api/v1/status"), NodeStatus)["http"]
    svg = badges.draw(badges.of(told, metric))
    line = badges.markdown(subject, reached, metric, told.size if as_of else -1)
    answer: dict[str, Any] = {
        "markdown": line, "metric": metric, "purl": subject,
        "svg": svg.decode("utf-8", "replace"), "file": str(out) if out is not None else "",
    }  # fmt: skip
    if out is not None:
        write_whole(out, svg)
    shown = [answer["file"], answer["markdown"]] if out is not None else [answer["markdown"]]
    tell(answer, as_json=as_json, text=lambda: shown)
