"""Tests wait in one way, and no bound in real time is one that a loaded machine could meet."""

import ast
import gc
import re
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.reference.garbage import collected
from tests.reference.waiting import HANGS_S, bounded, unhindered_s, until

TESTS = Path(__file__).parents[2]
LEAST_S = 30
WAITS = re.compile(r"trio\.(sleep|fail_after)\(")
CLOCKS = {"autojump_clock", "mock_clock"}  # fixtures under which seconds are the program's own


def modules() -> Iterator[Path]:
    """Those that wait within this process: what drives a real one, or is one, has ways of its own."""
    for path in sorted(TESTS.rglob("*.py")):
        if not {"e2e", "chaos"} & {*path.relative_to(TESTS).parts[:1]} and path.name != "waiting.py":
            yield path


def short(tree: ast.AST, inside: tuple[str, ...] = ()) -> Iterator[str]:
    """Bounds in real time that are too short, each with the function that it is in."""
    for node in ast.iter_child_nodes(tree):
        around = inside
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            around = (*inside, node.name, *(one.arg for one in node.args.args))
        if not {*around} & CLOCKS and isinstance(node, ast.Call):
            said = ast.unparse(node.func)
            if said == "trio.fail_after" and not _long(node.args[0]):
                yield f"{inside[:1]}: {ast.unparse(node)}"
        yield from short(node, around)


def _long(seconds: ast.expr) -> bool:
    return isinstance(seconds, ast.Constant) and seconds.value >= LEAST_S


def idle(tree: ast.AST) -> Iterator[str]:
    """Loops that do nothing but look and sleep: `until` does that."""
    for node in ast.walk(tree):
        if isinstance(node, ast.While) and len(node.body) == 1 and not isinstance(node.test, ast.Constant):
            said = ast.unparse(node.body[0])
            looks = not any(isinstance(one, ast.Await) for one in ast.walk(node.test))
            if looks and said.startswith("await trio.sleep("):
                yield f"line {node.lineno}: while {ast.unparse(node.test)}"


def test_no_test_has_a_way_to_wait_of_its_own_or_a_bound_that_a_loaded_machine_meets() -> None:
    found = {}
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if not WAITS.search(text):
            continue
        tree = ast.parse(text)
        if told := [*idle(tree), *short(tree)]:
            found[path.relative_to(TESTS).as_posix()] = told

    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "async def test_x():\n    with trio.fail_after(29): pass",
        "async def wait(bound_s=5):\n    with a, trio.fail_after(bound_s): pass",
        "async def test_x():\n    while not done:\n        await trio.sleep(0.1)",
    ],
)
def test_what_is_short_or_idle_is_found(code: str) -> None:
    assert [*idle(ast.parse(code)), *short(ast.parse(code))]


@pytest.mark.parametrize(
    "code",
    [
        "async def test_x():\n    with trio.fail_after(30): pass",
        "async def test_x(autojump_clock):\n    async def y():\n        with trio.fail_after(3): pass",
        "async def forever():\n    while True:\n        await trio.sleep(1)",
        "async def test_x():\n    while not done:\n        done = go()\n        await trio.sleep(0.1)",
        "async def test_x():\n    while await go():\n        await trio.sleep(0.1)",
    ],
)
def test_what_is_neither_is_left_alone(code: str) -> None:
    assert not [*idle(ast.parse(code)), *short(ast.parse(code))]


async def _block(bound_s: float) -> None:
    with bounded(bound_s):
        await trio.sleep_forever()


def test_a_condition_is_waited_for_and_a_bound_ends_what_hangs() -> None:
    async def waits() -> None:
        began_s = trio.current_time()
        await until(lambda: trio.current_time() - began_s > 3)
        assert 3 < trio.current_time() - began_s < 5

        for wait in (lambda: until(lambda: False, 7), lambda: _block(7)):
            began_s = trio.current_time()
            with pytest.raises(trio.TooSlowError):
                await wait()
            assert trio.current_time() - began_s == pytest.approx(7)

    trio.run(waits, clock=MockClock(autojump_threshold=0))


async def test_in_real_time_a_bound_in_virtual_seconds_is_none() -> None:
    with bounded(0.01) as scope:
        await trio.lowlevel.checkpoint()
    assert scope.deadline > trio.current_time() + HANGS_S - LEAST_S


def test_seconds_in_line_for_a_processor_are_not_counted_and_all_others_are() -> None:
    began_s, unhindered = time.monotonic(), unhindered_s()
    asleep = trio.Event()

    async def sleeps() -> None:
        with trio.move_on_after(0.05):
            await asleep.wait()

    trio.run(sleeps)
    took_s = unhindered_s() - unhindered
    assert 0 < took_s < time.monotonic() - began_s + 0.001


class Ring:
    def __init__(self) -> None:
        self.itself = self


def test_what_a_block_leaves_is_collected_and_nothing_older_is_looked_through() -> None:
    older = Ring()
    seen_older = weakref.ref(older)
    with collected():
        assert not gc.isenabled()
        del older
        seen = [weakref.ref(Ring()) for _ in range(2_000)]  # more than any threshold of a generation
        assert all(one() for one in seen)
    assert gc.isenabled()
    assert not any(one() for one in seen)
    assert seen_older() is not None
    gc.collect(1)
