"""A storage member's desk and the builders before it: nothing is signed for bytes that are not on this disk."""

import hashlib

import pytest
import trio
import trio.testing

from pyrsia.errors import Malformed, Refusal, StorageFull, Unavailable
from pyrsia.keys import verify
from pyrsia.ledger import receipts, views
from pyrsia.mesh.scores import Scores
from pyrsia.net.data import Counters
from pyrsia.node.builds.receipts import AGAIN_S, HEDGE_S, SELDOM_S, Receipts
from pyrsia.node.mesh import receipting
from pyrsia.node.mesh.owning import storage_members
from pyrsia.node.mesh.receipting import AT_ONCE, LAG_S, MAX_BYTES, PIN, Receipting
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.shelf import Shelf
from pyrsia.store.blobs import Blobs
from pyrsia.store.rocks import Database
from pyrsia.transfer.manifest import Manifest
from pyrsia.units import CHUNK_BYTES, REVEAL_WINDOW_MS, NodeId
from pyrsia.wire.receipts import Ask, Wanted
from pyrsia.wire.text import b32
from tests.reference import receipts as oracle
from tests.reference.governance import Governed
from tests.reference.ledger import key
from tests.reference.waiting import until

LOCK = b"a lock of one line\n"
FILES = {word: f"the {word} of a build".encode() * 9 for word in ("wheel", "members", "metadata", "log")}
FILES["large"] = bytes(range(256)) * 2_000  # two chunks


def ref(data):
    manifest = Manifest.of([data])
    return {"manifest": manifest.id.hex(), "sha256": manifest.sha256.hex(), "size": len(data)}


def node_of(pair):
    return NodeId(pair.public)


class Plane:
    """The data links of a storage member: builders that lend `files`, each in its own way."""

    def __init__(self):
        self.counters = Counters()
        self.lent, self.fetched, self.gate, self.lies, self.stuck = {}, [], None, {}, set()

        self.describe = trio.Event()
        self.describe.set()

    def lend(self, builder, *files):
        held = self.lent.setdefault(node_of(builder), {})
        held.update({Manifest.of([data]).id: data for data in files})

    async def manifest(self, manifest_id, sources):
        source = sources[0]
        await self.describe.wait()
        if manifest_id not in self.lent.get(source, {}):
            raise Unavailable("does not offer it")
        return Manifest.of([self.lent[source][manifest_id]])

    async def fetch(self, manifest, sources, write, *, held=0, places=None, find=None):
        source = sources[0]
        self.fetched.append((source, manifest.sha256))
        while source in self.stuck:
            await trio.sleep(1)
            source = list(await find())[-1]
        if self.gate is not None:
            await self.gate(source)
        data = self.lies.get(source, self.lent[source][manifest.id])
        for at in range(0, len(data), CHUNK_BYTES.value):
            write(at, data[at : at + CHUNK_BYTES.value])
        await trio.lowlevel.checkpoint()


