"""`package search`: what a node has by this name. `package map`: a provider says where the source of a package is.

About the latter the log's members decide: the command makes the motion that `member propose mapping` makes, also from
what others wrote down already, and hands it to the node. Who is no member writes it to a file, and a member proposes
that.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from pyrsia.builds.sources.buildspec import Mapped, parse_buildspec, parse_mapping
from pyrsia.cli.answers import shaped
from pyrsia.cli.groups import Group
from pyrsia.cli.log import when
from pyrsia.cli.log.when import as_of_option
from pyrsia.cli.motions import PATIENCE_S, finish, follow_option
from pyrsia.cli.package.badge import badge
from pyrsia.cli.package.describe import describe
from pyrsia.cli.package.show import show
from pyrsia.cli.package.withdraw import keys, withdraw
from pyrsia.cli.proposing import approve_option
from pyrsia.cli.tell import json_option, node_option, table, tell
from pyrsia.client import Client
from pyrsia.errors import Malformed, Refusal
from pyrsia.files import write_whole
from pyrsia.ledger.bodies.motions import MOTIONS
from pyrsia.policy.facts import LOCAL
from pyrsia.serve.finding import ECOSYSTEMS, Search
from pyrsia.status import MotionStatus
from pyrsia.units import MAX_BUILDSPEC_BYTES
from pyrsia.wire import purl as purls
from pyrsia.wire.text import safe

KIND: Final = "mapping.set"
SHOWN: Final = 4  # versions in a line
_file: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def package() -> None:
    """Find packages and see what the log says of them; provide them: source, description, withdrawal, badge."""


package.add_command(show)
package.add_command(describe)
package.add_command(withdraw)
package.add_command(badge)
package.add_command(keys)


@package.command("search")
@click.argument("words", metavar="TEXT...", nargs=-1, required=True)
@click.option("--ecosystem", type=click.Choice(ECOSYSTEMS), help="Packages of this one alone.")
@click.option("--first", type=click.IntRange(min=0), default=0, help="Pass over this many.")
@click.option(
    "--count", type=click.IntRange(1, 200), default=50, show_default=True, help="At most this many."
)
@as_of_option
@node_option
@json_option
def search(
    words: tuple[str, ...],
    ecosystem: str | None,
    first: int,
    count: int,
    as_of: str | None,
    target: str | None,
    as_json: bool,
) -> None:
    """Find packages of a node by words of their names.

    `*` and `?` make a word a pattern; a version may follow: zlib, "z*lib", idna@3.1, alpine:3. The best comes first.
    With --as-of those that the log had then, whatever was pushed to the node. Exit code 1 if there is none.
    """
    asked: dict[str, str | int] = {
        "q": " ".join(words), "first": first, "count": count, **when.moment(as_of),
    }  # fmt: skip
    with Client(target) as node:
        found = node.get("/api/v1/search", **asked, **({"ecosystem": ecosystem} if ecosystem else {}))
    answer = shaped(found, Search)
    tell(answer, as_json=as_json, text=lambda: _found(answer))
    if not answer["packages"]:
        click.get_current_context().exit(1)


def _found(answer: dict[str, Any]) -> Iterator[str]:
    past = answer["size"] >= 0
    if past:
        yield f"as of {answer['size']:,} entries, {when.told(answer['time_ms'])} UTC"
    if not answer["packages"] and answer["next"] >= 0:
        yield "none among the first that were looked at"
        yield _onward(answer)
        return
    if not answer["packages"]:
        yield f"no package {'was' if past else 'here is'} called like {answer['query']}{' then' if past else ''}"
        yield "have one built: pyrsia build request NAME"
        return
    rows = [
        (
            one["purl"],
            ", ".join(one["versions"][:SHOWN]) or "-",
            _standing(one),
            f"{len(one['refused'])} {'fallen' if past else 'refused'}" if one["refused"] else "",
        )
        for one in answer["packages"]
    ]
    yield from table(rows, ("package", "newest versions", "verdict of the newest", "of all versions"))
    if answer["more"]:
        yield _onward(answer)


def _onward(answer: dict[str, Any]) -> str:
    further = f"--first {answer['next']}, or " if answer["next"] >= 0 else ""
    return f"there may be more: {further}write more of the name"


def _standing(one: dict[str, Any]) -> str:
    if one["origin"] == LOCAL:
        return "pushed here"
    if not one["whole"]:
        return "its history is too long to tell: ask pyrsia inspect-log --as-of"
    return "WITNESSED, not rebuilt" if one["verdict"] == "WITNESSED" else one["verdict"] or "refused"


@package.command("map")
@click.argument("purl", metavar="[PURL]", required=False)
@click.option("--git", "repository", metavar="URL", help="https address of the repository.")
@click.option("--tag-pattern", "tag", metavar="PATTERN", help="Its release tags, {version} in them once.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="HEX",
    help="A maintainer's public key, to withdraw releases with.",
)
@click.option("--recipe", metavar="JSON", help="Defaults of its builds: environment, parameters, ...")
@click.option(
    "--from-buildspec", "buildspec", type=_file, help="Take it from a .buildspec of Reproducible Central."
)
@click.option("--from-mapping", "mapping", type=_file, help="Take it from a mapping of the original Pyrsia.")
@click.option("--from-document", "document", type=_file, help="Propose what --out wrote for somebody.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file, and propose nothing."
)
@click.option("--reason", metavar="TEXT", help="Why; it stands in the log for ever.")
@approve_option
@follow_option
@node_option
@json_option
def map_(
    purl: str | None,
    repository: str | None,
    tag: str | None,
    keys: tuple[str, ...],
    recipe: str | None,
    buildspec: Path | None,
    mapping: Path | None,
    document: Path | None,
    out: Path | None,
    reason: str | None,
    approve: bool,
    follow: bool,
    target: str | None,
    as_json: bool,
) -> None:
    """Propose where the source of a package is.

    PURL names it without a version, for example pkg:pypi/idna. Once a quorum of the validators has approved, builders
    take the source of a version from the tag that the pattern gives, and the result stands under the package's name.

    The files of --from-buildspec and --from-mapping are read as data: nothing in them is run or fetched. What stands
    on the command line goes before what stands in a file.

    Members propose. Who is none writes the motion with --out FILE and hands it to a member, who proposes it with
    --from-document FILE.
    """
    told = [file for file in (buildspec, mapping, document) if file is not None]
    if len(told) > 1:
        raise click.UsageError("take it from one file")
    body = _from_document(document) if document else _from_file(buildspec, mapping, quiet=as_json)
    given = {
        "purl": _versionless(purl) if purl else None,
        "repository": repository,
        "tag": tag,
        "keys": sorted(set(keys)) or None,
        "recipe": _json(recipe) if recipe else None,
        "reason": reason,
    }
    if purl and body.get("purl", given["purl"]) != given["purl"]:
        raise click.UsageError(f"the file is about {body['purl']}, not about {given['purl']}")
    body |= {name: value for name, value in given.items() if value is not None}
    for name, option in (("purl", "PURL"), ("repository", "--git URL"), ("tag", "--tag-pattern PATTERN")):
        if not body.get(name):
            raise click.UsageError(f"name the package, its repository and its tags: {option} is missing")
    body = {"keys": [], "kind": KIND, "reason": f"the source of {body['purl']}", "recipe": {}} | body
    _check(body)
    if out is not None:
        write_whole(out, json.dumps(body, indent=1, sort_keys=True).encode() + b"\n")
        done = f"a member proposes it: pyrsia package map --from-document {out.name}"
        tell({"file": str(out), "motion": body}, as_json=as_json, text=lambda: [str(out), done])
        return
    with Client(target, patience_s=PATIENCE_S) as node:
        finish(node, _proposed(node, body, approve=approve), follow=follow, as_json=as_json)


def _proposed(node: Client, body: dict[str, Any], *, approve: bool) -> dict[str, Any]:
    try:
        told = node.post("/api/v1/motions", {"motion": body, "approve": approve})
    except Refusal as refusal:
        if refusal.code == "entry-refused" and "no member" in refusal.what:
            raise Refusal(
                refusal.code,
                what=refusal.what,
                who=refusal.who,
                do="add --out FILE, and ask a member to run pyrsia package map --from-document FILE",
            ) from None
        raise
    motion: dict[str, Any] = shaped(told, MotionStatus)
    return motion


def _from_file(buildspec: Path | None, mapping: Path | None, *, quiet: bool) -> dict[str, Any]:
    file = buildspec or mapping
    if file is None:
        return {}
    try:
        found: Mapped = (parse_buildspec if buildspec else parse_mapping)(_read(file))
    except Malformed as error:
        raise _usage(file, str(error)) from None
    if not quiet:
        for line in found.left_out:
            click.echo(f"not taken: {safe(line)}", err=True)
    return {"purl": found.purl, "recipe": found.recipe(), "repository": found.repository, "tag": found.tag}


def _from_document(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(_read(file))
    except (ValueError, RecursionError):
        raise _usage(file, "it is not JSON") from None
    if not isinstance(told, dict) or told.get("kind") != KIND:
        raise _usage(file, "it is no motion that `pyrsia package map --out` wrote")
    told.pop("replaces", None)  # the node knows which version is in force
    return told


def _check(body: dict[str, Any]) -> None:
    """Refuse here what every node would refuse."""
    try:
        MOTIONS[KIND]({"replaces": 0, **body})
    except Malformed as error:
        raise Refusal(
            "usage", what=f"not a mapping: {error}", who="your command or the file", do="correct it"
        ) from None


def _versionless(text: str) -> str:
    try:
        found = purls.parse(text)
    except Malformed as error:
        raise click.UsageError(f"{text[:80]}: {error}") from None
    if found.version:
        raise click.UsageError(f"a mapping is for every version: write {found.versionless}")
    return str(found)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise click.UsageError("--recipe is not JSON") from None


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_BUILDSPEC_BYTES.value + 1)


def _usage(file: Path, why: str) -> Refusal:
    return Refusal(
        "usage", what=f"{file}: {why}", who="the file", do="correct it, or name --git and --tag-pattern"
    )
