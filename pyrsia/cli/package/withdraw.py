"""`package withdraw`: a release is no longer offered, by a maintainer's key or by a motion. Maintainer keys."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from pyrsia.cli.answers import shaped
from pyrsia.cli.groups import Group
from pyrsia.cli.motions import PATIENCE_S, motion_lines
from pyrsia.cli.package.show import canonical, overview
from pyrsia.cli.tell import examples, json_option, node_option, tell
from pyrsia.client import Client
from pyrsia.errors import Malformed, Refusal
from pyrsia.status import MotionStatus
from pyrsia.units import MAX_FACT_BYTES
from pyrsia.wire import purl as purls
from pyrsia.wire.text import safe

SUFFIX: Final = ".key"  # of every key file of this project (docs/keys.md)
_path: Final = click.Path(dir_okay=False, path_type=Path)


@click.command(
    "withdraw",
    epilog=examples(
        "pyrsia package withdraw pkg:pypi/idna@3.10 --reason 'leaks memory' --key maintainer.key",
        "pyrsia package withdraw pkg:pypi/idna@3.10 --reason 'leaks memory'      as a motion, for the validators",
    ),
)
@click.argument("purl", metavar="PURL@VERSION")
@click.option("--sha256", "digests", multiple=True, metavar="HEX", help="A file of it, by its digest.")
@click.option("--all-files", is_flag=True, help="Every file of it; needed where it has several.")
@click.option(
    "--reason", required=True, metavar="TEXT", help="Why; clients show it, and it stands in the log for ever."
)
@click.option("--key", type=_path, help="A maintainer's key, one that the package's mapping names.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@node_option
@json_option
def withdraw(
    purl: str,
    digests: tuple[str, ...],
    all_files: bool,
    reason: str,
    key: Path | None,
    yes: bool,
    target: str | None,
    as_json: bool,
) -> None:
    """Withdraw a release: no node offers it any more, and its history stays.

    With --key a maintainer of the package decides: the key signs here and never leaves this machine, and the node that
    is asked, a member, carries the words to the log. Without it the withdrawal is a motion, which the validators decide
    (`pyrsia member approve`).

    Who pinned its bytes by their digest still gets them, where local policy says no other. It cannot be undone.
    """
    release = canonical(purl)
    if not 0 < len(reason.strip().encode("utf-8", "replace")) <= MAX_FACT_BYTES.value:
        raise click.BadParameter(f"--reason is a text of 1 to {MAX_FACT_BYTES.value:,} bytes")
    if not purls.parse(release).version:
        raise click.UsageError(f"name the version: {release}@VERSION")
    with Client(target, patience_s=PATIENCE_S) as node:
        found = overview(node, release)
        files = _chosen(found["versions"][0], digests, all_files=all_files)
        pair = _maintainer(key, found["mapping"], release) if key is not None else None
        _confirm(release, files, reason, by_key=pair is not None, yes=yes)
        if pair is not None:
            net = _net(node)
            rows = [_carried(node, _signed(pair, net, release, one, reason)) for one in files]
        else:
            rows = [_proposed(node, release, one, reason) for one in files]
    answer = {"purl": release, "reason": reason, "files": rows}
    tell(answer, as_json=as_json, text=lambda: _told(rows))


def _chosen(version: dict[str, Any], digests: tuple[str, ...], *, all_files: bool) -> list[dict[str, Any]]:
    """The files that are meant and not withdrawn yet.

    Raises:
        Refusal: `not-found`, `conflict`: all of them are withdrawn. click.UsageError: it is not said which.
    """
    files = {one["sha256"]: one for one in version["files"]}
    if digests and all_files:
        raise click.UsageError("name files by --sha256, or all of them by --all-files")
    for digest in digests:
        if digest not in files:
            raise Refusal(
                "not-found", what=f"{version['purl']} has no file {digest[:64]}", who="your command",
                do=f"see its files: pyrsia package show {version['purl']}",
            )  # fmt: skip
    if not digests and not all_files and len(files) > 1:
        raise click.UsageError(
            f"{version['purl']} has {len(files)} files: add --all-files, or --sha256 HEX for some of them"
        )
    left = [
        one
        for digest, one in files.items()
        if (digest in digests or not digests) and one["status"] != "WITHDRAWN"
    ]
    if not left:
        raise Refusal(
            "conflict", what=f"{version['purl']} is withdrawn already: {version['reason']}", who="your command",
            do="nothing: it is done",
        )  # fmt: skip
    return left


def _confirm(release: str, files: list[dict[str, Any]], reason: str, *, by_key: bool, yes: bool) -> None:
    if yes:
        return
    how = "at once, by the maintainer's key" if by_key else "once the validators have approved the motion"
    click.echo(f"{safe(release)} is withdrawn {how}, for good:", err=True)
    for one in files:
        click.echo(safe(f"  {one['file']}  {one['status']}  {one['sha256']}"), err=True)
    click.echo(safe(f"  reason: {reason}"), err=True)
    try:
        click.confirm("Withdraw?", abort=True, err=True)
    except click.Abort:
        if sys.stdin is None or not sys.stdin.isatty():  # nobody stopped it: nobody could be asked
            raise click.UsageError("there is no terminal to ask at: add --yes") from None
        raise


def _maintainer(file: Path, mapping: dict[str, Any] | None, release: str) -> Any:
    """The key pair in a file, one of the package's.

    Raises:
        Refusal: `forbidden`: the mapping does not name it; `data-damaged`.
    """
    pair = _pair(file)
    if mapping is None or pair.public.hex() not in mapping["keys"]:
        what = (
            "it has no mapping, so nobody's key" if mapping is None else "its mapping does not name this key"
        )
        raise Refusal(
            "forbidden", what=f"{release}: {what}", who="the key, or the mapping",
            do=f"propose a mapping with it: pyrsia package map --key {pair.public.hex()}; or leave out --key,"
               " and the validators decide",
        )  # fmt: skip
    return pair


def _net(node: Client) -> str:
    """What signatures of this network name; a signature for another network withdraws nothing here."""
    from pyrsia.ledger.genesis import Genesis

    try:
        return Genesis.parse(node.get_bytes("/log/genesis")).net
    except Malformed as error:
        raise Refusal(
            "unavailable", what=f"its genesis cannot be read: {error}", who="the node", do="ask another node"
        ) from None


def _signed(pair: Any, net: str, release: str, file: dict[str, Any], reason: str) -> dict[str, Any]:
    from pyrsia.ledger.withdrawing import signed_text

    body = {"purl": release, "reason": reason, "sha256": file["sha256"]}
    return {**body, "key": pair.public.hex(), "sig": pair.sign(signed_text(net, body)).hex()}


def _carried(node: Client, body: dict[str, Any]) -> dict[str, Any]:
    from pyrsia.serve.desks.views import SubmitAck

    done = shaped(node.post("/api/v1/withdrawals", body), SubmitAck)
    return {"sha256": body["sha256"], "outcome": "withdrawn", "leaf": done["index"], "motion": None}


def _proposed(node: Client, release: str, file: dict[str, Any], reason: str) -> dict[str, Any]:
    motion = {"kind": "artifact.withdraw", "purl": release, "reason": reason, "sha256": file["sha256"]}
    told = shaped(node.post("/api/v1/motions", {"motion": motion, "approve": True}), MotionStatus)
    outcome = "withdrawn" if told["phase"] == "enacted" else "proposed"
    return {"sha256": file["sha256"], "outcome": outcome, "leaf": told["leaf"], "motion": told}


def _told(rows: list[dict[str, Any]]) -> Iterator[str]:
    for one in rows:
        if one["motion"] is None:
            yield f"{one['sha256'][:16]}: withdrawn in entry {one['leaf']}"
        else:
            yield from motion_lines(one["motion"])


# -- maintainer keys --


@click.group("keys", cls=Group)
def keys() -> None:
    """A maintainer's key: made here, named in the package's mapping, and kept off any node."""


@keys.command("make")
@click.argument("file", metavar="FILE.key", type=_path)
@json_option
def make(file: Path, as_json: bool) -> None:
    """Make a key, mode 0600, and print its public half. An existing file is never replaced."""
    from pyrsia.keys import KeyPair, keep_key

    _check_name(file)
    if file.exists():
        raise Refusal(
            "conflict", what=f"there is a file {file} already", who="your command",
            do="see it with `pyrsia package keys show`, or name another one",
        )  # fmt: skip
    pair = KeyPair.generate()
    keep_key(file.parent, file.name.removesuffix(SUFFIX), pair)
    _tell_key(file, pair.public.hex(), as_json=as_json)


@keys.command("show")
@click.argument("file", metavar="FILE.key", type=_path)
@json_option
def show_key(file: Path, as_json: bool) -> None:
    """Print the public half of a key."""
    _tell_key(file, _pair(file).public.hex(), as_json=as_json)


def _tell_key(file: Path, public: str, *, as_json: bool) -> None:
    hint = f"name it in the package's mapping: pyrsia package map PURL ... --key {public}"
    tell({"file": str(file), "public": public}, as_json=as_json, text=lambda: [public, hint])


def _pair(file: Path) -> Any:
    from pyrsia.keys import load_key

    _check_name(file)
    pair = load_key(file.parent, file.name.removesuffix(SUFFIX))
    if pair is None:
        raise Refusal(
            "not-found", what=f"there is no key file {file}", who="your command",
            do="make one: pyrsia package keys make FILE.key",
        )  # fmt: skip
    return pair


def _check_name(file: Path) -> None:
    if not file.name.endswith(SUFFIX) or file.name == SUFFIX:
        raise click.BadParameter(f"a key file is called NAME{SUFFIX}, not {file.name}")