class Stage:
    """The reference's world with four storage members; the first of them is this desk."""

    def __init__(self, folder, **changes):
        self.folder = folder
        self.world = Governed(storage=(0, 1, 2, 3), **changes)
        self.request, self.builders = self.world.drawn(lock=ref(LOCK))
        self.said = views.request(self.world.db.get, self.request).request.body
        self.bodies = {one: self.body() for one in self.builders}
        self.pulse, self.scores, self.plane = Pulse(), Scores(), Plane()
        self.synced = 0
        self.open()

    def open(self):
        self.database = Database.open(self.folder / "db")
        self.blobs = Blobs(self.folder / "blobs", self.database)
        self.shelf = Shelf(self.database, self.blobs, self.plane, named=lambda _: False)
        self.desk = Receipting(
            key(0, "node"),
            self.world.genesis,
            reads=self.world.db.get,
            shelf=self.shelf,
            blobs=self.blobs,
            sync=self.sync,
            pulse=self.pulse,
            scores=self.scores,
            now_ms=lambda: self.world.time,
        )

    async def sync(self):
        self.synced += 1
        await self.database.sync()

    def close(self):
        self.database.close()

    def body(self, **changes):
        file = {**ref(FILES["wheel"]), "members": ref(FILES["members"]), "metadata": ref(FILES["metadata"])}
        bare = {**ref(FILES["large"]), "members": ref(FILES["members"])}
        body = self.world.reveal(self.request, **{"log": ref(FILES["log"]), **changes})
        body["outputs"][0].update(raw=file, canonical=bare)
        return body

    def commit(self, *builders):
        self.world.block(*(self.world.commit(one, self.bodies[one]) for one in builders or self.builders))
        self.pulse.beat()

    def ask(self, builder, body=None, *more):
        kept = receipts.blobs(body or self.bodies[builder], self.said)
        wanted = [Wanted(bytes.fromhex(one), bytes.fromhex(sha), size) for one, sha, size in kept]
        return Ask.of(bytes.fromhex(self.request), [*wanted, *more]).encode()

    def lend_all(self, builder):
        self.plane.lend(builder, LOCK, *FILES.values())

    def good(self, builder, signature, body=None):
        text = oracle.text(
            self.world.genesis.net, b32(builder.public), body or self.bodies[builder], self.said
        )
        return verify(key(0, "node").public, text, signature)

    async def answer(self, builder, data=None):
        return await self.desk.answer(node_of(builder), self.ask(builder) if data is None else data)

    async def run(self, test):
        with trio.fail_after(10_000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.desk.run)
                await trio.testing.wait_all_tasks_blocked()
                await test()
                nursery.cancel_scope.cancel()


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.close()


async def for_ever(_):
    await trio.sleep_forever()


async def refused(stage, code, builder, data=None):
    with pytest.raises(Refusal) as caught:
        await stage.answer(builder, data)
    assert caught.value.code == code, caught.value
    return caught.value


async def test_what_is_signed_is_on_the_disk_pinned_for_the_request_and_what_the_log_takes(stage):
    stage.commit()
    one, other = stage.builders[:2]
    stage.lend_all(one)

    async def test():
        signature = await stage.answer(one)
        assert stage.good(one, signature)
        for data in (LOCK, *FILES.values()):
            sha256 = hashlib.sha256(data).digest()
            assert stage.blobs.path(sha256).read_bytes() == data
            assert stage.blobs.pins(sha256) == (PIN + stage.request,)
        assert stage.synced == 1
        mine = {"node": b32(key(0, "node").public), "sig": signature.hex()}
        theirs = oracle.sign(stage.world, key(1, "node"), one, stage.bodies[one], stage.said)
        body = {**stage.bodies[one], "receipts": oracle.given(mine, theirs)}
        assert stage.world.block(stage.world.entry(one, "build.reveal", body)) == [
            "build.reveal",
            "block.seal",
        ]
        assert not stage.good(other, signature)

    await stage.run(test)


@pytest.mark.parametrize("withheld", ["wheel", "members", "metadata", "log", "large"])
async def test_a_builder_that_withholds_a_file_gets_no_receipt_and_no_reveal_into_the_log(stage, withheld):
    stage.commit()
    liar = stage.builders[0]
    stage.plane.lend(liar, LOCK, *(data for word, data in FILES.items() if word != withheld))

    async def test():
        told = await refused(stage, "unavailable", liar)
        assert "did not come whole" in told.what
        assert stage.desk.signed == 0
        # All that it can get is a receipt for less, from a desk that has not seen its list: worth nothing.
        less = stage.body(log=ref(LOCK))
        stolen = [oracle.sign(stage.world, key(i, "node"), liar, less, stage.said) for i in (1, 2)]
        body = {**stage.bodies[liar], "receipts": oracle.given(*stolen)}
        assert "does not hold" in stage.world.forced(stage.world.entry(liar, "build.reveal", body))

    await stage.run(test)


