"""Processor time by part: whose a stack is, and that what is sampled is told."""

import os
import signal
import sys
import time

import pytest

from bench import parts
from pyrsia.keys import KeyPair, verify
from pyrsia.ledger import shape
from pyrsia.ledger.entries import Entry


def stack_of(call):
    """The part of the innermost frame that `call` calls back from."""
    found = []
    call(lambda *_: found.append(parts.part_of(sys._getframe())) or True)
    return found[0]


def test_the_innermost_module_that_a_part_owns_has_the_time():
    assert stack_of(lambda told: shape.list_of(told, 1)([1])) == "entries: form and fields"
    assert stack_of(lambda told: told()) == "everything else"


def test_a_signature_belongs_to_whoever_asked_for_it(monkeypatch):
    pair = KeyPair(b"k" * 32)
    entry = Entry("x", {}, "", pair.public, 0, b"", b"text", pair.sign(b"text"), b"")
    told = []

    def opened(*_):
        told.append(parts.part_of(sys._getframe()))

    monkeypatch.setattr("pyrsia.keys.crypto_sign_open", opened)
    assert entry.signature_holds(verify)
    assert verify(pair.public, b"text", entry.signature)
    assert told == [parts.SIGNATURES, "everything else"]


@pytest.fixture
def sampler(tmp_path):
    before = signal.getsignal(signal.SIGPROF), signal.getsignal(signal.SIGUSR1)
    one = parts.Sampler(tmp_path / "parts.txt")
    one.start()
    yield one
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before[0])
    signal.signal(signal.SIGUSR1, before[1])


def test_what_a_process_worked_is_told_when_it_is_asked(sampler, tmp_path):
    end_s = time.process_time() + 10 * parts.EVERY_S
    while time.process_time() < end_s:
        pass
    os.kill(os.getpid(), signal.SIGUSR1)
    told = parts.read(tmp_path / "parts.txt")
    assert 0 < sum(told.values()) <= time.process_time()


def test_the_table_names_parts_by_their_share_and_leaves_out_what_is_nothing():
    assert parts.table({"small": 0.2, "large": 1.0, "nothing": 0.0}, 1_000, 4).splitlines() == [
        "  250.0  large",
        "   50.0  small",
        "  300.0  in all, us an entry and node",
    ]


def test_threads_are_told_by_what_they_are_for():
    assert parts.busy_s(os.getpid()) > 0
    assert set(parts.threads_s(os.getpid())) <= {*parts.THREADS.values(), "other threads"}
