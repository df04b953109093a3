"""Names, help, short flags, exit codes and --json: what scripts and fingers rely on."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import pyrsia
from pyrsia.cli.main import COMMANDS, cli, rewrite
from pyrsia.cli.tell import run, table, tell
from pyrsia.errors import Malformed, Refusal, Unavailable
from tests.reference.fakenode import BUILD, NODE

HEAVY = (
    "trio", "zmq", "rocksdict", "httpx", "starlette", "blake3", "nacl", "msgspec", "packaging", "resolvelib",
    "textual", "http.client", "pyrsia.node", "pyrsia.ledger", "pyrsia.demo", "pyrsia.verify", "pyrsia.client",
    "pyrsia.cli.verify.command", "pyrsia.cli.demo",
)  # fmt: skip
NO_JSON = {("demo",), ("dashboard",), ("node",), ("node", "run")}  # a report file, a picture, a diary


def every_command(group=cli, path=()):
    """(path, command) of every command and group below."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))


PROMISED = (
    "audit", "authorize", "keys", "keys list", "keys rotate",
    "keys token", "keys token list", "keys token revoke",
    "member", "member list", "member show", "member motions", "member motion", "member document", "member approve",
    "member propose", "member propose add", "member propose remove", "member propose replace", "member propose roles",
    "member propose rotate", "member propose mapping", "member propose network", "member propose withdraw",
    "member propose resolve",
    "init", "node", "node drain", "node run", "demo", "build", "build plan", "build request", "build list",
    "build show", "build logs", "build cancel", "build prefer", "build status", "build explain", "build compare",
    "build environment", "build environment list", "build environment plan", "build environment make",
    "build environment show", "build environment import", "build environment remove",
    "status", "peers", "ping", "log", "log show", "log prove", "log verify", "verify",
    "log export", "log mirror", "log fsck", "log history", "log verify-history",
    "log search", "log tail", "log monitor", "log hammer", "log submit",
    "inspect-log", "inspect-log docker", "inspect-log maven", "inspect-log pip", "inspect-log conan",
    "inspect-log artifacts", "inspect-log nodes", "inspect-log builds",
    "facts", "facts show", "facts history", "facts list", "facts watch", "facts webhooks", "facts add",
    "facts withdraw", "facts import", "facts import osv", "facts import vex", "facts import sbom",
    "log policy", "witness", "witness add-log", "witness remove-log", "witness add-witness", "witness remove-witness",
    "witness list", "witness key", "witness evidence",
    "policy", "policy check", "policy explain", "policy show", "policy init", "policy test", "policy dry-run",
    "export", "export pip-requirements", "export maven-trusted-checksums", "export conan-lock", "export oci-digests",
    "setup", "trust", "trust add", "trust list", "trust remove", "trust update",
    "storage", "storage status", "storage pin", "storage unpin", "storage gc", "storage scrub",
    "broadcast", "listen", "send", "inbox",
    "fetch", "doctor", "dashboard", "list", "config", "config edit", "package", "package badge", "package describe",
    "package keys", "package keys make", "package keys show", "package map", "package search", "package show",
    "package withdraw",
)  # fmt: skip


def test_every_promised_command_is_there_and_no_other():
    """The list is written out: comparing the table with itself would find nothing missing."""
    assert sorted(" ".join(path) for path, _ in every_command()) == sorted(PROMISED)


ROOT = Path(pyrsia.__file__).parent.parent


def test_the_page_of_commands_names_every_command_and_no_other():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `pyrsia ([a-z -]+)` \|", page, re.MULTILINE)) == sorted(PROMISED)


# Where a text for people names a command: in backticks, after a colon, or at the start of a line.
NAMED = re.compile(r"(?:`|: |^[ \t]*|\$ )pyrsia((?: [^\s`|;,#]+)+)", re.MULTILINE)