async def test_bytes_that_are_other_ones_are_not_signed_for(stage):
    stage.commit()
    liar = stage.builders[0]
    stage.lend_all(liar)
    stage.plane.lies = {node_of(liar): b"x" * len(FILES["wheel"])}

    async def test():
        await refused(stage, "unavailable", liar)
        assert (stage.desk.signed, stage.blobs.used) == (0, 0)

    await stage.run(test)


async def test_a_manifest_that_the_bytes_do_not_have_is_told_though_they_are_here(stage):
    stage.commit()
    builder = stage.builders[0]
    stage.lend_all(builder)
    for data in (LOCK, *FILES.values()):
        await stage.shelf.put(data)
    bogus = stage.bodies[builder]["log"]["manifest"] = "ab" * 32

    async def test():
        told = await refused(stage, "digest-mismatch", builder)
        assert "another manifest or size" in told.what
        assert stage.database.get("manifests", bytes.fromhex(bogus)) is None

    await stage.run(test)


@pytest.mark.parametrize("lent", [True, False])
@pytest.mark.parametrize("how", ["missing", "cut", "let-go-meanwhile"])
async def test_nothing_is_signed_for_a_file_that_is_not_on_the_disk_whatever_the_index_says(
    stage, how, lent, monkeypatch
):
    monkeypatch.setattr(receipting, "AT_ONCE", type(AT_ONCE)(64, "a test"))  # who waits holds up no other
    stage.commit()
    builder, data = stage.builders[0], FILES["wheel"]
    stage.lend_all(builder)
    if not lent:
        del stage.plane.lent[node_of(builder)][Manifest.of([data]).id]
    sha256 = hashlib.sha256(data).digest()
    path = stage.blobs.path(sha256)
    await stage.shelf.put(data)
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[:-1])

    async def let_go(_):  # the scrub comes between its pin and the signature
        await until(lambda: PIN + stage.request in stage.blobs.pins(sha256) or not stage.blobs.has(sha256))
        await stage.blobs.let_go(sha256)
        stage.plane.gate = None

    stage.plane.gate = let_go if how.startswith("let") else None

    async def test():
        if lent:
            assert stage.good(builder, await stage.answer(builder))
            assert path.read_bytes() == data
            assert stage.blobs.pins(sha256) == (PIN + stage.request,)
        else:
            await refused(stage, "unavailable", builder)
            assert stage.desk.signed == 0

    await stage.run(test)


async def test_before_the_gate_nobody_gets_anything_and_a_desk_that_lags_waits_for_the_block(
    stage, autojump_clock
):
    first, second, third = stage.builders
    stage.lend_all(first)
    stage.commit(first, second)

    async def test():
        began = trio.current_time()
        told = await refused(stage, "not-yet", first)
        assert trio.current_time() - began == LAG_S.value
        assert "awaits a reveal of yours" in told.what
        assert stage.plane.fetched == []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(got, first)
            await trio.sleep(1)
            stage.commit(third)

    async def got(builder):
        assert stage.good(builder, await stage.answer(builder))

    await stage.run(test)


async def test_who_is_not_drawn_or_has_revealed_or_is_late_gets_nothing(stage, autojump_clock):
    stage.commit()
    builder = stage.builders[0]
    stage.lend_all(builder)

    async def test():
        began = trio.current_time()
        for stranger in (stage.world.follower, key("nobody", "node")):
            await refused(stage, "not-yet", stranger, stage.ask(builder))
            assert trio.current_time() == began  # nobody waits for the log for their sake
            assert stage.scores.of(trio.current_time(), node_of(stranger)) < 0
            assert "not its to ask" in stage.scores.reason(node_of(stranger))
        unknown = Ask.of(bytes(32), [Wanted(bytes(32), bytes(32), 1)]).encode()
        await refused(stage, "not-yet", builder, unknown)
        two = [
            oracle.sign(stage.world, key(i, "node"), builder, stage.bodies[builder], stage.said)
            for i in (1, 2)
        ]
        body = {**stage.bodies[builder], "receipts": oracle.given(*two)}
        stage.world.block(stage.world.entry(builder, "build.reveal", body))
        await refused(stage, "not-yet", builder)
        stage.world.propose(wait=2 * REVEAL_WINDOW_MS.value + 600_000)
        stage.world.settle()
        await refused(stage, "not-yet", stage.builders[1])
        assert stage.plane.fetched == []

    await stage.run(test)


