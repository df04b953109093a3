"""Packages by what people remember of their names: of every ecosystem, from the log and from this node's own shelf.

Each word of a question must be in the package's name, where `-`, `_`, `.`, `/`, `:` and `@` are one and the same; `*`
and `?` make a word a pattern of the whole name. A version may follow a word: `idna@3.1` and `idna==3` mean those that
begin so; `zlib/1.3` and `alpine:3` do as well, where no package is called like that. The order follows the longest
word: names that are it, then those that begin with it, then those of which a part does, then the rest; of two that are
as good the shorter.

One request must not hold up the others: names are one text that is searched at C's speed, hits come in the order of the
answer and end with it, and versions are read of what is shown and no more, since the policy is asked for each file.
Others have a turn between two packages, and what was read of the shelf is remembered until something is pushed.
"""

import heapq
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import accumulate, islice, takewhile
from typing import Final

import msgspec
import trio

from pyrsia.errors import Malformed, Refusal
from pyrsia.policy.facts import LOCAL, NETWORK
from pyrsia.serve.desks.providing import Stood, Then
from pyrsia.serve.desks.supply import LocalRow, Supply
from pyrsia.units import MAX_SEARCH_CHARS, MAX_SEARCH_ROWS, Limit
from pyrsia.wire import purl as purls

WORDS = Limit(8, "people write three; each more is another pass over all names")
STARS = Limit(4, "more make a pattern slow to match")
LOOKED_AT = Limit(5_000, "names that hold a word and are compared with the others: 30 ms")
PASSED = Limit(
    500_000, "names that hold a word and are of another ecosystem or moment: two seconds, in turns"
)
A_TURN: Final = 1_000  # names between two turns of the loop: 5 us each
LONG = Limit(10_000, "names from which on a walk is long: 50 ms, which any question may cost")
LONG_AT_ONCE = Limit(2, "long walks at once: whoever asks for more of them waits for the others")
READ = Limit(200, "packages whose versions are read for one question, where it names a version")
VERSIONS = Limit(20, "newest versions of one package; its page has all")
LOCAL_ROWS = Limit(2_000, "files pushed last to a package, read for its versions: 80 ms where it has 20,000")
REMEMBERED = Limit(5_000, "pushed packages whose versions are kept, twenty each: some megabytes")

ECOSYSTEMS: Final = ("pip", "maven", "conan", "oci")
TYPES: Final = {"pypi": "pip", "maven": "maven", "conan": "conan", "docker": "oci"}
_START: Final = {"oci": "tags/", "pip": "files/"}  # of the keys that tell a version
_SEPARATORS: Final = re.compile(r"[-_./:@]+")
_VERSION: Final = re.compile(r"(?P<name>.+?)(?:@|==)(?P<version>[^@=]+)")
_PERHAPS_VERSION: Final = re.compile(r"(?P<name>.+)[:/](?P<version>[^:/]+)")


class Found(msgspec.Struct, frozen=True):
    """A package.

    Attributes:
        purl: without a version.
        ecosystem: pip, maven, conan or oci.
        origin: `network`, or `local` for what was pushed to this node.
        owner: the node that claims it; "" for a name of the network's.
        versions: newest first, of what may be given.
        refused: versions of which nothing may be given, newest first; of the past those withdrawn or disputed then.
        verdict: of the newest version; "" for what was pushed.
        whole: False of a moment of the past, if the package's history is too long to tell what became of each file.
    """

    purl: str
    ecosystem: str
    origin: str
    owner: str = ""
    versions: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    verdict: str = ""
    whole: bool = True


class Search(msgspec.Struct, frozen=True):
    """The answer to one question.

    Attributes:
        more: there are more than these, or there may be: a question looks at a bounded number of names.
        next: the `first` that goes on behind these; -1 where nothing does, and where only more of a name would help.
        size, time_ms: the moment of the past that it speaks of; -1 and 0: it speaks of now.
    """

    query: str
    packages: tuple[Found, ...]
    more: bool
    next: int = -1
    size: int = -1
    time_ms: int = 0


