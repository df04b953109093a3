"""`member`: who belongs to the network, and the motions by which its members change that and everything else."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.tell import json_option, node_option, table, tell
from pyrsia.client import Client
from pyrsia.errors import Refusal
from pyrsia.status import MembersStatus, MotionStatus
from pyrsia.units import Limit

PATIENCE_S: Final = 90.0  # until an entry is final, also while a leader is gone
POLL_S: Final = 0.5
LEAST_ID: Final = 6  # characters of a node id; fewer are a slip of the hand
MAX_DOCUMENT_BYTES = Limit(
    16_384, "a member document has a dozen short fields; a longer file is another file"
)
NONE: Final = "none"  # the roles of a follower
ROLES: Final = ("builder", "issuer", "storage", "validator")
_LIVE: Final = ("open", "awaits-acceptance")
_ID: Final = re.compile("[0-9a-f]{6,64}")

reason_option = click.option(
    "--reason", required=True, metavar="TEXT", help="Why; it stands in the log for ever."
)
follow_option = click.option("--follow", is_flag=True, help="Stay until it is decided, and say what happens.")
approve_option = click.option(
    "--approve/--no-approve",
    default=True,
    show_default=True,
    help="Approve it too, where this node's approval counts.",
)
role_option = click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice((*ROLES, NONE)),
    help="A role that it shall have; several times for several; `none` for a follower.",
)
can_option = click.option(
    "--can", "capabilities", multiple=True, metavar="ECOSYSTEM", help="What it can build [pip, of a builder]."
)
file_option = click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its member document, made by `pyrsia member document`.",
)


@click.group()
def member() -> None:
    """Who belongs to the network; propose and approve what changes.

    A member proposes a motion, validators approve it, and with the approvals of a quorum it is enacted: members and
    their keys, where packages come from, the network's numbers, what is withdrawn. Everything stands in the log.
    """


# -- reading --


@member.command("list")
@node_option
@json_option
def list_members(target: str | None, as_json: bool) -> None:
    """Every member, and the motions that wait for approvals."""
    with Client(target) as node:
        answer = shaped(node.get("/api/v1/members"), MembersStatus)
    tell(answer, as_json=as_json, text=lambda: _list_lines(answer))


def _list_lines(answer: dict[str, Any]) -> Iterator[str]:
    rows = [
        (
            one["name"],
            one["node_id"][:8],
            one["operator"],
            one["domain"],
            ", ".join(one["roles"]) or "-",
            _seat(one),
            "up" if one["connected"] else "down",
        )
        for one in sorted(answer["members"], key=lambda one: str(one["name"]))
    ]
    yield from table(rows, ("name", "id", "operator", "domain", "roles", "validates", "link"))
    yield f"epoch {answer['epoch']}: {answer['validators']} validators, {answer['quorum']} approvals enact a motion"
    for motion in answer["motions"]:
        yield ""
        yield from motion_lines(motion)


def _seat(one: dict[str, Any]) -> str:
    if not one["validates"]:
        return "-"
    return f"since epoch {one['since_epoch']}" + (", convicted: leads no view" if one["convicted"] else "")


@member.command()
@click.argument("who", metavar="NAME|ID")
@node_option
@json_option
def show(who: str, target: str | None, as_json: bool) -> None:
    """One member: its roles, its seat, its public keys."""
    with Client(target) as node:
        found = find_member(node, who)
    tell(found, as_json=as_json, text=lambda: _member_lines(found))


def _member_lines(one: dict[str, Any]) -> Iterator[str]:
    yield f"{one['name']} ({one['node_id']})"
    yield f"operator:  {one['operator']}, failure domain {one['domain']}"
    yield f"roles:     {', '.join(one['roles']) or 'none: it follows'}"
    if one["capabilities"]:
        yield f"can build: {', '.join(one['capabilities'])}"
    yield f"validates: {'no' if _seat(one) == '-' else _seat(one)}"
    for purpose, public in sorted(one["keys"].items()):
        yield f"{purpose + ':':<11}{public}"


@member.command()
@node_option
@json_option
def motions(target: str | None, as_json: bool) -> None:
    """The motions that wait for approvals: what each does, who approved, who is awaited."""
    with Client(target) as node:
        found = shaped(node.get("/api/v1/members"), MembersStatus)["motions"]
    tell({"motions": found}, as_json=as_json, text=lambda: _motions_lines(found))


def _motions_lines(found: list[dict[str, Any]]) -> Iterator[str]:
    if not found:
        yield "no motion waits for approvals"
    for at, motion in enumerate(found):
        if at:
            yield ""
        yield from motion_lines(motion)


@member.command()
@click.argument("motion", metavar="MOTION")
@follow_option
@node_option
@json_option
def motion(motion: str, follow: bool, target: str | None, as_json: bool) -> None:
    """One motion, also one that is decided: who approved it, and what is missing.

    MOTION is its id, or the first characters of it.
    """
    with Client(target) as node:
        told = shaped(node.get(f"/api/v1/motions/{motion_id(motion)}"), MotionStatus)
        finish(node, told, follow=follow, as_json=as_json)


@member.command()
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Data directory of a node [the user's]."
)
@click.option("--name", help="What people shall call it [its configuration's, or what the log says].")
@click.option("--operator", help="Who answers for it.")
@click.option("--domain", help="What fails together with it: a rack, a site, a company.")
@role_option
@can_option
@json_option
def document(
    data: Path | None,
    name: str | None,
    operator: str | None,
    domain: str | None,
    roles: tuple[str, ...],
    capabilities: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print this node's member document: who it is, and its public keys. Nothing in it is secret.

    An existing member proposes it. The node need not run, unless it is to say as whom the log knows it. It is one line
    of JSON, with --json or without.
    """
    from pyrsia.cli.documents import document_of

    told = document_of(
        data,
        name=name,
        operator=operator,
        domain=domain,
        roles=wanted_roles(roles),
        capabilities=capabilities,
    )
    tell(told, as_json=True, text=list)


