"""The shell around the cosigner: what was signed is on disk before it is sent, and a liar fills nothing."""

import pytest
import trio
import trio.testing

from pyrsia.errors import Malformed
from pyrsia.keys import verify
from pyrsia.log import checkpoint
from pyrsia.log.checkpoint import Checkpoint, log_key
from pyrsia.log.note import SignedNote, verify_note
from pyrsia.log.witness import origin_hash
from pyrsia.mesh.scores import RATE
from pyrsia.node.kinds import Kind
from pyrsia.node.log.archive import Archive
from pyrsia.node.witness.cosigning import NOTES, QUEUE, Cosigning
from pyrsia.node.witness.witnesses import Witnesses
from pyrsia.store import layout
from pyrsia.store.rocks import Database
from pyrsia.units import TreeSize, needed
from pyrsia.verify.epochs import Line
from tests.reference import merkle
from tests.reference.governance import secret
from tests.reference.ledger import key
from tests.reference.parts import Kept, ring
from tests.reference.reigns import KeptReigns
from tests.reference.story import signature_lines
from tests.reference.waiting import bounded, until


class Member:
    """One validator (or the follower) with an archive of its own, fed by one ledger."""

    def __init__(self, folder, number=0, world=None):
        self.world = world or Kept(folder)
        self.ring = ring(number)
        self.number = number
        self.genesis = self.world.genesis
        for at in range(3):
            self.world.block(self.world.fact(f"fact {at}"))
        self.sent, self.faults, self.blamed = [], [], []
        self.node_of = {member.log: member.node for member in self.genesis.validators}
        self.start()

    def start(self):
        self.cosigning = Cosigning(
            self.ring.node_id,
            self.genesis,
            signer=self.signer,
            database=self.world.database,
            archive=self.world.archive,
            send=self.send,
            audience=lambda: [b"a" * 32, b"b" * 32],
            fault=lambda *told: self.faults.append(told),
            blame=lambda *told: self.blamed.append(told),
        )

    def signer(self, public):
        pair = self.ring.find("log", public) or self.ring.find("cosign", public)
        return None if pair is None else pair.sign

    def send(self, node, kind, data):
        kept = self.world.database.get(layout.META, b"cosigned")
        self.sent.append((node, kind, data, kept))
        return True

    @property
    def size(self):
        return len(self.world.leaves)

    def head(self, size=None, root=None):
        size = self.size if size is None else size
        hashes = [merkle.leaf_hash(leaf) for leaf in self.world.leaves[:size]]
        return Checkpoint(self.genesis.origin, TreeSize(size), root or merkle.root(hashes))

    def lines(self, number, head, time_s=100):
        """(node, message) as the validator with this number would send them."""
        log, cosign = key(number, "log"), key(number, "cosign")
        text = b"".join(line.encode() for line in signature_lines(head, log, cosign, time_s))
        return self.node_of[log.public], b"\x00" + head.size.to_bytes(8, "big") + head.root + text

    def note(self, head, numbers=(0, 1, 2), time_s=100):
        lines = [
            one for i in numbers for one in signature_lines(head, key(i, "log"), key(i, "cosign"), time_s)
        ]
        return SignedNote(head.text(), tuple(lines)).encode()

    async def run(self, test):
        with bounded(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.cosigning.run)
                await test()
                nursery.cancel_scope.cancel()


@pytest.fixture
def member(tmp_path):
    made = Member(tmp_path)
    yield made
    made.world.close()


@pytest.fixture
def follower(tmp_path):
    made = Member(tmp_path, 4)
    yield made
    made.world.close()


def quorum(member, note):
    keys = checkpoint.validator_keys(
        member.genesis.origin, [(one.log, one.cosign) for one in member.genesis.validators]
    )
    return checkpoint.quorum(SignedNote.parse(note), keys, needed(len(member.genesis.validators)), verify)


async def test_a_validator_signs_a_final_head_and_tells_everybody(member):
    head = member.head()

    async def test():
        member.cosigning.final(head.size, head.root, 100_000)
        await until(lambda: len(member.sent) == 2)

    await member.run(test)
    assert [(node, kind) for node, kind, _, _ in member.sent] == [
        (b"a" * 32, Kind.COSIGN),
        (b"b" * 32, Kind.COSIGN),
    ]
    assert member.sent[0][2] == member.lines(0, head)[1]


