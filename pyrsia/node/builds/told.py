"""One build request as people and scripts are told of it: what the log says of it, and what it waits for.

Source: docs/builds.md, "Follow, explain, cancel".
"""

from pyrsia.ledger.state import Reads
from pyrsia.ledger.views import RequestView, project_files
from pyrsia.status import BuildStatus
from pyrsia.wire import purl as purls


def told(view: RequestView, note: str = "") -> BuildStatus:
    """
    Args:
        note: what this node itself does for it; without one, why others dissent.
    """
    verdict = view.verdict.body if view.verdict else {}
    files = [one.body["file"] for one in view.artifacts]
    why = "; ".join(f"{one['builder'][:8]}: {one['why']}" for one in verdict.get("dissenting", []))
    if view.state == "cancelled":
        why = "cancelled by its requester before builders were drawn"
    return BuildStatus(
        request=view.id,
        purl=view.request.body["purl"],
        state="done" if view.state in ("done", "cancelled") else view.state,
        verdict=verdict.get("verdict", ""),
        builders=tuple(view.draw.body["builders"]) if view.draw else (),
        committed=tuple(one.author for one in view.commits if one.round == view.round),
        revealed=tuple(one.author for one in view.reveals if one.round == view.round),
        agreeing=tuple(verdict.get("agreeing", ())),
        dissenting=tuple(one["builder"] for one in verdict.get("dissenting", [])),
        file=files[0] if files else "",
        sha256=view.artifacts[0].body["sha256"] if view.artifacts else "",
        requested_ms=view.time_ms,
        note=note or why,
        ecosystem=view.request.body["ecosystem"],
        files=tuple(files),
        waits=_waits(view),
    )


def is_served(reads: Reads, view: RequestView) -> bool:
    """Whether clients get what `view` published; so too where nothing was."""
    if not view.artifacts:
        return True
    package = purls.parse(view.request.body["purl"]).versionless
    offered = {one.body["sha256"] for one in project_files(reads, str(package))}
    return all(one.body["sha256"] in offered for one in view.artifacts)


def _waits(view: RequestView) -> str:
    """What the request waits for, in words."""
    again = "again: too few answered; " if view.round else ""
    if view.state == "open":
        return "the draw of its builders" if not view.draws else "the second draw: too few answered the first"
    drawn = len(view.draw.body["builders"]) if view.draw else 0
    commits = [one for one in view.commits if one.round == view.round]
    reveals = [one for one in view.reveals if one.round == view.round]
    match view.state:
        case "drawn" | "committing":
            return f"{again}{drawn - len(commits)} of {drawn} builders to finish"
        case "revealing":
            return f"{again}{len(commits) - len(reveals)} of {len(commits)} results to be revealed"
    return ""
