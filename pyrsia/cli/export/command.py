"""`export`: files by which pip, Maven, Conan and image tools enforce by themselves what the log says.

A node is asked for its rules and for the facts of each package; which files go in is decided here, by the same engine.
One package that cannot be exported ends it, with nothing written: a list with a hole would pass for a whole one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pyrsia.cli.export import asking as ask
from pyrsia.cli.groups import Group
from pyrsia.cli.policy.command import rules_of
from pyrsia.cli.tell import Decorator, examples, json_option, node_option, tell, together
from pyrsia.client import Client

if TYPE_CHECKING:  # imported when a command runs, not for --help
    from pyrsia.consumers.exports.choosing import Version

CHECKSUMS: Final = ".mvn/checksums"

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_policy_option = click.option(
    "--policy", "tried", type=_file, help="Go by the rules of this file instead of the node's."
)
_out_option = click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file [standard output].",
)
_all_option = click.option(
    "--all", "every", is_flag=True, help="Everything that the log holds and policy allows."
)
_asking = together(_policy_option, node_option, json_option)
_to_file = together(_out_option, _asking)


def _lists_option(what: str) -> Decorator:
    return click.option(
        "-r", "--requirement", "lists", multiple=True, type=_file, help=f"{what}; repeatable."
    )


@click.group(cls=Group)
def export() -> None:
    """Files by which stock clients enforce what the log says and the node's policy allows.

    They hold even where a client can reach other registries: other bytes than those that are named are refused by the
    client itself. docs/exports.md shows each of them in use.
    """


@export.command(
    "pip-requirements",
    epilog=examples(
        "pyrsia export pip-requirements -r requirements.txt -o requirements.lock",
        "pip install --require-hashes -r requirements.lock",
    ),
)
@click.argument("packages", nargs=-1, metavar="[NAME[==VERSION]|PURL]...")
@_lists_option("A list of requirements")
@_to_file
def pip_requirements(
    packages: tuple[str, ...],
    lists: tuple[Path, ...],
    out: Path | None,
    tried: Path | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Requirements with hashes, for `pip install --require-hashes -r FILE`.

    The list names all that is to be installed, also what only others need: give what `pip freeze` or `pip-compile`
    wrote. A version that is left open becomes the newest one that policy allows.
    """
    from pyrsia.consumers.exports import choosing, pip

    wants, skipped = ask.wants_of(packages, lists)
    rows: list[tuple[pip.Want, Version]] = []
    problems: list[str] = []
    with Client(target) as node:
        rules = rules_of(node, tried)
        for want in wants:
            fits = [one for one in ask.versions_of(node, rules, want.asked) if want.fits(one)]
            found = choosing.chosen(want.asked, fits, want.newest)
            if isinstance(found, str):
                problems.append(f"{found} (asked for: {want.specifier or 'any version'})")
            else:
                rows.append((want, found))
    choosing.refuse_problems(problems)
    _give(pip.render(rows), [one for _, one in rows], out, as_json, skipped)


@export.command(
    "maven-trusted-checksums",
    epilog=examples(
        "pyrsia export maven-trusted-checksums --all -o .mvn/checksums",
        "pyrsia export maven-trusted-checksums commons-io:commons-io:2.16.1",
    ),
)
@click.argument("packages", nargs=-1, metavar="[GROUP:ARTIFACT[:VERSION]|PURL]...")
@_all_option
@click.option("--repository", default="pyrsia", metavar="ID",
              help="Id of the repository or mirror that Maven takes them from [pyrsia].")  # fmt: skip
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path),
              help=f"Folder to write to, by custom {CHECKSUMS} [standard output].")  # fmt: skip
