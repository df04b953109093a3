"""Nothing in the package waits, queues or receives without a bound; every limit has a reason."""

import ast
from pathlib import Path

import pytest

from pyrsia import units

ROOT = Path(units.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
WAITS = {"recv", "receive_some", "wait", "acquire"}


def calls(path: Path) -> list[ast.Call]:
    return [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


def refused_channels(path: Path) -> list[str]:
    """Channels made without a bound, or with an infinite one."""
    found = []
    for call in calls(path):
        if name_of(call).endswith("open_memory_channel") or ast.unparse(call.func).startswith(
            "trio.open_memory_channel"
        ):
            text = ", ".join(ast.unparse(argument) for argument in call.args)
            if not call.args or "inf" in text:
                found.append(f"{path.name}:{call.lineno}: a channel without a bound")
        if name_of(call).split(".")[-1] in ("Queue", "SimpleQueue", "deque") and not (
            call.keywords or len(call.args) > 1
        ):
            if name_of(call).split(".")[-1] != "deque":
                found.append(f"{path.name}:{call.lineno}: a queue without a bound")
    return found


def refused_marks(path: Path) -> list[str]:
    """ZeroMQ high-water marks of 0, which mean 'no limit'."""
    found = []
    for call in calls(path):
        text = [ast.unparse(argument) for argument in call.args]
        if len(text) == 2 and text[0].endswith(("SNDHWM", "RCVHWM", "MAXMSGSIZE")) and text[1] in ("0", "-1"):
            found.append(f"{path.name}:{call.lineno}: {text[0]} {text[1]} is no limit")
    return found


def refused_waits(path: Path) -> list[str]:
    """Blocking waits on processes, threads and HTTP without a time limit."""
    found = []
    for call in calls(path):
        keywords = {keyword.arg for keyword in call.keywords}
        if name_of(call) in ("subprocess.run", "subprocess.check_output") and "timeout" not in keywords:
            found.append(f"{path.name}:{call.lineno}: a process without a time limit")
        if name_of(call) in ("httpx.Client", "httpx.AsyncClient") and "timeout" not in keywords:
            found.append(f"{path.name}:{call.lineno}: an HTTP client without a time limit")
        if any(k.arg == "timeout" and ast.unparse(k.value) == "None" for k in call.keywords):
            found.append(f"{path.name}:{call.lineno}: a wait for ever")
    return found


@pytest.mark.parametrize("rule", [refused_channels, refused_marks, refused_waits])
def test_no_source_breaks_the_rule(rule):
    assert len(SOURCES) > 40
    assert [line for path in SOURCES for line in rule(path)] == []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (refused_channels, "trio.open_memory_channel[int](math.inf)"),
        (refused_channels, "trio.open_memory_channel()"),
        (refused_marks, "sock.setsockopt(zmq.SNDHWM, 0)"),
        (refused_waits, "subprocess.run(['a'])"),
        (refused_waits, "httpx.Client(base_url='x')"),
    ],
)
def test_each_rule_catches_its_mistake(rule, source, tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text(source)

    assert len(rule(planted)) == 1


def test_every_limit_is_positive_and_says_why():
    limits = {name: value for name, value in vars(units).items() if isinstance(value, units.Limit)}

    assert len(limits) > 10
    assert [name for name, limit in limits.items() if limit.value <= 0 or len(limit.reason.split()) < 4] == []
