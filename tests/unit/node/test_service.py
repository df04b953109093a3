"""How a node's end is told: in one sentence, and to the next start where it must know."""

import pytest
import trio

from pyrsia import config
from pyrsia.errors import DatabaseDamaged, Refusal
from pyrsia.node import service
from pyrsia.node.opening import DATABASE
from pyrsia.store.rocks import suspicion


@pytest.fixture
def ending(tmp_path, monkeypatch):
    """The main function of a node whose parts end with these errors; the note for the next start, if one was left."""
    monkeypatch.setattr(config, "load", lambda data: config.Config())
    monkeypatch.setattr(service.diary, "start", lambda settings: None)
    (tmp_path / DATABASE).mkdir()

    def run(*errors):
        def end(*_):
            raise ExceptionGroup("one task", [ExceptionGroup("inside another", list(errors))])

        monkeypatch.setattr(trio, "run", end)
        with pytest.raises(type(errors[0])) as caught:
            service.main(tmp_path)
        note = suspicion(tmp_path / DATABASE)
        return caught.value, note.read_text() if note.exists() else None

    return run


def test_damage_of_the_database_that_only_the_ledger_saw_is_left_for_the_next_start(ending):
    told, note = ending(DatabaseDamaged("a page of the index is gone"))
    assert (told.code, note) == ("data-damaged", "a page of the index is gone")


def test_damage_of_another_file_costs_no_database(ending):
    told, note = ending(Refusal("data-damaged", what="a key file is cut", who="the disk", do="restore it"))
    assert (told.what, note) == ("a key file is cut", None)
