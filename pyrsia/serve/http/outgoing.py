"""What goes with every answer, whoever made it: no browser runs it, and no cache on the way hands on what a token read.

Files, manifests and pages of packages are written by strangers, some of them in forms that browsers execute (HTML,
XHTML, SVG), and they stand on the origin of this node's own pages, whose visitors' browsers remember a token. So an
answer has an origin of its own and runs nothing, unless it says itself what it may do, as the node's pages do.

Source: Content Security Policy Level 3 (sandbox); RFC 9111 sections 3.5 and 5.2.2 (public, private).
"""

from collections.abc import Iterable
from typing import Final

from pyrsia.serve.answers import header
from pyrsia.serve.http.connection import Scope
from pyrsia.serve.http.reading import Header

_POLICY: Final = b"content-security-policy"
# A file that a visitor of a package's page clicks on is still saved.
_HARMLESS: Final[Header] = (_POLICY, b"sandbox allow-downloads; default-src 'none'; frame-ancestors 'none'")


def completed(scope: Scope, headers: Iterable[Header]) -> list[Header]:
    """The headers of an answer as they leave."""
    secret = header(scope, b"authorization") != b""
    done: list[Header] = []
    policy = _HARMLESS
    for pair in headers:
        name, value = pair
        if name == _POLICY:
            policy = pair
        elif secret and name == b"cache-control":
            done.append((name, value.replace(b"public", b"private")))
        else:
            done.append(pair)
    done.append(policy)
    return done
