"""The node's diary: a line for eyes or an object for machines, and nobody's escapes in it."""

import json
import logging

import pytest

from pyrsia.config import LogSection
from pyrsia.node import diary

NASTY = "a\x1b[2Jb\u202ec\nd"


@pytest.fixture(autouse=True)
def root_logger():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(capsys, section: LogSection) -> list[str]:
    diary.start(section)
    log = logging.getLogger("pyrsia.test")
    log.debug("quiet")
    log.warning("a peer said %s", NASTY)
    try:
        raise ValueError("inside")
    except ValueError:
        log.exception("a fault")
    return capsys.readouterr().err.splitlines()


def test_json_lines_are_objects(capsys):
    lines = [json.loads(line) for line in written(capsys, LogSection(format="json"))]

    assert [line["level"] for line in lines] == ["warning", "error"]
    assert lines[0]["says"] == f"a peer said {NASTY}"
    assert lines[0]["part"] == "pyrsia.test"
    assert "ValueError: inside" in lines[1]["trace"]


def test_plain_lines_neutralise_what_strangers_wrote(capsys):
    lines = written(capsys, LogSection())

    assert lines[0].endswith("a peer said a\\x1b[2Jb\\u202ec\\x0ad")
    assert "warning" in lines[0]
    assert any("ValueError: inside" in line for line in lines)


def test_the_level_is_the_configured_one(capsys):
    lines = written(capsys, LogSection(level="debug"))

    assert "quiet" in lines[0]
    assert len(written(capsys, LogSection(level="error"))) >= 1