async def test_a_desk_that_is_behind_in_the_log_blames_no_honest_builder(stage, autojump_clock):
    """It was just started: it knows nothing of a request, then not that everybody has committed."""
    builder = stage.builders[0]
    unknown = Ask(hashlib.sha256(b"in blocks to come").digest(), Ask.decode(stage.ask(builder)).blobs)

    async def test():
        for _ in range(20):
            with pytest.raises(Refusal, match="as far as this node's log goes"):
                await stage.answer(builder, unknown.encode())
            await refused(stage, "not-yet", builder)
        assert stage.scores.of(trio.current_time(), node_of(builder)) == 0

    await stage.run(test)


async def test_a_node_without_the_role_signs_nothing(tmp_path):
    stage = Stage(tmp_path)
    stage.desk._key = stage.world.follower
    stage.desk.node = node_of(stage.world.follower)
    stage.commit()
    stage.lend_all(stage.builders[0])

    async def test():
        await refused(stage, "forbidden", stage.builders[0])

    await stage.run(test)
    stage.close()


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 33, b"\0" * 34, b"\xff" * 106, bytes(32) + b"\0\2" + bytes(144)]
)
async def test_garbage_is_the_askers_fault_and_stores_nothing(stage, data):
    stage.commit()

    async def test():
        with pytest.raises(Malformed):
            await stage.answer(stage.builders[0], data)
        assert (stage.plane.fetched, stage.desk._lists) == ([], {})

    await stage.run(test)


async def test_a_second_list_of_one_builder_is_refused_whatever_came_of_the_first(stage):
    stage.commit()
    builder = stage.builders[0]

    async def test():
        await refused(stage, "unavailable", builder)  # it lends nothing yet
        await refused(stage, "conflict", builder, stage.ask(builder, stage.body(log=ref(LOCK))))
        assert stage.scores.reason(node_of(builder)) == "asked for receipts of two reveals"
        stage.lend_all(builder)
        assert stage.good(builder, await stage.answer(builder))
        count = len(stage.plane.fetched)
        assert stage.good(builder, await stage.answer(builder))  # idempotent, and nothing comes twice
        assert len(stage.plane.fetched) == count

    await stage.run(test)


async def test_a_list_over_the_bound_and_a_full_disk_are_refused_and_nothing_is_fetched(stage):
    stage.commit()
    builder, other = stage.builders[:2]
    huge = Wanted(bytes(32), bytes(32), MAX_BYTES.value)

    async def full(*_, **__):
        raise StorageFull("0 bytes of 100 GB are free", do="make room")

    async def test():
        await refused(stage, "too-large", builder, stage.ask(builder, None, huge))
        stage.lend_all(other)
        stage.shelf.bringing.partials.open = full
        told = await refused(stage, "storage-full", other)
        assert "100 GB" not in str(told)  # how much disk we have is nobody's business
        assert (stage.plane.fetched, stage.desk.signed) == ([], 0)

    await stage.run(test)


