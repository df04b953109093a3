"""Whether an SPDX expression leaves something to choose that a list of licences permits. Nothing raised.

`A OR B` is a choice, so one permitted side is enough; `A AND B` asks for both. `A WITH E` is A with more permission, so
whatever is said of A is said of it too. What is no SPDX expression permits nothing. An id that SPDX gave up means what
replaced it, in an expression and in a pattern: most packages still write GPL-2.0. An id that SPDX does not have may be
anything, so where only denials are named it is not permitted.

Source: docs/knowledge.md, "Licences"; SPDX specification, annex "SPDX license expressions".
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import translate
from functools import cache, lru_cache
from typing import Any, Final

from pyrsia.units import Limit

MAX_EXPRESSION_CHARS = Limit(200, "as long as the log lets one be: some 15 licences")
MAX_DEPTH = Limit(16, "parentheses in parentheses; real ones have two")
EXPRESSIONS_KNOWN = Limit(4_096, "PyPI has some 2,000 different ones in use: each is read once, 4 MB")
PATTERNS_KNOWN = Limit(1_024, "of all policies that one process has read, 1 MB")

AND: Final = "AND"
OR: Final = "OR"

# SPDX gave up the bare id and the `+` of these families for -only and -or-later.
_FAMILY: Final = re.compile(r"(agpl|gpl|lgpl|gfdl)-(\d\.\d)(-only|-or-later|\+|)")
_REPLACED: Final = {  # what else it gave up, and what to write now
    "bsd-2-clause-freebsd": "bsd-2-clause-views",
    "bsd-2-clause-netbsd": "bsd-2-clause",
    "bzip2-1.0.5": "bzip2-1.0.6",
    "ecos-2.0": "gpl-2.0-or-later with ecos-exception-2.0",
    "gpl-2.0-with-autoconf-exception": "gpl-2.0-only with autoconf-exception-2.0",
    "gpl-2.0-with-bison-exception": "gpl-2.0-or-later with bison-exception-2.2",
    "gpl-2.0-with-classpath-exception": "gpl-2.0-only with classpath-exception-2.0",
    "gpl-2.0-with-font-exception": "gpl-2.0-only with font-exception-2.0",
    "gpl-2.0-with-gcc-exception": "gpl-2.0-only with gcc-exception-2.0",
    "gpl-3.0-with-autoconf-exception": "gpl-3.0-only with autoconf-exception-3.0",
    "gpl-3.0-with-gcc-exception": "gpl-3.0-only with gcc-exception-3.1",
    "net-snmp": "net-snmp",
    "nunit": "zlib-acknowledgement",
    "standardml-nj": "smlnj",
    "wxwindows": "lgpl-2.0-or-later with wxwindows-exception-3.1",
}
_GAVE_UP: Final = {now: before for before, now in _REPLACED.items()}
_ID: Final = re.compile(r"[A-Za-z0-9.+:-]+", re.ASCII)
_FREE: Final = "licenseref-"  # ids that anybody may make
_NO_LICENCE: Final = frozenset(("NONE", "NOASSERTION"))  # SPDX' words for none, and for not known


@dataclass(frozen=True, slots=True)
class Licensed:
    """One licence id, with `exception` where the expression has one."""

    id: str
    exception: str = ""

    def __str__(self) -> str:
        return f"{self.id} WITH {self.exception}" if self.exception else self.id


@dataclass(frozen=True, slots=True)
class Joined:
    """`AND` or `OR` of two or more."""

    by: str
    parts: "tuple[Tree, ...]"


Tree = Licensed | Joined


@lru_cache(EXPRESSIONS_KNOWN.value)
def tree(expression: str) -> Tree | None:
    """None: no SPDX expression, or one beyond the bounds above."""
    if not 0 < len(expression) <= MAX_EXPRESSION_CHARS.value or not expression.isascii():
        return None
    if _depth(expression) > MAX_DEPTH.value:
        return None
    from license_expression import ExpressionError

    try:
        return _tree(_parser()(expression))
    except (
        ExpressionError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        AssertionError,
    ):
        return None


def _depth(expression: str) -> int:
    deepest = depth = 0
    for char in expression:
        depth += (char == "(") - (char == ")")
        deepest = max(deepest, depth)
    return deepest


@lru_cache(1)
def _parser() -> Callable[[str], Any]:
    """Without the library's table of ids, which takes 0.2 s to read: which ids exist is nothing we decide by."""
    from license_expression import Licensing

    parse: Callable[[str], Any] = Licensing().parse
    return parse


