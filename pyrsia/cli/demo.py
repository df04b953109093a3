"""`demo`: prepare, run the story, report, stop."""

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from pyrsia.errors import PyrsiaError, Refusal

if TYPE_CHECKING:  # the demo's modules are imported when it runs, not for --help
    from pyrsia.demo.report import Report
    from pyrsia.demo.teller import Teller


@click.command()
@click.option(
    "--package", "packages", multiple=True, metavar="NAME[==VERSION]", help="What to build and install."
)
@click.option(
    "--environment",
    "environments",
    multiple=True,
    metavar="NAME",
    help="Make this build environment first and admit it (`pyrsia build environment list` names them).",
)
@click.option("--keep", is_flag=True, help="Leave the network running until Ctrl-C, its addresses printed.")
@click.option("--offline", is_flag=True, help="Build the sample package of this repository; no index needed.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a JSON report here.")
def demo(
    packages: tuple[str, ...], environments: tuple[str, ...], keep: bool, offline: bool, report: Path | None
) -> None:
    """Four validator-builders and one follower on this machine: from source to pip install.

    Exits 0 only when every step was checked from outside; a failing step is an error with its cause.
    """
    from pyrsia.demo.report import Report
    from pyrsia.demo.teller import Teller

    # Ctrl-C and a polite kill end the same way: every node is stopped, nothing is left behind. Both are set, for a
    # script's shell starts what it puts into the background deaf to SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if report is not None:
        Report.check(report.absolute())
    told, tell = Report(), Teller()
    error: str | None = "stopped before its end"
    try:
        _run(packages, environments, keep, offline, told, tell, report)
        error = None
    except Refusal as refusal:
        error = refusal.what
        raise
    except PyrsiaError as failed:
        error = str(failed)
        raise click.ClickException(f"the demo failed: {failed}") from None
    finally:
        if report is not None:
            told.write(report.absolute(), error=error)


def _run(
    packages: tuple[str, ...],
    environments: tuple[str, ...],
    keep: bool,
    offline: bool,
    told: "Report",
    tell: "Teller",
    report: Path | None,
) -> None:
    from pyrsia.demo import roots
    from pyrsia.demo.install import FreshVenv
    from pyrsia.demo.network import Network
    from pyrsia.demo.prepare import prepare
    from pyrsia.demo.story import Story, after

    ready = prepare(packages, offline=offline, tell=tell)
    told.isolation = ready.isolation
    kept = roots.made(environments, roots.folder(), tell.say)
    network = Network.create(
        isolation=ready.isolation, environment=ready.environment, roots=kept.ids, shared=kept.folder
    )
    done = False
    environment = FreshVenv(network.folder / "venv")
    try:
        network.variables = ready.fill(network.folder)
        Story(network, ready.packages, ready.dissent, tell, told, environment).run()
        done = True
        tell.title("done: every step was checked from outside")
        tell.raw("\nWhat to try next (. .venv/bin/activate first):\n")
        tell.raw("".join(f"  {line}\n" for line in after(network, told, ready.example, keep=keep)))
        if keep:
            if report is not None:
                told.write(report.absolute(), error=None)
            tell.raw("\nThe network runs; Ctrl-C stops it.\n")
            network.watch()
    except KeyboardInterrupt:
        if not (keep and done):
            raise
    finally:
        network.stop_all()  # first: a person waits for it
        environment.close()
        if done:
            network.remove_all_but_results()
        else:  # nothing half written stays
            network.remove()
        tell.raw("")


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
