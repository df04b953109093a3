"""`inspect-log`: the log record by record, as the original told it, and by any field."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pyrsia.cli.groups import Group
from pyrsia.cli.tell import examples, json_option, node_option

TEXT_HELP = "TEXT must be in a field of the record."
F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = (
    click.argument("text", required=False),
    click.option(
        "--format", "form", type=click.Choice(("json", "csv", "table")), default="json", show_default=True,
        help="How the records are written.",
    ),
    click.option("--fields", metavar="A,B,...", help="Which fields, in this order [json, csv: all]."),
    click.option("--latest", is_flag=True, help="The newest record, with the others of its build."),
    click.option(
        "--where", multiple=True, metavar="'FIELD OP VALUE'",
        help="A condition, such as 'status = WITHDRAWN' or 'file ~ .whl'. OP: = != < <= > >= ~ glob. Repeatable.",
    ),
    click.option("--since", help="From this block time on: a date, a date and time, or 2h ago."),
    click.option("--until", help="Up to this block time."),
    click.option("--as-of", metavar="SIZE|TIME", help="As the log was at this size or time."),
    click.option("--newest", is_flag=True, help="Newest first instead of oldest first."),
    click.option("--group-by", type=click.Choice(("build",)), help="The records of each build together."),
    click.option(
        "--limit", default=1_000, show_default=True, type=click.IntRange(1, 1_000_000), help="Records at most."
    ),
    click.option("--page", metavar="TOKEN", help="Go on where a shorter answer ended: it named the page."),
    node_option,
    json_option,
)  # fmt: skip


def _asked(command: F) -> F:
    """The options that every question has."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group("inspect-log", cls=Group)
def inspect_log() -> None:
    """The log record by record: files added and removed, nodes, builds.

    A record has the original's 13 fields and ours; `--fields` with an unknown one lists them. The answer is the node's
    word; `pyrsia verify` and `pyrsia log prove` prove.
    """


def _package(
    name: str, parameter: str, option: Callable[[Any], Any], why: str, *samples: str
) -> click.Command:
    """A command about the packages of one ecosystem. `parameter`: how a node is asked for one."""

    @click.command(name, epilog=examples(*samples), help=f"{why}\n\n{TEXT_HELP}")
    @option
    @_asked
    def command(package: str, **asked: Any) -> None:
        _run("artifacts", {parameter: package}, **asked)

    return command


@click.command("pip", epilog=examples("pyrsia inspect-log pip idna==3.7 --format table"))
@click.option("--package", "option", metavar="NAME[==V]", help="The same as NAME[==V] alone.")
@click.argument("package", metavar="NAME[==V]", required=False)
@_asked
def _pip(option: str | None, package: str | None, text: str | None, **asked: Any) -> None:
    """Files of a Python package.

    TEXT must be in a field of the record.
    """
    if option is not None and package is not None:
        if text is not None:
            raise click.UsageError("name the package once: NAME[==V] or --package")
        text = package
    named = option or package
    if named is None:
        raise click.UsageError("name the package: NAME[==V]")
    _run("artifacts", {"pip": named}, text=text, **asked)


def _whole(what: str, why: str, *samples: str) -> click.Command:
    """A command about everything of one kind."""

    @click.command(what, epilog=examples(*samples), help=f"{why}\n\n{TEXT_HELP}")
    @_asked
    def command(**asked: Any) -> None:
        _run(what, {}, **asked)

    return command


def _run(what: str, package: dict[str, str], **asked: Any) -> None:
    from pyrsia.cli.inspect.run import run

    run(what, package, **asked)


def _option(name: str, metavar: str) -> Any:
    return click.option(
        name, "package", required=True, metavar=metavar, help="Which package, or which version of it."
    )


for _command in (
    _package(
        "docker", "image", _option("--image", "NAME[:TAG|@sha256:...]"),
        "Files of an image: its manifests, configurations and layers.",
        "pyrsia inspect-log docker --image alpine:3.16",
        "pyrsia inspect-log docker --image alpine:3.16 --latest --format table",
    ),
    _package(
        "maven", "gav", _option("--gav", "G:A[:V]"), "Files of a Maven artifact.",
        "pyrsia inspect-log maven --gav commons-codec:commons-codec:1.15 --format csv --fields artifact_hash,operation",
    ),
    _pip,
    _package(
        "conan", "conan", click.argument("package", metavar="NAME[/VERSION[@USER/CHANNEL]]"),
        "Files of a Conan recipe and its packages.",
        "pyrsia inspect-log conan zlib/1.3",
    ),
    _whole(
        "artifacts", "Every file that was added or removed, of any ecosystem.",
        "pyrsia inspect-log artifacts --where 'operation = RemoveArtifact' --format table",
        "pyrsia inspect-log artifacts --as-of 2026-01-31 --where 'purl glob pkg:maven/org.*' --group-by build",
    ),
    _whole(
        "nodes", "Nodes that joined, left, or were changed.",
        "pyrsia inspect-log nodes --format table",
    ),
    _whole(
        "builds", "Build requests with their verdicts.",
        "pyrsia inspect-log builds --newest --limit 20 --where 'verdict = DIVERGED' --format table",
        "pyrsia inspect-log builds --where 'dissenting != null'",
    ),
):  # fmt: skip
    inspect_log.add_command(_command)
