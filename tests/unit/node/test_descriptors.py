"""A node takes the open files that the system lets it have."""

import resource
import subprocess
import sys

import pytest

from pyrsia.node import descriptors

ENDLESS = resource.RLIM_INFINITY
MOST = descriptors.WANTED.value
REAL = """
import resource
from pyrsia.node import descriptors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (160, 700))
print(descriptors.enough(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_process_that_was_given_few_open_files_takes_what_it_may_have():
    done = subprocess.run(
        [sys.executable, "-c", REAL], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["700", "700", "700"]


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        (1024, 4096, 4096),
        (1024, 1 << 20, MOST),
        (1024, ENDLESS, MOST),
        (1 << 19, 1 << 20, 1 << 19),
        (ENDLESS, ENDLESS, ENDLESS),
        (4096, 4096, 4096),
    ],
)
def test_it_is_raised_as_far_as_is_of_use_and_never_lowered(monkeypatch, soft, hard, then):
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, told: limits.__setitem__(slice(None), told))
    assert descriptors.enough() == then
    assert limits == [then, hard]


def test_a_system_that_forbids_it_leaves_a_node_that_starts(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: (_ for _ in ()).throw(ValueError("not allowed")))
    assert descriptors.enough() == 1024
