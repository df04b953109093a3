"""What came of orders, in lines, in JSON and in the exit code.

Every package has its line: asked for, known already, planned, left out, refused with its reason, or its verdict.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pyrsia.cli.builds import follow as build_follow
from pyrsia.cli.builds import install
from pyrsia.cli.builds.find import called
from pyrsia.cli.tell import tell
from pyrsia.errors import Refusal

SHOWN: Final = 12  # inputs of a plan; a small Maven project has 170


@dataclass(slots=True)
class Asked:
    """What came of all orders."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    plans: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def tell_asked(
    asked: Asked, done: Sequence[dict[str, Any]], *, follow: bool, as_json: bool, address: str = ""
) -> None:
    """
    Args:
        address: where the node serves packages; "" where no client shall be named.
    """
    if as_json:
        told: dict[str, Any] = {"requests": asked.requests}
        told |= {"refused": asked.refused} if asked.refused else {}
        told |= {"skipped": asked.skipped} if asked.skipped else {}
        tell(told | ({"builds": list(done)} if follow else {}), as_json=True, text=lambda: ())
        return
    tell(
        {},
        as_json=False,
        text=lambda: [*map(build_follow.line, done), *_refusals(asked), *_installed(done, address)],
    )


def _installed(done: Sequence[dict[str, Any]], address: str) -> Iterator[str]:
    """How the last package, which needs the others, is installed from this node; from every other one likewise."""
    lines = list(install.words(done[-1], address)) if done and build_follow.good(done[-1]) else []
    if lines and not done[-1]["served"]:
        yield "clients do not get these files: an earlier build's of this name stay, or these were withdrawn;"
        yield "a changed source needs a new version"
    elif lines:
        yield "install it:"
        yield from (f"  {line}" for line in lines)


def _refusals(asked: Asked) -> Iterator[str]:
    for one in asked.skipped:
        yield f"left out: {one}"
    if len(asked.refused) + len(asked.requests) + len(asked.plans) > 1:
        for no in asked.refused:
            yield f"no: {no['package']}: {no['what']}; {no['do']}"


def judge(asked: Asked, done: Sequence[dict[str, Any]], *, one_order: bool) -> None:
    """The exit code: 0 where everything was asked for and, if that was awaited, agreed on.

    Raises:
        Refusal: what of it was not.
    """
    if asked.refused and one_order:
        raise Refusal.from_dict(asked.refused[0])
    if asked.refused:
        raise Refusal(
            "build-failed",
            what=f"{len(asked.refused)} of the packages could not be asked for",
            who="the reasons named above",
            do="ask for others, or for these by another version",
        )
    bad = [one for one in done if not build_follow.good(one)]
    if bad:
        raise Refusal(
            "build-failed",
            what=f"not every package of the closure was reproduced: {len(bad)} of {len(done)} were not",
            who="the builders named above",
            do="see what each said with `pyrsia build list` and `pyrsia build explain REQUEST`",
        )


def plan_lines(asked: Asked) -> Iterator[str]:
    for one in asked.plans:
        recipe, source = one["recipe"], one["source"]
        yield f"{called(one['purl'])} ({one['ecosystem']})"
        if called(one["purl"]) != one["purl"]:
            yield f"  purl         {one['purl']}"
        if one["note"]:
            yield f"  note         {one['note']}"
        size = f"{source.get('size', 0)} bytes"
        yield f"  source       {source.get('file', '')}  sha256:{source.get('sha256', '')}  {size}"
        if "git" in source:
            yield f"  git          commit {source['git'].get('commit', '')}  tag {source['git'].get('tag') or '-'}"
        yield f"  environment  {recipe.get('environment', '')}"
        yield "  target       " + "  ".join(f"{key} {value}" for key, value in sorted(one["target"].items()))
        shown = sorted(
            (key, value) for key, value in recipe.items() if key not in ("environment", "parameters")
        )
        yield "  recipe       " + "  ".join(f"{key} {value}" for key, value in shown)
        for key, value in _parameters(recipe.get("parameters")):
            yield f"  parameter    {key} = {value}"
        yield f"  lock         sha256:{one['lock_sha256']}  {len(one['inputs'])} inputs"
        for line in one["inputs"][:SHOWN]:
            here = f"  built by this network, in the log at {line['entry']}" if line["entry"] >= 0 else ""
            yield f"    {line['name']} {line['version']}  {line['file']}  sha256:{line['sha256']}{here}"
        if len(one["inputs"]) > SHOWN:
            yield f"    and {len(one['inputs']) - SHOWN} more; --json has all"
        yield f"  would be     {'asked for' if not one['request'] else 'no new request: ' + one['request'][:16]}"
    yield from _refusals(asked)


def _parameters(told: Any) -> list[tuple[str, str]]:
    """A table of words as entries have it: sorted pairs, or an object."""
    if isinstance(told, dict):
        return sorted((str(key), str(value)) for key, value in told.items())
    if isinstance(told, list):
        return [(str(one[0]), str(one[1])) for one in told if isinstance(one, list) and len(one) == 2]
    return []
