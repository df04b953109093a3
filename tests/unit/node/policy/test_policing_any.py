"""Whatever happens in whatever order, a node's remembered answers are those that the engine gives now."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.ledger import views
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.packages.catalog import Catalog
from pyrsia.node.policy.policing import LOOK_S, Policing, facts_of
from pyrsia.policy.evaluate import NEVER_MS, decide
from pyrsia.policy.rules import parse
from tests.reference.parts import Kept
from tests.reference.story import Story
from tests.unit.node.packages.test_catalog import Shelf, no_bundle
from tests.unit.node.policy.test_policing import Clock

TEXTS = [
    "",
    '[pip]\ndeny = ["pkg:pypi/idna"]\n',
    "[all]\nmin_age_days = 1\n",
    "[all]\nmin_age_days = 3\nmax_head_age_s = 0\n",
    "[all]\nagreeing = 3\n",
    "[all]\nmax_head_age_s = 86400\n",
    '[pip]\nmode = "proxy"\nisolation = "namespace"\n',
    "[pip]\nbroken",
]
STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(TEXTS)),
    st.tuples(st.just("wait"), st.sampled_from([0.4, 1.1, 2.2, 300.0, 700.0, 40_000.0, 86_400.0])),
    st.tuples(st.just("head"), st.sampled_from([0, 5, 599, 100_000])),
    st.tuples(st.just("ask"), st.just(None)),
)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    made = Story(world=Kept(tmp_path_factory.mktemp("story")))
    yield made
    made.world.close()


class Run:
    """A node's policy, and beside it what the file said when it was last good and settled."""

    def __init__(self, story, folder):
        self.story, self.path = story, folder / "policy.toml"
        self.path.write_text("")
        self.clock = Clock(story.artifact.body["time_ms"] / 1_000 + 5)
        self.head_s = int(self.clock.now_s)
        archive = story.world.archive
        self.policing = Policing(self.path, archive.state, head_s=lambda: self.head_s, clock=self.clock)
        self.catalog = Catalog(archive, Shelf(folder), Proofs(archive), no_bundle, policing=self.policing)
        self.placed = views.artifact(archive.state, story.sha256)
        self.good = ""
        self.seen = []  # (revision, allowed)

    def settle(self):
        """Two looks at the file, then it counts."""
        for _ in range(2):
            self.clock.now_s += LOOK_S + 0.1
            _ = self.policing.policy
        try:
            parse(self.path.read_bytes(), "p")
            self.good = self.path.read_text()
        except Refusal:
            assert self.policing.notice

    def ask(self):
        self.clock.now_s += 1.1  # what time changes is noticed within a second
        revision = self.catalog.revision()
        now_ms = int(self.clock.now_s * 1_000)
        head_ms = max(0, now_ms - self.head_s * 1_000) if self.head_s else NEVER_MS
        facts = facts_of(self.story.world.archive.state, self.placed, "REPRODUCED")
        wanted = decide(parse(self.good.encode(), "p"), facts, now_ms, head_ms)
        assert [one.sha256 for one in self.catalog.files("idna")] == [self.story.sha256] * wanted.allowed
        try:
            given, code = self.catalog.file(self.story.sha256) is not None, ""
        except Refusal as refusal:
            given, code = False, refusal.code
        assert (given, code) == (wanted.allowed, "" if wanted.allowed else "denied")
        assert len(self.catalog.refused("idna")) == (not wanted.allowed)
        self.seen.append((revision, given))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_remembered_answers_are_those_of_now_and_each_change_is_another_revision(story, steps):
    with tempfile.TemporaryDirectory() as folder:
        run = Run(story, Path(folder))
        for step, value in [*steps, ("ask", None)]:
            if step == "write":
                run.path.write_text(value)
                run.settle()
            elif step == "wait":
                run.clock.now_s += value
            elif step == "head":
                run.head_s = int(run.clock.now_s) - value if value != 100_000 else 0
            else:
                run.ask()
        revisions = [revision for revision, _ in run.seen]
        assert revisions == sorted(revisions)
        for (before, given), (after, later) in zip(run.seen, run.seen[1:], strict=False):
            assert after > before or later == given
