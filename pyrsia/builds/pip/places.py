"""Where a package is built: the environment by rule, and the target that it gives.

What needs no compiler is built in the first environment that the network admits and this machine has; its output is
for every platform, so that the host's own will do. What needs one is built in a `rootfs:` with a compiler: the same
one on every builder.

Source: docs/builds-pip.md, "The recipe"; docs/adr/0046.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia.builds.environments import HOST, Environment, Environments
from pyrsia.builds.pip.resolve import Release
from pyrsia.builds.pip.target import Target
from pyrsia.errors import Malformed, Refusal

PYTHON: Final = "python"
COMPILER: Final = "compiler"


@dataclass(frozen=True, slots=True)
class Place:
    """An environment and the interpreter that builds in it build for."""

    environment: Environment
    target: Target

    @property
    def native(self) -> bool:
        """Whether wheels for one platform may come out of it."""
        return not self.environment.id.startswith(HOST)


def place(environment: Environment) -> Place:
    """
    Raises:
        Refusal: `no-environment`, it has no CPython on Linux that we know how to name.
    """
    facts = environment.facts
    try:
        python = ".".join(facts.get("python", "").rstrip("+").split(".")[:3])
        family, _, version = facts.get("libc", "").partition("-")
        libc = f"{family}-{'.'.join(version.split('.')[:2])}"
        target = Target(facts.get("arch", ""), libc, facts.get("os", ""), python)
    except Malformed as error:
        raise Refusal(
            "no-environment",
            what=f"packages cannot be built in the environment {environment.id[:24]}: {error}",
            who="that environment",
            do="see `pyrsia build environment list`; use one with CPython 3.11 or newer on Linux",
        ) from error
    return Place(environment, target)


def pure(environments: Environments, admitted: Sequence[str]) -> Place:
    """Where packages without compiled code are built.

    Raises:
        Refusal: `no-environment`.
    """
    return place(environments.chosen(admitted, PYTHON, pure=True))


def compiling(environments: Environments, admitted: Sequence[str]) -> Place | None:
    """Where packages with compiled code are built; None where the network or this machine has no such place."""
    try:
        return place(environments.chosen(admitted, PYTHON, COMPILER, pure=False))
    except Refusal as refusal:
        if refusal.code != "no-environment":
            raise
        return None


def fits(place: Place, release: Release) -> bool:
    """Whether the rules let `release` be built there; every builder asks this of the request's environment."""
    return place.native or not release.compiled_only