# -- proposing --


@member.group()
def propose() -> None:
    """Propose a motion. It is in the log, final, when the command returns; it is enacted by approvals.

    A motion that is not enacted within a week of block time expires.
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
            reason_option,
            *reversed(extra),
        ):
            wrapped = option(wrapped)
        return propose.command(body_of.__name__.strip("_").removeprefix("propose_"))(wrapped)

    return made


@_proposal(file_option, role_option, can_option)
def _add(
    node: Client, file: Path | None, roles: tuple[str, ...], capabilities: tuple[str, ...]
) -> dict[str, Any]:
    """Admit the node of a member document as a member.

    Whoever is to validate is admitted without that role first, and given it by `propose roles` once it has caught up.
    """
    if file is None:
        raise click.UsageError("name the newcomer's member document: --file FILE")
    return {"kind": "member.add", "member": fit(read_document(file), roles, capabilities)}


@_proposal(click.argument("who", metavar="NAME|ID"))
def _remove(node: Client, who: str) -> dict[str, Any]:
    """Remove a member; its builds and its keys keep their owner in the log."""
    return {"kind": "member.remove", "node": find_member(node, who)["node_id"]}


@_proposal(click.argument("who", metavar="NAME|ID"), file_option, role_option, can_option)
def _replace(
    node: Client, who: str, file: Path | None, roles: tuple[str, ...], capabilities: tuple[str, ...]
) -> dict[str, Any]:
    """Put the node of a member document into another's place, as after the loss of a machine.

    Without --role it gets the roles of the one that it replaces. A seat is only given to who is a member already,
    and accepts it: `pyrsia member approve MOTION` on that node.
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
    """Give a member other roles: exactly those named. Without NAME it is the node that is asked.

    For another node --file names its member document, for its keys. Whoever is to validate accepts:
    `pyrsia member approve MOTION` on that node.
    """
    if not roles:
        raise click.UsageError("name the roles that it shall have: --role builder ..., or --role none")
    told = read_document(file) if file is not None else node.get("/api/v1/document")
    told = _document(told)
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
    """Give a member new keys, public halves in hex; `pyrsia keys rotate` on that node makes and proposes them."""
    named = {name: value for name, value in keys.items() if value}
    return {"kind": "member.rotate", "node": find_member(node, who)["node_id"], **named}