async def test_what_is_signed_is_durable_before_it_is_sent(member, monkeypatch):
    gate, commit = trio.Event(), member.world.database.commit
    head = member.head()

    async def slow(batch):
        await gate.wait()
        await commit(batch)

    monkeypatch.setattr(member.world.database, "commit", slow)

    async def test():
        member.cosigning.final(head.size, head.root, 100_000)
        await trio.testing.wait_all_tasks_blocked()
        assert member.sent == []
        gate.set()
        await until(lambda: member.sent)

    await member.run(test)
    assert all(kept is not None for _, _, _, kept in member.sent)


async def test_a_restarted_validator_never_signs_another_root_at_a_size_that_it_signed(member):
    head, other = member.head(), member.head(root=b"\1" * 32)

    async def first():
        member.cosigning.final(head.size, head.root, 100_000)
        await until(lambda: member.sent)

    await member.run(first)
    member.sent.clear()
    path = member.world.database.path
    member.world.close()
    member.world.database = Database.open(path)
    member.world.archive = Archive(member.world.database, member.genesis)
    member.start()

    async def second():
        member.cosigning.final(other.size, other.root, 102_000)
        await trio.testing.wait_all_tasks_blocked()
        member.cosigning.final(head.size - 1, b"\2" * 32, 104_000)
        await trio.testing.wait_all_tasks_blocked()
        await until(lambda: member.cosigning.notices)

    await member.run(second)
    assert member.sent == []


async def test_a_quorum_of_lines_becomes_the_served_checkpoint(follower):
    head = follower.head()

    async def test():
        for number in range(3):
            follower.cosigning.receive(*follower.lines(number, head, 100 + number))
            await trio.testing.wait_all_tasks_blocked()
            assert (follower.world.archive.checkpoint() is None) == (number < 2)

    await follower.run(test)
    trusted = quorum(follower, follower.world.archive.checkpoint())
    assert (trusted.checkpoint, len(trusted.cosigners)) == (head, 3)
    assert follower.cosigning.cosigned == (head.size, 100, 3)
    assert follower.sent == []


async def test_a_head_beyond_our_own_log_is_served_only_when_its_leaves_are_here(follower):
    """A follower hears of a head a moment before it holds the leaves below it."""
    world, archive = follower.world, follower.world.archive
    behind, frozen = archive.head, follower.size
    world.block(world.fact("one more"))
    ahead = follower.head()
    caught_up, archive.head = archive.head, behind

    async def test():
        follower.cosigning.receive(b"a" * 32, b"\x01" + follower.note(ahead))
        await trio.testing.wait_all_tasks_blocked()
        assert (archive.size, archive.checkpoint()) == (frozen, None)
        assert follower.cosigning.cosigned[0] == 0
        archive.head = caught_up
        follower.cosigning.final(ahead.size, ahead.root, 200_000)
        await until(lambda: archive.checkpoint() is not None)

    await follower.run(test)
    assert quorum(follower, archive.checkpoint()).checkpoint == ahead


async def test_a_member_that_connects_is_given_the_newest_checkpoint(follower):
    head = follower.head()
    follower.cosigning.welcome(b"c" * 32)
    assert follower.sent == []

    async def test():
        follower.cosigning.receive(b"x" * 32, b"\x01" + follower.note(head))
        await until(lambda: follower.cosigning.cosigned[0])

    await follower.run(test)
    follower.cosigning.welcome(b"c" * 32)
    assert follower.sent[0][:3] == (b"c" * 32, Kind.COSIGN, b"\x01" + follower.note(head))
    follower.start()  # after a restart too
    assert follower.cosigning.cosigned == (head.size, 100, 3)


async def test_what_is_malformed_or_from_nobody_is_dropped(follower, caplog):
    head = follower.head()
    node, good = follower.lines(0, head)
    bad = [
        (node, b""),
        (node, b"\x00"),
        (node, b"\x02" + good[1:]),
        (node, good[:-1]),
        (node, good + b"x"),
        (node, good[:1] + b"\xff" * 8 + good[9:]),
        (follower.lines(1, head)[0], good),
        (b"s" * 32, good),
        (node, b"\x01"),
        (node, b"\x01" + follower.note(head)[:-4]),
        (node, b"\x01" + follower.note(head, numbers=(0, 1))),
    ]

    async def test():
        for peer, data in bad:
            follower.cosigning.receive(peer, data)
        follower.cosigning.receive(node, b"\x01" + follower.note(head))
        await until(lambda: follower.cosigning.cosigned[0])

    await follower.run(test)
    assert caplog.text.count("a bad checkpoint signature") == len(bad)
    assert [peer for peer, why in follower.faults if why.startswith("checkpoint: ")] == [
        peer for peer, _ in bad
    ]
    assert follower.cosigning.notices == []


