"""What a follower decides, on virtual time: a week of checkpoints takes a millisecond."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.audit.following import LONGEST_S, STALE_S, Alarm, Deliver, Following, Keep, Prove, Wait, Warn
from pyrsia.audit.heads import Head
from pyrsia.log.checkpoint import Checkpoint

NOW = 1_000_000


def head(size, root=None, time_s=NOW):
    return Head(b"note %d" % size, Checkpoint("log", size, root or bytes([size % 251]) * 32), time_s, ())


def kinds(effects):
    return [type(one) for one in effects]


def begun(size=10, **fields):
    core = Following(**fields)
    core.on_checkpoint(NOW, head(size))
    return core


def test_the_first_head_is_where_a_follower_begins_if_nobody_says_otherwise():
    core = Following(every_s=7)
    assert core.on_checkpoint(NOW, head(10)) == [Keep(head(10), 10), Wait(7)]
    assert Following(position=3).on_checkpoint(NOW, head(10)) == [Keep(head(10), 3), Deliver(head(10), 3)]
    assert Following(position=12).on_checkpoint(NOW, head(10)) == [Keep(head(10), 12), Wait(5)]


def test_growth_is_proved_before_it_is_kept_and_kept_before_it_is_handed_out():
    core = begun()
    assert core.on_checkpoint(NOW, head(15)) == [Prove(head(10), head(15))]
    assert core.last == head(10)
    assert core.on_proved(head(15), consistent=True) == [Keep(head(15), 10), Deliver(head(15), 10)]
    core.on_part(12)
    assert core.on_trouble("nobody takes it")[-1] == Wait(1)
    assert core.on_checkpoint(NOW, head(15)) == [Deliver(head(15), 12)]
    assert core.on_delivered(15) == [Wait(5)]


def test_no_growth_is_no_news():
    core = begun()
    for second in range(100):
        assert core.on_checkpoint(NOW + second, head(10)) == [Wait(5)]
    assert core.on_checkpoint(NOW + 60, head(10, time_s=NOW + 60)) == [
        Keep(head(10, time_s=NOW + 60), 10),
        Wait(5),
    ]


@pytest.mark.parametrize("patient", [False, True])
def test_two_roots_at_one_size_are_a_fork(patient):
    core = begun(patient=patient)
    assert core.on_checkpoint(NOW, head(10, b"x" * 32)) == [Alarm("fork", head(10), head(10, b"x" * 32))]
    assert core.last == head(10)


@pytest.mark.parametrize("patient", [False, True])
def test_growth_that_does_not_begin_with_the_last_head_is_a_fork(patient):
    core = begun(patient=patient)
    core.on_checkpoint(NOW, head(15))
    assert core.on_proved(head(15), consistent=False) == [Alarm("fork", head(10), head(15))]
    assert core.last == head(10)


def test_a_smaller_head_is_an_alarm_for_a_monitor_and_a_pause_for_who_reads_along():
    assert begun().on_checkpoint(NOW, head(9)) == [Alarm("shrunk", head(10), head(9))]
    core = begun(patient=True)
    first = core.on_checkpoint(NOW, head(9))
    assert kinds(first) == [Warn, Wait]
    assert kinds(core.on_checkpoint(NOW, head(9))) == [Wait]
    assert core.last == head(10)
    assert core.on_checkpoint(NOW, head(10)) == [Wait(5)]


def test_everything_begins_with_an_empty_log():
    core = Following(last=head(0), position=0)
    assert core.on_checkpoint(NOW, head(4)) == [Keep(head(4), 0), Deliver(head(4), 0)]


def test_trouble_is_told_once_and_waited_for_longer_each_time():
    core = begun()
    waits = []
    for attempt in range(12):
        effects = core.on_trouble("nobody answers")
        assert kinds(effects) == ([Warn, Wait] if attempt == 0 else [Wait])
        waits.append(effects[-1].seconds)
    assert waits == [1, 2, 4, 8, 16, 32] + [LONGEST_S.value] * 6
    assert core.on_checkpoint(NOW, head(10)) == [Wait(5)]
    assert kinds(core.on_trouble("again")) == [Warn, Wait]


def test_an_old_head_is_told_once_until_it_is_fresh_again():
    core = begun()
    late = NOW + STALE_S.value + 1
    assert kinds(core.on_checkpoint(late, head(10))) == [Warn, Wait]
    assert kinds(core.on_checkpoint(late + 5, head(10))) == [Wait]
    assert kinds(core.on_checkpoint(late, head(10, time_s=late))) == [Warn, Keep, Wait]
    assert kinds(core.on_checkpoint(late, head(10, time_s=late))) == [Wait]


def test_a_log_that_nobody_dates_is_never_old():
    core = Following()
    assert kinds(core.on_checkpoint(NOW, head(10, time_s=None))) == [Keep, Wait]


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from(["ok", "part", "trouble", "inconsistent"])), max_size=30
    )
)
def test_whatever_comes_nothing_is_skipped_repeated_or_taken_back(steps):
    core, delivered, sizes = Following(position=0), 0, [0]
    for size, fate in steps:
        effects = list(core.on_checkpoint(NOW, head(size)))
        while effects:
            match effects.pop(0):
                case Prove(_, new):
                    effects += core.on_proved(new, consistent=fate != "inconsistent")
                case Keep(kept, position):
                    assert kept.checkpoint.size >= sizes[-1]
                    assert position == delivered
                    sizes.append(kept.checkpoint.size)
                case Deliver(to, first):
                    assert first == delivered
                    assert to.checkpoint.size == sizes[-1]
                    if fate == "ok":
                        delivered = to.checkpoint.size
                        effects += core.on_delivered(delivered)
                    else:
                        delivered = first + (fate == "part")
                        core.on_part(delivered)
                        effects += core.on_trouble("no")
                case Alarm():
                    return
        assert core.position == delivered
