"""Who may ask what: Host names, Origins, tokens. Decides from the ASGI scope alone.

A web page that its visitor's browser lets loose on localhost is the stranger to keep out: DNS rebinding
meets the Host list, cross-site posts meet Origin and Sec-Fetch-Site, and without a token nothing changes
at all. There is no CORS: no answer of ours is for another site's scripts. Left out: who may see which
package (policy).

Source: RFC 9110 section 7.4 (421); Fetch Metadata Request Headers; RFC 6750 section 2.1 (Bearer).
"""

import hmac
import ipaddress
from collections.abc import Iterable
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.serve.connection import Scope

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})  # a load balancer has no token
# What changes something there is a checkpoint that a log signed whose key the operator configured: the signature is
# the permission, as C2SP tlog-witness has it. Who may read may bring one.
_SIGNED_PATHS: Final = frozenset({"/witness/add-checkpoint"})
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")


class Guard:
    """The rules of one node's port.

    Args:
        names: Host names beyond loopback's that clients may use, without a port.
        control_token: the text of the 0600 token file `control.token`; valid on the control socket and over
            TCP, for changes and for reading from other machines. There is no other token yet.
        public: other machines may read without it.
    """

    def __init__(
        self,
        *,
        names: Iterable[str] = (),
        control_token: str,
        public: bool = False,
    ) -> None:
        if not control_token:
            raise ValueError("an empty control token would let everybody in")
        self._names = frozenset(name.lower().strip("[]") for name in (*_LOOPBACK_NAMES, *names))
        self._token = control_token.encode()
        self._public = public

    def check(self, scope: Scope) -> None:
        """Let the request pass, or say why not. Sets `scope["pyrsia.admin"]`.

        Raises:
            Refusal: `wrong-host` or `forbidden`.
        """
        headers = _first_of(scope)
        control = scope["pyrsia.peer"] == "control"
        if not control and host_name(headers.get(b"host", b"")) not in self._names:
            raise _wrong_host(headers.get(b"host", b""))
        admin = hmac.compare_digest(_bearer(headers.get(b"authorization", b"")), self._token)
        scope["pyrsia.admin"] = admin
        if scope["method"] not in SAFE_METHODS:
            _check_site(headers, control=control)
            signed = scope["method"] == "POST" and scope["path"] in _SIGNED_PATHS
            if not admin and not (signed and (control or self._may_read(scope))):
                raise _needs_token(control=control)
        elif not (control or admin or self._may_read(scope)):
            raise Refusal(
                "forbidden",
                what="reading this node from another machine needs a token",
                who="the client's request",
                do="send `Authorization: Bearer <text of its control.token>`, or let its operator set http.public",
            )

    def _may_read(self, scope: Scope) -> bool:
        if self._public or scope["path"] in _OPEN_PATHS:
            return True
        client = scope.get("client")
        return client is not None and _is_loopback(client[0])


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
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        found.setdefault(name, value)
    return found


def _bearer(authorization: bytes) -> bytes:
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def _check_site(headers: dict[bytes, bytes], *, control: bool) -> None:
    site = headers.get(b"sec-fetch-site", b"none").strip().lower()
    origin = headers.get(b"origin")
    own = b"http://" + headers.get(b"host", b"").lower()
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
        do = (
            "use its control socket (--node DIR), or send `Authorization: Bearer <text of its control.token>`"
        )
    return Refusal(
        "forbidden",
        what="a request that changes something needs the node's token",
        who="the client's request",
        do=do,
    )


def _wrong_host(host: bytes) -> Refusal:
    shown = "".join(c if c.isprintable() else "?" for c in host[:80].decode("ascii", "replace"))
    return Refusal(
        "wrong-host",
        what=f"this node does not answer for the name {shown!r}",
        who="the address in the client's request",
        do="ask by a loopback address, or add the name to http.names in config.toml",
    )
