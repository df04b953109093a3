"""Says whether two files of this machine are the same once their packing is taken away, and if not, why.

Both are strangers' files: they are read inside the sandbox only, and what comes back is a stranger's word too.

Source: docs/attestations.md, "Comparing two files".
"""

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from pyrsia.builds.explain import report
from pyrsia.builds.explain.report import KINDS, Pair, Said
from pyrsia.builds.inside import Inside, Program
from pyrsia.builds.sandbox import BuildLimits, Sandbox
from pyrsia.errors import Refusal
from pyrsia.wire.text import safe

PROGRAM: Final = Program(
    "builds/explain/worker.py",
    modules=(
        "builds/conan/names.py",
        "builds/conan/pack.py",
        "builds/environments/tarball.py",
        "builds/explain/causes.py",
        "builds/explain/stable.py",
        "builds/maven/normalise.py",
        "builds/maven/texts.py",
        "builds/oci/layer.py",
        "builds/stabilise.py",
    ),
)
_MOST_NOTES: Final = 40  # of one file; the normalisers have a dozen words
_SIDES: Final = tuple(Said("", "", letter, "built", "", False, "") for letter in "AB")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two files.

    Attributes:
        kind: the normaliser, one of `report.KINDS`; "" where nothing had to be taken away.
        normalised: `what:count`: what it took away.
    """

    name: str
    kind: str = ""
    normalised: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """The answer.

    Attributes:
        result: `identical`, `equivalent` or `different`.
        sides: the first file, which is A, and the second, B.
        pair, sentences: only where they differ.
    """

    result: str
    sides: tuple[Side, Side]
    pair: Pair | None = None
    sentences: tuple[str, ...] = ()


async def compare(
    paths: tuple[Path, Path],
    sandbox: Sandbox,
    scratch: Path,
    *,
    kind: str = "",
    limits: BuildLimits | None = None,
) -> Compared:
    """Compare two files.

    Args:
        kind: one of `report.KINDS` for both; "" for what each one's name and first bytes say.
        scratch: a folder of the caller's.

    Raises:
        Refusal: `bad-request`: one is an archive that nobody should open, with the reason; or what ended the reading.
        Unavailable: this machine could not do it.
    """
    names = tuple(safe(path.name)[:200] for path in paths)
    if await trio.to_thread.run_sync(lambda: filecmp.cmp(*paths, shallow=False)):
        return Compared("identical", (Side(names[0]), Side(names[1])))
    job = {"operation": "stable", "names": names, "kind": kind}
    inside = Inside(sandbox, scratch, PROGRAM, limits)
    files = dict(zip(("first", "second"), paths, strict=True))
    async with inside.run(job, files, phase="compare", who=" and ".join(names)) as answer:
        return _read(answer.value, names)


def _read(value: dict[str, Any], names: Sequence[str]) -> Compared:
    """The worker's answer; whatever does not fit is left out."""
    if "hostile" in value:
        name = names[value["hostile"] == "second"]
        kind = value["kind"] if value.get("kind") in KINDS else "an archive"
        raise Refusal(
            "bad-request",
            what=f"{name} cannot be read as {kind}: {safe(str(value.get('why')))[:300]}",
            who=name,
            do="do not open it either; --as bytes compares it unopened",
        )
    first, second = (_side(value, names, at) for at in (0, 1))
    if value.get("same") is True:
        return Compared("equivalent", (first, second))
    pair = report.pair(names[0], _SIDES[0], _SIDES[1], value)
    return Compared("different", (first, second), pair, report.sentences((), (pair,)))


def _side(value: dict[str, Any], names: Sequence[str], at: int) -> Side:
    kinds, removed = value.get("kinds"), value.get("removed")
    kind = kinds[at] if isinstance(kinds, list) and len(kinds) == 2 and kinds[at] in KINDS else ""
    listed = removed[at] if isinstance(removed, list) and len(removed) == 2 else ()
    notes = listed[:_MOST_NOTES] if isinstance(listed, list) else ()
    return Side(names[at], kind, tuple(safe(str(one))[:80] for one in notes))
