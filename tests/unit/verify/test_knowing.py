"""`verify` and what facts say: only from histories that are proven complete, whoever brings them."""

import pytest
import trio

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import entries
from pyrsia.node.log.proofs import Proofs
from pyrsia.policy import rules
from pyrsia.verify import evidence
from pyrsia.verify.artifact import judge_digest
from pyrsia.verify.history import Subject
from pyrsia.verify.knowing import Histories, missing
from pyrsia.wire.text import b32
from tests.reference.governance import about, fact, mapping, withdrawal
from tests.reference.parts import Kept
from tests.reference.story import NOW_MS, Story

IDNA, PURL = "pkg:pypi/idna", "pkg:pypi/idna@1.0"
CEILING = '[all]\nmax_severity = "medium"\n'
DAY_MS = 86_400_000


class Told:
    """A log in which somebody warned of a version and of a file, and the histories that a node makes of it."""

    def __init__(self, folder):
        world = Kept(folder)
        self.story = Story(world=world, dissenter=True)
        self.before = self._kept(world)
        author = world.follower
        self.issuer = b32(author.public)
        world.block(
            world.entry(author, "fact.add", fact("advisory", IDNA, advisory="CVE-1", severity="high")),
            world.entry(
                author,
                "fact.add",
                fact("advisory", f"sha256:{self.story.sha256}", advisory="CVE-2", severity="critical"),
            ),
            world.entry(author, "fact.add", fact("licence", PURL, expression="MIT")),
            world.entry(
                author, "fact.add", fact("advisory", "pkg:docker/alpine", advisory="CVE-3", severity="high")
            ),
        )
        self.after = self._kept(world)
        self.world = world

    def _kept(self, world):
        """Histories of the package and of the file as of now."""
        world.archive.keep_checkpoint(self.story.note())
        proofs = Proofs(world.archive)
        return {one: trio.run(proofs.of_history, Subject.parse(one)) for one in (IDNA, self.story.sha256)}

    def judged(self, text, learn, now_ms=NOW_MS, current=False):
        found = evidence.read(self.story.proof(), [self.story.pin], verify)
        policy = rules.parse(text.encode(), "mine")
        try:
            return judge_digest(
                self.story.sha256, found, now_ms=now_ms, expected=None, verify=verify,
                policy=policy, current=current, learn=learn,
            ).status  # fmt: skip
        except Refusal as refusal:
            return refusal

    def histories(self, given=(), fetch=None, now_ms=NOW_MS):
        return Histories([self.story.pin], verify, now_ms=now_ms, given=given, fetch=fetch)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    made = Told(tmp_path_factory.mktemp("kept"))
    yield made
    made.world.close()


def test_a_rule_that_asks_what_is_known_refuses_without_it_and_says_exactly_what_to_do(told):
    for learn in (None, told.histories(), told.histories([told.after[IDNA]])):
        refusal = told.judged(CEILING, learn)
        assert (refusal.code, refusal.who) == ("no-proof", "your policy")
        assert "--node URL" in refusal.do
        assert f"pyrsia log history {IDNA} --prove FACTS1" in refusal.do
        assert f"pyrsia log history {told.story.sha256} --prove FACTS2" in refusal.do
        assert "pyrsia verify --facts FACTS1 --facts FACTS2" in refusal.do
    assert told.judged("", None) == "REPRODUCED"  # nobody asks, so nothing is needed


def test_what_else_is_against_a_file_is_no_matter_of_missing_proof(told):
    refusal = told.judged(f'{CEILING}deny = ["pkg:pypi/*"]\n', None)
    assert refusal.code == "denied"


def test_an_official_image_is_asked_about_under_both_its_names(told):
    """Whoever warns of alpine warns of library/alpine: one history alone would tell half."""
    proofs, asked = Proofs(told.world.archive), []

    def fetch(subject):
        asked.append(subject.text)
        return trio.run(proofs.of_history, subject)

    for name in ("alpine", "library/alpine"):
        learned = told.histories(fetch=fetch)(told.story.pin.digest, f"pkg:docker/{name}@3", "ab" * 32)
        assert [one.id for one in learned.known.advisories] == ["CVE-3"]
    assert set(asked) == {"pkg:docker/alpine", "pkg:docker/library/alpine", "ab" * 32}
    do = missing("pkg:docker/alpine@3", "ab" * 32)
    assert "history pkg:docker/library/alpine --prove FACTS2" in do
    assert do.endswith("--facts FACTS1 --facts FACTS2 --facts FACTS3")


def test_facts_of_the_package_and_of_the_file_are_heeded(told):
    learn = told.histories(told.after.values())
    refusal = told.judged(CEILING, learn)
    assert refusal.code == "denied"
    assert "CVE-1 is high" in refusal.what + refusal.do
    assert "CVE-2 is critical" in refusal.what + refusal.do
    assert told.judged('[all]\nmax_severity = "critical"\nlicences_allow = ["MIT"]\n', learn) == "REPRODUCED"
    assert told.judged('[all]\nlicences_deny = ["MIT"]\n', learn).code == "denied"
    nobody = "a" * 52
    assert told.judged(f'{CEILING}issuers = ["{nobody}"]\n', learn) == "REPRODUCED"
    assert told.judged(f'{CEILING}issuers = ["{told.issuer}"]\n', learn).code == "denied"


def test_a_node_is_asked_once_a_subject_and_only_where_a_rule_asks(told):
    asked = []

    def fetch(subject):
        asked.append(subject.text)
        return told.after[subject.text]

    learn = told.histories(fetch=fetch)
    assert told.judged("", learn) == "REPRODUCED"
    assert asked == []
    for _ in range(2):
        assert told.judged(CEILING, learn).code == "denied"
    assert asked == [IDNA, told.story.sha256]


