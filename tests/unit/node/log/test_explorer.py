"""Pages and filters of the log against the definition: every leaf parsed, in a list."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrsia.errors import Refusal
from pyrsia.ledger import entries
from pyrsia.ledger.glance import MAX_BLOCK_LEAVES
from pyrsia.ledger.matching import PurlGlob
from pyrsia.ledger.touches import package_key
from pyrsia.node.log.explorer import STRETCH, WORK, Explorer
from pyrsia.node.log.summary import summary
from pyrsia.serve.desks.views import LogQuery
from pyrsia.wire.text import b32
from tests.reference import merkle
from tests.reference.ledger import START
from tests.reference.parts import Kept
from tests.reference.story import Story


class Truth:
    """A log with two builds and some facts, and the slow answers about it."""

    def __init__(self, folder):
        self.world = Kept(folder)
        for at in range(30):
            self.world.block(*(self.fact(at, one) for one in range(at % 4 + 1)), wait=1_000 + 37 * at)
        self.story = Story(world=self.world, dissenter=True)
        self.leaves = self.world.leaves
        self.names = {member.text: member.name for member in self.world.genesis.members}
        self.parsed = [entries.parse(leaf) for leaf in self.leaves]
        self.times, time = [], 0
        for entry in reversed(self.parsed):
            time = entry.body["time_ms"] if entry.kind == "block.seal" else time
            self.times.insert(0, time)
        self.explorer = Explorer(self.world.archive, self.world.genesis)

    def fact(self, at, one):
        body = {
            "kind": ("review", "licence")[one % 2],
            "subject": f"pkg:pypi/{'idna' if at % 3 else 'other'}" + (f"@{one}.0" if at % 2 else ""),
            "text": f'Number {at} of ALL ÄÖ "quoted"',
            "valid_from": 1,
        }
        return self.world.entry(self.world.nodes[at % 5], "fact.add", body)

    @property
    def size(self):
        return len(self.leaves)

    def packages(self, entry):
        body = entry.body
        if "purl" in body:
            return [body["purl"]]
        if entry.kind == "fact.add":
            return [body["subject"]]
        return ["pkg:pypi/idna@1.0"] if body.get("request") == self.story.request else []

    def wanted(self, query):
        """Indices of every leaf that the query means, oldest first, whatever the page."""
        end = self.size if query.as_of is None else query.as_of
        if query.as_of_ms is not None:
            end = sum(time <= query.as_of_ms for time in self.times)
        found = []
        for index, (entry, time) in enumerate(zip(self.parsed[:end], self.times, strict=False)):
            author = b32(entry.author) if entry.author else ""
            line = summary(index, entry.raw, self.names).summary
            if (
                (not query.kinds or entry.kind in query.kinds)
                and (not query.author or query.author in (author, self.names.get(author)))
                and (not query.verdicts or entry.body.get("verdict") in query.verdicts)
                and (query.purl is None or any(query.purl.matches(one) for one in self.packages(entry)))
                and (query.since_ms is None or time >= query.since_ms)
                and (query.until_ms is None or time <= query.until_ms)
                and (query.text.lower() in entry.raw.decode().lower() + "\0" + line.lower())
            ):
                found.append(index)
        return end, found

    async def all_pages(self, query, explorer):
        """Follow `next` to the end: (indices, pages)."""
        found, pages = [], []
        while True:
            page = await explorer.find(query)
            pages.append(page)
            found += [row.index for row in page.entries]
            if page.next < 0:
                return found, pages
            assert len(pages) < 1_000
            more = {name: getattr(query, name) for name in query.__slots__} | {"first": page.next}
            query = LogQuery(**more)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    made = Truth(tmp_path_factory.mktemp("explorer"))
    yield made
    made.world.close()


def query_of(truth, draw):
    sometimes = st.none() | st.sampled_from(truth.times) | st.integers(START - 5_000, truth.times[-1] + 5_000)
    as_of = draw(st.none() | st.integers(1, truth.size))
    then = st.none() | st.sampled_from(truth.times) | st.integers(truth.times[0], truth.times[-1] + 5_000)
    purls = [None, *map(PurlGlob.parse, ("pkg:pypi/idna", "pkg:pypi/idna@1.0", "*", "pkg:npm/*"))]
    return LogQuery(
        count=draw(st.sampled_from([1, 2, 7, 1_000])),
        order=draw(st.sampled_from(["oldest", "newest"])),
        kinds=draw(
            st.sampled_from([frozenset(), frozenset(["fact.add"]), frozenset(["block.seal", "build.reveal"])])
        ),
        author=draw(st.sampled_from(["", "node 2", b32(truth.world.follower.public)])),
        purl=draw(st.sampled_from(purls)),
        verdicts=draw(st.sampled_from([frozenset(), frozenset(["REPRODUCED"]), frozenset(["DIVERGED"])])),
        text=draw(st.sampled_from(["", "number 1", "BY NODE", '"quoted"', "nowhere", "ÄÖ"])),
        since_ms=draw(sometimes),
        until_ms=draw(sometimes),
        as_of=as_of,
        as_of_ms=draw(then) if as_of is None else None,
    )


@settings(max_examples=120, deadline=None)
@given(data=st.data(), work=st.sampled_from([1, 13, 300, 100_000]))
def test_following_the_pages_of_any_query_gives_the_definitions_leaves(truth, data, work):
    query = query_of(truth, data.draw)
    if query.since_ms is not None and query.until_ms is not None and query.since_ms > query.until_ms:
        query = LogQuery()
    end, wanted = truth.wanted(query)
    found, pages = trio.run(
        truth.all_pages, query, Explorer(truth.world.archive, truth.world.genesis, work=work)
    )
    assert found == (wanted if query.order != "newest" else wanted[::-1])
    for page in pages:
        assert page.size == end
        assert page.root == merkle.root([merkle.leaf_hash(leaf) for leaf in truth.leaves[:end]]).hex()
        assert len(page.entries) <= query.count
        assert page.scanned <= max(work, 1)
        for row in page.entries:
            assert (row.kind, row.time_ms) == (truth.parsed[row.index].kind, truth.times[row.index])


def find(truth, **fields):
    return trio.run(truth.explorer.find, LogQuery(**fields))


def test_a_plain_page_is_the_newest_told_oldest_first(truth):
    page = find(truth, count=5)
    assert [row.index for row in page.entries] == list(range(truth.size - 5, truth.size))
    assert (page.first, page.next, page.size) == (truth.size - 5, -1, truth.size)
    page = find(truth, first=3, count=5)
    assert ([row.index for row in page.entries], page.next) == ([3, 4, 5, 6, 7], 8)


def test_a_filter_alone_begins_with_the_newest(truth):
    page = find(truth, kinds=frozenset(["block.seal"]), count=2)
    seals = [i for i, entry in enumerate(truth.parsed) if entry.kind == "block.seal"]
    assert [row.index for row in page.entries] == seals[:-3:-1]


def test_the_log_is_told_from_its_first_block_on(truth):
    assert find(truth, as_of_ms=truth.times[0]).size == 2


def test_beyond_the_end_there_is_nothing(truth):
    for order in ("oldest", "newest", ""):
        page = find(truth, first=truth.size + 5, order=order)
        assert page.next == -1
        assert (not page.entries) is (order != "newest")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"as_of": 10**9}, "never as long"),
        ({"as_of": 0}, "the log began later: its first block is of 20"),
        ({"as_of_ms": START - 5_000}, "the log began later"),
        ({"as_of_ms": 4_070_908_800_000}, "lies ahead"),
        ({"as_of": 3, "as_of_ms": START + 5_000}, "two moments"),
        ({"author": "nobody"}, "no member"),
        ({"author": "a" * 51}, "no member"),
    ],
)
def test_what_cannot_be_meant_is_refused(truth, fields, word):
    with pytest.raises(Refusal, match=word) as refused:
        find(truth, **fields)
    assert refused.value.code == "bad-request"


def test_a_node_id_that_is_no_members_is_asked_for_and_not_found(truth):
    assert find(truth, author=b32(b"x" * 32)).entries == ()


class Long:
    """A million leaves, all alike but for seals, that exist only when they are asked for."""

    size, head, asked, together = 1_000_000, None, 0, 0
    seal = (
        '{"body":{"beacon":"x","first_leaf":%d,"height":1,"time_ms":%d},"net":"n","type":"block.seal","v":1}'
    )

    def entry(self, index):
        return self.entries(index, 1)[0]

    def leaf_of(self, entry_id):
        return None

    def state(self, key):
        return None

    def tile(self, level, index, width):
        return bytes(32 * width)

    def here_from(self, first):
        return first

    def entries(self, first, count):
        self.asked += count
        self.together = max(self.together, count)
        return [self.leaf(i) for i in range(first, min(self.size, first + count))]

    def leaf(self, index):
        block, at = divmod(index, MAX_BLOCK_LEAVES)
        if at == MAX_BLOCK_LEAVES - 1 or index == self.size - 1:
            return (self.seal % (block * MAX_BLOCK_LEAVES, 1_000 * block)).encode()
        return b"{}"


def test_one_request_looks_at_so_many_leaves_and_gives_others_their_turn(truth):
    log, turns = Long(), 0

    async def count_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def scenario():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            query = LogQuery(kinds=frozenset(["fact.add"]), text="nothing like it")
            page = await Explorer(log, truth.world.genesis).find(query)
            nursery.cancel_scope.cancel()
        return page

    page = trio.run(scenario)
    assert (page.entries, page.scanned) == ((), WORK.value)
    assert page.next == log.size - 1 - WORK.value
    assert turns >= WORK.value // STRETCH.value - 2
    assert log.together <= STRETCH.value


def test_one_packages_history_is_read_from_the_index_however_long_the_log_is(truth):
    class Indexed(Long):
        places, read = [5, 6, *range(400_000, 400_300), 999_990], 0

        def history(self, key, first, count):
            assert key == package_key("pkg:pypi/idna")
            self.read += 1
            return [(index, b"") for index in self.places if index >= first][:count]

        def entry(self, index):
            assert index in self.places
            return b"{}"

    for order in ("oldest", "newest"):
        log = Indexed()
        query = LogQuery(purl=PurlGlob.parse("pkg:pypi/idna"), order=order)
        page = trio.run(Explorer(log, truth.world.genesis).find, query)
        found = [row.index for row in page.entries]
        assert found == (log.places if order == "oldest" else log.places[::-1])
        assert (page.next, page.scanned) == (-1, len(log.places))
        assert log.read < 60


def test_leaves_are_found_by_time_in_halves_however_large_the_blocks(truth):
    log = Long()
    explorer = Explorer(log, truth.world.genesis)

    def at(time_ms):
        return trio.run(explorer.find, LogQuery(since_ms=time_ms, order="oldest", count=1)).entries

    for block in (0, 1, 7, 300, log.size // MAX_BLOCK_LEAVES):
        (row,) = at(1_000 * block)
        assert (row.index, row.time_ms) == (block * MAX_BLOCK_LEAVES, 1_000 * block)
    assert at(10**9) == ()
    log.asked = 0
    at(300_500)
    assert log.asked < 30 * 2 * MAX_BLOCK_LEAVES
