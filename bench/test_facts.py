"""What a node knows of packages, out of its log on disk: a question asked first, one asked again, and an audit."""

from types import SimpleNamespace

import msgspec
import pytest
import trio

from bench.harness import LONG, Timed, row
from bench.test_knowledge import advisories
from pyrsia.knowledge.about import about
from pyrsia.node.knowledge.auditing import Auditing
from pyrsia.node.knowledge.knowing import Knowledge, keys_of
from pyrsia.node.knowledge.telling import Telling
from pyrsia.node.policy.policing import Policing
from pyrsia.node.pulse import Pulse
from pyrsia.serve.desks.knowing import AuditOrder
from tests.reference.parts import Kept

MANY = 200  # advisories of the package that is asked about, 1 of each block: as far apart as a log has them
ASKED = 1_000  # requirements of an audit, each of a package of its own with 1 advisory
AGAIN = 2_000
PURL = "pkg:pypi/idna@2.1.3"


class Told(Kept):
    """A log with words about one package of many advisories and many packages of one."""

    def __init__(self, folder):
        super().__init__(folder)
        one = advisories(MANY)
        others = advisories(ASKED)
        step = ASKED // MANY
        for at, fact in enumerate(one):
            near = others[at * step : (at + 1) * step]
            bodies = [{**far.body, "subject": f"pkg:pypi/far-{at * step + n}"} for n, far in enumerate(near)]
            raws = [self.entry(self.nodes[0], "fact.add", body) for body in (dict(fact.body), *bodies)]
            self.block(*raws)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = Told(tmp_path_factory.mktemp("told"))
    yield made
    made.close()


@row(
    "facts/first-200", "what is known of a version of a package with 200 advisories, out of the log", unit="ms",
    clock="cpu", goal=5,
)  # fmt: skip
def test_a_package_with_many_advisories_asked_about_first(measure, world):
    facts = list(Knowledge(world.archive).reading.look(keys_of(PURL, "")[0]).facts.values())
    known = Knowledge(world.archive).known(PURL)
    assert (len(facts), known.whole) == (MANY, True)
    now_ms, size = world.time, world.archive.size
    assert about(facts, PURL, "", now_ms, size, True).advisories == known.advisories
    measure(
        Timed(lambda: Knowledge(world.archive).known(PURL), 1),
        {"the same of facts that were read": Timed(lambda: about(facts, PURL, "", now_ms, size, True), 1)},
    )


@LONG
@row("facts/again", "the same asked again", unit="us", clock="cpu", goal=20)
def test_the_same_asked_again(measure, world):
    knowledge = Knowledge(world.archive)
    first, state = knowledge.known(PURL), world.archive.state

    def again():
        assert all(knowledge.known(PURL) is first for _ in range(AGAIN))

    def reads():
        return [state(b"chain") for _ in range(AGAIN)]

    measure(Timed(again, AGAIN), {"one value of the state": Timed(reads, AGAIN)})


@row(
    "facts/audit",
    "an audit of 1,000 versions by a node that remembers nothing",
    unit="ms",
    clock="cpu",
    goal=1_000,
)
def test_an_audit_of_a_thousand_versions(measure, world):
    order = AuditOrder(tuple(f"pkg:pypi/far-{n}@2.1.3" for n in range(ASKED)))
    elsewhere = SimpleNamespace(owns=lambda _: False, takes=lambda _: False)
    supply = SimpleNamespace(local=elsewhere, upstream=elsewhere)

    def audited():
        archive = world.archive
        parts = (Knowledge(archive), Telling(archive, world.genesis, Pulse()), Policing(None, archive.state))
        answer = trio.run(Auditing(archive, *parts, supply).audit, order)
        return len(msgspec.json.encode(answer))

    knowledge = Knowledge(world.archive)
    facts = {one: list(knowledge.reading.look(keys_of(one, "")[0]).facts.values()) for one in order.purls}
    now_ms, size = world.time, world.archive.size

    def plain():
        return sum(len(about(facts[one], one, "", now_ms, size, True).advisories) for one in order.purls)

    assert all(len(held) == 1 for held in facts.values())
    assert audited() > plain() > 0
    measure(Timed(audited, 1), {"facts in memory, one after the other": Timed(plain, 1)})