async def test_a_full_queue_drops_and_goes_on(follower):
    head = follower.head()
    for _ in range(QUEUE.value + 200):
        follower.cosigning.receive(b"s" * 32, b"junk")

    async def test():
        await trio.testing.wait_all_tasks_blocked()
        follower.cosigning.receive(b"s" * 32, b"\x01" + follower.note(head))
        await until(lambda: follower.cosigning.cosigned[0])

    await follower.run(test)
    assert follower.cosigning.cosigned[0] == head.size


async def test_notes_without_end_cost_points_and_push_out_no_lines_and_no_head_of_our_own(member):
    head, guests = member.head(), [bytes([number]) * 32 for number in range(100)]
    for peer in guests:
        for at in range(20):
            member.cosigning.receive(peer, b"\x01junk %d" % at)
    assert len(member.cosigning._notes) == NOTES.value
    assert member.blamed == [
        (peer, RATE, "sends checkpoints without end") for peer in guests for _ in range(12)
    ]
    for number in (1, 2):
        member.cosigning.receive(*member.lines(number, head))
    member.cosigning.final(head.size, head.root, 100_000)
    for _ in range(3):
        await member.cosigning._do(await member.cosigning._turn())
    assert member.cosigning.cosigned == (head.size, 100, 3)
    assert len(member.cosigning._notes) == NOTES.value  # what strangers say comes last
    assert len(member.sent) == 2