@_asking
def maven_trusted_checksums(
    packages: tuple[str, ...],
    every: bool,
    repository: str,
    out: Path | None,
    tried: Path | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Trusted checksums, by which Maven 3.9 and later refuses what it resolves otherwise.

    Without a version, all versions of an artifact are listed. Prints what .mvn/maven.config needs as well.
    """
    from pyrsia.consumers.exports import choosing, maven

    if not maven.is_repository_id(repository):
        raise click.BadParameter("an id of letters, digits, `.`, `_` and `-`", param_hint="--repository")
    asked = ask.purls_of(packages, "maven", maven.coordinates, "org.example:lib:1.0")
    found: list[Version] = []
    problems: list[str] = []
    with Client(target) as node:
        rules = rules_of(node, tried)
        for one in ask.named(node, asked, "pkg:maven/", every):
            there = ask.versions_of(node, rules, one)
            good = [each for each in there if each.files and (not one.version or each.purl == one)]
            missing = choosing.chosen(one, there, choosing.by_time) if not good and not every else None
            found += good
            problems += [missing] if isinstance(missing, str) else []
    choosing.refuse_problems(problems)
    choosing.refuse_none(found, "Maven artifact")
    name, text = maven.file_name(repository), maven.render(found)
    if out is None:
        _give(text, found, None, as_json, [])
        return
    out.mkdir(parents=True, exist_ok=True)
    options = maven.options(_basedir(out))
    _give(text, found, out / name, as_json, [], options=options)


@export.command(
    "conan-lock",
    epilog=examples(
        "pyrsia export conan-lock zlib/1.3.1 -o conan.lock",
        "pyrsia export conan-lock -r conan.lock -o pinned.lock   pinned anew",
        "conan install . --lockfile=conan.lock",
    ),
)
@click.argument("references", nargs=-1, metavar="[NAME/VERSION[@USER[/CHANNEL]]|PURL]...")
@_lists_option("A conan.lock to pin anew")
@_to_file
def conan_lock(
    references: tuple[str, ...],
    lists: tuple[Path, ...],
    out: Path | None,
    tried: Path | None,
    target: str | None,
    as_json: bool,
) -> None:
    """A lockfile that pins recipe revisions, for `conan install --lockfile=FILE`.

    It names what is given, and what that requires has to be given as well: `conan lock create` lists it.
    """
    from pyrsia.cli.subjects import read
    from pyrsia.consumers.exports import choosing, conan
    from pyrsia.wire import purl as purls

    asked = ask.purls_of(references, "conan", conan.reference, "zlib/1.3.1", none=bool(lists))
    listed, skipped = read((), lists) if lists else ([], [])
    asked = list(dict.fromkeys([*asked, *(purls.parse(one.purl) for one in listed)]))
    rows: list[tuple[Version, str]] = []
    problems: list[str] = []
    with Client(target) as node:
        rules = rules_of(node, tried)
        for one in asked:
            found = choosing.chosen(one, ask.versions_of(node, rules, one), choosing.by_time)
            rrev = "" if isinstance(found, str) else conan.revision(found)
            if isinstance(found, str) or not rrev:
                problems.append(
                    found if isinstance(found, str) else f"{one}: no revision is allowed as a whole"
                )
            else:
                rows.append((found, rrev))
    choosing.refuse_problems(problems)
    _give(conan.render(rows), [one for one, _ in rows], out, as_json, skipped)


@export.command(
    "oci-digests",
    epilog=examples(
        "pyrsia export oci-digests alpine:3.20   alpine:3.20@sha256:...",
        "pyrsia export oci-digests --rewrite Containerfile -o Containerfile.pinned",
        "pyrsia export oci-digests --all --format json",
    ),
)
@click.argument("images", nargs=-1, metavar="[NAME[:TAG]|PURL]...")
@_all_option
@click.option(
    "--rewrite", type=_file, metavar="FILE", help="Print this Containerfile or compose file, pinned."
)
@click.option("--format", "form", type=click.Choice(["lines", "containerfile", "compose", "json"]),
              help="How the references are written, or what FILE is [as its name says].")  # fmt: skip
@_to_file
def oci_digests(
    images: tuple[str, ...],
    every: bool,
    rewrite: Path | None,
    form: str | None,
    out: Path | None,
    tried: Path | None,
    target: str | None,
    as_json: bool,
) -> None:
    """References with digests (name:tag@sha256:...), also in the FROM lines or image keys of a file.

    Whoever runs such a reference gets these bytes or none, whichever registry answers.
    """
    from pyrsia.consumers.exports import choosing, oci

    as_json, form = as_json or form == "json", "lines" if form in (None, "json") and rewrite is None else form
    text, left = ask.text_of(rewrite) if rewrite else "", list[str]()
    if rewrite is not None:
        form = form if form in ("containerfile", "compose") else ask.form_of(rewrite)
        images = (*images, *oci.named_in(text, form))
    asked = ask.references_of(images, every or rewrite is not None)
    rows: list[tuple[str, str]] = []
    found: list[Version] = []
    problems: list[str] = []
    with Client(target) as node:
        rules = rules_of(node, tried)
        asked += [oci.of_purl(one) for one in ask.tags(node, rules)] if every else []
        for one in asked:
            image = ask.image(node, rules, one)
            if isinstance(image, str):
                problems.append(image)
            else:
                found.append(image)
                rows.append((one.said, oci.digest(image)))
    choosing.refuse_problems(problems)
    if every:
        choosing.refuse_none(found, "image")
    if rewrite is not None:
        digests = {one: digest for one in oci.named_in(text, str(form)) for said, digest in rows
                   if (named := oci.reference(one)) is not None and named.said == said}  # fmt: skip
        text, left = oci.rewritten(text, str(form), digests)
    else:
        text = oci.render(rows, str(form))
    references = [
        {"image": said, "digest": digest, "pinned": oci.pinned(said, digest)} for said, digest in rows
    ]
    skipped = [f"not pinned: {one}" for one in left]
    _give(text, found, out, as_json, skipped, more={"images": references})


# -- giving --


def _give(
    text: str,
    found: "Sequence[Version]",
    out: Path | None,
    as_json: bool,
    skipped: Sequence[str],
    *,
    options: Sequence[str] = (),
    more: dict[str, Any] | None = None,
) -> None:
    """Write it, or print it; what is not in it is told beside it, on standard error."""
    from pyrsia.consumers.exports.choosing import summary
    from pyrsia.files import write_whole
    from pyrsia.wire.text import safe

    if out is not None:
        write_whole(out, text.encode())
    if as_json:
        told: dict[str, Any] = {
            "ok": True,
            "packages": summary(found),
            "skipped": list(skipped),
            **(more or {}),
        }
        told |= {"file": str(out), "options": list(options)} if out is not None else {"text": text}
        tell(told, as_json=True, text=tuple)
        return
    left_out = [reason for one in found for reason in one.refused]
    for line in (*(f"skipped: {one}" for one in skipped), *(f"left out: {one}" for one in left_out)):
        click.echo(safe(line), err=True)
    if out is None:
        click.echo(text, nl=False)
        return
    click.echo(safe(f"{out}: {len(found)} versions, {sum(len(one.files) for one in found)} files"))
    if options:
        click.echo("put these lines into .mvn/maven.config, each a line of its own:")
        for line in options:
            click.echo(safe(line))


def _basedir(out: Path) -> str:
    """How Maven is told the folder: relative to the project where it is in its .mvn, else absolute."""
    whole = out.resolve()
    inside = whole.parent.name == ".mvn"
    return f"${{session.rootDirectory}}/.mvn/{whole.name}" if inside else str(whole)
