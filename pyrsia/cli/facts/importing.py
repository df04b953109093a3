"""`facts import`: what a database or a document says, said in the log by this node.

Reading is done before anything is said: a document that cannot be read changes nothing.
"""

import gc
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pyrsia.cli.groups import Group
from pyrsia.cli.log.when import Span
from pyrsia.cli.tell import examples, json_option, node_option, tell
from pyrsia.errors import Refusal
from pyrsia.units import Limit

if TYPE_CHECKING:  # imported when a command runs, not for --help
    from pyrsia.consumers.documents.finding import Found
    from pyrsia.consumers.documents.intake import Telling
    from pyrsia.consumers.documents.outcome import Tally

MAX_ROWS = Limit(20, "of each list in a summary: what a screen has room for; --json has more")
PATIENCE_S: Final = 600.0
_DASH: Final = Path("-")  # standard input

_file = click.Path(exists=True, path_type=Path)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say nothing; tell what would be said.")
patience_option = click.option(
    "--patience", "patience_s", type=Span(), default="10m", show_default=True, metavar="SPAN",
    help="Wait so long, in all, for room when the node is busy.",
)  # fmt: skip


@click.group("import", cls=Group)
def imports() -> None:
    """Say in the log what a database or a document says.

    The node says each fact at most once, under its own name: the same import again adds only what changed. Advisories
    and VEX are for members with the role `issuer`.
    """


