"""Appends that are killed, or whose disk says no, at any call: the log is whole, nothing acknowledged is missing.

A sample of what `make evidence WHAT=crash` tries at every call; see `tests/e2e/crash/`.
"""

import os
import random
import tempfile
from pathlib import Path

import pytest

from tests.e2e.crash import appender, operations
from tests.e2e.crash.ground import KILL, Disk
from tests.e2e.crash.operations import SYNCS
from tests.e2e.crash.sweep import KINDS, QUICK, STARTS, Field, Kind, once, points

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        not operations.supported(), reason="the numbers of this machine's calls are not known"
    ),
]

TRIED = 2  # calls of each kind and start, spread over the whole append


@pytest.fixture(scope="module")
def field():
    if not operations.supported():
        pytest.skip("this machine's kernel does not tell of a process's calls (seccomp user notification)")
    with tempfile.TemporaryDirectory(dir=QUICK if os.access(QUICK, os.W_OK) else None) as folder:
        made = Field(Path(folder))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def calls(field):
    return {start: field.calls(start) for start in STARTS}


def test_an_append_is_seen_whole(field, calls):
    """What the sweep goes over: the database's log and tables, the vote record, blobs, and the syncs of each."""
    for seen in calls.values():
        assert {"write", "pwrite64", "fdatasync", "fsync", "rename", "mkdir", "openat", "fallocate"} <= {
            one.name for one in seen
        }
        synced = {one.path.partition("/")[0] for one in seen if one.name in SYNCS}
        assert {"db", "blobs", "votes.wal", "votes.wal.new"} <= synced


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_whatever_happens_at_a_call_the_log_is_whole_and_holds_what_was_acknowledged(
    field, calls, start, kind
):
    tried = list(points(calls[start], kind))
    step = len(tried) // TRIED
    draw = random.Random(f"{start} {kind.name}")
    for first in range(0, step * TRIED, step):
        at = tried[first + draw.randrange(step)]
        run, found = field.attempt(start, kind, at)

        assert found >= run.size


def test_what_was_acknowledged_grows_with_the_call_at_which_it_ends(field, calls):
    """Else the sweep would never see an acknowledgement, and could not miss one."""
    start = STARTS[0]
    last = next(one.number for one in reversed(calls[start]) if one.path == "votes.wal.new")
    sizes = [field.attempt(start, KINDS[0], at)[0].size for at in (1, last * 3 // 4, last)]

    assert sizes[0] == 0 < sizes[1] < sizes[2] == field.script.steps[-1].size


class Liar(Disk):
    """A disk that says it has synced and has not."""

    def happens(self, operation):
        if operation.name not in SYNCS:
            super().happens(operation)


def test_a_disk_that_lies_about_its_syncs_is_found_out(field, calls):
    """The check can fail: what was acknowledged is then not there."""
    last = next(one.number for one in reversed(calls[STARTS[0]]) if one.path == "votes.wal.new")
    kind = Kind("lies", lambda at: once(KILL, at), True, (-9,), Liar)

    with pytest.raises((AssertionError, appender.Refusal)):
        field.attempt(STARTS[0], kind, last)