@dataclass(frozen=True, slots=True)
class _Name:
    """A package. `whole`, `last`: namespace and name, and the name alone, folded."""

    purl: str
    ecosystem: str
    origin: str
    owner: str
    whole: str
    last: str


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a question: a piece of a name, a pattern, or the beginning of a purl.

    Attributes:
        text: as it stands, in lower case.
        key: a folded text that is in every name that fits; "" if none is known.
    """

    text: str
    key: str
    pattern: bool

    def fits(self, name: _Name) -> bool:
        if self.pattern:
            purl = name.purl.lower()
            whole = purl.partition("/")[2]
            return any(fnmatchcase(one, self.text) for one in (whole.rpartition("/")[2], whole, purl))
        if self.text.startswith("pkg:"):
            return name.purl.lower().startswith(self.text)
        return self.key in name.whole


def _everywhere(purl: str) -> bool:
    return True


class _Names:
    """The names of one moment, as one text: a line each, the shortest first."""

    def __init__(self, names: Sequence[_Name], long: trio.CapacityLimiter) -> None:
        self._long = long
        self.in_order = sorted(names, key=lambda name: name.purl.lower())
        self._names = sorted(names, key=lambda name: (len(name.last), len(name.whole), name.purl))
        lines = [f"{name.whole}\t{name.last}\n" for name in self._names]
        self._text = "\n" + "".join(lines)
        self._starts = list(accumulate(map(len, lines), initial=1))  # and the end of all

    async def search(
        self,
        words: Sequence[_Word],
        ecosystem: str,
        first: int,
        most: int,
        there: Callable[[str], bool] = _everywhere,
    ) -> list[_Name | None]:
        """What fits all words, the best first: `most` behind the first ones; None at the end if that was not all.

        Args:
            there: whether a purl is one of those that are asked about.
        """
        async with AsyncExitStack() as held:
            return await self._search(held, words, ecosystem, first, most, there)

    async def _search(
        self,
        held: AsyncExitStack,
        words: Sequence[_Word],
        ecosystem: str,
        first: int,
        most: int,
        there: Callable[[str], bool],
    ) -> list[_Name | None]:
        """As `search`; `held` gets a place among the long walks once this is one. Short ones wait for nobody."""
        key = max((word.key for word in words), key=len, default="")
        start = next((word.text for word in words if word.text.startswith("pkg:") and not word.pattern), "")
        found: list[_Name | None] = []
        passed = looked_at = fitting = 0
        for step, name in enumerate(self._with(key) if key else self._from(start)):
            if step % A_TURN == 0:
                await trio.lowlevel.checkpoint()
            if step == LONG.value:
                await held.enter_async_context(self._long)
            if name is None:
                continue
            passed += 1
            wanted = ecosystem in ("", name.ecosystem) and there(name.purl)
            if passed > PASSED.value or (wanted and looked_at >= LOOKED_AT.value):
                return [*found, None] if fitting >= first else found
            if wanted:
                looked_at += bool(words)
                if all(word.fits(name) for word in words):
                    fitting += 1
                    if fitting > first:
                        found.append(name)
                    if len(found) >= most:
                        break
        return found

    def _from(self, start: str) -> Iterator[_Name]:
        """Every name whose purl begins with `start`, in order."""
        first = bisect_left(self.in_order, start, key=lambda name: name.purl.lower())
        return takewhile(lambda name: name.purl.lower().startswith(start), islice(self.in_order, first, None))

    def _with(self, key: str) -> Iterator[_Name | None]:
        """Each name that has `key` in it, the best first; None for each that is met again, which takes time as well."""
        seen: set[int] = set()
        for needles in ((f"\t{key}\n", f"\n{key}\t"), (f"\n{key}", f"\t{key}"), (f"-{key}",), (key,)):
            for line in heapq.merge(*map(self._lines, needles)):
                yield None if line in seen else self._names[line]
                seen.add(line)

    def _lines(self, needle: str) -> Iterator[int]:
        """Numbers of the lines that have `needle` in them, upwards."""
        at = self._text.find(needle)
        while at >= 0:
            # A needle may begin with the line end before its line.
            line = bisect_right(self._starts, at + (needle[0] == "\n")) - 1
            yield line
            at = self._text.find(needle, self._starts[line + 1] - 1)


class Finder:
    """The names of one node, and questions about them."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._revision = (-1, -1)
        self._read: tuple[Sequence[str], Sequence[str]] = ((), ())
        self._long = trio.CapacityLimiter(LONG_AT_ONCE.value)
        self._names = _Names((), self._long)
        self._pushed: dict[
            str, Sequence[str]
        ] = {}  # purl -> its newest versions, of one revision of the shelf

    async def search(
        self,
        query: str,
        *,
        ecosystem: str = "",
        first: int = 0,
        count: int = MAX_SEARCH_ROWS.value,
        then: Then | None = None,
    ) -> Search:
        """`count` packages behind the first `first` ones; all packages for an empty question.

        Where a version is asked for, or a moment, packages that were looked at count, also those that had it not: a
        page may be short or empty, and `next` says where the following one begins.

        Args:
            then: the log's packages at a moment of the past, and no others; None for what is here now.

        Raises:
            Refusal: `bad-request` for a pattern that costs too much, and an ecosystem that there is not.
        """
        if ecosystem and ecosystem not in ECOSYSTEMS:
            raise _bad(f"there is no ecosystem {ecosystem[:40]!r}", f"ask for {', '.join(ECOSYSTEMS)}")
        text = query.strip()[: MAX_SEARCH_CHARS.value]
        names, there = self._all(), _everywhere if then is None else then.holds
        words, version = _read(text, _VERSION)
        if not version and not await names.search(words, ecosystem, 0, 1, there):
            words, version = _read(text, _PERHAPS_VERSION)
        count = min(count, MAX_SEARCH_ROWS.value)
        most = READ.value if version else count
        wanted = await names.search(words, ecosystem, first, most + 1, there)
        rows, looked = await self._told(wanted[:most], version, count, then)
        more = looked < len(wanted) or None in wanted
        following = first + looked if looked < len(wanted) and wanted[looked] is not None else -1
        moment = (-1, 0) if then is None else (then.size, then.time_ms)
        return Search(text, tuple(rows), more, following, *moment)

    def _all(self) -> _Names:
        """Every name once; one that was pushed here hides the network's."""
        local, network = self._supply.local, self._supply.network
        revision = (local.revision(), network.revision())
        if revision != self._revision:
            read = (local.packages("pkg:"), network.packages("pkg:"))
            self._pushed.clear()
            if read != self._read:  # most blocks bring no new name
                own = set(read[0])
                named = [_named(one, LOCAL if one in own else NETWORK) for one in own.union(read[1])]
                self._names = _Names([name for name in named if name is not None], self._long)
                self._read = read
            self._revision = revision
        return self._names

    # -- what is shown of a package --

    async def _told(
        self, names: Sequence[_Name | None], version: str, count: int, then: Then | None
    ) -> tuple[list[Found], int]:
        """What there is of `count` that have the version ("" for any), and how many were looked at for it; of the past
        only the first ones, if the histories of these are work enough."""
        found: list[Found] = []
        for looked, name in enumerate(names):
            if len(found) >= count or name is None or (looked and then is not None and then.spent):
                return found, looked
            row = await self._row(name, then)
            if not version:
                found.append(row)
            elif _has(row, version):
                found.append(_only(row, version))
        return found, len(names)

    async def _row(self, name: _Name, then: Then | None) -> Found:
        if then is not None:
            return _stood(name, await then.stood(name.purl))
        if name.origin != LOCAL:
            await self._supply.network.prepare(name.purl)
        row = self._found(name)
        await trio.lowlevel.checkpoint()
        return row

    def _versions(self, name: _Name) -> Sequence[str]:
        """The newest versions of a pushed package."""
        found = self._pushed.get(name.purl)
        if found is None:
            rows = self._supply.local.rows(name.purl, _START.get(name.ecosystem, ""), most=LOCAL_ROWS.value)
            found = _of_rows(rows, name.ecosystem)[: VERSIONS.value]
            if len(self._pushed) >= REMEMBERED.value:
                self._pushed.clear()
            if self._supply.local.revision() == self._revision[0]:
                self._pushed[name.purl] = found
        return found

    def _found(self, name: _Name) -> Found:
        if name.origin == LOCAL:
            local = self._supply.local
            versions = self._versions(name)
            denied = tuple(one for one in versions if local.refusal(name.purl, one) is not None)
            given = tuple(one for one in versions if one not in denied)
            return Found(name.purl, name.ecosystem, LOCAL, versions=given, refused=denied)
        files = sorted(self._supply.network.files(name.purl), key=lambda file: -file.log_index)
        versions = tuple(dict.fromkeys(file.version for file in files))
        kept_back = sorted(self._supply.network.refused(name.purl), key=lambda one: -one.file.log_index)
        refused = dict.fromkeys(one.file.version for one in kept_back)
        return Found(
            name.purl,
            name.ecosystem,
            NETWORK,
            name.owner,
            versions[: VERSIONS.value],
            tuple(one for one in refused if one not in versions)[: VERSIONS.value],
            files[0].verdict if files else "",
        )


