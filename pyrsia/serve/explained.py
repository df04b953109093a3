"""`/builds/<request>`: a page about one build, for people. What it says is decided by `builds.explain`.

Everything on it comes from others: each text is escaped here, after `safe` has taken out what is hidden. No script,
no style in the page itself: it carries `default-src 'self'`.

Source: docs/attestations.md, "Explanations"; Content Security Policy Level 3.
"""

import re
from collections.abc import Iterator
from html import escape
from typing import Final, Protocol

from pyrsia.builds.explain.report import SENTENCES, Differing, Explanation, Pair, Said
from pyrsia.ledger.entries import VERDICTS
from pyrsia.serve.answers import not_found, send_body, send_not_allowed
from pyrsia.serve.connection import Receive, Scope, Send
from pyrsia.wire.text import safe

PREFIX: Final = "/builds/"
STYLE: Final = "style.css"
_REQUEST: Final = re.compile("[0-9a-f]{64}")
_HEADERS: Final = [
    (b"content-security-policy", b"default-src 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
]
_CSS: Final = b"""body { font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top; }
th { border-bottom: 1px solid #8c959f; } td { border-bottom: 1px solid #d8dee4; overflow-wrap: anywhere; }
code, pre { font: 14px/1.4 ui-monospace, monospace; } pre { overflow-x: auto; background: #f6f8fa; padding: .6rem; }
.verdict { font-weight: 600; } .REPRODUCED, .EQUIVALENT { color: #116329; } .WITNESSED { color: #7d4e00; }
.DIVERGED, .FAILED, .INSUFFICIENT { color: #a40e26; } del, ins { text-decoration: none; display: block; }
del { background: #ffebe9; } ins { background: #dafbe1; }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3; } pre { background: #161b22; } td { border-color: #30363d; }
  .REPRODUCED, .EQUIVALENT { color: #56d364; } .WITNESSED { color: #e3b341; }
  .DIVERGED, .FAILED, .INSUFFICIENT { color: #ff7b72; } del { background: #67060c; } ins { background: #033a16; }
}
"""


class Explains(Protocol):
    """Where explanations come from (`node.explaining`)."""

    async def explain(self, request: str, *, deep: bool = False) -> Explanation: ...


class ExplainedApp:
    """Pages about builds."""

    def __init__(self, explains: Explains) -> None:
        self._explains = explains

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await send_not_allowed(scope, send)
            return
        path = scope["path"].removeprefix(PREFIX)
        if path == STYLE:
            await send_body(send, 200, _CSS, [(b"content-type", b"text/css; charset=utf-8"), *_HEADERS])
            return
        if not _REQUEST.fullmatch(path):
            raise not_found(
                "there is no such page", do="a build's page is /builds/<its 64 hexadecimal digits>"
            )
        body = page(await self._explains.explain(path)).encode("utf-8")
        await send_body(send, 200, body, [(b"content-type", b"text/html; charset=utf-8"), *_HEADERS])


def page(found: Explanation) -> str:
    """The page as HTML."""
    return "\n".join(_page(found)) + "\n"


def _page(found: Explanation) -> Iterator[str]:
    verdict = found.verdict or found.state
    yield f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_text(found.purl)}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<link rel="stylesheet" href="{STYLE}">\n</head>\n<body>'
    yield f"<h1>{_text(found.purl)}</h1>"
    yield f'<p>Verdict: <span class="verdict {_class(verdict)}">{_text(verdict)}</span>{_meaning(verdict)}</p>'
    yield f"<p>Request <code>{escape(found.request)}</code></p>"
    if found.sentences:
        yield "<h2>In words</h2>\n<ul>"
        yield from (f"<li>{_text(line)}</li>" for line in found.sentences)
        yield "</ul>"
    yield "<h2>Who said what</h2>\n<table>"
    yield "<tr><th>builder</th><th>operator</th><th>outcome</th><th>group</th><th>isolation</th><th>verdict</th></tr>"
    yield from map(_row, found.said)
    yield "</table>"
    for pair in found.pairs:
        yield from _pair(pair)
    yield "</body>\n</html>"


def _class(verdict: str) -> str:
    """The style of a verdict; what is none of the log's words has none."""
    return verdict if verdict in VERDICTS else ""


def _meaning(verdict: str) -> str:
    if verdict == "WITNESSED":
        return " (same bytes seen by several nodes, not rebuilt)"
    return " (this came from that source; it says nothing about what the source does)" if verdict in (
        "REPRODUCED", "EQUIVALENT"
    ) else ""  # fmt: skip


def _row(one: Said) -> str:
    word = "agrees" if one.agrees else one.why
    cells = (one.builder[:8], one.operator, one.outcome, one.group, one.isolation, word)
    return "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>"


def _pair(one: Pair) -> Iterator[str]:
    yield f"<h2>{_text(one.output)}: {_text(one.first)} against {_text(one.second)}</h2>"
    if one.note:
        yield f"<p>{_text(one.note)}</p>"
    if one.packing:
        yield "<ul>"
        for name in one.packing:
            yield f"<li>{_text(SENTENCES['packing-order' if name == 'order' else name])}</li>"
        yield "</ul>"
    if one.differing:
        yield "<table>\n<tr><th>file</th><th>why</th></tr>"
        yield from (_differing(each, one) for each in one.differing)
        yield "</table>"
    if one.more:
        yield f"<p>and {one.more} more</p>"


def _differing(one: Differing, pair: Pair) -> str:
    why = SENTENCES[one.cause].format(first=pair.first, second=pair.second)
    lines = "".join(f"<del>{_text(first)}</del><ins>{_text(second)}</ins>" for first, second in one.shown)
    shown = f"<pre>{lines}</pre>" if lines else ""
    return f"<tr><td><code>{_text(one.path or pair.output)}</code></td><td>{_text(why)}{shown}</td></tr>"


def _text(text: str) -> str:
    return escape(safe(text))
