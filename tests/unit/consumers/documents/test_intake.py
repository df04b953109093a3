"""Many records as orders: the newer of two counts, orders are bounded, and a node can read them."""

import json

import msgspec
import pytest

from pyrsia.consumers.documents import intake as module
from pyrsia.consumers.documents.finding import Found
from pyrsia.consumers.documents.intake import Intake, Telling, batches, order
from pyrsia.errors import Refusal
from pyrsia.serve.desks.knowing import FactsOrder
from pyrsia.units import MAX_ADVISORIES_TOLD, MAX_FACTS_ORDER_BYTES, MAX_FACTS_TOLD, Limit

NOW = 1_764_000_000_000
DAY_1 = 1_704_067_200_000


def found(day, severity="LOW", where="a.json", name="A-1", ecosystem="PyPI"):
    affected = {
        "package": {"ecosystem": ecosystem, "name": "idna"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
    }
    record = {
        "id": name, "modified": f"2024-01-{day:02}T00:00:00Z", "affected": [affected],
        "database_specific": {"severity": severity},
    }  # fmt: skip
    return Found(where, json.dumps(record).encode())


def said(intake):
    return [json.loads(one.raw)["fields"]["severity"] for one in intake.tellings() if not one.whole]


@pytest.mark.parametrize("days", [(1, 2), (2, 1)])
def test_of_two_records_with_one_id_the_newer_counts_whatever_the_order(days):
    intake = Intake(NOW)
    for day in days:
        intake.take(found(day, "HIGH" if day == 2 else "LOW"))
    assert said(intake) == ["high"]
    assert dict(intake.tally.noted) == {"two records of one id, of which the newer counts": 1}


@pytest.mark.parametrize("ours", [("HIGH", "LOW"), ("LOW", "HIGH")])
def test_of_two_with_one_date_the_same_one_counts_in_any_order(ours):
    intake = Intake(NOW)
    for severity in ours:
        intake.take(found(1, severity))
    assert said(intake) == ["low"]
    assert dict(intake.tally.noted) == {"two records of one id, of which the newer counts": 1}


def test_the_same_record_twice_is_nothing_to_speak_of():
    intake = Intake(NOW)
    intake.take(found(1))
    intake.take(found(1, where="b.json"))
    assert (len(said(intake)), intake.tally.records, dict(intake.tally.noted)) == (1, 2, {})


def test_a_wrong_record_is_refused_by_file_and_id_and_the_others_go_on():
    intake = Intake(NOW)
    intake.take(Found("x.zip: bad.json", b'{"id":"A-9","modified":"2024-01-01T00:00:00Z","affected":[{"package":'
                      b'{"ecosystem":"Maven","name":"x"}}]}'))  # fmt: skip
    intake.take(found(1))
    assert (len(said(intake)), intake.tally.refused) == (1, 1)
    assert intake.tally.shown == [("x.zip: bad.json", "A-9: x is no group:artifact")]


def test_more_records_than_there_is_room_for_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_IMPORTED", Limit(2, "for a test"))
    intake = Intake(NOW)
    intake.take(found(1))
    intake.take(found(1, name="A-2"))
    with pytest.raises(Refusal) as caught:
        intake.take(found(1, name="A-3"))
    assert caught.value.code == "too-large"


def test_orders_are_what_a_node_reads_and_none_is_too_long():
    intake = Intake(NOW)
    for one in range(MAX_FACTS_TOLD.value + 3):
        intake.take(found(1, name=f"A-{one}"))
    made = list(batches(intake.tellings()))
    assert [len(batch) for batch in made] == [2 * MAX_FACTS_TOLD.value, 2 * 3]
    for batch in made:
        for dry_run in (False, True):
            read = msgspec.json.decode(order(batch, dry_run=dry_run), type=FactsOrder)
            assert (len(read.facts), len(read.whole), read.dry_run) == (
                len(batch) / 2,
                len(batch) / 2,
                dry_run,
            )
    for one in range(MAX_ADVISORIES_TOLD.value + 3):
        intake.take(found(2, name=f"A-{one}", ecosystem="npm"))
    made = list(batches(intake.tellings()))
    assert [len(batch) for batch in made] == [MAX_ADVISORIES_TOLD.value, 3]
    large = [Telling(b"x" * 400_000, "") for _ in range(5)]
    assert [len(batch) for batch in batches(iter(large))] == [2, 2, 1]
    assert MAX_FACTS_ORDER_BYTES.value < 1 << 20


def test_beside_its_facts_goes_what_a_record_names_at_all():
    intake = Intake(NOW)
    intake.take(found(1))
    intake.take(found(1, name="A-2", ecosystem="npm"))
    assert intake.facts == 1
    assert [json.loads(one.raw) for one in intake.tellings() if one.whole] == [
        {"advisory": "A-1", "subjects": ["pkg:pypi/idna"], "modified_ms": DAY_1},
        {"advisory": "A-2", "subjects": [], "modified_ms": DAY_1},
    ]


def wide(name, packages, text=""):
    """A record of many packages: each of its facts repeats its text."""
    affected = [
        {"package": {"ecosystem": "PyPI", "name": f"a{n}"}, "versions": ["1"]} for n in range(packages)
    ]
    record = {"id": name, "modified": "2024-01-01T00:00:00Z", "summary": text, "affected": affected}
    return Found(name, json.dumps(record).encode())


def test_what_small_records_come_to_is_bounded(monkeypatch):
    """As it was found: 65 KB of a record were 1.7 MB of facts, and an archive of 3 MB took 2.4 GiB of memory."""
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", Limit(1 << 20, "for a test"))
    intake = Intake(NOW)
    some = [wide(f"A-{number}", 100, "s" * 1_000) for number in range(20)]
    with pytest.raises(Refusal, match="more than 1,048,576 bytes of facts"):
        list(map(intake.take, some))
    assert intake.tally.records > 1


def test_facts_are_bounded_and_a_record_that_comes_again_counts_once(monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT_FACTS", Limit(100, "for a test"))
    intake = Intake(NOW)
    for _ in range(9):
        intake.take(wide("A-1", 60))
        intake.take(wide("A-2", 40))
    assert intake.facts == 100
    with pytest.raises(Refusal, match="more than 100 facts") as told:
        intake.take(wide("A-3", 1))
    assert told.value.code == "too-large"
