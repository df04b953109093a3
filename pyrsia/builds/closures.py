"""Requests for what a package needs, besides the one for itself: each by its own name, and by the rules alone.

A plug-in says what is needed, in which order, and plans one package; here it is decided what happens where one of them
cannot be built: who asks for a known package is told which those are, and has them witnessed; beside a source of one's
own they are left out, since its result does not depend on the network having them.

Source: docs/builds.md, "Ask for somebody else's package".
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from pyrsia.builds.model import Planned, Progress, Unbuildable, Want
from pyrsia.errors import Refusal
from pyrsia.units import Limit

# What plug-ins say where nothing can be built here though upstream may have something: no source archive, no mapping
# of an image's source, a source that does not build, no compiler.
UNBUILDABLE: Final = frozenset({"no-sdist", "not-found", "build-failed", "no-environment", "no-compiler"})
_ALSO: Final = frozenset({"package-unknown", "too-large", "unresolvable", "version-unknown"})

PLANNING_S: Final = Limit(
    150, "seconds: half of the time that a plan has; the package itself was planned before"
)

PlanOne = Callable[[Want], Awaitable[Sequence[Planned]]]


async def with_needs(
    want: Want,
    mine: Planned,
    who: tuple[str, str],
    needs: Sequence[tuple[str, str]],
    limit: Limit,
    plan: PlanOne,
    progress: Progress,
) -> tuple[Planned, ...]:
    """Requests for `needs`, in their order, and then `mine`.

    Args:
        who: (name, version) of `mine` as the ecosystem writes it.
        needs: (name, version) each, dependencies first; those beyond `limit`, and those that PLANNING_S does not
            suffice for, are left out.
        plan: of one package, without what that needs.

    Raises:
        Unbuildable: some cannot be built, and no source was given along.
    """
    found: list[Planned] = []
    bare: dict[tuple[str, str], Refusal] = {}
    chosen = list(dict.fromkeys(one for one in needs if one != who))[: limit.value]
    with trio.move_on_after(PLANNING_S.value):
        for name, version in chosen:
            progress(f"planning {name} {version}, which {who[0]} needs")
            one = Want(
                name, version, environment=want.environment, closure=False, verified_only=want.verified_only
            )
            try:
                found += await plan(one)
            except Refusal as refusal:
                if refusal.code not in UNBUILDABLE | _ALSO:
                    raise
                bare[name, version] = refusal
    if bare and want.source is None:
        first = next(iter(bare.values()))
        raise Unbuildable(
            first.code if first.code in UNBUILDABLE else "build-failed",
            what=f"{who[0]} needs what cannot be built here: "
            + ", ".join(f"{name} {version}" for name, version in bare)
            + f" ({first.what})",
            who=first.who,
            do="have those witnessed, or their repositories mapped: `pyrsia package map`",
            packages=tuple(bare),
            closure=(*chosen, who),
        )
    return (*found, mine)
