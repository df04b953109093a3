"""What clients missed is asked for within globs and a number an hour, and never otherwise."""

import pytest
import trio
import trio.testing

from pyrsia.errors import Malformed, Refusal
from pyrsia.node.builds.auto import HOUR_S, WAITING, Auto


class Asked:
    def __init__(self):
        self.purls, self.fails, self.told = [], [], trio.Event()

    async def __call__(self, purl):
        await trio.lowlevel.checkpoint()
        self.purls.append(purl)
        self.told.set()
        if self.fails:
            raise self.fails.pop(0)


async def settled(auto):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(auto.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_without_globs_nothing_is_ever_asked_for():
    asked = Asked()
    auto = Auto((), 10, asked)
    assert not auto.missed("pkg:pypi/idna")
    await settled(auto)
    assert asked.purls == []


async def test_only_what_a_glob_allows_is_asked_for_once_an_hour(autojump_clock):
    asked = Asked()
    auto = Auto(("pkg:pypi/team-*",), 10, asked)
    told = [auto.missed(one) for one in ("pkg:pypi/team-a", "pkg:pypi/team-a", "pkg:pypi/other", "no purl")]
    assert told == [True, False, False, False]
    await settled(auto)
    assert not auto.missed("pkg:pypi/team-a")
    await trio.sleep(HOUR_S)
    assert auto.missed("pkg:pypi/team-a")
    await settled(auto)
    assert asked.purls == ["pkg:pypi/team-a"] * 2


async def test_no_more_than_the_quota_an_hour(autojump_clock):
    asked = Asked()
    auto = Auto(("*",), 3, asked)
    assert [auto.missed(f"pkg:pypi/p{at}") for at in range(5)] == [True] * 3 + [False] * 2
    await trio.sleep(HOUR_S)
    assert auto.missed("pkg:pypi/p4")


async def test_a_refusal_ends_nothing_and_the_waiting_are_bounded():
    asked = Asked()
    asked.fails = [Refusal("no-sdist", what="w", who="h", do="d")]
    auto = Auto(("*",), 1_000, asked)
    assert sum(auto.missed(f"pkg:pypi/p{at}") for at in range(2 * WAITING.value)) == WAITING.value
    await settled(auto)
    assert len(asked.purls) == WAITING.value


def test_a_glob_that_is_none_is_the_operators_mistake():
    with pytest.raises(Malformed):
        Auto(("not a glob\n",), 1, Asked())
