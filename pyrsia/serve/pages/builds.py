"""What a build's page shows: what `builds.explain` found, in its words, and the logs of builds that are over."""

from typing import Any, Final

from pyrsia.builds.explain.report import SENTENCES, Differing, Explanation, Pair
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.desks.views import Admin
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

_LOG_PART: Final = Limit(65_536, "bytes of a log on one page: a thousand lines")
_MEANINGS: Final = {
    "WITNESSED": "same bytes seen by several nodes, not rebuilt",
    **dict.fromkeys(
        ("REPRODUCED", "EQUIVALENT"), "this came from that source; it says nothing about what the source does"
    ),
}


async def build(admin: Admin, request: str) -> dict[str, Any]:
    """The values of the page of a build request.

    Raises:
        Refusal: `not-found`.
    """
    found, status = await admin.explain(request), await admin.build(request)
    return {
        **values(found),
        "waits": status.waits if status is not None else "",
        "logs": status is not None and status.state == "done",
    }


def values(found: Explanation) -> dict[str, Any]:
    """What the template needs of an explanation."""
    verdict = found.verdict or found.state
    return {
        "found": found,
        "verdict": verdict,
        "meaning": _MEANINGS.get(verdict, ""),
        "package": _versionless(found.purl),
        "pairs": [_pair(pair) for pair in found.pairs],
        "waits": "",
        "logs": False,
    }


def _versionless(text: str) -> str:
    try:
        return str(purls.parse(text).versionless)
    except Malformed:
        return ""


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "output": pair.output,
        "first": pair.first,
        "second": pair.second,
        "note": pair.note,
        "packing": [SENTENCES["packing-order" if name == "order" else name] for name in pair.packing],
        "differing": [_differing(one, pair) for one in pair.differing],
        "more": pair.more,
    }


def _differing(one: Differing, pair: Pair) -> dict[str, Any]:
    why = SENTENCES[one.cause].format(first=pair.first, second=pair.second)
    return {"path": one.path or pair.output, "why": why, "shown": one.shown}


async def log(admin: Admin, request: str, builder: str, offset: int) -> dict[str, Any]:
    """The values of the page with a part of a builder's log.

    What is still being built is its operator's only: it tells others what came out here before they have said theirs.

    Raises:
        Refusal: `not-found`, `not-yet`, `unavailable`.
    """
    status = await admin.build(request)
    if status is None or status.state != "done":
        raise Refusal(
            "not-yet" if status is not None else "not-found",
            what="a log can be read here when its build is over",
            who="the client's request",
            do="try again when the build has its verdict; its operator reads it with `pyrsia build logs`",
        )
    part = await admin.desk.log(request, builder, offset)
    data = part.data[: _LOG_PART.value]
    return {
        "purl": status.purl,
        "request": request,
        "builder": part.builder,
        "first": part.offset,
        "last": part.offset + len(data),
        "before": max(0, part.offset - _LOG_PART.value),
        "size": part.size,
        "lines": data.decode("utf-8", "replace").splitlines(),
    }
