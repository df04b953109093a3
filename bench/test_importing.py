"""OSV records on their way into the log: how fast they are read, said the first time, and said again without change.

"Beside": the records themselves must be read by whatever imports them.
"""

import contextlib
import io
import itertools
import json
import time
import zipfile

import pytest

from bench.harness import LONG, Figure, Timed, row
from bench.networks import validators
from bench.osv import export
from pyrsia.cli.main import cli
from pyrsia.cli.tell import run
from pyrsia.consumers.documents.finding import records
from pyrsia.consumers.documents.intake import Intake, batches, order

READ = 2_000  # records of an export that is read
SAID = 6_000  # and of one that goes into the log: seconds, so that its beginning and end weigh little
GOAL = 50_000 / 60  # what the release asks for: a whole export in a minute
AGAIN = 50_000 / 5


def orders(path) -> int:
    """Facts of an export, as they would be sent."""
    intake = Intake(int(time.time() * 1_000))
    for one in records(path, intake.tally):
        intake.take(one)
    assert not intake.tally.refused
    made = (batch for batch in batches(intake.tellings()) if order(batch, dry_run=False))
    return sum(not one.whole for batch in made for one in batch)


def plain(path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(len(json.loads(archive.read(name))["affected"]) for name in archive.namelist())


@LONG
@row("import/osv-read", "an OSV export to orders for a node", unit="us per record", clock="cpu", goal=80)
def test_reading_an_export(measure, tmp_path):
    path = export(tmp_path / "all.zip", READ)
    assert READ < orders(path) <= plain(path)
    measure(Timed(lambda: orders(path), READ), {"unzipping, json.loads": Timed(lambda: plain(path), READ)})


@pytest.fixture(scope="module")
def network():
    with validators(4) as running:
        yield running


def imported(network, path) -> dict[str, int]:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(io.StringIO()):
        assert (
            run(cli, ["facts", "import", "osv", str(path), "--node", str(network.nodes[0].data), "--json"])
            == 0
        )
    return json.loads(told.getvalue())


def rate(call, count: int = SAID) -> float:
    began_s = time.perf_counter()
    call()
    return count / (time.perf_counter() - began_s)


@LONG
@row("import/osv", "an OSV export into the log of 4 validators", unit="records/s", goal=GOAL, rounds=3)
def test_an_export_into_the_log(measure, network, tmp_path):
    """Other records each time, by one issuer, with a command that shares the processor with all the nodes."""
    seeds = itertools.count(1)

    def paths():
        return export(tmp_path / "all.zip", SAID, seed=next(seeds), prefix=f"TEST-{next(seeds)}")

    def said() -> float:
        path = paths()
        found = []
        figure = rate(lambda: found.append(imported(network, path)))
        assert found[0]["added"] > SAID * 0.9
        return figure

    path = paths()
    measure(Figure(said), {"reading them": Figure(lambda: rate(lambda: orders(path)))})


@LONG
@row("import/osv-again", "the same export again, nothing changed", unit="records/s", goal=AGAIN, rounds=5)
def test_an_export_again(measure, network, tmp_path):
    path = export(tmp_path / "all.zip", SAID, seed=1_000, prefix="AGAIN")
    imported(network, path)
    size = network.status(network.nodes[0])["log"]["size"]

    def again() -> float:
        return rate(lambda: imported(network, path))

    measure(Figure(again), {"reading them": Figure(lambda: rate(lambda: orders(path)))})
    assert network.status(network.nodes[0])["log"]["size"] - size < 100  # not one of them is a new entry
