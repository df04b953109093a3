"""Which packages a push token is for: patterns that no package could match are refused, with the spelling that does.

Packages have one spelling (wire/purl.py), and clients write another: `My_Pkg`, `libstdc++`, `library/alpine`. A token
for such a pattern would be good for nothing, and nobody would see why.
"""

import re
from typing import Final

from pyrsia.errors import Malformed, Refusal
from pyrsia.ledger.matching import PurlGlob
from pyrsia.serve.oci.names import below_hub
from pyrsia.wire import purl as purls

_WILD: Final = re.compile(r"[*?]")
_LOWER: Final = ("conan", "docker", "pypi")


def check(pattern: str) -> None:
    """
    Raises:
        Refusal: `bad-request`.
    """
    try:
        PurlGlob.parse(pattern)
    except Malformed as error:
        raise _bad(str(error), "write one like pkg:maven/org.example/* or pkg:pypi/acme-*") from None
    if "@" in pattern:
        raise _bad("whoever may push a package may push each version of it", "leave out what begins with @")
    kind, _, rest = pattern.removeprefix("pkg:").partition("/")
    if not rest or _WILD.search(kind):
        if not _WILD.search(pattern):
            raise _bad(f"{pattern} names no package", f"write {pattern}/* for all packages below it")
        return
    if kind not in purls.BUILT:
        raise _bad(
            f"nobody pushes packages of the type {kind}",
            f"the types are {', '.join(purls.BUILT)}: write pkg:pypi/*",
        )
    _check_spelling(pattern, kind, rest)


def _check_spelling(pattern: str, kind: str, rest: str) -> None:
    right = _spelled(kind, rest)
    if right != rest:
        if not _WILD.sub("", right):
            raise _bad(
                f"no package is called {pattern}: official images have no folder here",
                "write their names one by one, such as pkg:docker/alpine",
            )
        raise _bad(f"no package is called {pattern}", f"write pkg:{kind}/{right}")
    if _WILD.search(rest):
        return
    try:
        purls.parse(pattern)
    except Malformed as error:
        raise _bad(f"{pattern}: {error}", f"write {pattern}/* if you mean all that is below it") from None


def _spelled(kind: str, rest: str) -> str:
    """As the purls of that type write it."""
    found = rest.replace("%2B", "+")
    found = found.lower() if kind in _LOWER else found
    if kind == "pypi":
        found = purls.pypi_name(found)
    if kind == "docker":
        found = below_hub(found)
    return found.replace("+", "%2B")


def _bad(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="your order", do=do)