def texts(path):
    """What people may read of a source or a page; what is filled in later stands as X."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [content]
    found, inner = [], set()
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.JoinedStr):
            inner.update(id(part) for part in node.values)
            found.append(
                "".join(part.value if isinstance(part, ast.Constant) else " X " for part in node.values)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            found.append(node.value)
    return found


def unknown(words):
    """What is wrong with a command line as a text gives it; "" when the program knows it."""
    command, path, value = cli, [], False
    for word in words:
        word = word.rstrip(".:)'\"]").lstrip("[")
        if value:  # of the option before it
            value = False
        elif word.startswith("-") and word != "-":  # "-" is standard input
            options = {flag: one for one in command.params for flag in one.opts}
            if word.partition("=")[0] not in options.keys() | {"--help", "-h"}:
                return f"{' '.join(path)} takes no {word}"
            option = options.get(word)
            value = option is not None and not getattr(option, "is_flag", False)
        elif isinstance(command, click.Group):
            inner = command.get_command(click.Context(command), word)
            if inner is None:
                return (
                    ""
                    if path and (not word.isalpha() or not word.islower())
                    else f"{' '.join(path)}: no {word}"
                )
            command, path = inner, [*path, word]
    return ""


def test_every_command_that_a_text_names_exists_with_those_words():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    sources = [*(ROOT / "pyrsia").rglob("*.py"), *(ROOT / "tui").rglob("*.py")]
    seen, wrong = 0, []
    for path in [*pages, *sources]:
        for text in texts(path):
            for found in NAMED.finditer(text):
                words = found.group(1).split()
                if not words[0].isalpha() or words[0] == "lock":
                    continue  # the name of a format: "pyrsia v1 chunk", "pyrsia lock pip v1"
                seen += 1
                why = unknown(words)
                if why:
                    wrong.append(f"{path.relative_to(ROOT)}: {found.group().strip()}: {why}")
    assert seen > 40
    assert wrong == []


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("build pip idna", True),
        ("build request idna", False),
        ("log prove --out", False),
        ("log prove --file", True),
        ("nonsense", True),
        ("init --data DIR --genesis FILE", False),
    ],
)
def test_a_command_that_is_none_is_found_out(words, wrong):
    assert bool(unknown(words.split())) is wrong


def test_help_has_its_four_groups_and_names_every_command(pyrsia):
    code, out, _ = pyrsia("--help")
    assert code == 0
    places = [out.index(f"\n{group}:") for group in ("Use", "Provide", "Run", "Audit")]
    assert places == sorted(places)
    assert all(f"  {name} " in out for name in COMMANDS)
    assert "--node" in out
    assert "Exit codes: 0 yes, 1 refused" in " ".join(out.split())


@pytest.mark.parametrize("path", [path for path, _ in every_command()], ids=" ".join)
def test_every_commands_help_says_what_it_does(pyrsia, path):
    for flag in ("--help", "-h") if path[0] not in ("config", "init") else ("--help",):
        code, out, err = pyrsia(*path, flag)
        assert (code, err) == (0, "")
        assert out.startswith(f"Usage: pyrsia {' '.join(path)} ")
        assert len(out.splitlines()) > 3


def test_the_help_line_of_a_command_fits_what_its_own_help_is_about():
    for path, command in every_command():
        assert command.help, path
        if len(path) == 1:
            assert COMMANDS[path[0]][3].endswith("."), path


def test_every_command_that_answers_takes_json():
    lacking = {
        path
        for path, command in every_command()
        if not isinstance(command, click.Group) or path == ("config",)
        if "--json" not in [flag for parameter in command.params for flag in parameter.opts]
    }
    assert lacking == NO_JSON - {("node",)}


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['pyrsia', '--help']\n"
        "from pyrsia.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: pyrsia" in done.stdout


def test_version_prints_the_name(pyrsia):
    for flag in ("-V", "--version"):
        code, out, _ = pyrsia(flag)
        assert (code, out.startswith("pyrsia, version 0")) == (0, True)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["-b", "list"], ["build", "list"]),
        (["-c"], ["config"]),
        (["-c", "-s"], ["config", "-s"]),
        (["-c", "-e"], ["config", "edit"]),
        (["-c", "-e", "-p", "80"], ["config", "edit", "-p", "80"]),
        (["config", "-e"], ["config", "edit"]),
        (["-l"], ["list"]),
        (["-l", "--json"], ["list", "--json"]),
        (["-s"], ["status"]),
        (["status", "-s"], ["status", "-s"]),
        (["-e"], ["-e"]),
        (["log", "show", "-s"], ["log", "show", "-s"]),
        ([], []),
    ],
)
def test_the_originals_short_flags_stand_where_a_command_stands(typed, meant):
    assert rewrite(typed) == meant


def test_the_short_flags_really_run(pyrsia, node, monkeypatch):
    monkeypatch.setenv("PYRSIA_NODE", node.url)
    assert pyrsia("-l")[:2] == (0, "b" * 52 + "\n")
    told = pyrsia("-s")[1]
    assert "Connected Peers Count:       2" in told
    assert "agreement: epoch 0: " in told
    assert "pkg:pypi/idna@1.0" in pyrsia("-b", "list")[1]
    assert pyrsia("-c", "-s")[0] == 2  # a URL has no configuration file


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["status", "--nonsense"],
        ["verify"],
        ["log", "prove"],
        ["log", "show", "-n", "x"],
        ["-e"],
    ],
)
def test_a_command_that_is_none_is_a_usage_error(pyrsia, arguments):
    code, out, err = pyrsia(*arguments)
    assert (code, out) == (2, "")
    assert "Usage" in err
    code, out, err = pyrsia(*arguments, "--json")
    assert (code, err) == (2, "")
    assert json.loads(out)["error"]["code"] == "usage"


def test_bare_groups_show_their_help(pyrsia):
    for group in ([], ["log"], ["build"], ["trust"]):
        code, out, err = pyrsia(*group)
        assert code == 2
        assert "Commands:" in out + err or "Usage:" in out + err


def raising(error):
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refusal("not-pinned", what="w", who="h", do="d"), 3),
        (Refusal("proof-invalid", what="w", who="h", do="d"), 1),
        (Refusal("usage", what="w", who="h", do="d"), 2),
        (click.UsageError("w"), 2),
        (click.ClickException("the demo failed: w"), 1),
        (Malformed("w"), 1),
        (Unavailable("w"), 1),
        (PermissionError(13, "w", "/x"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
    ],
)
def test_whatever_ends_a_command_ends_it_with_its_code_and_a_sentence(error, code, capsys):
    assert run(raising(error), []) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.strip()
    assert "Traceback" not in told.err
    if code != 130:
        assert run(raising(error), ["--json"]) == code
        told = capsys.readouterr()
        assert json.loads(told.out)["error"]["what"].startswith(("w", "the demo failed: w"))


def test_a_programs_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()), [])


def test_json_is_ascii_and_text_is_neutralised(capsys):
    evil = "\x1b]0;x\x07\u202e\x9b2J\n"
    tell({"a": evil}, as_json=True, text=lambda: ())
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"a": evil}
    tell({}, as_json=False, text=lambda: [evil])
    assert capsys.readouterr().out == "\\x1b]0;x\\x07\\u202e\\x9b2J\\x0a\n"
    assert table([[evil, 1]], ["a", "b"])[1] == "\\x1b]0;x\\x07\\u202e\\x9b2J\\x0a  1"


def test_of_a_wide_table_sentences_are_cut_on_a_terminal_and_nothing_else(monkeypatch):
    ident, sentence = "a" * 52, "it says something about a thing that nobody asked for " * 3
    rows, head = [[ident, sentence, "two words", 7]], ["id", "text", "name", "count"]
    whole = table(rows, head)
    assert sentence.strip() in whole[1]
    monkeypatch.setattr("pyrsia.cli.tell.width", lambda: 100)
    cut = table(rows, head)
    assert max(map(len, cut)) == 100
    assert cut[1].startswith(f"{ident}  it says something")
    assert cut[1].endswith("…  two words  7")
    monkeypatch.setattr("pyrsia.cli.tell.width", lambda: 40)  # it can be no narrower
    assert ident in table(rows, head)[1]
    assert "it says somethi…  two words  7" in table(rows, head)[1]


def test_of_a_wide_table_that_is_asked_for_whole_sentences_go_on_below(monkeypatch):
    sentence = "OSV-2026-1 is critical, high is the worst that the node's rules allow"
    rows, head = [["max_severity", sentence, "NO"], ["deny", "nothing", "yes"]], ["RULE", "SAYS", "OK"]
    assert len(table(rows, head, whole=True)) == 3
    monkeypatch.setattr("pyrsia.cli.tell.width", lambda: 44)
    told = table(rows, head, whole=True, indent=2)
    assert max(map(len, told)) <= 42
    assert "\u2026" not in "".join(told)
    assert " ".join(line[14:40].rstrip("NO ") for line in told[1:-1]).split() == sentence.split()
    monkeypatch.setattr("pyrsia.cli.tell.width", lambda: 30)
    assert max(map(len, table(rows, head, whole=True))) == 30
    assert [line[:12].strip() for line in told[1:]] == ["max_severity", *[""] * (len(told) - 3), "deny"]


@pytest.mark.parametrize(
    "words",
    [
        ("facts", "show", "pkg:pypi/x\x1b[31m\u202e"),
        ("facts", "show", "--\x1b[31m\u202e"),
        ("\x1b[31m\u202e",),
    ],
)
def test_a_usage_error_writes_nothing_of_an_argument_raw(words, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)  # click strips colours elsewhere
    assert run(cli, list(words)) == 2
    told = capsys.readouterr().err
    assert "\\u202e" in told
    assert not {"\x1b", "\u202e"} & set(told)


def test_a_table_of_nothing_is_its_header():
    assert table([], ["one", "two"]) == ["one  two"]


def test_the_program_itself_ends_with_the_code_of_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pyrsia", "status", "--node", str(tmp_path), "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "not-running"
    assert done.stderr == ""


def test_the_fake_node_speaks_of_nodes_as_real_ones_do():
    assert len(NODE) == 52
    assert len(BUILD["request"]) == 64
