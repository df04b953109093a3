"""Explains a build: brings what builders revealed, compares it in the sandbox, and says why they differ.

Only what the log names after a reveal is brought, so nothing is explained before its builders are bound to it. The
comparison reads strangers' archives, and diffoscope reads more of them: both run inside, with limits. Answers are kept
for a while, since the same build is asked about by everybody at once.

Source: docs/attestations.md, "Explanations".
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.explain import report
from pyrsia.builds.explain.comparing import PROGRAM
from pyrsia.builds.explain.report import Explanation, Pair, Said
from pyrsia.builds.inside import Inside
from pyrsia.builds.model import PhaseFailed
from pyrsia.builds.sandbox import BuildLimits, Job, Mount, Sandbox
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal, Unavailable
from pyrsia.ledger import views
from pyrsia.ledger.views import RequestView
from pyrsia.node.storage.shelf import Shelf
from pyrsia.units import MAX_HTTP_FETCH_WAIT_S, Limit, NodeId
from pyrsia.wire.text import safe, unb32

KEPT = Limit(32, "explanations that are remembered, a few 10 KB each")
AT_ONCE = Limit(2, "comparisons at once; each reads two results of up to 512 MiB")
MAX_PAIRS = Limit(24, "outputs that are compared for one answer: eight files of three groups")
DEEP_BYTES = Limit(200_000, "of diffoscope's report; 36 MB were seen for one shared object")
DEEP_S = Limit(30, "what diffoscope needs for a shared object and its text is 2 to 8 s")
TAR_MAGIC_AT: Final = 257  # POSIX.1-2017 pax, "ustar Interchange Format"
DIFFOSCOPE: Final = "/usr/bin/diffoscope"

Reads = Callable[[bytes], bytes | None]


class Explaining:
    """Explanations of one node's log.

    Args:
        shop: None where this machine has no sandbox; then only who said what is told.
    """

    def __init__(self, *, reads: Reads, shelf: Shelf, shop: Shop | None) -> None:
        self._reads = reads
        self._shelf = shelf
        self._shop = shop
        self._limiter = trio.CapacityLimiter(AT_ONCE.value)
        self._kept: OrderedDict[tuple[str, int, bool], Explanation] = OrderedDict()

    async def explain(self, request: str, *, deep: bool = False) -> Explanation:
        """The explanation of one request.

        Args:
            deep: with diffoscope's report of each differing output.

        Raises:
            Refusal: `not-found`; `no-sandbox` and `unavailable` only where `deep`.
        """
        view = views.request(self._reads, request)
        if view is None:
            raise Refusal(
                "not-found",
                what=f"the log has no build request {request[:16]}",
                who="the client's request",
                do="see `pyrsia build list`",
            )
        key = (request, len(view.leaves), deep)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if deep and self._shop is None:
            raise Refusal(
                "no-sandbox",
                what="this node has no sandbox to read strangers' files in",
                who="this machine",
                do="run `pyrsia doctor` there, or ask another node",
            )
        operators = (
            dict(zip(view.draw.body["builders"], view.draw.body["operators"], strict=True))
            if view.draw
            else {}
        )
        who = report.said(view, operators)
        async with self._limiter:
            pairs = await self._pairs(view, who, deep=deep)
        made = Explanation(
            request=view.id,
            purl=view.request.body["purl"],
            state=view.state,
            verdict=view.verdict.body["verdict"] if view.verdict is not None else "",
            said=who,
            pairs=tuple(pairs),
            sentences=report.sentences(who, pairs),
        )
        if all(not one.note for one in pairs):  # what could not be had may be had later
            self._kept[key] = made
            while len(self._kept) > KEPT.value:
                self._kept.popitem(last=False)
        return made

    async def _pairs(self, view: RequestView, who: Sequence[Said], *, deep: bool) -> list[Pair]:
        reveals = {one.author: one.body for one in view.reveals if one.round == view.round}
        found: list[Pair] = []
        for first, second in report.to_compare(who):
            outputs = [reveals[side.builder]["outputs"] for side in (first, second)]
            for ours, theirs in report.matched(*outputs):
                if len(found) == MAX_PAIRS.value:
                    return found
                if ours is None or theirs is None:
                    only, one = (first, ours) if ours is not None else (second, theirs)
                    name = one["name"] if one is not None else ""
                    found.append(
                        Pair(name, first.group, second.group, note=f"only {only.group} made this file")
                    )
                else:
                    sides = (first, ours["raw"]), (second, theirs["raw"])
                    found.append(await self._pair(ours["name"], *sides, deep=deep))
        return found

    async def _pair(
        self,
        name: str,
        first: tuple[Said, dict[str, Any]],
        second: tuple[Said, dict[str, Any]],
        *,
        deep: bool,
    ) -> Pair:
        """One output of two groups; what cannot be had or read is a note, not an error."""
        empty = Pair(name, first[0].group, second[0].group)
        if self._shop is None:
            return replace(empty, note="this node has no sandbox to compare them in")
        try:
            paths = [await self._bring(*side) for side in (first, second)]
            made = await self._compared(self._shop, name, first[0], second[0], paths)
            return replace(made, deep=await self._deep(self._shop, name, paths)) if deep else made
        except (PhaseFailed, Unavailable, trio.TooSlowError) as error:
            why = error.what if isinstance(error, PhaseFailed) else str(error) or "it took too long"
            return replace(empty, note=safe(f"they could not be compared: {why}")[:300])

    async def _bring(self, who: Said, blob: dict[str, Any]) -> Path:
        with trio.fail_after(MAX_HTTP_FETCH_WAIT_S.value):
            return await self._shelf.fetch(
                bytes.fromhex(blob["manifest"]),
                bytes.fromhex(blob["sha256"]),
                blob["size"],
                [NodeId(unb32(who.builder))],
            )

    async def _compared(
        self, shop: Shop, name: str, first: Said, second: Said, paths: Sequence[Path]
    ) -> Pair:
        inside = Inside(shop.sandbox, shop.scratch, PROGRAM, shop.limits)
        inner = await trio.to_thread.run_sync(_inner, name, paths[0])
        names = [f"{side}-{inner}" for side in ("first", "second")]
        job = {"operation": "compare", "first": names[0], "second": names[1]}
        files = dict(zip(names, paths, strict=True))
        async with inside.run(job, files, phase="explain", who=name) as answer:
            return report.pair(name, first, second, answer.value)

    async def _deep(self, shop: Shop, name: str, paths: Sequence[Path]) -> str:
        """diffoscope's report as text.

        Raises:
            Refusal: `unavailable`: it is not installed.
        """
        if not await trio.Path(DIFFOSCOPE).exists():
            raise Refusal(
                "unavailable",
                what="diffoscope is not installed on this node",
                who="this machine",
                do="apt-get install diffoscope-minimal",
            )
        inner = await trio.to_thread.run_sync(_inner, name, paths[0])
        job = Job(
            argv=(
                DIFFOSCOPE, "--text", "-", "--no-progress", "--timeout", str(DEEP_S.value),
                "--max-text-report-size", str(DEEP_BYTES.value), "--exclude-command", "readelf.*debug-dump",
                f"/first/{inner}", f"/second/{inner}",
            ),
            cwd="/build",
            mounts=(
                Mount(paths[0], f"/first/{inner}"),
                Mount(paths[1], f"/second/{inner}"),
                *await self._room(shop),
            ),
            limits=BuildLimits(wall_s=DEEP_S.value * 2, log_bytes=DEEP_BYTES.value),
        )  # fmt: skip
        return await _text(shop.sandbox, job)

    async def _room(self, shop: Shop) -> tuple[Mount, ...]:
        """An empty folder to work in."""
        folder = shop.scratch / "explain"
        await trio.Path(folder).mkdir(mode=0o755, parents=True, exist_ok=True)
        return (Mount(folder, "/build"),)


async def _text(sandbox: Sandbox, job: Job) -> str:
    """The report; 0: the same, 1: they differ, anything else is diffoscope's own trouble."""
    outcome = await sandbox.run(job)
    lines = outcome.log.decode("utf-8", "replace").splitlines()
    told = "\n".join(safe(line) for line in lines)
    if outcome.ended == "exit" and outcome.code in (0, 1):
        return told
    return f"{told}\n(diffoscope ended by {outcome.ended} {outcome.code})"


def _inner(name: str, path: Path) -> str:
    """A name that says how the file is packed and nothing else of what a stranger wrote.

    Blobs of images have no ending, so their first bytes are asked.
    """
    for ending in (".whl", ".jar", ".zip", ".tar.gz", ".tgz", ".tar", ".pom"):
        if name.endswith(ending):
            return f"file{'.tar.gz' if ending == '.tgz' else ending}"
    with path.open("rb") as file:
        head = file.read(TAR_MAGIC_AT + 5)
    # (a layer may hold links, which no other archive of ours may)
    return "file.layer" if head.startswith(b"\x1f\x8b") or head[TAR_MAGIC_AT:] == b"ustar" else "file"