async def given_up(stage, builder):
    """`builder` asks, and goes away once something is being fetched for it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.answer, builder)
        await until(lambda: stage.plane.fetched)
        nursery.cancel_scope.cancel()


async def test_an_asker_that_gives_up_finds_the_answer_when_it_comes_back(stage):
    stage.commit()
    builder = stage.builders[0]
    stage.lend_all(builder)
    go = trio.Event()
    stage.plane.gate = lambda _: go.wait()

    async def test():
        await given_up(stage, builder)
        go.set()
        await until(lambda: stage.desk.signed == 1)
        count = len(stage.plane.fetched)
        assert stage.good(builder, await stage.answer(builder))
        assert len(stage.plane.fetched) == count

    await stage.run(test)


async def test_equal_bytes_of_several_builders_come_once_also_where_the_first_never_gives_them(
    stage, autojump_clock
):
    stage.commit()
    stuck, other, third = stage.builders
    for one in (stuck, other):
        stage.lend_all(one)
    stage.plane.stuck = {node_of(stuck)}

    async def test():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.answer, stuck)
            await trio.sleep(10)
            assert stage.desk.signed == 0
            assert stage.good(other, await stage.answer(other))
        assert stage.desk.signed == 2
        assert len(stage.plane.fetched) == len(FILES) + 1
        assert stage.good(third, await stage.answer(third))  # and lends nothing: all is here

    await stage.run(test)


async def test_a_download_that_failed_for_another_builders_sake_is_tried_once_more(stage):
    """A liar begins it with a digest that the manifest does not have, and an honest builder wants the same."""
    stage.commit()
    liar, honest = stage.builders[:2]
    stage.lend_all(liar)
    stage.lend_all(honest)
    log = Manifest.of([FILES["log"]])
    wrong = Ask.of(bytes.fromhex(stage.request), [Wanted(log.id, bytes(32), log.size)]).encode()

    async def lies():
        with pytest.raises(Refusal) as caught:
            await stage.answer(liar, wrong)
        assert caught.value.code == "unavailable"

    async def test():
        async with trio.open_nursery() as nursery:
            stage.plane.describe = trio.Event()
            nursery.start_soon(lies)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(stage.answer, honest)
            await trio.testing.wait_all_tasks_blocked()
            stage.plane.describe.set()
        assert stage.desk.signed == 1

    await stage.run(test)


async def test_one_builder_fetches_a_few_blobs_at_once(stage):
    stage.commit()
    builder = stage.builders[0]
    stage.lend_all(builder)
    under_way = set()

    async def gate(_):
        under_way.add(trio.lowlevel.current_task())
        await trio.sleep_forever()

    async def test():
        stage.plane.gate = gate
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.answer, builder)
            await until(lambda: len(under_way) >= AT_ONCE.value)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert len(under_way) == AT_ONCE.value

    await stage.run(test)


async def test_a_desk_signs_for_as_many_lists_at_once_as_it_may(stage, monkeypatch):
    stage.commit()
    first, second = stage.builders[:2]
    monkeypatch.setattr(receipting, "MAX_WORK", type(receipting.MAX_WORK)(1, "one"))
    stage.lend_all(first)
    stage.plane.gate = for_ever

    async def test():
        await given_up(stage, first)
        await refused(stage, "busy", second)

    await stage.run(test)


async def test_work_ends_with_the_time_for_the_reveal(stage, autojump_clock):
    stage.commit()
    builder = stage.builders[0]
    stage.lend_all(builder)
    stage.plane.gate = for_ever
    deadline = views.request(stage.world.db.get, stage.request).draw.body["reveal_deadline"]

    async def test():
        began, left_s = trio.current_time(), (deadline - stage.world.time) / 1000
        told = await refused(stage, "unavailable", builder)
        assert "in time" in told.what
        assert trio.current_time() - began == pytest.approx(left_s)
        assert stage.desk._work == {}

    await stage.run(test)


async def test_after_a_restart_between_pin_and_signature_the_same_ask_is_answered(stage):
    """Nothing but pins is kept, and that is all that is needed."""
    stage.commit()
    builder = stage.builders[0]
    stage.lend_all(builder)

    async def killed():
        async def stop():
            raise Unavailable("the power went")

        stage.desk._sync = stop
        await refused(stage, "unavailable", builder)

    await stage.run(killed)
    assert stage.desk.signed == 0
    stage.close()
    stage.open()
    stage.plane.lent.clear()  # nor does anybody lend it once more

    async def again():
        assert stage.good(builder, await stage.answer(builder))
        assert len(stage.plane.fetched) == len(FILES) + 1

    await stage.run(again)


async def test_lists_of_settled_requests_are_forgotten(stage):
    stage.commit()
    builder = stage.builders[0]
    stage.lend_all(builder)

    async def test():
        await stage.answer(builder)
        assert len(stage.desk._lists) == 1
        for _ in range(2):  # everybody is silent, and drawn once more
            stage.world.propose(wait=REVEAL_WINDOW_MS.value + 700_000)
            stage.world.settle()
        stage.desk._forget()
        assert stage.desk._lists == {}

    await stage.run(test)


# -- the builder's side --


SLOW = "slow"


class Members:
    """Storage members as a builder sees them: each answers as the test says."""

    def __init__(self, stage, builder):
        self.stage, self.builder, self.asked, self.lent = stage, builder, [], {}
        self.does = {}  # number of a member -> what it does instead of signing
        self.receipts = Receipts(
            node_of(builder),
            stage.world.genesis,
            reads=stage.world.db.get,
            shelf=stage.shelf,
            ask=self.ask,
            verify=verify,
            scores=stage.scores,
        )
        self.said = []

    async def ask(self, node, data, patience_s):
        number = next(i for i in range(9) if key(i, "node").public == node)
        self.asked.append(number)
        served = self.stage.shelf.served(node, Manifest.of([FILES["log"]]).id)
        self.lent[number] = served is not None
        does = self.does.get(number)
        if does is not None:
            if does == SLOW:
                await trio.sleep(patience_s)
                raise Unavailable(f"no answer within {patience_s:g} s")
            if isinstance(does, Exception):
                raise does
            return does
        await trio.lowlevel.checkpoint()
        body = self.stage.bodies[self.builder]
        return bytes.fromhex(
            oracle.sign(self.stage.world, key(number, "node"), self.builder, body, self.stage.said)["sig"]
        )

    async def gather(self):
        body = self.stage.bodies[self.builder]
        return await self.receipts.gather(self.stage.request, body, self.stage.said, self.said.append)

    def taken(self, given):
        body = {**self.stage.bodies[self.builder], "receipts": given}
        raw = self.stage.world.entry(self.builder, "build.reveal", body)
        return self.stage.world.block(raw)[0] == "build.reveal"


@pytest.fixture
async def members(stage):
    stage.commit()
    for data in (LOCK, *FILES.values()):
        await stage.shelf.put(data, pin="build")
    return Members(stage, stage.builders[0])


async def test_a_builder_asks_as_many_domains_as_are_needed_and_lends_to_them_alone(members):
    given = await members.gather()
    assert len(given) == len(members.asked) == len(set(members.asked)) == 2
    assert members.lent == dict.fromkeys(members.asked, True)
    assert members.builder.public in {key(i, "node").public for i in members.asked}  # its own desk is nearest
    for number in range(4):  # and lends no longer
        served = members.stage.shelf.served(NodeId(key(number, "node").public), Manifest.of([LOCK]).id)
        assert served is None
    assert members.taken(given)


async def test_members_that_refuse_lie_or_are_slow_are_passed_over(members, autojump_clock):
    me = next(i for i in range(4) if key(i, "node").public == members.builder.public)
    others = [i for i in range(4) if i != me]
    full = Refusal("storage-full", what="no disk for it", who="this storage member", do="ask another")
    began = trio.current_time()
    for bad in (full, b"\0" * 64, b"short", SLOW):
        members.asked.clear()
        members.receipts._signed.clear()
        members.does = {me: bad, others[0]: bad}
        given = await members.gather()
        assert {one["node"] for one in given} <= {b32(key(i, "node").public) for i in others[1:]}
        assert len(given) == 2
    assert HEDGE_S.value <= trio.current_time() - began <= 2 * HEDGE_S.value + 0.5
    assert "receipt that does not hold" in members.stage.scores.reason(NodeId(key(me, "node").public))
    assert members.taken(given)


async def test_too_few_members_are_asked_again_and_the_notes_say_who_did_not_sign(
    members, autojump_clock, caplog
):
    others = [i for i in range(4) if key(i, "node").public != members.builder.public]
    away = {i: Unavailable("not connected \x1b[2J") for i in others}
    members.does = dict(away)
    given = []

    async def gather():
        given.extend(await members.gather())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather)
        await trio.sleep(10 * AGAIN_S.value)
        assert not given
        members.does.pop(others[1])
    assert members.asked.count(others[0]) > 3
    waiting = next(said for said in members.said if said.startswith("waiting"))
    assert "1 of 2 failure domains" in waiting
    assert b32(key(others[0], "node").public)[:8] in waiting
    assert "\x1b" not in waiting
    assert len([one for one in caplog.records if "waits for receipts" in one.message]) == 1
    assert members.taken(given)


async def test_members_that_do_not_sign_are_asked_less_often_until_one_does(members, autojump_clock):
    others = [i for i in range(4) if key(i, "node").public != members.builder.public]
    away = Unavailable("it is behind in the log")
    members.does = dict.fromkeys(range(4), away)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(members.gather)
        await trio.sleep(REVEAL_WINDOW_MS.value / 1_000 / 2)
        asks = members.asked.count(others[0])
        assert asks <= 4 + 150 / SELDOM_S.value
        members.does.pop(others[1])
        await trio.sleep(SELDOM_S.value)
        asks = members.asked.count(others[0])
        await trio.sleep(AGAIN_S.value)
        assert members.asked.count(others[0]) == asks + 1
        nursery.cancel_scope.cancel()


async def test_members_that_are_up_in_turns_have_signed_together(members, autojump_clock):
    """Two domains are needed, and at no time is more than one there."""
    others = [i for i in range(4) if key(i, "node").public != members.builder.public]
    me = next(i for i in range(4) if i not in others)
    away = Unavailable("not connected")
    members.does = {me: away, others[1]: away, others[2]: away}
    given = []

    async def gather():
        given.extend(await members.gather())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather)
        await trio.sleep(AGAIN_S.value / 2)
        assert members.asked.count(others[0]) == 1
        members.does = {me: away, others[0]: away, others[2]: away}
    assert members.asked.count(others[0]) == 1  # who has signed is not asked again
    assert members.taken(given)

    members.asked.clear()  # the log wants them once more: after a block that it did not come into
    assert (await members.gather(), members.asked) == (given, [])


async def test_receipts_of_who_is_no_storage_member_any_more_and_of_old_reveals_are_forgotten(
    members, monkeypatch
):
    monkeypatch.setattr("pyrsia.node.builds.receipts.REMEMBERED", type(AGAIN_S)(1, "a test"))
    await members.gather()
    (text,) = members.receipts._signed
    here = storage_members(members.stage.world.db.get)
    signed = dict(members.receipts._signed[text])
    left = [one for one in here if one.node != next(iter(signed))]
    assert members.receipts._remembered(text, left).keys() == signed.keys() - {next(iter(signed))}
    assert members.receipts._remembered(b"another reveal", here) == {}
    assert list(members.receipts._signed) == [b"another reveal"]


async def test_a_network_without_storage_members_is_asked_nothing(tmp_path):
    stage = Stage(tmp_path)
    stage.world = Governed()
    lone = Members(stage, stage.builders[0])
    assert (await lone.gather(), lone.asked, lone.receipts.needed) == ([], [], 0)
    stage.close()
