"""What is asked for along with a package: in which order, and what happens where something cannot be built."""

from pathlib import Path

import pytest
import trio

from pyrsia.builds import closures
from pyrsia.builds.model import LocalSource, Planned, Unbuildable, Want
from pyrsia.errors import Refusal
from pyrsia.units import Limit

MINE = ("top", "1")
MANY = Limit(50, "of a test")


def planned(name: str) -> Planned:
    return Planned(f"pkg:conan/{name}@1", {}, {}, {}, b"", {}, "conan")


class Bench:
    """Plans what it knows; `codes` are what it refuses."""

    def __init__(self, **codes: str) -> None:
        self.codes, self.asked = codes, list[Want]()

    async def plan(self, want: Want) -> tuple[Planned]:
        self.asked.append(want)
        if want.name in self.codes:
            raise Refusal(self.codes[want.name], what=f"no {want.name}", who="it", do="nothing")
        return (planned(want.name),)

    async def run(self, *needs: str, want: Want | None = None, limit: Limit = MANY) -> list[str]:
        found = await closures.with_needs(
            want or Want("top", "1"),
            planned("top"),
            MINE,
            [(one, "1") for one in needs],
            limit,
            self.plan,
            lambda _: None,
        )
        return [one.purl.removeprefix("pkg:conan/").removesuffix("@1") for one in found]


async def test_each_is_asked_for_once_by_the_rules_alone_and_before_what_needs_it():
    bench = Bench()
    want = Want("top", "1", parameters={"a": "b"}, generic="me", environment="rootfs:1", verified_only=True)

    assert await bench.run("a", "b", "a", "top", want=want) == ["a", "b", "top"]
    assert bench.asked[0] == Want("a", "1", environment="rootfs:1", closure=False, verified_only=True)


async def test_more_than_the_bound_are_left_out():
    assert await Bench().run("a", "b", "c", limit=Limit(2, "of a test")) == ["a", "b", "top"]


async def test_what_cannot_be_built_is_named_with_the_whole_closure():
    bench = Bench(b="unresolvable", c="no-sdist")
    with pytest.raises(Unbuildable) as caught:
        await bench.run("a", "b", "c")

    assert caught.value.code == "build-failed"  # a code that has them witnessed
    assert caught.value.packages == (("b", "1"), ("c", "1"))
    assert caught.value.closure == (("a", "1"), ("b", "1"), ("c", "1"), MINE)
    assert "b 1, c 1 (no b)" in caught.value.what


async def test_beside_a_source_of_ones_own_what_cannot_be_built_is_left_out():
    own = Want("top", "1", source=LocalSource("top.tar", Path("top.tar"), "0" * 64, 1))

    assert await Bench(b="no-sdist").run("a", "b", want=own) == ["a", "top"]


async def test_a_fault_that_is_not_the_package_s_ends_the_plan():
    with pytest.raises(Refusal) as caught:
        await Bench(a="inputs-unverified").run("a", "b")

    assert (caught.value.code, isinstance(caught.value, Unbuildable)) == ("inputs-unverified", False)


async def test_what_there_is_no_time_for_is_left_out(monkeypatch: pytest.MonkeyPatch):
    class Slow(Bench):
        async def plan(self, want: Want) -> tuple[Planned]:
            if want.name == "b":
                await trio.sleep_forever()
            return await super().plan(want)

    monkeypatch.setattr(closures, "PLANNING_S", Limit(0, "of a test"))
    assert await Slow().run("a", "b", "c") == ["a", "top"]