async def test_the_note_that_is_here_is_not_verified_again_and_an_older_one_neither(follower, monkeypatch):
    old, new = follower.head(size=2), follower.head()
    note = follower.note(new)

    async def test():
        follower.cosigning.receive(b"s" * 32, b"\x01" + note)
        await until(lambda: follower.cosigning.cosigned[0])
        monkeypatch.setattr(follower.cosigning._core, "verify", lambda *_: 1 // 0)
        for _ in range(5):
            follower.cosigning.receive(b"s" * 32, b"\x01" + note)
        follower.cosigning.receive(b"s" * 32, b"\x01" + follower.note(old))
        await until(lambda: not follower.cosigning._notes)
        await trio.testing.wait_all_tasks_blocked()

    await follower.run(test)
    assert (follower.faults, follower.blamed) == ([], [])


async def test_a_validator_that_signs_two_roots_is_named_once_however_often_it_lies(follower):
    liar = next(one.name for one in follower.genesis.validators if one.log == key(2, "log").public)

    async def test():
        for at in range(50):
            lie = follower.head(root=bytes([at]) * 32)
            follower.cosigning.receive(*follower.lines(2, lie, 100 + at))
        await until(lambda: follower.cosigning.notices)
        await trio.testing.wait_all_tasks_blocked()

    await follower.run(test)
    assert len(follower.cosigning.notices) == 1
    assert liar in follower.cosigning.notices[0]


async def test_both_heads_are_kept_with_their_signatures_and_alarm_after_every_start(follower):
    signer = log_key(follower.genesis.origin, key(2, "log").public)

    async def test():
        for at in range(3):
            lie = follower.head(root=bytes([at]) * 32)
            follower.cosigning.receive(*follower.lines(2, lie, 100 + at))
        await until(lambda: follower.world.database.get(layout.MISC, conflict))

    conflict = b"conflict/" + follower.node_of[signer.public]
    await follower.run(test)
    told = follower.cosigning.notices
    follower.start()  # as after a restart
    assert follower.cosigning.notices == told
    (row,) = follower.cosigning.evidence()
    assert row.kept != row.told
    for one in (row.kept, row.told):
        assert verify_note(SignedNote.parse(one.encode()), [signer], verify)
    face = Witnesses(None, None, origin=follower.genesis.origin, conflicts=follower.cosigning.evidence)
    assert face.evidence(origin_hash(follower.genesis.origin)) == (follower.genesis.origin, (row,))
    assert face.evidence("0" * 64) is None


async def test_a_damaged_kept_checkpoint_does_not_stop_the_node(follower):
    with pytest.raises(Malformed):
        SignedNote.parse(b"damage")
    follower.world.archive.keep_checkpoint(b"damage")
    follower.start()
    assert follower.cosigning.cosigned == (0, 0, 0)


# -- epochs --


@pytest.fixture
def reigning(tmp_path):
    """A member (number 1) of a network whose validators and keys change."""
    made = Member(tmp_path, 1, KeptReigns(tmp_path))
    yield made
    made.world.close()


def final(member, time_ms):
    head = member.head()
    member.cosigning.final(head.size, head.root, time_ms)
    return head


async def test_the_served_checkpoint_is_always_one_of_the_epoch_that_its_size_lies_in(reigning):
    world, archive = reigning.world, reigning.world.archive

    def served():
        line = Line.of(
            reigning.genesis, [archive.epoch_end(number) for number in range(len(world.ends))], verify
        )
        return line.trusted(SignedNote.parse(archive.checkpoint()))

    async def test():
        old = final(reigning, 1_000)
        reigning.cosigning.receive(b"x" * 32, b"\x01" + world.cosigned(epoch=0))
        await until(lambda: archive.checkpoint() is not None)
        for epoch, change in enumerate((lambda: world.rotate(0, 1), lambda: world.replace(2, "new"))):
            change()
            world.block(world.fact(f"in epoch {epoch + 1}"))
            new = final(reigning, 2_000 + 1_000 * epoch)
            reigning.cosigning.receive(b"x" * 32, b"\x01" + world.cosigned(new, epoch=epoch))
            await trio.testing.wait_all_tasks_blocked()
            assert served().checkpoint == old  # until the new quorum has signed
            reigning.cosigning.receive(b"x" * 32, b"\x01" + world.cosigned(new, epoch=epoch + 1))
            await until(lambda new=new: served().checkpoint == new)
            old = new

    await reigning.run(test)
    assert served().of == tuple((one.log, one.cosign) for one in world.reigns[2])
    reigning.start()  # as after a restart
    assert reigning.cosigning.cosigned[0] == reigning.size


async def test_a_validator_signs_with_the_keys_of_the_present_epoch_and_not_at_all_when_it_has_left(reigning):
    world = reigning.world
    reigning.ring.coming = {purpose: secret(1, purpose, 1) for purpose in ("log", "cosign")}

    async def signed_by(turn, time_s):
        reigning.sent.clear()
        final(reigning, 1_000 * time_s)
        await until(lambda: reigning.sent)
        pair = (secret(1, purpose, turn) for purpose in ("log", "cosign"))
        text = b"".join(line.encode() for line in signature_lines(reigning.head(), *pair, time_s))
        return reigning.sent[0][2].endswith(text)

    async def test():
        assert await signed_by(0, 1)
        world.rotate(1, 1, "log", "cosign")
        world.block(world.fact())
        assert await signed_by(1, 2)
        world.replace(1, "new")
        world.block(world.fact())
        reigning.sent.clear()
        final(reigning, 3_000)
        await trio.testing.wait_all_tasks_blocked()
        assert reigning.sent == []

    await reigning.run(test)


async def test_validators_who_came_and_left_are_told_apart_by_their_lines(reigning):
    world = reigning.world
    follower = reigning
    world.replace(2, "new")
    world.block(world.fact())

    def spoken(who):
        pair = (secret(who, "log"), secret(who, "cosign"))
        lines = b"".join(line.encode() for line in signature_lines(follower.head(), *pair, 100))
        head = follower.head()
        return secret(who, "node").public, b"\x00" + head.size.to_bytes(8, "big") + head.root + lines

    async def test():
        final(follower, 1_000)
        for who in (2, 0):
            follower.cosigning.receive(*spoken(who))
        await trio.testing.wait_all_tasks_blocked()
        assert (
            world.archive.checkpoint() is None
        )  # our own word, one more, and one of a validator that has left
        follower.cosigning.receive(*spoken("new"))
        await until(lambda: world.archive.checkpoint() is not None)

    await follower.run(test)
    assert follower.cosigning.cosigned[2] == 3
