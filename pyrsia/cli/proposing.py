"""`member propose`: a command for each kind of motion; it makes the body, the node signs and sees it into the log."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.groups import Group
from pyrsia.cli.motions import PATIENCE_S, find_member, finish, follow_option, reason_option
from pyrsia.cli.papers import NONE, as_document, can_option, file_option, fit, read_document, role_option
from pyrsia.cli.tell import json_option, node_option
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.status import MotionStatus

approve_option = click.option(
    "--approve/--no-approve",
    default=True,
    show_default=True,
    help="Approve it too, where this node's approval counts.",
)


@click.group(cls=Group)
def propose() -> None:
    """Propose a motion.

    It is in the log, final, when the command returns. It is enacted once a quorum of the validators has approved it
    (`pyrsia member approve`); within a week of block time, or it expires.
    """


def _proposal(*extra: Callable[[Any], Any]) -> Callable[[Callable[..., dict[str, Any]]], click.Command]:
    """A command of `propose`: its function makes the body; every one of them takes the same last options."""

    def made(body_of: Callable[..., dict[str, Any]]) -> click.Command:
        def run(
            reason: str, approve: bool, follow: bool, target: str | None, as_json: bool, **options: Any
        ) -> None:
            with Client(target, patience_s=PATIENCE_S) as node:
                body = {**body_of(node, **options), "reason": reason}
                told = node.post("/api/v1/motions", {"motion": body, "approve": approve})
                finish(node, shaped(told, MotionStatus), follow=follow, as_json=as_json)

        run.__doc__ = body_of.__doc__
        wrapped: Callable[..., Any] = run
        for option in (
            json_option,
            node_option,
            follow_option,
            approve_option,
            reason_option(),
            *reversed(extra),
        ):
            wrapped = option(wrapped)
        return propose.command(body_of.__name__.strip("_").removeprefix("propose_"))(wrapped)

    return made


@_proposal(file_option, role_option, can_option)
def _add(
    node: Client, file: Path | None, roles: tuple[str, ...], capabilities: tuple[str, ...]
) -> dict[str, Any]:
    """Admit a node as a member.

    --file is what `pyrsia member document` printed on that node. Whoever is to validate is admitted without that
    role, and given it by `pyrsia member propose roles` once it has caught up.
    """
    if file is None:
        raise click.UsageError("name the newcomer's member document: --file FILE")
    return {"kind": "member.add", "member": fit(read_document(file), roles, capabilities)}


@_proposal(click.argument("who", metavar="NAME|ID"))
def _remove(node: Client, who: str) -> dict[str, Any]:
    """Remove a member.

    The others end their links with it. What it built stays; its keys are never anybody's again.
    """
    return {"kind": "member.remove", "node": find_member(node, who)["node_id"]}


@_proposal(click.argument("who", metavar="NAME|ID"), file_option, role_option, can_option)
def _replace(
    node: Client, who: str, file: Path | None, roles: tuple[str, ...], capabilities: tuple[str, ...]
) -> dict[str, Any]:
    """Put another node into a member's place.

    NAME|ID is the member that goes, for example because its machine is lost; --file is the member document of the
    node that comes.

    Without --role it gets the roles of the one that it replaces. The role validator is only given to a node that is a
    member already and accepts: `pyrsia member approve MOTION` on that node.
    """
    if file is None:
        raise click.UsageError("name the member document of the node that takes the place: --file FILE")
    old, told = find_member(node, who), read_document(file)
    chosen = roles or tuple(old["roles"]) or (NONE,)
    return {
        "kind": "member.replace",
        "member": fit(
            told, chosen, capabilities or tuple(told["capabilities"]) or tuple(old["capabilities"])
        ),
        "node": old["node_id"],
    }


@_proposal(click.argument("who", metavar="[NAME|ID]", required=False), file_option, role_option, can_option)
def _roles(
    node: Client, who: str | None, file: Path | None, roles: tuple[str, ...], capabilities: tuple[str, ...]
) -> dict[str, Any]:
    """Give a member other roles.

    It has exactly the named ones then. Without NAME|ID it is the node that is asked; another one's keys are read from
    its member document, --file.

    A new validator also accepts: `pyrsia member approve MOTION` on that node.
    """
    if not roles:
        raise click.UsageError("name the roles that it shall have: --role builder ..., or --role none")
    told = read_document(file) if file is not None else node.get("/api/v1/document")
    told = as_document(told)
    if who is not None and find_member(node, who)["node_id"] != told["node"]:
        raise Refusal(
            "usage",
            what=f"the keys at hand are those of {told['node'][:8]}, not of {who}",
            who="your command",
            do="add --file with the member document of the node that you name",
        )
    return {"kind": "member.replace", "member": fit(told, roles, capabilities), "node": told["node"]}


@_proposal(
    click.argument("who", metavar="NAME|ID"),
    *(
        click.option(f"--{name}", name.replace("-", "_"), metavar="HEX", help=f"The new {what}.")
        for name, what in (
            ("vote", "vote key"),
            ("log", "log key"),
            ("cosign", "cosign key"),
            ("chain-end", "end of its beacon chain"),
            ("build", "build key"),
        )
    ),
)
def _rotate(node: Client, who: str, **keys: str | None) -> dict[str, Any]:
    """Give a member new keys.

    `pyrsia keys rotate` on that node makes the keys and proposes this by itself. Here their public halves are given, as
    it prints them with --no-propose.
    """
    named = {name: value for name, value in keys.items() if value}
    return {"kind": "member.rotate", "node": find_member(node, who)["node_id"], **named}


@_proposal(
    click.argument("purl", metavar="PURL"),
    click.option(
        "--repository", required=True, metavar="URL", help="https address of its source repository."
    ),
    click.option(
        "--tag",
        required=True,
        metavar="PATTERN",
        help="Its release tags, {version} in them once: v{version}.",
    ),
    click.option(
        "--key",
        "keys",
        multiple=True,
        metavar="HEX",
        help="A maintainer's public key: it may withdraw releases.",
    ),
    click.option(
        "--recipe",
        default="{}",
        metavar="JSON",
        help="Defaults of its builds: backend, environment, isolation, ...",
    ),
)
def _mapping(
    node: Client, purl: str, repository: str, tag: str, keys: tuple[str, ...], recipe: str
) -> dict[str, Any]:
    """Say where a package's source is.

    PURL names the package without a version, for example pkg:pypi/idna; a mapping that it has already is replaced.
    """
    try:
        defaults = json.loads(recipe)
    except (ValueError, RecursionError):
        raise click.UsageError("--recipe is not JSON") from None
    return {
        "keys": sorted(set(keys)),
        "kind": "mapping.set",
        "purl": purl,
        "recipe": defaults,
        "repository": repository,
        "tag": tag,
    }


@_proposal(
    click.option("--builders", type=click.IntRange(1), metavar="K", help="How many builders are drawn."),
    click.option("--agreeing", type=click.IntRange(1), metavar="T", help="How many of them must agree."),
    click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="ROLE=N",
        help="Entries an hour for a role; name every role.",
    ),
    click.option(
        "--environment",
        "environments",
        multiple=True,
        metavar="DIGEST",
        help="Admitted for builds; name every one.",
    ),
    click.option(
        "--rules", metavar="VERSION@HEIGHT", help="The next rules, and the block that they begin with."
    ),
)
def _network(
    node: Client,
    builders: int | None,
    agreeing: int | None,
    limits: tuple[str, ...],
    environments: tuple[str, ...],
    rules: str | None,
) -> dict[str, Any]:
    """Change the network's numbers.

    What is not named stays as it is; --limit and --environment replace the whole list.
    """
    body: dict[str, Any] = {"kind": "network.set"}
    if builders:
        body["builders"] = builders
    if agreeing:
        body["agreeing"] = agreeing
    if limits:
        body["limits"] = sorted(
            [role, _whole(count, "--limit ROLE=N")] for role, _, count in map(_parted, limits)
        )
    if environments:
        body["environments"] = sorted(set(environments))
    if rules:
        version, _, height = rules.partition("@")
        body["rules"] = {
            "height": _whole(height, "--rules VERSION@HEIGHT"),
            "version": _whole(version, "--rules VERSION@HEIGHT"),
        }
    if len(body) == 1:
        raise click.UsageError("name what changes: --builders, --agreeing, --limit, --environment or --rules")
    return body


@_proposal(click.argument("purl", metavar="PURL@VERSION"), click.argument("sha256", metavar="SHA256"))
def _withdraw(node: Client, purl: str, sha256: str) -> dict[str, Any]:
    """Withdraw a published file.

    SHA256 is the digest of the file. No node offers it any more; its history stays.
    """
    return {"kind": "artifact.withdraw", "purl": purl, "sha256": sha256}


@_proposal(click.argument("purl", metavar="PURL@VERSION"), click.argument("sha256", metavar="SHA256"))
def _resolve(node: Client, purl: str, sha256: str) -> dict[str, Any]:
    """End the dispute about a file.

    SHA256 is the digest of the file. Its first verdict stands again.
    """
    return {"kind": "dispute.resolve", "purl": purl, "sha256": sha256}


def _parted(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def _whole(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise click.UsageError(f"{what}: {text[:40]!r} is no whole number")
    return int(text)
