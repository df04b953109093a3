"""/badge/TYPE/NAME[@VERSION].svg: a badge as it is served: short-lived, and a document that can do nothing."""

import hashlib
from collections.abc import Mapping
from typing import Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.serve import badges
from pyrsia.serve.answers import send_body, send_cached
from pyrsia.serve.connection import Scope, Send
from pyrsia.serve.knowing import AsOf
from pyrsia.serve.reading import Header
from pyrsia.serve.routes import bad
from pyrsia.serve.views import Admin
from pyrsia.wire import purl as purls

SVG: Final = b"image/svg+xml"
_SUFFIX: Final = ".svg"
# Proxies of images (GitHub's) keep them as long as they are told to: verdicts change, so a few minutes.
_CACHING: Final = b"public, max-age=300"
_HEADERS: Final[list[Header]] = [
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"referrer-policy", b"no-referrer"),
]


async def send_badge(scope: Scope, send: Send, admin: Admin, rest: str, query: Mapping[str, str]) -> None:
    """Answer a badge; 404, and still a badge, for what the log does not know.

    Args:
        rest: the path behind `/badge/`.

    Raises:
        Refusal: `bad-request`: no such metric.
    """
    metric = query.get("metric", "verdict")
    if metric not in badges.METRICS:
        raise bad("there is no such badge", do=f"send ?metric= one of {', '.join(badges.METRICS)}")
    try:
        purl = str(purls.parse(f"pkg:{rest.removesuffix(_SUFFIX)}")) if rest.endswith(_SUFFIX) else ""
    except Malformed:
        purl = ""
    try:
        if not purl:
            raise Refusal("package-unknown", what="no purl", who="the client's request", do="correct it")
        badge = badges.of(await admin.provider.overview(purl, AsOf(), most=1), metric)
    except Refusal as refusal:
        if refusal.code != "package-unknown":
            raise
        body = badges.draw(badges.unknown(metric))
        await send_body(send, 404, body, [(b"content-type", SVG), (b"cache-control", _CACHING), *_HEADERS])
        return
    body = badges.draw(badge)
    etag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")
    await send_cached(scope, send, body, kind=SVG, etag=etag, caching=_CACHING, more=_HEADERS)
