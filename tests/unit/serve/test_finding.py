"""Finding packages by their names: what is found, in which order, and what a question may cost."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.serve import finding
from pyrsia.serve.desks.providing import Stood
from pyrsia.serve.desks.supply import LocalRow, NoLocal, NoUpstream, Supply
from pyrsia.serve.desks.views import ProjectFile, Refused
from pyrsia.serve.finding import Finder
from pyrsia.units import Limit
from tests.unit.serve.toy import ToyNode, dial, read_answer, serving, toy_app

OWNER = "b" * 51 + "a"
NAMES = (
    "pkg:conan/acme/zlib", "pkg:conan/zlib", "pkg:conan/zlib-ng", "pkg:docker/library/alpine",
    f"pkg:generic/{OWNER}/pypi/idna", "pkg:maven/org.apache.commons/commons-lang3", "pkg:pypi/idna",
    "pkg:pypi/idna-ssl", "pkg:pypi/python-zlib", "pkg:pypi/typing-extensions", "pkg:unknown/idna",
)  # fmt: skip


@dataclass
class Log:
    """A catalogue of names, each with versions in the order in which they came; `denied` ones are refused."""

    names: Sequence[str] = NAMES
    versions: Sequence[str] = ("1.0", "1.3.1", "2.0")
    denied: Sequence[str] = ()
    size: int = 1
    asked: list[str] = field(default_factory=list)

    def revision(self) -> int:
        return self.size

    def packages(self, start: str) -> list[str]:
        self.asked.append(start)
        return sorted(self.names)

    async def prepare(self, name: str) -> None:
        """Everything is there."""

    def files(self, name: str) -> list[ProjectFile]:
        self.asked.append(name)
        return [_file(name, one, at) for at, one in enumerate(self.versions) if one not in self.denied]

    def refused(self, name: str) -> list[Refused]:
        why = Refusal("denied", what="no", who="policy", do="ask")
        return [
            Refused(_file(name, one, at), why) for at, one in enumerate(self.versions) if one in self.denied
        ]


def _file(name: str, version: str, at: int) -> ProjectFile:
    return ProjectFile("f", "ab" * 32, 1, at, f"{name}@{version}", name, version, "REPRODUCED", at)


class Own(NoLocal):
    def refusal(self, package: str, version: str) -> Refusal | None:
        return Refusal("denied", what="no", who="policy", do="ask") if version == "9.0" else None

    def packages(self, start: str) -> list[str]:
        return ["pkg:conan/acme/zlib", "pkg:docker/app", "pkg:pypi/mine"]

    def rows(self, package: str, start: str = "", *, most: int | None = None) -> list[LocalRow]:
        keys = {
            "pkg:conan/acme/zlib": (
                "9.0/revisions/x/files/conanfile.py",
                "9.1/revisions/x/files/conanfile.py",
            ),
            "pkg:docker/app": ("blobs/sha256:x", "tags/latest"),
            "pkg:pypi/mine": ("files/mine-1.0.tar.gz",),
        }[package]
        more = {"version": "1.0"} if package.startswith("pkg:pypi/") else {}
        return [LocalRow(package, key, "ab" * 32, 3, at, "ci", more) for at, key in enumerate(keys)]


class Full(NoLocal):
    """Many packages of many files each."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.pushes = 1

    def revision(self) -> int:
        return self.pushes

    def packages(self, start: str) -> list[str]:
        return [f"pkg:docker/big/app{number}" for number in range(40)]

    def rows(self, package: str, start: str = "", *, most: int | None = None) -> list[LocalRow]:
        count = 20_000 if most is None else min(most, 20_000)
        self.read.append(count)
        keys = (f"{start}t{number}" for number in range(count))
        return [LocalRow(package, key, "ab" * 32, 3, at, "ci") for at, key in enumerate(keys)]


def searched(finds: Finder, query: str, **more: Any) -> finding.Search:
    return trio.run(partial(finds.search, query, **more))


def finder(log: Log | None = None, local: NoLocal | None = None) -> Finder:
    return Finder(Supply(log or Log(), local or NoLocal(), NoUpstream()))  # type: ignore[arg-type]


def found(query: str, **more: Any) -> list[str]:
    return [one.purl for one in searched(finder(), query, **more).packages]


