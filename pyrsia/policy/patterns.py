"""Patterns of purls and licences that can match something: one that never could is a mistake, in `deny` a bad one.

Source: docs/policy.md, "Rules".
"""

import re
from functools import cache, lru_cache
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.knowledge.licences import Licensed, listed, matches
from pyrsia.ledger.matching import PurlGlob
from pyrsia.units import Limit
from pyrsia.wire import purl as purls


def glob(pattern: str) -> PurlGlob:
    """
    Raises:
        Malformed: no pattern, or one that matches nothing; the text says why.
    """
    found = PurlGlob.parse(pattern)
    name, _, version = pattern.partition("@")
    if re.search("[<>=|,~!^]", version):
        raise Malformed("a version is matched by `*` and `?`, not by comparison")
    if compared := re.search("[=<>~!]=|[<>^]", name):
        raise Malformed(f"versions are no comparison: write {name[: compared.start()]}@3.* for all of 3")
    if not re.search("[*?]", name) and not found.package:
        raise Malformed("no purl in its canonical spelling")
    if why := _nothing(name):
        raise Malformed(f"it matches nothing: {why}")
    return found


_TYPES: Final = (*purls.BUILT, purls.GENERIC)
_HUB: Final = (
    "docker.io/",
    "index.docker.io/",
    "registry-1.docker.io/",
    "registry.hub.docker.com/",
    "dockerhub/",
)
# Of a type, what its names may have beside wildcards, and how they are said to people.
_NAMES: Final = {
    "pypi": (re.compile(r"[a-z0-9*?-]+"), "names of pypi are lower case with hyphens"),
    "maven": (re.compile(r"[A-Za-z0-9._*?-]+(?:/[A-Za-z0-9._*?-]+)?"), "names of maven are group/artifact"),
    "conan": (re.compile(r"(?:[a-z0-9_.*?-]|%2B)+(?:/(?:[a-z0-9_.*?-]|%2B)+){0,3}"), "names of conan are lower case"),
    "docker": (re.compile(r"[a-z0-9._*?-]+(?:/[a-z0-9._*?-]+)*"), "names of images are lower case, and tags follow @"),
}  # fmt: skip


def _nothing(name: str) -> str:
    """Why no package can have a name of this pattern; "" where one can. A wildcard may stand for anything."""
    kind, slash, rest = name.removeprefix("pkg:").partition("/")
    if not name.startswith("pkg:") or re.search("[*?]", kind):
        return ""
    if kind not in _TYPES or not slash:
        return f"the types of packages are {', '.join(_TYPES)}"
    if kind == "docker" and rest.startswith(_HUB):
        return "an image of Docker Hub has no host: write pkg:docker/alpine, pkg:docker/team/app"
    if kind in _NAMES and _NAMES[kind][0].fullmatch(rest) is None:
        return _NAMES[kind][1]
    return ""


PATTERNS_KNOWN = Limit(1_024, "of licences, each compared with some 2,400 ids once, 2 ms")
MAX_LICENCE_STARS = Limit(4, "an id has three or four parts")

_LICENCE: Final = re.compile(r"[A-Za-z0-9.+*?:-]+")
_FREE: Final = ("licenseref-", "documentref-")  # ids that anybody may make


@lru_cache(PATTERNS_KNOWN.value)
def licence(pattern: str) -> str:
    """The pattern.

    Raises:
        Malformed: neither an SPDX licence id nor a pattern that one matches.
    """
    if _LICENCE.fullmatch(pattern) is None:
        raise Malformed("a licence is one SPDX id, in which `*` is any text; no expression")
    if pattern.count("*") > MAX_LICENCE_STARS.value:
        raise Malformed(f"a licence has {MAX_LICENCE_STARS.value} stars at most")
    if not pattern.lower().startswith(_FREE) and not any(matches(pattern, one) for one in _ids()):
        raise Malformed("it matches nothing: no SPDX licence has such an id (https://spdx.org/licenses)")
    return pattern


@cache
def _ids() -> tuple[Licensed, ...]:
    return tuple(map(Licensed, listed()))
