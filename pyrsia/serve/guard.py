"""Who may ask what: Host names, Origins, tokens. Decides from the ASGI scope alone.

A web page that its visitor's browser lets loose on localhost is the stranger to keep out: DNS rebinding
meets the Host list, cross-site posts meet Origin and Sec-Fetch-Site, and without a token nothing changes
at all. There is no CORS: no answer of ours is for another site's scripts.

A token that is sent is looked at, also where none is needed: whoever logs in wants to hear that the password is
wrong. Pushes to a registry pass without an answer to who may push what: the registry knows the package, and asks
(`grants.require_push`). Left out: who may see which package (policy).

Source: RFC 9110 sections 7.4 (421) and 11.6 (401); Fetch Metadata Request Headers; RFC 6750 section 2.1 (Bearer);
RFC 7617 (Basic).
"""

import binascii
import hmac
import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.serve.grants import ADMIN, OPERATOR, Grant
from pyrsia.serve.http.connection import Scope

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Registries, which ask by themselves who may push.
PUSHED: Final = ("/v2/", "/maven2/", "/conan/", "/pypi/legacy/")
_OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})  # a load balancer has no token
# What changes something there is a checkpoint that a log signed whose key the operator configured: the signature is
# the permission, as C2SP tlog-witness has it. Who may read may bring one.
_SIGNED_PATHS: Final = frozenset({"/witness/add-checkpoint"})
# Questions that are too long for an address: they change nothing, and who may read may ask.
_QUESTIONS: Final = frozenset({"/api/v1/audit", "/inspect/docker", "/inspect/maven"})
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_MAX_CREDENTIALS: Final = 1_024  # a token has 63 characters; a user name may stand before it
ANONYMOUS: Final = (
    b"anonymous"  # a token that is none: dockerd must have one, also to read (serve/oci/login.py)
)

TokenOf = Callable[[str], Grant | None]
"""What a token allows; None for one that is unknown, revoked or expired."""


def _no_tokens(_: str) -> Grant | None:
    return None


class Guard:
    """The rules of one node's port.

    Args:
        names: Host names beyond loopback's that clients may use, without a port.
        control_token: the text of the 0600 token file `control.token`; valid on the control socket and over
            TCP, for changes and for reading from other machines.
        public: other machines may read without a token.
        tokens: those that the operator made (`pyrsia keys token`).
    """

    def __init__(
        self,
        *,
        names: Iterable[str] = (),
        control_token: str,
        public: bool = False,
        tokens: TokenOf = _no_tokens,
    ) -> None:
        if not control_token:
            raise ValueError("an empty control token would let everybody in")
        self._names = frozenset(name.lower().strip("[]") for name in (*_LOOPBACK_NAMES, *names))
        self._token = control_token.encode()
        self._public = public
        self._tokens = tokens

    def check(self, scope: Scope) -> None:
        """Let the request pass, or say why not. Sets `pyrsia.grant`, `pyrsia.admin` and `pyrsia.near` in the scope.

        Near is who is on this machine or administers the node: what is wrong in its house (its notices, which name
        files of its operator's) is for those alone.

        Raises:
            Refusal: `wrong-host`, `forbidden`, or `unauthenticated` where another token would do.
        """
        headers = _first_of(scope)
        control = scope["pyrsia.peer"] == "control"
        if not control and host_name(headers.get(b"host", b"")) not in self._names:
            raise _wrong_host(headers.get(b"host", b""))
        changes = scope["method"] not in SAFE_METHODS
        if changes:
            _check_site(headers, scope.get("scheme", "http"), control=control)
        grant = self._granted(headers.get(b"authorization", b""))
        scope["pyrsia.grant"] = grant
        scope["pyrsia.admin"] = grant is not None and grant.scope == ADMIN
        scope["pyrsia.near"] = control or scope["pyrsia.admin"] or _is_near(scope)
        if changes and not (scope["method"] == "POST" and scope["path"] in _QUESTIONS):
            self._check_change(scope, grant, control=control)
        elif not (control or grant is not None or self._may_read(scope)):
            raise _unauthenticated(
                "reading this node from another machine needs a token",
                "send a token as the password of any user, or let its operator set http.public"
                " (`pyrsia keys token --scope read` makes one)",
            )

    def _check_change(self, scope: Scope, grant: Grant | None, *, control: bool) -> None:
        if scope["pyrsia.admin"] or scope["path"].startswith(PUSHED):
            return
        signed = scope["method"] == "POST" and scope["path"] in _SIGNED_PATHS
        if signed and (control or grant is not None or self._may_read(scope)):
            return
        if grant is not None:
            raise Refusal(
                "forbidden",
                what=f"the token {grant.name} is for {'pushing' if grant.scope == 'push' else 'reading'}, not for this",
                who="the client's token",
                do="use the node's control socket (--node DIR), or a token that was made with --scope admin",
            )
        raise _needs_token(control=control)

    def _granted(self, authorization: bytes) -> Grant | None:
        """What the token of the request allows; None without one.

        Raises:
            Refusal: `unauthenticated` for a token that allows nothing.
        """
        token = credentials(authorization)
        if token is None:
            return None
        if hmac.compare_digest(token, self._token):
            return Grant(OPERATOR, ADMIN)
        try:
            grant = self._tokens(token.decode("ascii"))
        except UnicodeDecodeError:
            grant = None
        if grant is None:
            raise _unauthenticated(
                "this token is none of this node's, or it has expired or was revoked",
                "log in again with a token that is in force: `pyrsia keys token list` shows them to the operator",
            )
        return grant

    def _may_read(self, scope: Scope) -> bool:
        return self._public or scope["path"] in _OPEN_PATHS or _is_near(scope)


