"""`node`: run this machine's node."""

from pathlib import Path

import click

from pyrsia import config


@click.group(invoke_without_command=True)
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Data directory [the user's].")
@click.pass_context
def node(ctx: click.Context, data: Path | None) -> None:
    """Run a node that `pyrsia init` made; bare `pyrsia node` is `pyrsia node run`."""
    ctx.obj = data
    if ctx.invoked_subcommand is None:
        _run(data)


@node.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Data directory [the user's].")
@click.pass_context
def run(ctx: click.Context, data: Path | None) -> None:
    """Run until SIGINT or SIGTERM."""
    _run(data or ctx.obj)


def _run(data: Path | None) -> None:
    from pyrsia.node.service import main

    main(data or config.user_data_dir())
