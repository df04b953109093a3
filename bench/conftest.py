"""pytest's hooks of a bench run; what they do is decided in bench/harness/session.py."""

import time
from pathlib import Path

import pytest

from bench.harness.gates import read_gates
from bench.harness.results import read_recorded, write_lines
from bench.harness.rows import key
from bench.harness.session import Measure, Session, declared

HERE = Path(__file__).parent
SESSION = pytest.StashKey[Session]()
WHOLE = pytest.StashKey[bool]()


def pytest_addoption(parser):
    group = parser.getgroup("bench", "ratios beside baselines")
    group.addoption(
        "--bench", choices=["ci", "all"], default="ci", help="ci: three minutes; all: long rows too"
    )
    group.addoption("--bench-rows", metavar="PART", help="only rows whose name has this in it")
    group.addoption("--bench-json", metavar="FILE", help="write every row as a line of JSON")
    group.addoption("--bench-record", action="store_true", help="make these the accepted ratios")


def pytest_configure(config):
    if config.getoption("--bench-record") and config.getoption("--bench") != "all":
        raise pytest.UsageError("only a whole run is recorded: --bench=all")
    config.stash[SESSION] = Session(config.getoption("--bench"), read_gates(), read_recorded())


def speaker(config):
    """Prints a line at once, though pytest holds back what a test prints."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")

    def say(line):
        with capture.global_and_fixture_disabled():
            terminal.write_line(line)
            terminal.flush()

    return say


@pytest.hookimpl(tryfirst=True)  # before -k takes any away
def pytest_collection_modifyitems(config, items):
    session = config.stash[SESSION]
    session.say = speaker(config)
    ours = [item for item in items if HERE in item.path.parents]
    rows = [(item, declared(item)) for item in ours]
    files = {item.path for item in items}
    named = any("::" in argument for argument in config.args)
    config.stash[WHOLE] = not named and files == set(HERE.glob("test_*.py"))
    wrong = [f"{item.nodeid} is no row: put @row(...) above it" for item, row in rows if row is None]
    wrong += session.expect([row for _, row in rows if row is not None], whole=config.stash[WHOLE])
    if wrong:
        raise pytest.UsageError("the bench does not fit together:\n" + "\n".join(wrong))
    chosen = [item for item, row in rows if row is not None and wanted(item, row, config)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def wanted(item, row, config):
    """Whether this run measures a row."""
    if config.getoption("--bench") == "ci" and item.get_closest_marker("long"):
        return False
    return (config.getoption("--bench-rows") or "") in key(row[0].name, row[1])


@pytest.fixture
def measure(request):
    """What a row calls once with its subject and its baselines."""
    session = request.config.stash[SESSION]
    row, at = declared(request.node)
    one = Measure(session, row, at)
    began_s = time.monotonic()
    yield one
    session.spent(row.name, time.monotonic() - began_s)
    if one.calls != 1 and not request.node.stash.get(BROKE, False):
        pytest.fail(f"{row.name} was measured {one.calls} times: a row is measured once", pytrace=False)


BROKE = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and report.failed:
        item.stash[BROKE] = True
    return report


def pytest_report_teststatus(report, config):
    """No dots between the lines of the table."""
    if report.when == "call" and report.passed:
        return "passed", "", ""
    return None


def pytest_sessionfinish(session, exitstatus):
    config = session.config
    run = config.stash[SESSION]
    if config.option.collectonly or exitstatus == pytest.ExitCode.USAGE_ERROR:
        return
    if config.getoption("--bench-json"):
        write_lines(run.results, Path(config.getoption("--bench-json")))
    lines, bad = run.closing()
    run.say("")
    for line in lines:
        run.say(line)
    if bad and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if config.getoption("--bench-record"):
        if exitstatus != pytest.ExitCode.OK:
            run.say("not recorded: a row failed")
            return
        run.record()
