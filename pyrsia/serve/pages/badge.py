"""/badge/TYPE/NAME[@VERSION].svg?metric=&as_of=: a badge as served: short-lived, and can do nothing."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.serve import badges
from pyrsia.serve.answers import send_body, send_cached
from pyrsia.serve.badges import Badge
from pyrsia.serve.desks.knowing import AsOf
from pyrsia.serve.desks.views import Admin
from pyrsia.serve.http.connection import Scope, Send
from pyrsia.serve.http.reading import Header
from pyrsia.serve.pages.facts import moment
from pyrsia.serve.routes import bad
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

FRESH_S = Limit(
    10, "that a node says the same before it looks again: a withdrawal shows at once to who waits for it"
)
REMEMBERED = Limit(
    2_000, "badges, 200 bytes each: those of a large network's pages; then all are looked up anew"
)

SVG: Final = b"image/svg+xml"
_SUFFIX: Final = ".svg"
# Proxies of images (GitHub's) keep them as long as they are told to: verdicts change, so a few minutes.
_CACHING: Final = b"public, max-age=300"
_HEADERS: Final[list[Header]] = [
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"referrer-policy", b"no-referrer"),
]


class Badges:
    """The badges of one node.

    What a badge says is remembered for as short as nobody minds, since anybody's page may make a thousand browsers ask.
    """

    def __init__(self, admin: Admin, now_s: Callable[[], float] = trio.current_time) -> None:
        self._admin, self._now_s = admin, now_s
        # (purl, metric, moment) -> until when, and what
        self._said: dict[tuple[str, str, AsOf], tuple[float, Badge]] = {}

    async def send(self, scope: Scope, send: Send, rest: str, query: Mapping[str, str]) -> None:
        """Answer a badge; 404, and still a badge, for what the log does not know.

        Args:
            rest: the path behind `/badge/`.

        Raises:
            Refusal: `bad-request`: no such metric, or no such moment.
        """
        metric = query.get("metric", "verdict")
        if metric not in badges.METRICS:
            raise bad("there is no such badge", do=f"send ?metric= one of {', '.join(badges.METRICS)}")
        badge = await self._badge(_purl(rest), metric, moment(query.get("as_of", "")))
        if badge is None:
            body = badges.draw(badges.unknown(metric))
            await send_body(
                send, 404, body, [(b"content-type", SVG), (b"cache-control", _CACHING), *_HEADERS]
            )
            return
        body = badges.draw(badge)
        etag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode("ascii")
        await send_cached(scope, send, body, kind=SVG, etag=etag, caching=_CACHING, more=_HEADERS)

    async def _badge(self, purl: str, metric: str, at: AsOf) -> Badge | None:
        """None for what the log does not know; that is found out anew each time, and costs little."""
        until_s, badge = self._said.get((purl, metric, at), (0.0, None))
        if badge is not None and self._now_s() < until_s:
            return badge
        try:
            told = await self._admin.provider.overview(purl, at, most=1) if purl else None
        except Refusal as refusal:
            if refusal.code != "package-unknown":
                raise
            told = None
        if told is None:
            return None
        if len(self._said) >= REMEMBERED.value:
            self._said.clear()
        badge = badges.of(told, metric)
        self._said[purl, metric, at] = self._now_s() + FRESH_S.value, badge
        return badge


def _purl(rest: str) -> str:
    """What a path asks about; "" for what is no purl."""
    if not rest.endswith(_SUFFIX):
        return ""
    try:
        return str(purls.parse(f"pkg:{rest.removesuffix(_SUFFIX)}"))
    except Malformed:
        return ""