@_proposal(
    click.argument("purl", metavar="PURL"),
    click.option(
        "--repository", required=True, metavar="URL", help="https address of its source repository."
    ),
    click.option("--tag", required=True, metavar="PATTERN", help="Its release tags, {version} in them once."),
    click.option(
        "--key", "keys", multiple=True, metavar="HEX", help="A maintainer's key, who may withdraw releases."
    ),
    click.option(
        "--recipe", default="{}", metavar="JSON", help="Defaults: backend, environment, isolation, ..."
    ),
)
def _mapping(
    node: Client, purl: str, repository: str, tag: str, keys: tuple[str, ...], recipe: str
) -> dict[str, Any]:
    """Say where the source of PURL (without a version) is: a repository and its tags."""
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
        "--limit", "limits", multiple=True, metavar="ROLE=N", help="Entries an hour; name all roles."
    ),
    click.option(
        "--environment", "environments", multiple=True, metavar="DIGEST", help="Admitted; name all of them."
    ),
    click.option("--rules", metavar="VERSION@HEIGHT", help="Rules version, and the height where it begins."),
)
def _network(
    node: Client,
    builders: int | None,
    agreeing: int | None,
    limits: tuple[str, ...],
    environments: tuple[str, ...],
    rules: str | None,
) -> dict[str, Any]:
    """Change the network's numbers. Lists replace the present ones whole."""
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
    """Withdraw a published file: no node offers it any more; its history stays."""
    return {"kind": "artifact.withdraw", "purl": purl, "sha256": sha256}


@_proposal(click.argument("purl", metavar="PURL@VERSION"), click.argument("sha256", metavar="SHA256"))
def _resolve(node: Client, purl: str, sha256: str) -> dict[str, Any]:
    """End the dispute about a published file: its first verdict stands again."""
    return {"kind": "dispute.resolve", "purl": purl, "sha256": sha256}


# -- approving --


@member.command()
@click.argument("motion", metavar="MOTION")
@follow_option
@node_option
@json_option
def approve(motion: str, follow: bool, target: str | None, as_json: bool) -> None:
    """Approve a motion as a validator, or accept the seat that it gives this node.

    MOTION is its id, or the first characters of it. What cannot be approved is refused with the reason.
    """
    with Client(target, patience_s=PATIENCE_S) as node:
        told = node.post(f"/api/v1/motions/{motion_id(motion)}/approve", {})
        finish(node, shaped(told, MotionStatus), follow=follow, as_json=as_json)


# -- told --


def motion_lines(motion: dict[str, Any]) -> Iterator[str]:
    """What a motion does and where it stands."""
    yield f"motion {motion['id'][:12]}: {motion['summary']}"
    yield f"  {motion['kind']}, proposed by {motion['author']}: {motion['reason']}"
    yield f"  {standing(motion)}"


def standing(motion: dict[str, Any]) -> str:
    """Where a motion stands, in a sentence."""
    phase, needed = motion["phase"], motion["needed"]
    if phase == "enacted":
        opened = f"; epoch {motion['epoch']} begins behind it" if motion["epoch"] >= 0 else ""
        return f"enacted by {', '.join(motion['approvals'])} in entry {motion['decided']}{opened}"
    if phase == "expired":
        return f"expired with {len(motion['approvals'])} of {needed} approvals"
    waits = []
    if len(motion["approvals"]) < needed:
        lacks = needed - len(motion["approvals"])
        waits.append(f"{lacks} more of {', '.join(motion['missing'])}")
    if motion["accepts"]:
        waits.append(f"the acceptance of {motion['accepts']} (pyrsia member approve, on that node)")
    by = f" ({', '.join(motion['approvals'])})" if motion["approvals"] else ""
    by += f", accepted by {motion['accepted']}" if motion["accepted"] else ""
    return f"{len(motion['approvals'])} of {needed} approvals{by}; waiting for {' and '.join(waits)}"


