"""The recipe of a pip build: everything that shapes its output, as a function of rules and source.

Nothing here is the requester's choice. Each builder derives the recipe itself and refuses one that says
something else.

Source: docs/builds-pip.md, "The recipe"; https://reproducible-builds.org/specs/source-date-epoch/.
"""

from collections.abc import Mapping
from typing import Any, Final

from pyrsia.builds.members_zip import EARLIEST
from pyrsia.builds.normalise import NORMALISER

BACKEND: Final = "pip/wheel@1"
_DAY_S: Final = 86_400
# Python 3.12 lost `pkgutil.ImpImporter`, and setuptools before 66.1 fails there. Tools older than this
# date are therefore not asked for on such a target: a source of 2021 still builds on an interpreter of today.
_FLOOR_MINOR: Final = 12
_FLOOR_MS: Final = 1_685_577_600_000  # 2023-06-01


def pip_recipe(*, environment: str, cutoff_ms: int, newest_s: int, pure: bool = True) -> dict[str, Any]:
    """The recipe for one source.

    Args:
        environment: `host:` and a fingerprint, or `rootfs:` and a digest.
        cutoff_ms: the source's upload time; 0 where its index gives none.
        newest_s: newest member time of upstream's wheel, or of the source where there is no wheel.
        pure: the environment is no part of the output, nor is the path that it was built at.
    """
    return {
        "backend": BACKEND,
        "cutoff_ms": cutoff_ms,
        "environment": environment,
        "isolation": "pure" if pure else "namespace",
        "normaliser": NORMALISER,
        "sde": epoch(newest_s, cutoff_ms),
        "v": 1,
    }


def epoch(newest_s: int, cutoff_ms: int) -> int:
    """SOURCE_DATE_EPOCH: `newest_s` within 1980-01-01 and a day past the cut-off, if there is one.

    The day is there because times in a ZIP carry no zone: a wheel packed east of Greenwich seems to come
    from hours after its own upload.
    """
    return max(EARLIEST, min(newest_s, cutoff_ms // 1000 + _DAY_S) if cutoff_ms else newest_s)


def cutoff_of(newest_s: int) -> int:
    """The cut-off of a source whose upload time nobody tells: its newest member, in ms; 0 where it has no times.

    A function of the source alone, so that no requester chooses it and two requests for one source say the same.
    """
    return max(0, newest_s) * 1000


def tools_cutoff_ms(cutoff_ms: int, python_minor: int) -> int:
    """Until when a build tool may have been uploaded: the tools of the source's own period; 0: any."""
    if not cutoff_ms:
        return 0
    return max(cutoff_ms, _FLOOR_MS) if python_minor >= _FLOOR_MINOR else cutoff_ms


def disagreement(mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The first field in which two recipes differ, in words; "" when they are the same."""
    for key in sorted(mine.keys() | theirs.keys()):
        if mine.get(key) != theirs.get(key):
            return f"{key} is {theirs.get(key)!r} in the request and {mine.get(key)!r} here"
    return ""


def parameters(recipe: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a request's or a mapping's recipe, which are pairs there, as a map."""
    return {str(name): str(value) for name, value in recipe.get("parameters", ())}


def pairs(parameters: Mapping[str, str]) -> list[list[str]]:
    """Parameters as a recipe holds them: pairs, sorted."""
    return [[name, parameters[name]] for name in sorted(parameters)]
