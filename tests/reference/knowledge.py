"""What stands and which versions are meant, the slow and obvious way; and facts to ask both ways about.

Versions are made from their parts, so that their order needs no reading: `Made` has a text for the code under test
and a key that sorts as the ecosystem's document says.
"""

import math
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from pyrsia.knowledge.said import Said

IDNA = "pkg:pypi/idna"


def said(
    leaf: int, kind: str = "advisory", subject: str = IDNA, author: str = "issuer", **fields: Any
) -> Said:
    """One fact with what its kind must have; its id is made of its leaf, its time too."""
    must: dict[str, Any] = {
        "advisory": {"advisory": "CVE-1", "severity": "high"},
        "vex": {"advisory": "CVE-1", "outcome": "not-affected"},
    }.get(kind, {})
    if fields.get("withdrawn"):
        must = {}
    body = {"kind": kind, "subject": subject, "text": "", "valid_from": 0, **must, **fields}
    return Said(leaf, 1_000 * leaf, name(leaf), author, body)


def name(leaf: int) -> str:
    """Id of the fact that `said` makes for a leaf."""
    return f"{leaf:064x}"


# -- standing --


def ender(one: Said, facts: list[Said]) -> Said | None:
    """The first later word of its author that ends it."""
    later = (by for by in facts if by.body.get("supersedes") == one.id and by.leaf > one.leaf)
    return min((by for by in later if by.author == one.author), key=lambda by: by.leaf, default=None)


def end(one: Said, facts: list[Said]) -> float:
    """When it gives way, by the definition: when what replaces it comes, or what replaces that before; but what was
    taken back before it came replaces nothing.
    """
    by = ender(one, facts)
    if by is None:
        return math.inf
    comes = by.body["valid_from"]
    if "withdrawn" in by.body or end(by, facts) >= comes:
        return float(comes)
    after = ender(by, facts)
    return math.inf if after is None or "withdrawn" in after.body else end(by, facts)


def stands(one: Said, facts: list[Said], now_ms: int) -> bool:
    return "withdrawn" not in one.body and one.body["valid_from"] <= now_ms and now_ms < end(one, facts)


def lists(one: Said) -> bool:
    """Of an SBOM fact: somebody can be given the list, and can read it."""
    return {"blob", "format"} <= set(one.body)


# -- versions --


@dataclass(frozen=True)
class Made:
    text: str
    key: tuple[Any, ...]


def _release(numbers: list[int]) -> tuple[int, ...]:
    """Filled up with zeros to four."""
    return (*numbers, *[0] * (4 - len(numbers)))


NUMBERS = st.lists(st.integers(0, 3), min_size=1, max_size=4)
_LAST = 1 << 30  # behind every number


@st.composite
def pypi(draw: st.DrawFn) -> Made:
    """PEP 440, "Summary of permitted suffixes and relative ordering": .devN, aN, bN, rcN, none, .postN."""
    epoch, numbers = draw(st.integers(0, 1)), draw(NUMBERS)
    pre = draw(st.none() | st.tuples(st.sampled_from(["a", "b", "rc"]), st.integers(0, 2)))
    post, dev = draw(st.none() | st.integers(0, 2)), draw(st.none() | st.integers(0, 2))
    text = f"{epoch}!" * bool(epoch) + ".".join(map(str, numbers))
    text += "".join(map(str, pre or ()))
    text += "" if post is None else f".post{post}"
    text += "" if dev is None else f".dev{dev}"
    phase: tuple[Any, ...] = ("z",)  # the release itself
    if pre is not None:
        phase = pre  # a, b and rc happen to sort as they should
    elif post is None and dev is not None:
        phase = ("A",)  # a development release of the release: before its alphas
    key = (epoch, _release(numbers), phase, -1 if post is None else post, _LAST if dev is None else dev)
    return Made(text, key)


_MAVEN_WORDS = (
    {"alpha": 0, "ALPHA": 0, "beta": 1, "milestone": 2, "rc": 3, "cr": 3, "SNAPSHOT": 4}
    | {"": 5, "ga": 5, "Final": 5, "RELEASE": 5, "sp": 6, "Sp": 6}
    | {"android": 7, "jre": 8}
)


@st.composite
def maven(draw: st.DrawFn) -> Made:
    """POM reference, "Version Order Specification": a word, and a number behind it where it has one."""
    numbers, word = draw(NUMBERS), draw(st.sampled_from(sorted(_MAVEN_WORDS)))
    rank = _MAVEN_WORDS[word]
    number = draw(st.integers(0, 3)) if rank != 5 else 0
    text = ".".join(map(str, numbers))
    if word:
        text += draw(st.sampled_from(".-")) + word + (str(number) if number else "")
    return Made(text, (_release(numbers), rank, number))


@st.composite
def conan(draw: st.DrawFn) -> Made:
    """Conan, "Version ranges" in its reference: what has a pre-release comes before what has none."""
    numbers, pre = (
        draw(NUMBERS),
        draw(st.none() | st.tuples(st.sampled_from(["alpha", "beta", "rc"]), NUMBERS)),
    )
    text = ".".join(map(str, numbers))
    if pre is None:
        return Made(text, (_release(numbers), 1))
    return Made(
        f"{text}-{pre[0]}.{'.'.join(map(str, pre[1]))}", (_release(numbers), 0, pre[0], _release(pre[1]))
    )


MADE = {"conan": conan(), "maven": maven(), "pypi": pypi()}


@dataclass(frozen=True)
class Span:
    """A range of made versions; None for no end on that side."""

    introduced: Made | None
    fixed: Made | None
    last: Made | None

    @property
    def bounds(self) -> dict[str, str]:
        found = {"introduced": self.introduced.text if self.introduced else "0"}
        if self.fixed:
            found["fixed"] = self.fixed.text
        elif self.last:
            found["last"] = self.last.text
        return found

    def holds(self, version: Made) -> bool:
        from_the_beginning = (
            self.introduced is None or self.introduced.text == "0"
        )  # as OSV says, pre-releases too
        if not from_the_beginning and version.key < self.introduced.key:
            return False
        if self.fixed:
            return version.key < self.fixed.key
        return not self.last or version.key <= self.last.key


def spans(made: st.SearchStrategy[Made]) -> st.SearchStrategy[Span]:
    end = st.none() | made
    return st.builds(Span, end, end, end)
