"""Which request a person means: its whole id, or the beginning of a recent one; and how its package is called."""

import re
from typing import Any, Final

from pyrsia.cli import answers
from pyrsia.cli.answers import shaped
from pyrsia.client import Client
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

_WHOLE: Final = re.compile("[0-9a-f]{64}")
_PREFIX: Final = re.compile("[0-9a-f]{8,63}")
SHOWN_IDS = Limit(20, "ids that a person compares; 8 digits are never shared by so many by accident")


def one(node: Client, request: str) -> dict[str, Any]:
    """The build whose id is `request`, or begins with it.

    Raises:
        Refusal: `not-found`; `usage` for a beginning that several ids share.
    """
    text = request.lower()
    if _PREFIX.fullmatch(text):
        return _by_prefix(node, text)
    if not _WHOLE.fullmatch(text):
        raise _not_found(request)
    try:
        found: dict[str, Any] = shaped(node.get(f"/api/v1/builds/{text}"), answers.Build)
    except Refusal as refusal:
        raise _not_found(request) if refusal.code == "not-found" else refusal from None
    return found


def condition(request: str) -> str:
    """The same question as a condition of `inspect-log builds`.

    Raises:
        Refusal: `not-found` for what is no id and no beginning of one.
    """
    text = request.lower()
    if _WHOLE.fullmatch(text):
        return f"build_id = {text}"
    if _PREFIX.fullmatch(text):
        return f"build_id glob {text}*"
    raise _not_found(request)


def called(purl: str) -> str:
    """How people are told of a package: a purl, but what stands under a node's own name without 44 of its 52 digits.

    `own:h3ehcmyl/pypi/greeter@1.0`. Whole in `--json`, in plans and in `pyrsia build show`.
    """
    try:
        owner = purls.parse(purl).owner
    except Malformed:
        return purl
    return f"own:{owner[:8]}{purl.removeprefix(f'pkg:generic/{owner}')}" if owner else purl


def _by_prefix(node: Client, prefix: str) -> dict[str, Any]:
    """Among the newest requests, which is where people have a shortened id from."""
    newest = shaped(node.get("/api/v1/builds"), answers.Builds)["builds"]
    found: list[dict[str, Any]] = [one for one in newest if one["request"].startswith(prefix)]
    if not found:
        raise _not_found(prefix)
    if len(found) > 1:
        raise Refusal(
            "usage",
            what=f"{len(found)} requests begin with {prefix}: "
            + ", ".join(f"{one['request']} ({one['purl']})" for one in found[: SHOWN_IDS.value]),
            who="your command",
            do="write more of its digits",
        )
    return found[0]


def _not_found(request: str) -> Refusal:
    return Refusal(
        "not-found",
        what=f"Failed to fetch the build: '{request[:80]}' was not found",
        who="your command",
        do="see `pyrsia build list`; an id is 64 hexadecimal digits, or the first 8 and more of a recent one",
    )
