"""Bytes that the log gives two names, as empty jars have: each can be had by its own, and by no other."""

import pytest

from pyrsia.node.log.proofs import Proofs
from pyrsia.node.packages.catalog import Catalog
from pyrsia.serve.desks.supply import of_log
from pyrsia.serve.pypi import PypiApp
from tests.reference.parts import Kept
from tests.unit.consumers import made
from tests.unit.consumers.made import ALL, Published
from tests.unit.consumers.test_installed import TEXT
from tests.unit.node.packages.test_catalog import Shelf, no_bundle

NAMES = ("text-1.0-javadoc.jar", "text-1.0-sources.jar", "text-1.0.jar")


@pytest.fixture
def catalog(tmp_path, monkeypatch):
    world = Kept(tmp_path, capabilities=ALL)
    monkeypatch.setattr(made, "World", lambda **_: world)
    story = Published({NAMES[0]: b"empty", NAMES[1]: b"empty", NAMES[2]: b"jar"}, asked=TEXT)
    (tmp_path / "blobs").mkdir(exist_ok=True)
    shelf = Shelf(tmp_path / "blobs")
    for name, data in story.files.items():
        (shelf.folder / story.of(name).sha256).write_bytes(data)
    yield Catalog(world.archive, shelf, Proofs(world.archive), no_bundle)
    world.close()


async def test_both_names_are_given_and_no_third(catalog):
    app, told = PypiApp(of_log(catalog)), {}
    listed = catalog.files("pkg:maven/org.example/text")
    empty = next(one.sha256 for one in listed if one.filename == NAMES[0])

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    for digest, name in [
        *((one.sha256, one.filename) for one in listed),
        (empty, NAMES[2]),
        (empty, "x.jar"),
    ]:
        sent = []

        async def send(message, sent=sent):
            sent.append(message)

        scope = {"type": "http", "method": "HEAD", "path": f"/pypi/files/{digest}/{name}", "headers": [],
                 "query_string": b""}  # fmt: skip
        try:
            await app(scope, receive, send)
            told[digest, name] = sent[0]["status"]
        except Exception as error:  # noqa: BLE001 - a refusal, which the application above tells
            told[digest, name] = str(error)
    assert sorted(one.filename for one in listed) == sorted(NAMES)
    assert [told[one.sha256, one.filename] for one in listed] == [200] * 3
    assert "another file name" in str(told[empty, NAMES[2]])
    assert "another file name" in str(told[empty, "x.jar"])
