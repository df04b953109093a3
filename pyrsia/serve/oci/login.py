"""How clients learn to log in: `GET /v2/`, and the token that dockerd asks for.

Reading is open, so `GET /v2/` says 200, and names Basic beside it for the clients that decide then (containers/image).
dockerd decides then too, but only from a 401: without one it never sends a password, not even with a push. So dockerd
alone is told to fetch a token: whoever has a password gets it back as the token, and whoever has none gets one that
counts as none. Nothing is stored or signed: a token of ours is the password already.

Source: Docker's token authentication; OCI distribution-spec 1.1, "Determining Support".
"""

from typing import Final

import msgspec

from pyrsia.serve.answers import header, send_body
from pyrsia.serve.guard import ANONYMOUS, credentials
from pyrsia.serve.oci.errors import BASIC, JSON, VERSION, Problem
from pyrsia.serve.oci.replies import Request

PLACE: Final = "_token"
_DOCKERD: Final = b"docker/"
_EXPIRES_S: Final = 3_600  # a client asks again then; ours are good for longer, or revoked at once


async def greet(request: Request) -> None:
    """`GET /v2/`."""
    request.only("GET", "HEAD")
    scope = request.scope
    logged_in = bool(header(scope, b"authorization"))
    if not logged_in and header(scope, b"user-agent").startswith(_DOCKERD):
        host = header(scope, b"host")
        place = scope.get("scheme", "http").encode("ascii") + b"://" + host + b"/v2/" + PLACE.encode("ascii")
        challenge = b'Bearer realm="%b",service="pyrsia"' % place
        raise Problem(
            401,
            "UNAUTHORIZED",
            "fetch a token first, with a password or without",
            "docker does so by itself",
            ((b"www-authenticate", challenge),),
        )
    more = () if logged_in else (BASIC,)
    await send_body(request.send, 200, b"{}", [JSON, VERSION, *more])


async def give_token(request: Request) -> None:
    """The token of whoever asks: the password that came along, which the guard has looked at already."""
    request.only("GET", "HEAD")
    found = credentials(header(request.scope, b"authorization")) or ANONYMOUS
    token = found.decode("ascii")
    value = {"token": token, "access_token": token, "expires_in": _EXPIRES_S}
    headers = [JSON, (b"cache-control", b"no-store"), VERSION]
    await send_body(request.send, 200, msgspec.json.encode(value), headers)
