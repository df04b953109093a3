"""What an audit asks about: versions, each once with all its places; and what it cannot ask about. No decisions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyrsia.consumers.documents.purls import spelled
from pyrsia.errors import Malformed, Refusal
from pyrsia.knowledge.ecosystems import strange
from pyrsia.units import Limit

MAX_COMPONENTS = Limit(50_000, "versions of one audit: five of the largest images; 50 questions to a node")
MAX_LEFT = Limit(50_000, "lines that are left out; a file of more is no list of packages that are known here")
MAX_PLACES = Limit(50, "places of one version that are told: nobody walks through more")

_LINES: Final = "lines that are not audited"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a version is named.

    Attributes:
        file: as the command names it; an image by its name, and "" for a purl that the command names.
        line: from 1, 0 where nobody can say.
        ref: what a document calls the part that it is named in: a bom-ref, an SPDXID.
        artifact: what holds it where `file` is no path: an image, whose SBOM it stands in.
    """

    file: str
    line: int = 0
    ref: str = ""
    artifact: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Component:
    """One version, by its canonical purl."""

    purl: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """What is named and not asked about, and why."""

    what: str
    why: str
    place: Place


class Gathered:
    """Collects what readers find. `told`: how often something was named, audited or not."""

    def __init__(self) -> None:
        self.told = 0
        self._found: dict[str, dict[Place, None]] = {}
        self._left: dict[Left, None] = {}
        self._strange: dict[str, set[str]] = {}  # purls by ecosystems that the network does not know
        self._unseen: dict[str, None] = {}
        self._unknown: dict[str, None] = {}

    @property
    def components(self) -> tuple[Component, ...]:
        """In the order in which they were found first."""
        return tuple(Component(purl, tuple(places)) for purl, places in self._found.items())

    @property
    def left(self) -> tuple[Left, ...]:
        return tuple(self._left)

    @property
    def unseen(self) -> tuple[str, ...]:
        """What was not looked into, in sentences."""
        counted = sorted((kind, len(purls)) for kind, purls in self._strange.items())
        return (
            *self._unseen,
            *(
                f"{count:,} package{'' if count == 1 else 's'} of {kind}, an ecosystem that the network does not know"
                for kind, count in counted
            ),
        )

    @property
    def unknown(self) -> tuple[str, ...]:
        """Why "nothing found" would be no answer."""
        return tuple(self._unknown)

    def add(self, purl: str, place: Place) -> None:
        """Add a version by its canonical purl. One of an ecosystem that the network does not know is left out: none of
        its versions is compared, so that "nothing found" would be no answer.

        Raises:
            Refusal: `usage`: there are too many.
        """
        self.told += 1
        if why := strange(purl):
            self._strange.setdefault(purl[len("pkg:") :].partition("/")[0], set()).add(purl)
            # Once, however many parts of a document have it.
            self.leave(purl, why, Place(place.file, place.line))
            return
        places = self._found.setdefault(purl, {})
        if len(places) < MAX_PLACES.value:
            places[place] = None
        if len(self._found) > MAX_COMPONENTS.value:
            raise _too_many(place.file, MAX_COMPONENTS.value, "versions")

    def take(self, other: "Gathered") -> None:
        """All that another one has, or nothing of it.

        Raises:
            Refusal: `usage`: there are too many.
        """
        for mine, more, most, what in (
            (self._found, other._found, MAX_COMPONENTS.value, "versions"),
            (self._left, other._left, MAX_LEFT.value, _LINES),
        ):
            if len(mine) + len(more) > most:
                raise _too_many("another document with the rest", most, what)
        for one in other.components:
            for place in one.places:
                self.add(one.purl, place)
        for left in other.left:
            self.leave(left.what, left.why, left.place)
        for kind, purls in other._strange.items():
            self._strange.setdefault(kind, set()).update(purls)
        self._unseen |= other._unseen
        self._unknown |= other._unknown

    def named(self, kind: str, namespace: str, name: str, version: str, place: Place) -> None:
        """Add a version in its ecosystem's words; what is no package there, or has no version, is left out."""
        if not version:
            self.leave(name, "no version", place)
            return
        try:
            self.add(spelled(kind, namespace, name, version), place)
        except Malformed as error:
            self.leave(f"{name} {version}", f"it has no purl: {error}", place)

    def leave(self, what: str, why: str, place: Place) -> None:
        self.told += 1
        self._left[Left(what[:200], why[:300], place)] = None
        if len(self._left) > MAX_LEFT.value:
            raise _too_many(place.file, MAX_LEFT.value, _LINES)

    def not_looked_into(self, sentences: Iterable[str]) -> None:
        self._unseen |= dict.fromkeys(sentences)

    def nobody_knows(self, sentence: str) -> None:
        self._unknown[sentence] = None


def _too_many(named: str, most: int, of_what: str) -> Refusal:
    return Refusal("usage", what=f"{named}: there are more than {most:,} {of_what}", who="what is audited",
                   do="audit its parts one by one")  # fmt: skip
