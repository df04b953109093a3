"""The rules of an image's request: parameters, recipe, target. Functions of what was read, without I/O.

Source: docs/builds-oci.md.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pyrsia.builds.environments import Environment
from pyrsia.builds.oci.layer import NORMALISER
from pyrsia.builds.recipe import cutoff_of, epoch, pairs
from pyrsia.errors import Refusal
from pyrsia.units import Limit

BACKEND: Final = "oci@1"
MAX_PLATFORMS: Final = Limit(6, "the platforms that Debian's own images have; each adds two documents")
_PLATFORM: Final = re.compile("linux/(amd64|arm64|386|riscv64|s390x|ppc64le|arm/v[567])")
_PARAMETERS: Final = ("dockerfile", "platforms")


class Read(NamedTuple):
    """What a source's Dockerfile asks for.

    Attributes:
        newest: newest time of the source, in s.
        platforms: in the order of the request.
        rows: for each platform its base, the line of it, and the digests that are copied out of.
    """

    newest: int
    platforms: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]


def parameters(told: Mapping[str, str]) -> dict[str, str]:
    """The parameters of an image, sorted.

    Args:
        told: as a person gives them; those of a recipe are pairs, see `recipe.parameters`.

    Raises:
        Refusal: `bad-request` for a parameter that is none, or a platform that is not known.
    """
    unknown = sorted(set(told) - set(_PARAMETERS))
    platforms = told["platforms"].split(",") if "platforms" in told else []
    bad = [one for one in platforms if not _PLATFORM.fullmatch(one)]
    path = told.get("dockerfile", "Dockerfile")
    why = ""
    if unknown:
        why = f"an image takes no parameter {unknown[0][:40]!a}; it takes {' and '.join(_PARAMETERS)}"
    elif bad:
        why = f"{bad[0][:40]!a} is no platform that is known here"
    elif len(platforms) > MAX_PLATFORMS.value or len(set(platforms)) != len(platforms):
        why = f"at most {MAX_PLATFORMS.value} platforms, each once"
    elif path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
        why = f"{path[:60]!a} is no path below the source"
    if why:
        raise Refusal(
            "bad-request", what=why, who="your request", do="platforms are written linux/amd64,linux/arm64"
        )
    return {key: told[key] for key in sorted(told)}


def recipe(environment: Environment, read: Read, parameters: Mapping[str, str]) -> dict[str, Any]:
    found = {
        "backend": BACKEND,
        "cutoff_ms": cutoff_of(read.newest),
        "environment": environment.id,
        "isolation": "pure",
        "normaliser": NORMALISER,
        "sde": epoch(read.newest, 0),
        "v": 1,
    }
    return found | ({"parameters": pairs(parameters)} if parameters else {})


def target(environment: Environment) -> dict[str, str]:
    return {key: environment.facts[key] for key in ("arch", "libc", "os")}
