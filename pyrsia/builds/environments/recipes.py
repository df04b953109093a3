"""Named definitions of environments, as data: packages to ask for, links, programs, what is left out.

Source: docs/environments.md, "Definitions"; the files beside this module.
"""

import importlib.resources
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from pyrsia.errors import Refusal

Words = tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=200)], ...]


class Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Python archive from the user's package index: `lay` maps what is below its top folder to paths."""

    name: str
    version: str
    lay: dict[str, str] = {}
    run: dict[str, str] = {}


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes:
    about: one sentence for people.
    packages: names for apt; `name/release` and `name=version` as apt reads them.
    wish: packages that are taken where the archive has them.
    leave: packages whose files are not taken though something depends on them.
    drop: path prefixes. link: path -> target. join: path of a file -> folder whose files it holds.
    archives: Python ones besides.
    """

    about: str
    packages: Words
    wish: Words = ()
    leave: Words = ()
    drop: Words = ()
    link: dict[str, str] = {}
    join: dict[str, str] = {}
    archives: tuple[Archive, ...] = ()


def names() -> list[str]:
    """Those that come with Pyrsia."""
    folder = importlib.resources.files("pyrsia.builds.environments") / "definitions"
    return sorted(one.name.removesuffix(".toml") for one in folder.iterdir() if one.name.endswith(".toml"))


def definition(word: str) -> Definition:
    """The definition called `word`, or the one in the file of that path.

    Raises:
        Refusal: `usage`.
    """
    try:
        if word in names():
            folder = importlib.resources.files("pyrsia.builds.environments") / "definitions"
            return parse((folder / f"{word}.toml").read_text(encoding="utf-8"))
        return parse(Path(word).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal(
            "usage",
            what=f"{word!a} is neither a definition nor a file with one: {str(error)[:200]}",
            who="your command",
            do=f"name one of {', '.join(names())}, or a TOML file (docs/environments.md, Definitions)",
        ) from error


def parse(text: str) -> Definition:
    """Raises: ValueError (of msgspec or tomllib) saying what is wrong."""
    return msgspec.convert(tomllib.loads(text), Definition)


def rules(made: Definition, files: dict[str, str]) -> list[tuple[str, ...]]:
    """The rules of a lock; `files`: name of a Python archive -> its file's name."""
    found: list[tuple[str, ...]] = [("drop", one) for one in made.drop]
    found += [("link", path, target) for path, target in made.link.items()]
    found += [("join", folder, path) for path, folder in made.join.items()]
    for one in made.archives:
        found += [("lay", files[one.name], inside, to) for inside, to in one.lay.items()]
        found += [("run", path, function) for path, function in one.run.items()]
    return found