@pytest.mark.parametrize(
    ("query", "purls"),
    [
        ("zlib", ["pkg:conan/acme/zlib", "pkg:conan/zlib", "pkg:conan/zlib-ng", "pkg:pypi/python-zlib"]),
        ("ZLIB NG", ["pkg:conan/zlib-ng"]),
        ("commons", ["pkg:maven/org.apache.commons/commons-lang3"]),
        ("lang3", ["pkg:maven/org.apache.commons/commons-lang3"]),
        ("ang", ["pkg:maven/org.apache.commons/commons-lang3"]),
        ("org.apache.commons:commons-lang3", ["pkg:maven/org.apache.commons/commons-lang3"]),
        ("Typing_Extensions", ["pkg:pypi/typing-extensions"]),
        ("idna", [f"pkg:generic/{OWNER}/pypi/idna", "pkg:pypi/idna", "pkg:pypi/idna-ssl"]),
        ("pkg:pypi/idna", ["pkg:pypi/idna", "pkg:pypi/idna-ssl"]),
        ("pkg:conan/", ["pkg:conan/zlib", "pkg:conan/acme/zlib", "pkg:conan/zlib-ng"]),
        ("zlib*", ["pkg:conan/acme/zlib", "pkg:conan/zlib", "pkg:conan/zlib-ng"]),
        ("z?ib", ["pkg:conan/acme/zlib", "pkg:conan/zlib"]),
        ("library/alp*", ["pkg:docker/library/alpine"]),
        ("nothing-like-it", []),
    ],
)
def test_names_are_found_the_best_first(query: str, purls: list[str]):
    assert sorted(found(query)) == sorted(purls)
    if purls:
        assert found(query)[0] in purls[:2]


def test_what_is_the_word_stands_before_what_begins_with_it_and_that_before_what_holds_it():
    assert found("zlib", ecosystem="conan")[-1] == "pkg:conan/zlib-ng"
    assert found("zlib")[:2] == ["pkg:conan/zlib", "pkg:conan/acme/zlib"]
    assert found("zlib")[-1] == "pkg:pypi/python-zlib"
    assert found("idna", ecosystem="pip")[-1] == "pkg:pypi/idna-ssl"


@pytest.mark.parametrize(
    ("query", "versions"),
    [
        ("idna-ssl@1.3", ("1.3.1",)),
        ("idna-ssl==1", ("1.3.1", "1.0")),
        ("idna-ssl@*.0", ("2.0", "1.0")),
        ("idna-ssl", ("2.0", "1.3.1", "1.0")),
        ("zlib-ng/2", ("2.0",)),
        ("library/alpine:1.0", ("1.0",)),
        ("commons-lang3@1.3.1", ("1.3.1",)),
    ],
)
def test_a_version_may_follow_a_name_and_the_newest_stands_first(query: str, versions: tuple[str, ...]):
    (one,) = searched(finder(), query).packages
    assert one.versions == versions


def test_a_version_that_no_package_has_finds_nothing():
    assert found("idna@7") == []


def test_refused_versions_are_told_apart_from_those_that_are_given():
    (one,) = searched(finder(Log(denied=("2.0", "1.0"))), "idna-ssl").packages

    assert (one.versions, one.refused, one.verdict) == (("1.3.1",), ("2.0", "1.0"), "REPRODUCED")
    assert [row.refused for row in searched(finder(Log(denied=("2.0",))), "idna-ssl@2").packages] == [
        ("2.0",)
    ]


def test_what_was_pushed_here_hides_the_network_s_and_has_its_versions():
    rows = {one.purl: one for one in searched(finder(local=Own()), "").packages}

    own = rows["pkg:conan/acme/zlib"]
    assert (own.origin, own.versions, own.refused) == ("local", ("9.1",), ("9.0",))
    assert rows["pkg:docker/app"].versions == ("latest",)
    assert rows["pkg:pypi/mine"].versions == ("1.0",)
    assert rows["pkg:pypi/idna"].origin == "network"
    assert len(rows) == len(NAMES) - 1 + 2  # one is of no ecosystem, two are the node's own