def finish(node: Client, motion: dict[str, Any], *, follow: bool, as_json: bool) -> None:
    """Tell a motion; with `follow` stay until it is decided, a line for each step of the way on standard error."""
    said = ""
    while follow and motion["phase"] in _LIVE:
        if not as_json and standing(motion) != said:
            said = standing(motion)
            click.echo(f"{motion['id'][:12]}: {said}", err=True)
        time.sleep(POLL_S)
        motion = shaped(node.get(f"/api/v1/motions/{motion['id']}"), MotionStatus)
    tell(motion, as_json=as_json, text=lambda: motion_lines(motion))
    if follow and motion["phase"] == "expired":
        raise click.exceptions.Exit(1)


# -- names, ids, documents --


def find_member(node: Client, who: str) -> dict[str, Any]:
    """The member that people call `who`, or whose id begins so.

    Raises:
        Refusal: `not-found`, or `usage` where several are meant.
    """
    everybody = shaped(node.get("/api/v1/members"), MembersStatus)["members"]
    found = [one for one in everybody if who in (one["name"], one["node_id"])]
    found = found or [one for one in everybody if len(who) >= LEAST_ID and one["node_id"].startswith(who)]
    if len(found) == 1:
        member: dict[str, Any] = found[0]
        return member
    raise Refusal(
        "usage" if found else "not-found",
        what=f"{who} is {'several members' if found else 'no member'} of this network",
        who="your command",
        do="see `pyrsia member list`",
    )


def motion_id(text: str) -> str:
    """An id of a motion, or the start of one, as the node finds it.

    Raises:
        Refusal: `usage`; it is neither.
    """
    if _ID.fullmatch(text):
        return text
    raise Refusal(
        "usage",
        what=f"{text} is no id of a motion: 6 to 64 characters of 0-9 and a-f",
        who="your command",
        do="see `pyrsia member motions`",
    )


def read_document(file: Path) -> dict[str, Any]:
    """A member document from a file.

    Raises:
        Refusal: `usage`; the file is none.
    """
    with file.open("rb") as opened:
        data = opened.read(MAX_DOCUMENT_BYTES.value + 1)
    try:
        if len(data) > MAX_DOCUMENT_BYTES.value:
            raise ValueError
        return _document(json.loads(data))
    except (ValueError, RecursionError):
        raise _no_document(str(file)) from None


def _document(told: Any) -> dict[str, Any]:
    from pyrsia.errors import Malformed
    from pyrsia.ledger.genesis import MEMBER

    try:
        MEMBER(told)
    except Malformed as error:
        raise _no_document(str(error)) from None
    found: dict[str, Any] = told
    return found


def _no_document(why: str) -> Refusal:
    return Refusal(
        "usage",
        what=f"this is no member document: {why}",
        who="the file, or whoever made it",
        do="make it on the node with `pyrsia member document > FILE`",
    )


def wanted_roles(roles: tuple[str, ...]) -> tuple[str, ...] | None:
    """The roles that were named: None for nothing, none for `none`."""
    if NONE in roles and len(roles) > 1:
        raise click.UsageError("--role none stands alone")
    return None if not roles else tuple(role for role in roles if role != NONE)


def fit(told: dict[str, Any], roles: tuple[str, ...], capabilities: tuple[str, ...]) -> dict[str, Any]:
    """The member of a document with the roles that were named, or else its own."""
    from pyrsia.node.founding import fitted
    from pyrsia.node.governing import BUILDER

    chosen = wanted_roles(roles)
    have = tuple(told["roles"]) if chosen is None else chosen
    able = capabilities or tuple(told["capabilities"]) or (BUILDER if "builder" in have else ())
    return fitted(told, have, able)


def _parted(text: str) -> tuple[str, str, str]:
    return text.partition("=")


def _whole(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise click.UsageError(f"{what}: {text[:40]!r} is no whole number")
    return int(text)
