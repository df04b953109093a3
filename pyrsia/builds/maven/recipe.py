"""The recipe of a Maven build: everything that shapes its output, as a function of rules, mapping and source.

Parameters come from an enacted mapping, or from a requester who gives the source along; without either the rules
alone give them. Each builder derives the recipe itself and refuses one that says something else.

Source: docs/builds-maven.md, "The recipe".
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from pyrsia.builds.maven.normalise import NORMALISER
from pyrsia.builds.members_zip import EARLIEST
from pyrsia.builds.recipe import cutoff_of
from pyrsia.errors import Refusal

BACKEND: Final = "maven/jar@1"
# What may stand in a parameter; none of it reaches a shell, and Maven takes each as one argument.
_PROPERTY: Final = r"[A-Za-z][A-Za-z0-9._-]*=[A-Za-z0-9._:/+,-]*"
_FORMS: Final = {
    # properties: `name=value name=value`
    "define": re.compile(rf"{_PROPERTY}(?: {_PROPERTY})*"),
    "profiles": re.compile(r"!?[A-Za-z0-9._-]+(?:,!?[A-Za-z0-9._-]+)*"),
    # whether Maven is asked for a sources jar beside what the project does by itself
    "sources": re.compile("attach|project"),
    # what becomes of the project's tests
    "tests": re.compile("compile|run|skip"),
}
_NEVER: Final = ("project.build.outputTimestamp", "maven.repo.local", "user.home", "style.color")
_MAX_TEXT: Final = 200
# Maven's archiver refuses an outputTimestamp before 1980-01-01T00:00:02Z.
_FIRST_S: Final = EARLIEST + 2


def maven_recipe(*, environment: str, newest_s: int, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The recipe for one source.

    Args:
        newest_s: newest member time of upstream's jar, or of the source where there is none.
        parameters: as `chosen` gives them.
    """
    return {
        "backend": BACKEND,
        "cutoff_ms": cutoff_of(newest_s),
        "environment": environment,
        "isolation": "namespace",
        "normaliser": NORMALISER,
        "parameters": [[name, parameters[name]] for name in sorted(parameters)],
        "sde": max(_FIRST_S, newest_s),
        "v": 1,
    }


def chosen(given: Mapping[str, str], *, sources_wanted: bool) -> dict[str, str]:
    """The parameters of a recipe: `given` over what the rules say.

    Tests are compiled, so that what they need is known and test jars exist, and not run: they cost the most, and one
    that fails now and then would turn an equal result into a dissent.

    Args:
        sources_wanted: upstream publishes a sources jar, and the project makes none by itself.

    Raises:
        Refusal: `bad-request`, a parameter that there is not, or with a value that it cannot have.
    """
    for name, value in given.items():
        form = _FORMS.get(name)
        fits = form is not None and len(value) <= _MAX_TEXT and form.fullmatch(value) is not None
        if not fits or (name == "define" and any(f"{word}=" in value for word in _NEVER)):
            raise Refusal(
                "bad-request",
                what=f"{name[:40]}={value[:80]!r} is no parameter of a Maven build",
                who="the mapping or your request",
                do=f"use {', '.join(sorted(_FORMS))} as docs/builds-maven.md says",
            )
    return {"sources": "attach" if sources_wanted else "project", "tests": "compile"} | dict(given)


def parameters_of(recipe: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a request's recipe, as a map."""
    return {str(name): str(value) for name, value in recipe.get("parameters", [])}