def _is_near(scope: Scope) -> bool:
    """Whether the client is on this machine."""
    client = scope.get("client")
    return client is not None and _is_loopback(client[0])


def credentials(authorization: bytes) -> bytes | None:
    """The token of an Authorization header: what Bearer carries, or the password that Basic carries.

    None for an empty one and for other schemes, which are not for us; a broken header holds the token "?", nobody's.
    """
    scheme, _, value = authorization.strip().partition(b" ")
    value = value.strip()
    if scheme.lower() not in (b"basic", b"bearer"):
        return None
    if len(value) > _MAX_CREDENTIALS:
        return b"?"
    if scheme.lower() == b"bearer":
        return value if value and value != ANONYMOUS else None
    try:
        return binascii.a2b_base64(value, strict_mode=True).partition(b":")[2] or None
    except binascii.Error:
        return b"?"


def host_name(host: bytes) -> str:
    """The name in a Host header, lower case, without its port; "" for what is none."""
    text = host.decode("ascii", "replace").lower()
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        return name if bracket and _is_port(port) else ""
    name, colon, digits = text.partition(":")
    return name if _is_port(colon + digits) else ""


def _is_port(text: str) -> bool:
    return not text or (text[0] == ":" and len(text) <= 6 and (text[1:].isdigit() or text == ":"))


def _first_of(scope: Scope) -> dict[bytes, bytes]:
    return dict(reversed(list(scope["headers"])))


@lru_cache(1_024)  # parsed for every request otherwise: a fifth of the cost of a small answer
def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def _check_site(headers: dict[bytes, bytes], scheme: str, *, control: bool) -> None:
    site = headers.get(b"sec-fetch-site", b"none").strip().lower()
    origin = headers.get(b"origin")
    own = scheme.encode("ascii") + b"://" + headers.get(b"host", b"").lower()
    if site not in (b"none", b"same-origin") or (origin is not None and (control or origin.lower() != own)):
        raise Refusal(
            "forbidden",
            what="a page of another site may not change anything here",
            who="the web page that sent this request",
            do="close that page; use the command line or this node's own pages",
        )


def _needs_token(*, control: bool) -> Refusal:
    if control:
        do = "read the token from control.token in the node's data directory; `pyrsia` does so by itself"
    else:
        do = "use its control socket (--node DIR), or a token that was made with --scope admin"
    return _unauthenticated("a request that changes something needs the node's token", do)


def _unauthenticated(what: str, do: str) -> Refusal:
    return Refusal("unauthenticated", what=what, who="the client's request", do=do)


def _wrong_host(host: bytes) -> Refusal:
    shown = "".join(c if c.isprintable() else "?" for c in host[:80].decode("ascii", "replace"))
    return Refusal(
        "wrong-host",
        what=f"this node does not answer for the name {shown!r}",
        who="the address in the client's request",
        do="ask by a loopback address, or add the name to http.names in config.toml",
    )
