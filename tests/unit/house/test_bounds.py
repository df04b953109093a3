"""Nothing that we ship waits, queues or receives without a bound; every limit has a reason.

The rules read syntax trees: what blocks a thread must name a limit where it is called. What is awaited can be
cancelled, and is bounded by whoever awaits it; only a dial and a child process must stand inside a time limit.
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

import pyrsia
from pyrsia.units import Limit

ROOT = Path(__file__).parents[3]
SOURCES = sorted([*(ROOT / "pyrsia").rglob("*.py"), *(ROOT / "tui").rglob("*.py")])

# (file, function, what the rule says): why it may stay.
EXCUSED = {
    ("pyrsia/audit/spreading.py", "in_order", "a wait for ever"): (
        "what a thread does there is hashing of bounded bytes and reads that each have a deadline"
    ),
    ("pyrsia/audit/fetching.py", "recv_into", "a socket without a time limit"): (
        "the line above sets it, on `self`, which is the same socket as `super()`"
    ),
    ("pyrsia/builds/conan/worker.py", "_conan", "a process or an answer without a time limit"): (
        "it runs inside the sandbox, whose wall limit ends the whole tree"
    ),
    ("pyrsia/builds/maven/worker.py", "run", "a process or an answer without a time limit"): (
        "it runs inside the sandbox, whose wall limit ends the whole tree"
    ),
    ("pyrsia/builds/pip/worker.py", "call", "a process or an answer without a time limit"): (
        "it runs inside the sandbox, whose wall limit ends the whole tree"
    ),
    ("pyrsia/demo/story.py", "_while_polling", "a wait for ever"): (
        "the result of a future that the bounded wait above it has seen done"
    ),
}


@dataclass(frozen=True)
class Found:
    """A call or an assignment that a rule refuses."""

    file: str
    function: str
    line: int
    what: str


class Source:
    """One file's syntax tree, every node with its parents."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.parent = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def _calls(self) -> list[ast.Call]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]

    def calls(self) -> Iterator[ast.Call]:
        return iter(self._calls)

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        while node in self.parent:
            node = self.parent[node]
            yield node

    def function(self, node: ast.AST) -> ast.AST:
        """The function around `node`, or the module."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return next((above for above in self.above(node) if isinstance(above, kinds)), self.tree)

    def found(self, node: ast.expr | ast.stmt, what: str) -> Found:
        return Found(self.name, getattr(self.function(node), "name", ""), node.lineno, what)

    def awaited(self, node: ast.AST) -> bool:
        return isinstance(self.parent.get(node), ast.Await)


def name_of(call: ast.Call) -> str:
    """Kept with the call: five rules ask for that of each."""
    if not hasattr(call, "said"):
        call.said = ast.unparse(call.func)  # type: ignore[attr-defined]
    return call.said  # type: ignore[attr-defined]


def last_of(call: ast.Call) -> str:
    return name_of(call).rpartition(".")[2]


def texts(call: ast.Call) -> list[str]:
    return [ast.unparse(argument) for argument in call.args]


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def bare(call: ast.Call) -> bool:
    return not call.args and not call.keywords


# -- the rules -------------------------------------------------------------------------------------


def channels(source: Source) -> Iterator[Found]:
    """Channels and queues made without a bound, or with an infinite one."""
    for call in source.calls():
        if "open_memory_channel" in name_of(call):
            text = ", ".join(texts(call))
            if not text or "inf" in text:
                yield source.found(call, "a channel without a bound")
        kind = last_of(call).partition("[")[0]
        size = (*texts(call), keywords(call).get("maxsize"))[0]
        endless = kind in ("Queue", "LifoQueue", "PriorityQueue", "JoinableQueue") and size in (
            None,
            "0",
            "-1",
        )
        if endless or kind == "SimpleQueue":
            yield source.found(call, "a queue without a bound")


MARKS = ("sndhwm", "rcvhwm", "hwm", "maxmsgsize")


def marks(source: Source) -> Iterator[Found]:
    """ZeroMQ high-water marks of 0, which mean 'no limit': as an option, as a call, as an attribute."""
    for call in source.calls():
        text = texts(call)
        by_option = len(text) == 2 and text[0].rpartition(".")[2].lower() in MARKS and text[1] in ("0", "-1")
        by_call = last_of(call) == "set_hwm" and text in (["0"], ["-1"])
        if by_option or by_call:
            yield source.found(call, "a mark that is no limit")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in ("0", "-1"):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr.lower() in MARKS:
                    yield source.found(node, "a mark that is no limit")


TIMED = {"run", "call", "check_call", "check_output", "communicate", "urlopen"}  # take `timeout=`
DIALS = {"create_connection": 2, "HTTPConnection": 3, "HTTPSConnection": 3}  # ... or as this argument
HTTPX = {"httpx.Client", "httpx.AsyncClient"}
REAPS = {"os.waitpid", "os.wait", "os.wait3", "os.wait4"}
FOREVER = {"wait", "join", "acquire", "result", "get", "pause", "sigwait"}  # block when nothing is said


def waits(source: Source) -> Iterator[Found]:
    """What blocks a thread on a process, a thread, a lock, a queue or HTTP, without a time limit."""
    for call in source.calls():
        name, last, said = name_of(call), last_of(call), keywords(call)
        timed = "timeout" in said
        ours = name.startswith("subprocess.") or last in ("communicate", "urlopen")
        if said.get("timeout") == "None":
            yield source.found(call, "a wait for ever")
        elif last in TIMED and ours and not timed and not source.awaited(call):
            yield source.found(call, "a process or an answer without a time limit")
        elif not timed and (name in HTTPX or len(call.args) < DIALS.get(last, 0)):
            yield source.found(call, "a connection without a time limit")
        elif _blocks(source, call):
            yield source.found(call, "a wait for ever")


def _blocks(source: Source, call: ast.Call) -> bool:
    name, last = name_of(call), last_of(call)
    if last in FOREVER:
        return isinstance(call.func, ast.Attribute) and bare(call) and not source.awaited(call)
    if name == "subprocess.Popen":
        return isinstance(source.parent.get(call), ast.withitem)  # the end of the block waits
    if name in REAPS:
        return "os.WNOHANG" not in texts(call)
    return last == "select" and len(call.args) == 3


RECEIVES = {"recv", "recv_into", "recvfrom", "recvmsg", "recv_multipart", "accept", "connect"}


def sockets(source: Source) -> Iterator[Found]:
    """Calls on a socket that block, where no time limit was set on it."""
    for call in source.calls():
        said = [*texts(call), *keywords(call).values()]
        if (last_of(call), said) in (("settimeout", ["None"]), ("setblocking", ["True"])):
            yield source.found(call, "a socket without a time limit")
        if last_of(call) not in RECEIVES or not isinstance(call.func, ast.Attribute) or source.awaited(call):
            continue
        if any("DONTWAIT" in text or "NOBLOCK" in text for text in said):
            continue
        function = source.function(call)
        # Without a socket of its own, a `connect` is ZeroMQ's, which only names an address.
        dials = last_of(call) == "connect"
        if dials and "socket.socket(" not in ast.unparse(function).replace("trio.socket.socket(", ""):
            continue
        owner = ast.unparse(call.func.value)
        called = {name_of(other) for other in ast.walk(function) if isinstance(other, ast.Call)}
        if not called & {f"{owner}.settimeout", f"{owner}.setblocking"}:
            yield source.found(call, "a socket without a time limit")


SCOPE = re.compile(r"(trio|anyio)\.(move_on|fail)_(after|at)\(|asyncio\.timeout(_at)?\(")
LONG = ("open_tcp_stream", "open_unix_socket", "open_ssl_over_tcp_stream", "open_connection",
        "open_unix_connection", "run_process", "create_subprocess_exec", "create_subprocess_shell")  # fmt: skip


def dials(source: Source) -> Iterator[Found]:
    """Awaited dials and child processes outside every time limit of their function."""
    for call in source.calls():
        if last_of(call) not in LONG or not source.awaited(call):
            continue
        if not any(_limits(node) for node in source.above(call)):
            yield source.found(call, "a dial or a child without a time limit")


def _limits(node: ast.AST) -> bool:
    """Whether `node` is a `with` that ends in time."""
    if not isinstance(node, ast.With | ast.AsyncWith):
        return False
    return any(SCOPE.match(ast.unparse(item.context_expr)) for item in node.items)


RULES = [channels, marks, waits, sockets, dials]
Rule = Callable[[Source], Iterator[Found]]


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return [Source(path) for path in SOURCES]


@pytest.fixture(scope="module")
def found_by(sources: list[Source]) -> dict[Rule, list[Found]]:
    return {rule: [one for source in sources for one in rule(source)] for rule in RULES}


@pytest.mark.parametrize("rule", RULES)
def test_no_source_breaks_the_rule(
    rule: Rule, sources: list[Source], found_by: dict[Rule, list[Found]]
) -> None:
    found = found_by[rule]

    assert len(sources) > 100
    assert any(source.name.startswith("tui/") for source in sources)
    assert [one for one in found if (one.file, one.function, one.what) not in EXCUSED] == []


def test_every_excuse_is_still_needed_and_says_why(found_by: dict[Rule, list[Found]]) -> None:
    found = {(one.file, one.function, one.what) for rule in RULES for one in found_by[rule]}

    assert [excuse for excuse in EXCUSED if excuse not in found] == []
    assert all(len(why.split()) > 5 for why in EXCUSED.values())


MISTAKES = [
    (channels, "trio.open_memory_channel[int](math.inf)"),
    (channels, "trio.open_memory_channel()"),
    (channels, "queue.Queue()"),
    (channels, "asyncio.Queue(maxsize=0)"),
    (channels, "multiprocessing.SimpleQueue()"),
    (marks, "sock.setsockopt(zmq.SNDHWM, 0)"),
    (marks, "sock.sndhwm = 0"),
    (marks, "sock.rcvhwm = -1"),
    (marks, "sock.set_hwm(0)"),
    (waits, "subprocess.run(['a'])"),
    (waits, "process.wait()"),
    (waits, "process.wait(timeout=None)"),
    (waits, "process.communicate()"),
    (waits, "process.communicate(b'in')"),
    (waits, "thread.join()"),
    (waits, "lock.acquire()"),
    (waits, "work.get()"),
    (waits, "future.result()"),
    (waits, "os.waitpid(1, 0)"),
    (waits, "select.select([a], [], [])"),
    (waits, "with subprocess.Popen(['a']) as process: pass"),
    (waits, "httpx.Client(base_url='x')"),
    (waits, "socket.create_connection(('a', 1))"),
    (waits, "urllib.request.urlopen('http://a')"),
    (sockets, "def f():\n    s = socket.socket()\n    s.recv(1)"),
    (sockets, "def f():\n    s = socket.socket()\n    s.connect('a')"),
    (sockets, "def f():\n    s = socket.socket()\n    other.settimeout(1)\n    s.accept()"),
    (sockets, "s.settimeout(None)"),
    (sockets, "s.recv_multipart()"),
    (dials, "async def f():\n    await trio.open_tcp_stream('a', 1)"),
    (dials, "async def f():\n    async with trio.open_nursery():\n        await trio.run_process(['a'])"),
]

RIGHT = [
    (channels, "trio.open_memory_channel[int](INBOX.value); queue.Queue(5); asyncio.Queue(maxsize=9)"),
    (marks, "sock.setsockopt(zmq.SNDHWM, 4); sock.sndhwm = 4; self.size = 0"),
    (
        waits,
        "subprocess.run(['a'], timeout=5); process.wait(3); ','.join(a); table.get('x'); lock.acquire(timeout=1)",
    ),
    (waits, "async def f():\n    await event.wait()\n    await queue.get()"),
    (waits, "os.waitpid(-1, os.WNOHANG)"),
    (sockets, "def f():\n    s = socket.socket()\n    s.settimeout(2)\n    s.connect('a')\n    s.recv(1)"),
    (sockets, "async def f():\n    await sock.recv(1)"),
    (sockets, "sock.recv_multipart(zmq.DONTWAIT)"),
    (dials, "async def f():\n    with trio.fail_after(3):\n        await trio.open_tcp_stream('a', 1)"),
]


def planted(folder: Path, text: str) -> Source:
    (folder / "planted.py").write_text(text)
    return Source(folder / "planted.py")


@pytest.mark.parametrize(("rule", "text"), MISTAKES)
def test_each_rule_catches_its_mistake(rule: Rule, text: str, tmp_path: Path) -> None:
    assert len(list(rule(planted(tmp_path, text)))) == 1


@pytest.mark.parametrize(("rule", "text"), RIGHT)
def test_no_rule_refuses_what_is_right(rule: Rule, text: str, tmp_path: Path) -> None:
    assert list(rule(planted(tmp_path, text))) == []


# -- limits ----------------------------------------------------------------------------------------


@cache
def limits() -> dict[str, Limit]:
    """Every limit of every module of the package, by its full name."""
    found = {}
    for module in pkgutil.walk_packages(pyrsia.__path__, "pyrsia."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Limit):
                found[f"{module.name}.{name}"] = value
    return found


def test_every_limit_of_every_module_is_positive_and_says_why() -> None:
    found = limits()

    assert len({id(limit) for limit in found.values()}) > 100
    assert any(not name.startswith("pyrsia.units.") for name in found)
    assert [name for name, limit in found.items() if limit.value <= 0 or len(limit.reason.split()) < 4] == []


def test_a_limit_that_two_modules_use_stands_in_units() -> None:
    homes: dict[int, set[str]] = {}
    for name, limit in limits().items():
        homes.setdefault(id(limit), set()).add(name.rpartition(".")[0])

    assert [sorted(where) for where in homes.values() if len(where) > 1 and "pyrsia.units" not in where] == []


def test_no_limit_takes_the_name_of_another() -> None:
    """The later one would count for both, wherever it is imported."""
    named = re.findall(
        r"^([A-Z][A-Z0-9_]*) *(?::[^=]*)?=", (ROOT / "pyrsia/units.py").read_text(), re.MULTILINE
    )

    assert len(named) > 100
    assert sorted(name for name in set(named) if named.count(name) > 1) == []
