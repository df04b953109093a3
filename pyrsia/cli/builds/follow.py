"""Following builds to their verdicts: what is told on the way, and what a script may conclude from the exit code."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from pyrsia.cli import answers
from pyrsia.cli.builds.find import called, one
from pyrsia.client import Client, typed
from pyrsia.errors import Refusal
from pyrsia.status import GOOD, in_words
from pyrsia.units import Limit
from pyrsia.wire.text import safe

POLL_S: Final = 0.3
FOLLOW_S = Limit(3_600, "two rounds of 12 minutes each with their draws, twice over")
WITNESSED: Final = "WITNESSED"


def good(build: dict[str, Any]) -> bool:
    """Whether enough builders agreed: on what they rebuilt, or for `witness` on what they saw."""
    return build["verdict"] in GOOD or build["verdict"] == WITNESSED


def wait(node: Client, requests: Sequence[str], *, quiet: bool) -> list[dict[str, Any]]:
    """Poll all of them until each has its verdict, in the order asked.

    Every request ends by its deadlines in block time; a network that stands still has none, so we have one of our own.

    Raises:
        Refusal: `unavailable`: it took too long.
    """
    done: dict[str, dict[str, Any]] = {}
    shown: dict[str, str] = {}
    until_s = time.monotonic() + FOLLOW_S.value
    while time.monotonic() < until_s:
        for request in requests:
            if request in done:
                continue
            build = one(node, request)
            if build["state"] == "done":
                done[request] = build
            elif not quiet:
                _progress(build, shown)
        if len(done) == len(set(requests)):
            return [done[request] for request in requests]
        time.sleep(POLL_S)
    left = next(request for request in requests if request not in done)
    raise Refusal(
        "unavailable",
        what=f"the build has no verdict after {FOLLOW_S.value} s",
        who="the network",
        do=f"see `pyrsia status`, and later `pyrsia build show {left[:64]}`",
    )


def _progress(build: dict[str, Any], shown: dict[str, str]) -> None:
    """One line on standard error for each change."""
    waits = f", waits for {build['waits']}" if build.get("waits") else ""
    told = f"{build['state']}{waits}"
    if shown.get(build["request"]) != told:
        shown[build["request"]] = told
        click.echo(safe(f"  {called(build['purl'])}: {told}"), err=True)


def line(build: dict[str, Any]) -> str:
    """One build in a line: its verdict, or what it waits for, or why there is none."""
    name, file = called(build["purl"]), _file(build)
    dissent = f", {len(build['dissenting'])} dissenting" if build["dissenting"] else ""
    if build["state"] != "done":
        return f"{name}: {build['state']}, waits for {build.get('waits') or 'the network'}"
    if not build["verdict"]:
        return f"{name}: cancelled"
    if build["verdict"] == WITNESSED:
        return f"{name}: {in_words(WITNESSED, len(build['agreeing']))}{dissent} {file}".rstrip()
    why = f" because {build['note']}" if not good(build) and build["note"] else ""
    return f"{name}: {build['verdict']} ({len(build['agreeing'])} agreeing{dissent}) {file}".rstrip() + why


def _file(build: dict[str, Any]) -> str:
    """The file, or how many there are: those of Conan packages and images have names that no person reads."""
    files = build.get("files") or []
    if len(files) > 1 and "~" in build["file"]:
        return f"{len(files)} files"
    return f"{build['file']} and {len(files) - 1} more" if len(files) > 1 else str(build["file"])


def log_lines(node: Client, request: str, builder: str, *, follow: bool) -> Iterator[str]:
    """A builder's log, line by line; with `follow` from the moment that it may be read.

    Raises:
        Refusal: `not-yet` without `follow`; `unavailable` when waiting took too long.
    """
    until_s, shown = time.monotonic() + FOLLOW_S.value, ""
    offset, rest = 0, b""
    while True:
        try:
            part = node.get(f"/api/v1/builds/{request}/log", builder=builder, offset=offset)
            data, size, builder = _bytes_of(part)
        except Refusal as refusal:
            if refusal.code != "not-yet" or not follow:
                raise
            if time.monotonic() > until_s:
                raise Refusal(
                    "unavailable",
                    what=f"no log after {FOLLOW_S.value} s",
                    who="the builders, or the network",
                    do="see `pyrsia build show`",
                ) from None
            state = one(node, request)
            if state.get("waits") and state["waits"] != shown:
                shown = state["waits"]
                click.echo(safe(f"  waits for {shown}"), err=True)
            time.sleep(POLL_S)
            continue
        rest += data
        offset += len(data)
        *lines, rest = rest.split(b"\n")
        yield from (text.decode("utf-8", "replace") for text in lines)
        if not data or offset >= size:
            break
    if rest:
        yield rest.decode("utf-8", "replace")


def _bytes_of(part: Any) -> tuple[bytes, int, str]:
    found = typed(part, answers.LogPart)
    return found.data, found.size, found.builder
