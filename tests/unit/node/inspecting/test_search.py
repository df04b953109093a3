"""Records of the log against the definition: every record made, in a list, and the same log cut short."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pyrsia.errors import Refusal
from pyrsia.ledger import entries
from pyrsia.node.inspecting.search import STRETCH, Inspector
from pyrsia.node.log.archive import Archive
from pyrsia.serve.desks.inspecting import FIELDS, InspectQuery, Package
from pyrsia.serve.inspecting.names import pip
from pyrsia.serve.inspecting.where import MILLISECONDS, NUMBERS, SECONDS, TEXTS, parse
from pyrsia.store.rocks import Database
from pyrsia.wire.text import b32
from tests.reference.governance import Governed, fact, newcomer
from tests.reference.parts import Kept
from tests.reference.pasts import Eventful, Mixed

WHATS = ("artifacts", "nodes", "builds")
EVERY = 1_000


class Answers:
    """The log of an eventful network, and what a node whose log ended at each block says of it."""

    def __init__(self, folder):
        self.world = Eventful(folder / "world")
        self.inspector = self.asked_at(self.world.archive, self.world.time)
        self.at = {}  # size -> what -> records
        database = Database.open(folder / "again")
        archive = Archive(database, self.world.genesis)
        for commit in self.world.commits:
            archive.write(commit, None, None)
            time_ms = max((one.time_ms for one in self.page(self.inspector, "builds")), default=0)
            asked = self.asked_at(archive, time_ms)
            self.at[commit.tree_size] = {what: self.page(asked, what) for what in WHATS}
        database.close()

    def asked_at(self, archive, time_ms, **more):
        return Inspector(archive, self.world.genesis, clock=lambda: time_ms / 1000, **more)

    def page(self, inspector, what, **fields):
        return trio.run(inspector.inspect, InspectQuery(what, **{"count": EVERY, **fields})).rows

    def all(self, what):
        return self.at[self.world.archive.size][what]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspecting")
    (folder / "world").mkdir()
    made = Answers(folder)
    yield made
    made.world.close()


def ask(answers, what="artifacts", **fields):
    return answers.page(answers.inspector, what, **fields)


async def followed(inspector, query, most=10_000):
    """Every record of every page, and the pages."""
    pages = [await inspector.inspect(query)]
    while pages[-1].next:
        assert len(pages) < most
        told = {name: getattr(query, name) for name in query.__slots__}
        pages.append(await inspector.inspect(InspectQuery(**(told | {"page": pages[-1].next}))))
    return [row for page in pages for row in page.rows], pages


# -- time --


@pytest.mark.parametrize("what", WHATS)
def test_as_of_any_block_the_records_are_those_of_a_log_that_ended_there(answers, what):
    for size, told in answers.at.items():
        assert ask(answers, what, as_of=size) == told[what], size


@pytest.mark.parametrize("what", WHATS)
def test_as_of_a_time_is_as_of_its_last_block(answers, what):
    for size in list(answers.at)[::5]:
        page = trio.run(answers.inspector.inspect, InspectQuery(what, count=EVERY, as_of=size))
        later = trio.run(
            answers.inspector.inspect, InspectQuery(what, count=EVERY, as_of_ms=page.time_ms + 1)
        )
        assert (later.size, later.rows) == (page.size, page.rows)


def test_a_file_goes_through_all_that_happened_to_it(answers):
    world = answers.world
    sha256 = world.sha256(world.first)
    seen = []
    for size in answers.at:
        for row in ask(answers, as_of=size):
            if (row.artifact_hash, row.operation) == (sha256, "AddArtifact") and row.status not in seen[-1:]:
                seen.append(row.status)
    assert seen == ["REPRODUCED", "DISPUTED", "REPRODUCED", "WITHDRAWN"]


def test_a_size_that_the_log_has_not_reached_is_refused(answers):
    with pytest.raises(Refusal, match="never as long"):
        ask(answers, as_of=answers.world.archive.size + 1)
    with pytest.raises(Refusal, match="lies ahead"):
        ask(answers, as_of_ms=answers.world.time + 3_600_000)
    with pytest.raises(Refusal, match="the log began later"):
        ask(answers, as_of=0)


# -- what a record says --


def test_each_of_the_four_operations_is_told_with_who_did_what(answers):
    world, rows = answers.world, answers.all("artifacts")
    assert [(row.operation, row.package_specific_id) for row in rows] == [
        ("AddArtifact", "idna==1.0"), ("AddArtifact", "idna==2.0"), ("AddArtifact", "idna==2.0"),
        ("AddArtifact", "idna==1.0"), ("AddArtifact", "idna==3.0"), ("RemoveArtifact", "idna==1.0"),
        ("RemoveArtifact", "idna==3.0"),
    ]  # fmt: skip
    first, removed, by_motion = rows[0], rows[5], rows[6]
    verdict = world.first.verdict.body
    assert (first.node_id, first.agreeing) == (verdict["agreeing"][0], tuple(verdict["agreeing"]))
    assert bytes.fromhex(first.node_public_key) in {node.public for node in world.nodes}
    assert (first.build_id, first.source_hash) == (world.first.id, verdict["source_sha256"])
    assert (removed.node_id, removed.reason) == (b32(world.nodes[1].public), "because it is so")
    assert (by_motion.node_id, by_motion.artifact_hash) == (
        b32(world.follower.public),
        world.sha256(world.third),
    )
    assert by_motion.motion
    assert [row.num_artifacts for row in rows] == [1, 2, 2, 1, 1, 1, 1]
    assert [row.advisories for row in rows] == [1, 0, 0, 1, 0, 1, 0]


def test_members_are_told_from_genesis_on_with_their_keys(answers):
    world, rows = answers.world, answers.all("nodes")
    founders, later = rows[:12], rows[12:]
    assert {row.node_name for row in founders} == {member.name for member in world.genesis.members}
    assert {(row.leaf, row.operation, row.status) for row in founders} == {(0, "AddNode", "member")}
    assert [(row.operation, row.status) for row in later] == [
        ("AddNode", "left"), ("ChangeNode", "left"), ("RemoveNode", "left"),
    ]  # fmt: skip
    came, changed, left = later
    assert came.node_id == changed.node_id == left.node_id == newcomer()["node"]
    assert (came.keys["build"], left.keys["build"]) == (newcomer()["build"], changed.keys["build"])
    assert changed.keys["build"] != came.keys["build"]


def test_builds_are_told_by_request_with_their_verdicts(answers):
    rows = answers.all("builds")
    assert [(row.package_specific_id, row.status, row.verdict) for row in rows] == [
        ("idna==1.0", "done", "REPRODUCED"), ("idna==2.0", "done", "REPRODUCED"),
        ("idna==1.0", "done", "REPRODUCED"), ("idna==3.0", "done", "REPRODUCED"), ("idna==4.0", "drawn", ""),
    ]  # fmt: skip
    of_builds = {row.build_id for row in answers.all("artifacts")}
    assert of_builds == {row.id for row in rows if row.verdict}


def test_the_newest_record_is_the_latest_and_not_the_oldest_as_the_original_had_it(answers):
    versions = Package(("pkg:pypi/idna",), frozenset(("2.0",)))
    assert [row.file for row in ask(answers, package=versions, newest=True, latest=True)] == [
        "idna-2.0-py3-none-any.whl", "idna-2.0.tar.gz",
    ]  # fmt: skip
    one = Package(("pkg:pypi/idna",), frozenset(("1.0",)))
    add = (parse("operation = AddArtifact"),)
    [latest] = ask(answers, package=one, where=add, newest=True, latest=True)
    assert latest.build_id == answers.world.second.id != answers.world.first.id
    [removed] = ask(answers, newest=True, latest=True)
    assert (removed.operation, removed.package_specific_id) == ("RemoveArtifact", "idna==3.0")
    assert ask(answers, "nodes", newest=True, latest=True)[0].operation == "RemoveNode"


def test_the_newest_record_is_found_in_bounds_whatever_lies_behind_it(answers):
    """What belongs to no build ends the search; the rest of a build is sought no longer than a page takes."""
    inspector = answers.asked_at(answers.world.archive, answers.world.time, work=40)
    nodes = trio.run(inspector.inspect, InspectQuery("nodes", newest=True, latest=True))
    assert [row.operation for row in nodes.rows] == ["RemoveNode"]
    assert (nodes.scanned, nodes.next) == (2, "")  # a seal, and it

    until = answers.world.other.artifact.leaf  # of its two files the first
    at = InspectQuery("artifacts", newest=True, latest=True, as_of=until + 1)
    alone = trio.run(answers.asked_at(answers.world.archive, answers.world.time, work=12).inspect, at)
    assert (len(alone.rows), alone.next) == (1, "")
    assert alone.scanned <= 13


# -- what is asked for --


def test_a_package_is_found_by_its_history_and_no_other_leaf_is_looked_at(answers):
    for newest in (False, True):
        page = trio.run(
            answers.inspector.inspect, InspectQuery("artifacts", pip("IDNA"), count=EVERY, newest=newest)
        )
        rows = answers.all("artifacts")
        assert page.rows == (rows[::-1] if newest else rows)
        none = trio.run(answers.inspector.inspect, InspectQuery("artifacts", pip("other"), newest=newest))
        assert (none.rows, none.scanned) == ((), 0)
    one = ask(answers, package=pip("idna==1"))
    assert one == tuple(row for row in answers.all("artifacts") if row.purl.endswith("@1.0"))
    by_digest = Package(
        ("pkg:pypi/idna",), frozenset(("sha256:x",)), answers.world.sha256(answers.world.third)
    )
    assert {row.package_specific_id for row in ask(answers, package=by_digest)} == {"idna==3.0"}
    builds = ask(answers, "builds", package=pip("idna==4.0"))
    assert [row.status for row in builds] == ["drawn"]


def condition(draw, rows):
    """A condition as text, and the slow answer to it."""
    field = draw(st.sampled_from(FIELDS))
    value = getattr(draw(st.sampled_from(rows)), field)
    if isinstance(value, (tuple, dict)):
        several = tuple(value.values()) if isinstance(value, dict) else value
        value = draw(st.sampled_from(several)) if several else None
    if value is None:
        op, written = draw(st.sampled_from(("=", "!="))), draw(st.sampled_from(("null", '""')))
        if field in NUMBERS | SECONDS | MILLISECONDS:
            written = "null"
        return (
            f"{field} {op} {written}",
            lambda found: (found in (None, (), {}, "" if written != "null" else None)) == (op == "="),
        )
    number = field in NUMBERS | SECONDS | MILLISECONDS
    op = draw(
        st.sampled_from(("=", "!=", "<", "<=", ">", ">=") if number else ("=", "!=", "<", ">", "~", "glob"))
    )
    if op == "~":
        value = value[1:5].upper()
    if op == "glob":
        value = value[:3].replace("[", "?") + "*"
    compare = {
        "=": lambda a: a == value, "!=": lambda a: a != value, "<": lambda a: a < value, "<=": lambda a: a <= value,
        ">": lambda a: a > value, ">=": lambda a: a >= value, "~": lambda a: value.lower() in a.lower(),
        "glob": lambda a: a.startswith(value[:-1]),
    }[op]  # fmt: skip

    def holds(found):
        found = tuple(found.values()) if isinstance(found, dict) else found
        if isinstance(found, tuple) and found:
            return all(map(compare, found)) if op == "!=" else any(map(compare, found))
        return (op == ("=" if value == "" else "!=")) if found in (None, ()) else compare(found)

    return f'{field} {op} "{value}"' if not number else f"{field}{op}{value}", holds


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(), what=st.sampled_from(WHATS), newest=st.booleans(), work=st.sampled_from((1, 40, 10_000))
)
def test_conditions_and_pages_give_what_a_plain_filter_of_everything_gives(answers, data, what, newest, work):
    rows = answers.all(what)
    told = [condition(data.draw, rows) for _ in range(data.draw(st.integers(0, 2)))]
    fields = [text.partition(" ")[0].rstrip("=!<>0123456789-") for text, _ in told]
    text = data.draw(st.sampled_from(("", "IDNA", "withdrawn", "node 1", "because", "zzz")))
    wanted = [
        row
        for row in rows
        if all(holds(getattr(row, name)) for name, (_, holds) in zip(fields, told, strict=True))
        and any(text.lower() in one.lower() for one in texts(row))
    ]
    query = InspectQuery(
        what,
        where=tuple(parse(text) for text, _ in told),
        text=text,
        newest=newest,
        count=data.draw(st.sampled_from((1, 2, 5, EVERY))),
    )
    inspector = answers.asked_at(answers.world.archive, answers.world.time, work=work)
    found, pages = trio.run(followed, inspector, query)
    # Of one leaf the records stand in its own order, also where the newest leaf is first.
    assert found == sorted(wanted, key=lambda row: -row.leaf) if newest else found == wanted
    assert all(len(page.rows) <= query.count for page in pages)
    assert all(page.scanned <= max(1, work) for page in pages)


def texts(row):
    for name in TEXTS:
        value = getattr(row, name)
        yield from (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, tuple)
            else [value or ""]
        )


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_pages_of_one_package_put_together_are_one_large_answer(answers, newest, count):
    query = InspectQuery("artifacts", pip("idna"), count=count, newest=newest)
    for work in (1, 30, 10_000):
        inspector = answers.asked_at(answers.world.archive, answers.world.time, work=work)
        found, pages = trio.run(followed, inspector, query)
        assert tuple(found) == ask(answers, package=pip("idna"), newest=newest)
        assert {page.size for page in pages} == {answers.world.archive.size}


def test_times_bound_what_is_told(answers):
    for what in WHATS:
        rows = answers.all(what)
        middle = rows[len(rows) // 2].time_ms
        assert ask(answers, what, since_ms=middle) == tuple(row for row in rows if row.time_ms >= middle)
        assert ask(answers, what, until_ms=middle) == tuple(row for row in rows if row.time_ms <= middle)


@pytest.mark.parametrize(
    "page", ["x", "1", "1.2", "9999999.0.0", "5.5.0", "1.-1.0", "1.0.99999", "0.0.0", "1" * 400, "1.0.0\n"]
)
def test_a_page_that_no_answer_named_is_refused(answers, page):
    with pytest.raises(Refusal, match="`page`"):
        ask(answers, page=page)


def test_who_asks_for_no_advisories_is_told_none_and_no_history_is_read_for_them(answers):
    assert {row.advisories for row in ask(answers, advisories=False)} == {None}
    rows = ask(answers, advisories=False, where=(parse("advisories > 0"),))  # but a condition is answered
    assert rows == tuple(row for row in answers.all("artifacts") if row.advisories)


class Begun:
    """A log without its beginning."""

    def __init__(self, log, first):
        self._log, self._first = log, first

    def __getattr__(self, name):
        return getattr(self._log, name)

    def here_from(self, first):
        return max(first, self._first)


def test_a_log_without_its_beginning_says_so(answers):
    log = Begun(answers.world.archive, 40)
    inspector = answers.asked_at(log, answers.world.time)
    for newest in (False, True):
        page = trio.run(
            inspector.inspect, InspectQuery("artifacts", count=EVERY, newest=newest, advisories=False)
        )
        rows = [replace(row, advisories=None) for row in answers.all("artifacts") if row.leaf >= 40]
        assert (list(page.rows), page.whole) == (rows[::-1] if newest else rows, False)


def test_others_have_their_turn_while_leaves_are_looked_at(answers):
    async def main():
        turns = 0

        async def others():
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            await answers.inspector.inspect(InspectQuery("nodes", text="nowhere"))
            nursery.cancel_scope.cancel()
        return turns

    assert trio.run(main) >= answers.world.archive.size // STRETCH.value


class Advised(Kept, Governed):
    """One build, and advisories that speak of its file, come later, and are taken back."""

    def __init__(self, folder):
        super().__init__(folder)
        request, builders = self.drawn()
        done = self.run(request, [(builder, self.reveal(request)) for builder in builders])
        self.before = self.archive.size
        sha256 = done.artifact.body["sha256"]
        of_file = self._say(subject=f"sha256:{sha256}", advisory="CVE-1")
        self.later_ms = self.time + 3_600_000
        self._say(subject="pkg:pypi/idna@1.0", advisory="CVE-2", valid_from=self.later_ms)
        self.after = self.archive.size
        self._say(subject=f"sha256:{sha256}", supersedes=of_file, withdrawn=True)

    def _say(self, **fields):
        severity = {} if "withdrawn" in fields else {"severity": "high"}
        raw = self.entry(self.nodes[0], "fact.add", fact("advisory", **severity, **fields))
        self.block(raw)
        return entries.entry_id(raw).hex()


def test_advisories_of_a_file_those_that_come_later_and_those_that_were_taken_back(tmp_path):
    world = Advised(tmp_path)

    def counted(now_ms, **fields):
        inspector = Inspector(world.archive, world.genesis, clock=lambda: now_ms / 1000)
        [row] = trio.run(inspector.inspect, InspectQuery("artifacts", **fields)).rows
        return row.advisories

    assert counted(world.time, as_of=world.before) == 0
    assert counted(world.later_ms, as_of=world.after) == 1  # the clock of then, and not of now
    assert counted(world.time) == 0
    assert counted(world.later_ms) == 1
    assert (
        counted(world.later_ms, as_of_ms=world.later_ms) == 1
    )  # a time is the moment, as an audit has it, not its last block
    assert counted(world.later_ms, as_of_ms=world.later_ms - 1) == 0
    world.close()


def test_advisories_of_an_official_image_count_under_both_its_names(tmp_path):
    world = Mixed(tmp_path)
    told = fact("advisory", "pkg:docker/library/alpine", advisory="CVE-1", severity="high")
    world.block(world.entry(world.nodes[0], "fact.add", told))
    inspector = Inspector(world.archive, world.genesis, clock=lambda: world.time / 1000)
    rows = trio.run(inspector.inspect, InspectQuery("artifacts", count=EVERY)).rows
    assert {row.advisories for row in rows if row.purl.startswith("pkg:docker/alpine@")} == {1}
    assert {row.advisories for row in rows if row.purl.startswith("pkg:pypi/")} == {0}
    world.close()