def _stood(name: _Name, stood: Stood) -> Found:
    """A package of the log's at a moment, whoever has its name at this node now."""
    return Found(
        name.purl,
        name.ecosystem,
        NETWORK,
        name.owner,
        stood.offered[: VERSIONS.value],
        stood.fallen[: VERSIONS.value],
        stood.verdict,
        stood.whole,
    )


def _named(text: str, origin: str) -> _Name | None:
    """None for what is no package that clients ask for."""
    try:
        purl = purls.parse(text)
        package = purl.package
    except Malformed:
        return None
    ecosystem = TYPES.get(package.type)
    if ecosystem is None:
        return None
    whole = f"{package.namespace}/{package.name}".lstrip("/")
    return _Name(text, ecosystem, origin, purl.owner, _folded(whole), _folded(package.name))


def _folded(text: str) -> str:
    """`My_Package` and `my.package` are what people write of `my-package`."""
    return _SEPARATORS.sub("-", text.lower())


def _read(query: str, versioned: re.Pattern[str]) -> tuple[list[_Word], str]:
    """The words of a question, and the beginning of the versions that it is about ("" for all).

    Raises:
        Refusal: `bad-request`.
    """
    words, version = [], ""
    for text in query.lower().split()[: WORDS.value]:
        if text.count("*") > STARS.value or "[" in text:
            raise _bad(
                f"a pattern has at most {STARS.value} stars, and no brackets", "write more of the name"
            )
        match = versioned.fullmatch(text)
        if match is not None:
            text, version = match["name"], match["version"]
        pattern = "*" in text or "?" in text
        name = text.rpartition("/")[2] if text.startswith("pkg:") else text
        key = max(map(_folded, re.split(r"[*?]", name)), key=len)
        words.append(_Word(text, key.strip("-") if pattern or text != name else key, pattern))
    return words, version


