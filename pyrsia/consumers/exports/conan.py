"""A Conan lockfile: `conan install --lockfile=FILE` takes exactly these recipe revisions.

A lockfile of Conan pins recipes, not the binaries that were built of them: of those the node gives only what policy
allows. A revision counts only where every file of its recipe is allowed, as it does at the node's own door.

Source: Conan 2, lockfiles, version 0.5 of the format.
"""

import json
from collections.abc import Sequence
from typing import Final

from pyrsia.builds.conan import names
from pyrsia.consumers.exports.choosing import Version
from pyrsia.errors import Malformed
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

FORMAT: Final = "0.5"


def reference(text: str) -> Purl | None:
    """`name/version[@user[/channel]]`; None for what is none."""
    try:
        found = names.parse(text.partition("#")[0])
        return purls.parse(str(Purl("conan", found.namespace, found.name, found.version)))
    except Malformed:
        return None


def revision(version: Version) -> str:
    """The newest recipe revision that is allowed as a whole, "" without one."""
    found: dict[str, int] = {}
    for each in version.files:
        try:
            place = names.place(each.file)
        except Malformed:
            continue
        if not place.package_id:
            found[place.rrev] = max(found.get(place.rrev, 0), each.published_ms)
    broken = {one.partition("~")[0] for one in version.refused if one.partition(":")[0].count("~") == 1}
    whole = {rrev: time_ms for rrev, time_ms in found.items() if rrev not in broken}
    return max(whole, key=lambda rrev: (whole[rrev], rrev), default="")


def render(found: Sequence[tuple[Version, str]]) -> str:
    """The lockfile, in Conan's own order: the last name first."""
    requires = {
        f"{names.from_namespace(one.purl.namespace, one.purl.name, one.purl.version)}#{rrev}"
        for one, rrev in found
    }
    lock = {
        "version": FORMAT,
        "requires": sorted(requires, reverse=True),
        "build_requires": [],
        "python_requires": [],
        "config_requires": [],
    }
    return json.dumps(lock, indent=4) + "\n"