@imports.command(
    epilog=examples(
        "pyrsia facts import osv all.zip",
        "pyrsia facts import osv advisories/ --dry-run",
        "pyrsia facts import osv PYSEC-2024-1.json --json",
        "curl --fail --silent URL/PyPI/all.zip | pyrsia facts import osv -",
    )
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@dry_run_option
@patience_option
@node_option
@json_option
def osv(paths: tuple[Path, ...], dry_run: bool, patience_s: float, target: str | None, as_json: bool) -> int:
    """Advisories of OSV records: files, folders, ZIP exports; `-` is standard input.

    What standard input brings is a ZIP export, one record, or one record a line.

    One advisory for each affected package of PyPI, Maven and ConanCenter; of other ecosystems is told how many there
    were. Withdrawn records take back what this node said of them. Of two records with one id the newer counts. A record
    that is wrong is refused by name and the others go on. Exit codes: 0 all said, 1 some records refused.
    """
    from pyrsia.cli.facts.probing import Probing
    from pyrsia.cli.facts.saying import Counting
    from pyrsia.consumers.documents.intake import Intake

    intake = Intake(int(time.time() * 1000))
    progress = Counting("read", "records")
    with _uncollected():
        with Probing(target) as probing:
            try:
                for found in _every(paths, intake.tally):
                    kept = intake.take(found)
                    if kept is not None and not dry_run:
                        probing.take(kept)
                    progress(intake.tally.records, 0)
            finally:
                progress.end()
            probing.finish()
        intake.settle()
        return _said(
            intake.tellings() if intake.tally.records else (),
            intake.facts,
            intake.tally,
            target,
            dry_run=dry_run,
            patience_s=patience_s,
            as_json=as_json,
        )


@imports.command(
    epilog=examples(
        "pyrsia facts import vex product.openvex.json", "pyrsia facts import vex bom.json --dry-run"
    )
)
@click.argument("files", nargs=-1, required=True, type=_file, metavar="FILE...")
@dry_run_option
@patience_option
@node_option
@json_option
def vex(files: tuple[Path, ...], dry_run: bool, patience_s: float, target: str | None, as_json: bool) -> int:
    """Statements of OpenVEX and of CycloneDX documents: whether a weakness affects a package.

    Products are taken by their purls; what has none is told as left out. Of several statements about one product and
    one weakness the newest counts. Exit codes: 0 all said, 1 some refused.
    """
    from pyrsia.consumers.documents.intake import telling
    from pyrsia.consumers.documents.outcome import Tally
    from pyrsia.consumers.documents.statements import read

    tally = Tally()
    tellings = [telling(fact, f"{fact.subject}: {fact.fields['advisory']}") for fact in read(files, tally)]
    return _said(
        tellings, len(tellings), tally, target, dry_run=dry_run, patience_s=patience_s, as_json=as_json
    )


@imports.command(
    epilog=examples(
        "pyrsia facts import sbom bom.json --subject pkg:pypi/idna@3.10",
        "pyrsia facts import sbom image.spdx.json --subject sha256:...",
    )
)
@click.argument("file", type=_file)
@click.option(
    "--subject", required=True, metavar="PURL|sha256:HEX", help="What the document lists the contents of."
)
@click.option("--text", default="", help="A line for people.")
@dry_run_option
@patience_option
@node_option
@json_option
def sbom(
    file: Path,
    subject: str,
    text: str,
    dry_run: bool,
    patience_s: float,
    target: str | None,
    as_json: bool,
) -> int:
    """A CycloneDX (1.2 to 1.6, JSON or XML) or SPDX (2.2, 2.3, 3.0, JSON) document, as what is inside of SUBJECT.

    The document itself becomes a blob of the network, and the fact names it by its digest.
    """
    from pyrsia.cli.facts.words import subject_of
    from pyrsia.client import Client
    from pyrsia.consumers.documents.intake import telling
    from pyrsia.consumers.documents.osv import bounded
    from pyrsia.consumers.documents.outcome import Tally
    from pyrsia.consumers.documents.sboms import described
    from pyrsia.serve.desks.knowing import FactTold

    about = subject_of(subject)
    form, count = described(file)
    fields: dict[str, Any] = {"format": form, "components": count}
    if not dry_run:
        with Client(target, patience_s=patience_s) as node:
            fields["blob"] = _blob(node.post_file("/api/v1/facts/blob", file))
    tally = Tally(records=1)
    fact = FactTold("sbom", about, bounded(text), fields=fields)
    return _said(
        [telling(fact, str(file))], 1, tally, target, dry_run=dry_run, patience_s=patience_s, as_json=as_json
    )


def _every(paths: Sequence[Path], tally: "Tally") -> Iterator["Found"]:
    """Records of all these, one path after the other."""
    from pyrsia.consumers.documents.finding import records
    from pyrsia.consumers.documents.piped import piped

    if paths.count(_DASH) > 1:
        raise _slip("standard input is named twice", "name it once")
    if _DASH in paths and sys.stdin is None:  # it was closed before this began
        raise _slip("there is no standard input", "write `curl ... | pyrsia facts import osv -`")
    for path in paths:
        yield from piped(sys.stdin.buffer, tally) if path == _DASH else records(path, tally)


def _slip(what: str, do: str) -> Refusal:
    return Refusal("usage", what=what, who="your command", do=do)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Records live to the end and hold no cycle: looking for some was a tenth of the time that reading them takes."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _blob(answer: Any) -> dict[str, Any]:
    from pyrsia.cli.answers import shaped

    found: dict[str, Any] = shaped(answer, dict[str, Any])
    return {name: found.get(name) for name in ("manifest", "sha256", "size")}


def _said(
    tellings: Iterable["Telling"],
    facts: int,
    tally: "Tally",
    target: str | None,
    *,
    dry_run: bool,
    patience_s: float,
    as_json: bool,
) -> int:
    """See them into the log and say what became of all; the exit code."""
    from pyrsia.cli.facts.saying import Saying, as_answer, goes_by, stood, summary

    if tellings:
        try:
            saying = Saying(target, tally, dry_run=dry_run, patience_s=patience_s, quiet=as_json)
            saying.all(tellings, facts)
        except BaseException as error:
            click.echo(stood(tally, again=goes_by(error)), err=True)
            raise
    lines: Iterable[str] = summary(tally, dry_run=dry_run, most=MAX_ROWS.value)
    tell(as_answer(tally, dry_run=dry_run), as_json=as_json, text=lambda: lines)
    return 1 if tally.refused else 0