def test_a_node_that_hides_an_advisory_is_found_out_or_tells_an_old_history(told):
    def cut(subject):
        lines = told.after[subject.text].split(b"\n")
        return b"\n".join([line for line in lines if b"CVE-" not in line])

    refusal = told.judged(CEILING, told.histories(fetch=cut))
    assert refusal.code == "proof-invalid"
    other = told.histories(fetch=lambda subject: told.after[IDNA])
    assert told.judged(CEILING, other).code == "proof-invalid"  # of another subject
    old = told.histories(told.before.values())  # proven, and before anybody warned
    assert told.judged(CEILING, old) == "REPRODUCED"
    later_ms = NOW_MS + 3_600_000
    assert (
        told.judged(CEILING, old, now_ms=later_ms, current=True).code == "too-old"
    )  # a node's word is of now
    much_later_ms = NOW_MS + 400 * DAY_MS
    assert told.judged(CEILING, old, now_ms=much_later_ms).code == "too-old"


def test_a_history_of_a_network_that_is_not_pinned_or_of_another_than_the_proof_counts_for_nothing(told):
    with pytest.raises(Refusal) as caught:
        Histories([], verify, now_ms=NOW_MS, given=[told.after[IDNA]])
    assert caught.value.code == "not-pinned"
    learn = told.histories(told.after.values())
    assert learn(told.story.pin.digest, PURL, told.story.sha256) is not None
    assert learn("f" * 64, PURL, told.story.sha256) is None


class Withdrawing(Told):
    """The same log, of which somebody has a proof from before anybody wanted the file gone."""

    def __init__(self, folder):
        super().__init__(folder)
        self.old = self.story.proof()

    def says(self, kind, body, *authors):
        """A motion and its approvals, or another entry, as blocks of their own."""
        world = self.world
        raw = world.entry(world.nodes[0], kind, body)
        world.block(raw)
        for one in authors:
            world.block(world.entry(one, "motion.approve", {"motion": entries.entry_id(raw).hex()}))

    def refusal(self, proof=None):
        given = self._kept(self.world).values()
        found = evidence.read(proof or self.old, [self.story.pin], verify)
        try:
            judge_digest(
                self.story.sha256, found, now_ms=NOW_MS, expected=None, verify=verify,
                policy=rules.parse(b"", "mine"), learn=self.histories(given),
            )  # fmt: skip
        except Refusal as refusal:
            return refusal
        return None


@pytest.fixture
def withdrawing(tmp_path):
    made = Withdrawing(tmp_path)
    yield made
    made.world.close()


def test_a_history_that_holds_a_withdrawal_speaks_against_an_older_proof_though_no_rule_asks(withdrawing):
    nodes, gone = withdrawing.world.nodes, about("artifact.withdraw", withdrawing.story.sha256)
    withdrawing.says("motion.propose", gone)
    assert withdrawing.refusal() is None  # whoever proposes decides nothing
    withdrawing.says("motion.propose", {**gone, "reason": "again"}, nodes[1])
    refusal = withdrawing.refusal()
    assert (refusal.code, refusal.who) == ("too-old", "the proof file")
    assert f"validators approved to withdraw {PURL}" in refusal.what
    assert "bring a newer proof" in refusal.do
    assert (
        withdrawing.refusal(withdrawing.story.proof()) is None
    )  # one approval was not enough, and that is proven
    withdrawing.says("motion.propose", {**gone, "reason": "now"}, *nodes[1:4])
    assert withdrawing.refusal().code == "too-old"


def test_a_maintainer_s_withdrawal_in_a_history_refuses_with_its_reason(withdrawing):
    withdrawing.says("motion.propose", mapping(), *withdrawing.world.nodes[1:4])
    assert withdrawing.refusal() is None
    withdrawing.says("artifact.withdraw", withdrawal(withdrawing.world, withdrawing.story.sha256))
    refusal = withdrawing.refusal()
    assert refusal.code == "denied"
    assert f"{PURL} was withdrawn in leaf" in refusal.what


def test_a_motion_of_another_kind_about_the_package_is_no_matter(withdrawing):
    withdrawing.says("motion.propose", mapping(), *withdrawing.world.nodes[1:3])
    assert withdrawing.refusal() is None


def test_a_history_that_ends_before_the_file_was_published_says_nothing_of_it(tmp_path):
    """Its age may be fine, and still it hides all that was ever said of this version."""
    world = Kept(tmp_path)
    try:
        world.block(
            world.entry(world.follower, "fact.add", fact("licence", "pkg:pypi/other", expression="MIT"))
        )
        early = len(world.leaves)
        story = Story(world=world, dissenter=True)
        world.archive.keep_checkpoint(story.note(story.head(early)))
        proofs = Proofs(world.archive)
        old = [trio.run(proofs.of_history, Subject.parse(one)) for one in (IDNA, story.sha256)]
        world.archive.keep_checkpoint(story.note())
        new = [trio.run(proofs.of_history, Subject.parse(one)) for one in (IDNA, story.sha256)]
        found = evidence.read(story.proof(), [story.pin], verify)
        policy = rules.parse(CEILING.encode(), "mine")

        def judged(given):
            learn = Histories([story.pin], verify, now_ms=NOW_MS, given=given)
            return judge_digest(story.sha256, found, now_ms=NOW_MS, expected=None, verify=verify,
                                policy=policy, learn=learn).status  # fmt: skip

        assert judged(new) == "REPRODUCED"
        for given in (old, (new[0], old[1]), (old[0], new[1])):
            with pytest.raises(Refusal, match=f"it was published in leaf {story.artifact.leaf}") as caught:
                judged(given)
            assert caught.value.code == "no-proof"
            assert f"pyrsia log history {IDNA} --prove" in caught.value.do
    finally:
        world.close()
