"""`log hammer`: write into one's own log and verify it at the same time."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.cli.log.when import Span
from pyrsia.cli.tell import json_option, node_option, tell, trust_option
from pyrsia.client import Client, resolve
from pyrsia.errors import Refusal
from pyrsia.units import Limit

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.audit.hammer import Report

MAX_GOAL = Limit(
    10_000_000, "each acknowledged entry is remembered until it is verified, and its wait for ever"
)
MAX_WRITERS = Limit(200, "a validator holds so many entries of one author at a time")
MAX_READERS = Limit(64, "each is a thread; more than this wait for the interpreter, not for the node")


@click.command()
@click.option(
    "--goal", required=True, type=click.IntRange(1, MAX_GOAL.value), help="Entries to have acknowledged."
)
@click.option(
    "--for", "seconds", required=True, type=Span(), metavar="TIME", help="Within this time: 30s, 2m, 1h."
)
@click.option(
    "--writers",
    default=16,
    show_default=True,
    type=click.IntRange(1, MAX_WRITERS.value),
    help="Entries on their way at once.",
)
@click.option(
    "--readers",
    default=2,
    show_default=True,
    type=click.IntRange(1, MAX_READERS.value),
    help="Verifying at once.",
)
@click.option(
    "--resend",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0, 0.9),
    help="Chance that a writer sends an entry again that is in the log; it must stay one leaf.",
)
@click.option(
    "--really", is_flag=True, help="Also into a network that is no demo: what is written stays for ever."
)
@trust_option
@node_option
@json_option
def hammer(
    goal: int,
    seconds: float,
    writers: int,
    readers: int,
    resend: float,
    really: bool,
    trust: Path | None,
    target: str | None,
    as_json: bool,
) -> int:
    """Write facts into the log as fast as the network takes them, and verify all of it meanwhile.

    Readers check that every acknowledged entry is in the log where the node said, and random others, under
    checkpoints that each go on from the last. Exit code 0 only if the goal was reached in time and everything
    holds; else 1 with the reason. The node must take orders: its data directory, or PYRSIA_TOKEN.
    """
    import trio

    from pyrsia.audit.hammer import Hammer, Plan, first_checkpoint
    from pyrsia.audit.opening import open_node
    from pyrsia.cli.log.common import Progress, reading
    from pyrsia.cli.log.following import believed

    where, progress = resolve(target), Progress("written and acknowledged")
    with reading(where, progress):
        source = open_node(where)
        try:
            rule = believed(source, first_checkpoint(source), trust)
            genesis = rule.genesis
            if not really and not (genesis and genesis.body["demo"]):
                raise _no_demo(genesis.name if genesis else where)
            plan = Plan(goal, seconds, writers, readers, resend=resend, seed=secrets.randbelow(1 << 32))
            report = trio.run(Hammer(plan, _address(where), source, rule, progress, where).run)
        finally:
            source.close()
    tell(msgspec.to_builtins(report), as_json=as_json, text=lambda: _lines(report))
    return 0 if report.ok else 1


def _address(where: str) -> str:
    """Where the node listens for everybody: its control socket has room for a few alone."""
    if where.startswith(("http://", "https://")):
        return where
    with Client(where) as node:
        return str(shaped(node.get("/api/v1/status"), answers.Status)["http"]) or where


def _lines(report: "Report") -> list[str]:
    r = report
    return [
        f"{r.acknowledged:,} entries acknowledged (goal {r.goal:,}) in {r.seconds:.1f} s,"
        f" {r.entries_per_second:,.0f}/s",
        f"  a write takes {r.write_p50_ms:,.0f} ms (p50), {r.write_p99_ms:,.0f} ms (p99); not now: {r.refused:,}",
        f"  {r.verified:,} of them verified where the node said, {r.resent:,} sent again and one leaf still",
        f"  {r.verifications:,} bundles verified, {r.verify_p50_ms:,.1f} ms (p50), {r.verify_p99_ms:,.1f} ms (p99)",
        f"  head {r.size:,} {r.root}",
        "everything holds" if r.ok else f"FAILED: {r.why}",
    ]


def _no_demo(network: str) -> Refusal:
    return Refusal(
        "usage",
        what=f"{network} is no demo: what is written into its log stays for ever",
        who="your command",
        do="use a demo network, or add --really",
    )
