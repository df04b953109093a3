"""Who may push what: the question that every application asks before it takes a byte."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.ledger.matching import PurlGlob
from pyrsia.serve.http.connection import Scope

READ: Final = "read"
PUSH: Final = "push"
ADMIN: Final = "admin"
OPERATOR: Final = "control"  # what the node's own token is called; no other may be


@dataclass(frozen=True, slots=True)
class Grant:
    """What the token of a request allows.

    Attributes:
        name: of the token, for people; `control` for the node's own.
        scope: READ, PUSH or ADMIN.
        pattern: glob of the versionless purls that it may push; "" means every one.
    """

    name: str
    scope: str
    pattern: str = ""

    def pushes(self, package: str) -> bool:
        """Whether it may push to this versionless purl."""
        if self.scope not in (PUSH, ADMIN):
            return False
        return not self.pattern or PurlGlob.parse(self.pattern).matches(package)


_asking: ContextVar[Grant | None] = ContextVar("pyrsia-grant")


def note(scope: Scope) -> None:
    """Remember, for the task that answers, what the request's token allows."""
    _asking.set(scope.get("pyrsia.grant"))


def asked_by_a_pusher(package: str) -> bool:
    """Whether who is being answered may push to this versionless purl.

    Clients look for a name before they push to it; the network hears nothing of such a question.
    """
    grant = _asking.get(None)
    return grant is not None and grant.pushes(package)


def require_delete(scope: Scope, package: str, *, pushers: bool) -> Grant:
    """As `require_push`, for taking back what was pushed.

    Args:
        pushers: whether push tokens may (`Local.pushers_delete`); an admin's always may.

    Raises:
        Refusal: also `denied`, by the node's configuration.
    """
    grant = require_push(scope, package)
    if grant.scope != ADMIN and not pushers:
        raise Refusal(
            "denied",
            what="push tokens take nothing back on this node",
            who="its configuration",
            do="ask its operator, or push a new version; local.delete in config.toml says so",
        )
    return grant


def require_push(scope: Scope, package: str) -> Grant:
    """The grant by which the client of `scope` may push to, or delete from, a versionless purl.

    Raises:
        Refusal: `unauthenticated` without a token, `forbidden` with one that does not reach that far.
    """
    grant: Grant | None = scope.get("pyrsia.grant")
    if grant is None:
        raise Refusal(
            "unauthenticated",
            what="pushing to this node needs a token",
            who="the client's request",
            do="log in with a push token as the password (`pyrsia keys token --scope push` makes one)",
        )
    if not grant.pushes(package):
        raise Refusal(
            "forbidden",
            what=f"the token {grant.name} may not push {package}",
            who="the client's token",
            do="ask the node's operator for a token whose scope and pattern reach this package",
        )
    return grant


def require_admin(scope: Scope) -> None:
    """Let nobody pass but this node's operator: over the control socket, or with an admin token.

    Raises:
        Refusal: `unauthenticated` without a token, `forbidden` with one for packages.
    """
    if scope.get("pyrsia.admin") or scope["pyrsia.peer"] == "control":
        return
    raise Refusal(
        "unauthenticated" if scope.get("pyrsia.grant") is None else "forbidden",
        what="this is given to the node's operator only",
        who="the client's request",
        do="use its control socket (--node DIR), or a token that was made with --scope admin",
    )