def test_much_that_was_pushed_is_read_once_in_bounded_pieces_with_turns_for_others_between() -> None:
    shelf, turns = Full(), []

    async def others(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while True:
            turns.append(len(shelf.read))
            await trio.lowlevel.checkpoint()

    async def asking() -> list[finding.Search]:
        async with trio.open_nursery() as nursery:
            await nursery.start(others)
            finds = finder(local=shelf)
            answers = [await finds.search("big", count=20), await finds.search("big", count=20)]
            shelf.pushes += 1
            answers.append(await finds.search("big", count=1))
            nursery.cancel_scope.cancel()
        return answers

    first, again, later = trio.run(asking)

    assert first == again
    assert later.packages == first.packages[:1]
    assert first.packages[0].versions[0] == f"t{finding.LOCAL_ROWS.value - 1}"
    assert shelf.read == [finding.LOCAL_ROWS.value] * 21
    assert max(after - before for before, after in pairwise(turns)) <= 2


def test_what_a_node_claims_says_whose_it_is():
    rows = {one.purl: one.owner for one in searched(finder(), "idna").packages}
    assert rows == {f"pkg:generic/{OWNER}/pypi/idna": OWNER, "pkg:pypi/idna": "", "pkg:pypi/idna-ssl": ""}


def test_an_answer_has_pages_without_a_gap():
    all_of_it = found("")
    pages = [searched(finder(), "", first=first, count=3) for first in range(0, len(all_of_it), 3)]

    assert [one.purl for page in pages for one in page.packages] == all_of_it
    assert [page.more for page in pages] == [True] * (len(pages) - 1) + [False]


def test_names_are_read_once_between_two_blocks_and_versions_of_what_is_shown_alone():
    log = Log()
    finds = finder(log)
    for _ in range(3):
        searched(finds, "idna", count=1)
    assert log.asked.count("pkg:") == 1
    assert set(log.asked) == {"pkg:", f"pkg:generic/{OWNER}/pypi/idna"} or set(log.asked) == {
        "pkg:",
        "pkg:pypi/idna",
    }

    log.names, log.size = ("pkg:pypi/new",), 2

    assert [one.purl for one in searched(finds, "").packages] == ["pkg:pypi/new"]
    assert log.asked.count("pkg:") == 2


def test_a_question_about_versions_reads_a_bounded_number_of_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(finding, "READ", Limit(5, "small"))
    log = Log(names=[f"pkg:pypi/many-{number:03}" for number in range(300)])

    answer = searched(finder(log), "many@2.0")

    assert (len(answer.packages), answer.more) == (5, True)
    assert len(log.asked) == 6


@dataclass
class Costly:
    """A moment whose first packages are work enough for an answer each; `there`: those that stood then."""

    there: Sequence[str]
    right: str
    size: int = 10
    time_ms: int = 1
    spent: bool = False

    def holds(self, package: str) -> bool:
        return package in self.there

    async def stood(self, package: str) -> Stood:
        self.spent = True
        return Stood(("1.0",) if package == self.right else ("2.0",), (), "REPRODUCED")


def all_pages(query: str, log: Log, then: Callable[[], Costly | None]) -> list[str]:
    finds, first, purls = finder(log), 0, []
    for _ in range(100):
        page = searched(finds, query, first=first, count=2, then=then())
        purls += [one.purl for one in page.packages]
        assert page.more is (page.next >= 0)
        if page.next < 0:
            return purls
        assert page.next > first
        first = page.next
    raise AssertionError("the pages never end")


def test_a_search_for_a_version_goes_on_behind_what_it_looked_at_and_ends(monkeypatch: pytest.MonkeyPatch):
    """Pages counted what was found: one that found nothing came again and again, and what lay behind was never met."""
    names = [f"pkg:pypi/many-{number:02}" for number in range(30)]
    log = Log(names=names)

    assert all_pages("many@1.0", log, lambda: Costly(names, names[20])) == [names[20]]
    assert all_pages("many@3.0", log, lambda: Costly(names, names[20])) == []
    assert all_pages("many", log, lambda: Costly(names, names[20])) == names
    monkeypatch.setattr(finding, "READ", Limit(5, "small"))
    assert all_pages("many@3.0", log, lambda: None) == []
    assert all_pages("many@1.0", log, lambda: None) == names


@pytest.mark.parametrize("query", ["some-package", "package", "*pack*", "", "some@1.0"])
def test_names_of_another_moment_or_ecosystem_hold_up_nobody(query: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(finding, "A_TURN", 10)
    names = [f"pkg:pypi/some-package-{number:04}" for number in range(1_000)]
    turns = []

    async def others(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        while True:
            turns.append(None)
            await trio.lowlevel.checkpoint()

    async def asking(**asked: Any) -> finding.Search:
        async with trio.open_nursery() as nursery:
            await nursery.start(others)
            answer = await finder(Log(names=names)).search(query, **asked)
            nursery.cancel_scope.cancel()
        return answer

    for asked in ({"then": Costly((), "")}, {"ecosystem": "maven"}):
        turns.clear()
        answer = trio.run(partial(asking, **asked))
        assert (answer.packages, answer.more) == ((), False)
        assert len(turns) >= 100
    monkeypatch.setattr(finding, "PASSED", Limit(100, "small"))
    answer = trio.run(partial(asking, ecosystem="maven"))
    assert (answer.packages, answer.more, answer.next) == ((), True, -1)


class Walked(Costly):
    """A moment before all packages, which notes who passes one."""

    def __init__(self, who: str, notes: list[str]) -> None:
        super().__init__((), "")
        self.who, self.notes = who, notes

    def holds(self, package: str) -> bool:
        self.notes.append(self.who)
        return False


async def test_of_many_long_walks_two_go_on_at_once_and_a_short_one_passes_them_all(
    monkeypatch: pytest.MonkeyPatch,
):
    """Thirty-two of them took the loop for 47 seconds, with sixty milliseconds between two turns of anybody else."""
    monkeypatch.setattr(finding, "A_TURN", 10)
    monkeypatch.setattr(finding, "LONG", Limit(100, "small"))
    names = [f"pkg:pypi/some-package-{number:04}" for number in range(1_000)] + ["pkg:pypi/idna"]
    finds, notes = finder(Log(names=names)), []

    async def ask(query: str, who: str) -> None:
        await finds.search(query, then=Walked(who, notes))

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(ask, "some-package-0@1", f"long {number}")
        await trio.lowlevel.checkpoint()
        nursery.start_soon(ask, "idna", "short")

    ends = {one: at for at, one in enumerate(notes)}
    assert ends.pop("short") < min(ends.values())
    assert len(ends) == 6
    behind = {}  # where each begins to be long
    for one in ends:
        behind[one] = [at for at, who in enumerate(notes) if who == one][100]
    for at in behind.values():
        assert sum(begun <= at <= ends[one] for one, begun in behind.items()) <= 2


def test_a_question_looks_at_a_bounded_number_of_names_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(finding, "LOOKED_AT", Limit(5, "small"))
    log = Log(names=[f"pkg:pypi/many-{number:03}" for number in range(300)])

    nothing = searched(finder(log), "many none")
    some = searched(finder(log), "many 00")

    assert (nothing.packages, nothing.more) == ((), True)
    log.names, log.size = [*log.names, *(f"pkg:conan/x{number}" for number in range(9))], 2
    assert [one.purl for one in searched(finder(log), "pkg:pypi/", count=1).packages] == ["pkg:pypi/many-000"]
    assert (len(some.packages), some.more) == (5, True)


@pytest.mark.parametrize("query", ["a*b*c*d*e*f", "[a-z]*", "*" * 9])
def test_a_pattern_that_costs_too_much_is_refused(query: str):
    with pytest.raises(Refusal) as caught:
        searched(finder(), query)
    assert caught.value.code == "bad-request"


@given(query=st.text(max_size=60), ecosystem=st.sampled_from(["", *finding.ECOSYSTEMS]))
def test_whatever_is_asked_the_answer_is_some_of_the_names(query: str, ecosystem: str):
    if query.count("*") > finding.STARS.value or "[" in query:
        return  # refused, as a test above shows
    answer = searched(finder(), query, ecosystem=ecosystem)
    purls = [one.purl for one in answer.packages]
    assert set(purls) <= set(NAMES)
    assert len(set(purls)) == len(purls)
    assert all(ecosystem in ("", one.ecosystem) for one in answer.packages)


@given(
    name=st.sampled_from([one for one in NAMES if not one.startswith("pkg:unknown")]), cut=st.integers(1, 30)
)
def test_every_piece_of_a_name_finds_it(name: str, cut: int):
    last = name.rpartition("/")[2]
    assert name in found(last[: min(cut, len(last))].strip("-") or last)


# -- the address --


async def get(node: ToyNode, path: str) -> tuple[int, Any]:
    async with serving(toy_app(node)) as server:
        stream = await dial(server)
        async with stream:
            await stream.send_all(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
            )
            status, _, body = await read_answer(stream, bytearray())
            return status, json.loads(body)


async def test_the_api_finds_packages_and_says_no_to_what_it_does_not_know(tmp_path):
    node = ToyNode(tmp_path)
    node.publish("idna-3.10-py3-none-any.whl", b"x")

    status, answer = await get(node, "/api/v1/search?q=idn&ecosystem=pip&count=5")

    assert status == 200
    (row,) = answer["packages"]
    assert (answer["query"], answer["more"], row["purl"], row["ecosystem"]) == (
        "idn",
        False,
        "pkg:pypi/idna",
        "pip",
    )
    for query in ("?q=a*b*c*d*e*f", "?ecosystem=npm", "?count=x", "?other=1", "?q=a&q=b"):
        status, answer = await get(node, f"/api/v1/search{query}")
        assert (status, answer["error"]["code"]) == (400, "bad-request"), query
