"""`audit`: what is known about all that a project uses, now or at a past moment. Nothing is run or installed.

The node answers out of the log's facts and is believed: what it says of itself is `whole` or not. Policy is the
node's, or with --policy a file's, decided here.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyrsia.cli.tell import examples, json_option, node_option, tell, tell_refusal
from pyrsia.client import Client
from pyrsia.errors import Refusal

if TYPE_CHECKING:  # imported when the command runs, not for --help
    from pyrsia.consumers.auditing.findings import Report
    from pyrsia.serve.desks.knowing import AsOf

# As `auditing.kinds` has them: named here too, so that --help reads no library of formats.
KINDS = ("requirements", "uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock", "pom.xml",
         "gradle.lockfile", "conan.lock", "sbom")  # fmt: skip


@click.command(
    epilog=examples(
        "pyrsia audit requirements.txt",
        "pip freeze | pyrsia audit -",
        "pyrsia audit pom.xml sbom.json registry.example/app:1.2 --fail-on critical",
        "pyrsia audit --venv .venv --format sarif --out audit.sarif",
        "pyrsia audit uv.lock --as-of 2026-01-31   what was known then",
    )
)
@click.argument("named", nargs=-1, metavar="[FILE|IMAGE|PURL|-]...")
@click.option("--venv", "venvs", multiple=True, metavar="DIR", help="A Python environment: what is installed.",
              type=click.Path(exists=True, file_okay=False, path_type=Path))  # fmt: skip
@click.option("--as", "kind", type=click.Choice(KINDS), metavar="KIND",
              help=f"What the files and - are, where their content does not tell: {', '.join(KINDS)}.")  # fmt: skip
@click.option("--as-of", metavar="SIZE|TIME", help="What was known when the log had that size, or then.")
@click.option("--fail-on", default="high", show_default=True,
              type=click.Choice(("none", "low", "medium", "high", "critical", "any")),
              help="Exit with 1 for an advisory this severe or worse; one of unknown severity counts.")  # fmt: skip
@click.option("--policy", "tried", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Decide by the rules of this file instead of the node's; nothing is changed.")  # fmt: skip
@click.option("--format", "shape", type=click.Choice(("table", "json", "sarif")), default="table",
              show_default=True, help="How it is told.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
@click.option("--ignore", "ignored", multiple=True, metavar="ID",
              help="An advisory that does not count, by any of its names; it is shown.")  # fmt: skip
@node_option
@json_option
def audit(
    named: tuple[str, ...],
    venvs: tuple[Path, ...],
    kind: str | None,
    as_of: str | None,
    fail_on: str,
    tried: Path | None,
    shape: str,
    out: Path | None,
    ignored: tuple[str, ...],
    target: str | None,
    as_json: bool,
) -> int:
    """What is known about all that a project uses: advisories, what repairs them, and what policy says.

    \b
    FILE   requirements*.txt, uv.lock, pylock.toml, poetry.lock, pdm.lock, Pipfile.lock,
           pom.xml, gradle.lockfile, conan.lock (Conan 1 and 2), or an SBOM: CycloneDX
           (JSON, XML), SPDX (JSON). The content decides which, not the name.
    -      one of these from standard input
    IMAGE  NAME:TAG or NAME@sha256:..., as the node has it, and what its SBOMs list
    PURL   one version: pkg:pypi/idna@3.10

    Nothing is run or installed. What has no exact version is listed as not audited.

    Exit codes: 0 nothing as severe as --fail-on; 1 something is; 2 a wrong command, or a file that cannot be read;
    3 nobody can say: no node answers, it lacks facts, or nothing could be audited.
    """
    if not named and not venvs:
        raise click.UsageError(
            "name what is audited: a file, `-` for standard input, an image, a purl, or --venv DIR"
        )
    shape = "json" if as_json else shape
    at = _moment(as_of, tried)
    try:
        with Client(target) as node:
            report = _report(
                named, venvs, at, node, kind=kind or "", fail_on=fail_on, tried=tried, ignored=ignored
            )
    except Refusal as refusal:  # exit code 1 says that something was found: this says that nobody can say
        if refusal.answer.exit == 2:
            raise
        tell_refusal(refusal, as_json=shape == "json")
        return 3
    except OSError as error:  # a full disk, a file that went away: nor does this
        tell_refusal(_broken(error), as_json=shape == "json")
        return 3
    except (MemoryError, RecursionError):  # nor does what an image's SBOMs or the answers may take
        from pyrsia.cli.audit.reading import exhausted

        tell_refusal(exhausted("what is audited"), as_json=shape == "json")
        return 3
    _tell(report, shape, out, node)
    return report.exit


def _broken(error: OSError) -> Refusal:
    where = f": {error.filename}" if error.filename else ""
    return Refusal("unavailable", what=f"{error.strerror or error}{where}", who="this machine",
                   do="correct that and try again")  # fmt: skip


def _moment(text: str | None, tried: Path | None) -> "AsOf":
    from pyrsia.cli.log.when import past
    from pyrsia.serve.desks.knowing import AsOf

    if text is None:
        return AsOf()
    if tried is not None:
        raise click.UsageError("--policy decides now: it cannot be asked with --as-of")
    if text.isascii() and text.isdigit() and len(text) <= 16:
        return AsOf(size=int(text))
    return AsOf(time_ms=past(text))


def _report(
    named: tuple[str, ...],
    venvs: tuple[Path, ...],
    at: "AsOf",
    node: Client,
    *,
    kind: str,
    fail_on: str,
    tried: Path | None,
    ignored: tuple[str, ...],
) -> "Report":
    from pyrsia.cli.audit import policy, reading
    from pyrsia.cli.verify.installed import Progress
    from pyrsia.consumers.auditing import asking, findings, images
    from pyrsia.consumers.auditing.components import Gathered

    gathered, answered, tick = Gathered(), asking.Answered(), Progress(quiet=False)
    found = reading.read(named, venvs, node, gathered, kind=kind)
    asking.ask(node, [one.purl for one in gathered.components], at, answered, tick=tick)
    past = at.size is not None or at.time_ms is not None
    for image, purls in found.items():
        issuers = () if past else policy.issuers(node, tried, purls)
        images.inside(image, [answered.rows[purl].known for purl in purls], node, gathered, issuers=issuers)
    asking.ask(node, [one.purl for one in gathered.components], at, answered, tick=tick)
    lifts = {}
    if not past:
        lifts = policy.decide(node, tried, answered, tick=tick)
    return findings.report(gathered, answered, fail_on=fail_on, ignored=ignored, lifts=lifts)


def _tell(report: "Report", shape: str, out: Path | None, node: Client) -> None:
    from pyrsia.cli.audit import tell as audit_tell
    from pyrsia.cli.naming import with_names
    from pyrsia.consumers.auditing import as_json, sarif
    from pyrsia.files import write_whole
    from pyrsia.wire.text import safe

    if shape == "table":
        text = "".join(f"{safe(line)}\n" for line in with_names(node, audit_tell.lines(report)))
    else:
        made = as_json.document(report) if shape == "json" else sarif.document(report, os.getcwd())
        if shape == "sarif" and (said := sarif.left_out(made)):
            click.echo(said, err=True)
        text = json.dumps(made, sort_keys=True, indent=None if shape == "json" else 1) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        write_whole(out, text.encode(), 0o644)
    except OSError as error:
        raise Refusal("usage", what=f"{out} cannot be written: {error.strerror}", who="this machine",
                      do="name another file with --out") from None  # fmt: skip
    tell({}, as_json=False, text=lambda: [*audit_tell.summary(report), f"written to {out}"])