def _fits(version: str, wanted: str) -> bool:
    if "*" in wanted or "?" in wanted:
        return fnmatchcase(version.lower(), wanted)
    return version.lower().startswith(wanted)


def _has(found: Found, wanted: str) -> bool:
    return any(_fits(one, wanted) for one in (*found.versions, *found.refused))


def _only(found: Found, wanted: str) -> Found:
    return msgspec.structs.replace(
        found,
        versions=tuple(one for one in found.versions if _fits(one, wanted)),
        refused=tuple(one for one in found.refused if _fits(one, wanted)),
    )


def _of_rows(rows: Sequence[LocalRow], ecosystem: str) -> tuple[str, ...]:
    """The versions of a pushed package, newest first."""
    newest = sorted(rows, key=lambda row: -row.time_ms)
    found = dict.fromkeys(version_of(row, ecosystem) for row in newest)
    return tuple(version for version in found if version)


def version_of(row: LocalRow, ecosystem: str) -> str:
    """The version that a row of a pushed package belongs to, as its registry keeps it; "" for what belongs to none."""
    version = row.more.get("version", "")
    if version:
        return version
    first, slash, rest = row.key.partition("/")
    if ecosystem == "oci":
        return rest if first == "tags" else ""
    return first if slash and ecosystem in ("maven", "conan") else ""


def _bad(what: str, do: str) -> Refusal:
    return Refusal("bad-request", what=what, who="the client's request", do=do)