def _tree(node: Any) -> Tree:
    """
    Raises:
        ValueError: an id that no SPDX expression may have.
    """
    operator = str(getattr(node, "operator", "")).strip().upper()
    if operator in (AND, OR):
        return Joined(operator, tuple(_tree(part) for part in node.args))
    exception = getattr(node, "exception_symbol", None)
    if exception is not None:
        return Licensed(_id(node.license_symbol.key), _id(exception.key))
    return Licensed(_id(node.key))


def _id(text: str) -> str:
    if _ID.fullmatch(text) is None or text.upper() in _NO_LICENCE:
        raise ValueError(f"no licence id: {text}")
    return text


def ids(expression: str) -> tuple[str, ...]:
    """Each licence of an expression once, in its order; none where it cannot be read."""
    found = tree(expression)
    return () if found is None else tuple(dict.fromkeys(str(one) for one in _leaves(found)))


def _leaves(node: Tree) -> list[Licensed]:
    if isinstance(node, Licensed):
        return [node]
    return [leaf for part in node.parts for leaf in _leaves(part)]


@lru_cache(PATTERNS_KNOWN.value)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob.lower().replace("[", "[[]")))


def matches(glob: str, licence: Licensed) -> bool:
    """Whether a pattern means a licence by any of its `spellings`.

    Args:
        glob: `*` stands for any text, `?` for one character; letters of either case are the same, as in SPDX.
    """
    found = _pattern(glob)
    return any(found.match(one) for one in spellings(licence))


@lru_cache(EXPRESSIONS_KNOWN.value)
def spellings(licence: Licensed) -> frozenset[str]:
    """How patterns may name it, in lower case: with its exception and without, and as SPDX called it before.

    The old bare id of a family means -only and -or-later both; these two do not mean each other.
    """
    whole = str(licence).lower()
    found = set()
    for name in (whole, _REPLACED.get(whole, whole), _GAVE_UP.get(whole, whole)):
        bare, _, exception = name.partition(" with ")
        for one in _called(bare):
            found |= {one, f"{one} with {exception}"} if exception else {one}
    return frozenset(found)


def _called(bare: str) -> set[str]:
    """An id as its family writes it, and without the `+` at its end."""
    found = {bare, bare.removesuffix("+")}
    family = _FAMILY.fullmatch(bare) or _FAMILY.fullmatch(bare.removesuffix("+"))
    if family is None:
        return found
    base, kind = f"{family[1]}-{family[2]}", family[3]
    new = (f"{base}-or-later", f"{base}+") if kind in ("-or-later", "+") else (f"{base}-only",)
    return found.union((base, *new))


@cache
def listed() -> frozenset[str]:
    """Ids of SPDX' licences and exceptions in lower case, also those that it gave up.

    Reading them takes 0.2 s, once.
    """
    from license_expression import get_spdx_licensing

    names = (str(one).lower() for one in get_spdx_licensing().known_symbols)
    return frozenset(one for one in names if not one.startswith(_FREE)) | _REPLACED.keys()


def _is_listed(licence: Licensed) -> bool:
    """Whether SPDX has it, and its exception."""
    known = listed()
    exception = licence.exception.lower()
    return (not exception or exception in known) and not known.isdisjoint(spellings(licence))


def permitted(expression: str, allow: Collection[str], deny: Collection[str]) -> tuple[bool, str]:
    """Whether something of an expression may be chosen, and why or why not, as half a sentence.

    Args:
        allow: patterns of what is permitted; none: whatever SPDX has and is not denied.
        deny: patterns of what never is, whatever `allow` says.
    """
    found = tree(expression)
    if found is None:
        return False, "it is no SPDX expression that can be read"
    return _permitted(found, allow, deny)


def _permitted(node: Tree, allow: Collection[str], deny: Collection[str]) -> tuple[bool, str]:
    if isinstance(node, Licensed):
        return _licensed(node, allow, deny)
    answers = [_permitted(part, allow, deny) for part in node.parts]
    if node.by == OR:
        return next((one for one in answers if one[0]), answers[0])
    refused = next((one for one in answers if not one[0]), None)
    return refused if refused is not None else (True, " and ".join(dict.fromkeys(why for _, why in answers)))


def _licensed(node: Licensed, allow: Collection[str], deny: Collection[str]) -> tuple[bool, str]:
    denied = next((glob for glob in deny if matches(glob, node)), None)
    if denied is not None:
        return False, f"{node} is denied by {denied}"
    if not allow:
        if deny and not _is_listed(node):
            return False, f"SPDX has no {node}, so nobody can say that it is not denied"
        return True, f"{node} is not denied"
    allowed = next((glob for glob in allow if matches(glob, node)), None)
    return (
        (False, f"{node} is not among those allowed")
        if allowed is None
        else (True, f"{node} is allowed by {allowed}")
    )
