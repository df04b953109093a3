"""Our own log before witnesses of others: one of our nodes asks another over HTTP, and what then is served."""

import httpx
import pytest
import trio
import trio.testing

from pyrsia import keys
from pyrsia.config import WitnessSection
from pyrsia.errors import ProofInvalid, Refusal
from pyrsia.keys import verify
from pyrsia.log import checkpoint, note
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.feed import Asked
from pyrsia.log.note import COSIGNATURE, SignedNote, VerifierKey
from pyrsia.log.policy import Policy, of_network
from pyrsia.log.witness import WatchedLog, origin_hash
from pyrsia.node.witness.outside import Outside, open_outside
from pyrsia.node.witness.witnesses import Witnesses
from pyrsia.node.witness.witnessing import open_witnessing
from pyrsia.serve.app import build_app
from pyrsia.serve.desks.supply import of_log
from pyrsia.serve.guard import Guard
from pyrsia.store.rocks import Database
from pyrsia.units import TreeSize, needed
from tests.reference import merkle
from tests.reference.ledger import key
from tests.reference.parts import Kept
from tests.reference.story import signature_lines
from tests.reference.waiting import bounded, until
from tests.unit.serve.toy import TOKEN, ToyNode

OWN = keys.KeyPair(b"w" * 32)
KEY = VerifierKey("witness.example/1", COSIGNATURE, OWN.public)


class Network:
    """A log that grows when told to, with checkpoints of three of its four validators."""

    def __init__(self, folder):
        self.world = Kept(folder)
        self.genesis, self.archive, self.database = (
            self.world.genesis,
            self.world.archive,
            self.world.database,
        )
        self.notices = []
        self.grow()

    def grow(self, count=1):
        for at in range(count):
            self.world.block(self.world.fact(f"fact {len(self.world.leaves)} {at}"))
        self.sign()

    def sign(self, time_s=100):
        self.archive.keep_checkpoint(self.note(time_s).encode())

    def note(self, time_s=100):
        leaves = [merkle.leaf_hash(leaf) for leaf in self.world.leaves]
        head = Checkpoint(self.genesis.origin, TreeSize(len(leaves)), merkle.root(leaves))
        lines = [
            one for i in range(3) for one in signature_lines(head, key(i, "log"), key(i, "cosign"), time_s)
        ]
        return SignedNote(head.text(), tuple(lines))

    def vkeys(self):
        return [checkpoint.log_key(self.genesis.origin, member.log) for member in self.genesis.validators]

    def outside(self, *asked, client=None):
        return Outside(
            asked,
            origin=self.genesis.origin,
            archive=self.archive,
            database=self.database,
            notices=self.notices,
            client=client,
        )

    def policy(self, *outside):
        rows = [(member.name, member.log, member.cosign) for member in self.genesis.validators]
        made = of_network(self.genesis.origin, rows, needed(len(rows)), outside=outside, need=len(outside))
        return Policy.parse(made.text())


@pytest.fixture
def network(tmp_path):
    made = Network(tmp_path / "a")
    yield made
    made.database.close()


def answer(status, body=b"", kind="text/plain", **headers):
    """An answer that comes as a stream, as from a socket; each use is a new one."""
    stream = body if callable(body) else lambda: httpx.ByteStream(body)
    return lambda _: httpx.Response(status, stream=stream(), headers={"content-type": kind, **headers})


class Endless(httpx.AsyncByteStream):
    """Bytes without end, a pause before each."""

    def __init__(self, size, pause_s=0.0):
        self.size, self.pause_s = size, pause_s

    async def __aiter__(self):
        while True:
            await trio.sleep(self.pause_s)
            yield bytes(self.size)


def saying(answers):
    """An HTTP client whose witness answers with these in turn, and what it was asked."""
    seen = []

    def handle(request):
        seen.append(request)
        answer = answers[min(len(seen), len(answers)) - 1]
        found = answer(request) if callable(answer) else answer
        if isinstance(found, Exception):
            raise found
        return found

    return (lambda: httpx.AsyncClient(transport=httpx.MockTransport(handle))), seen


def cosigns(request):
    text = SignedNote.parse(request.content.partition(b"\n\n")[2]).text
    line = note.cosign_line(text, KEY.name, OWN.sign, OWN.public, 1_800_000_000)
    return answer(200, line.encode())(request)


async def running(outside, test, bound_s=20):
    with bounded(bound_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outside.run)
            await test()
            nursery.cancel_scope.cancel()


# -- two of our nodes --


async def test_another_node_of_ours_witnesses_our_log_and_the_served_note_says_so(
    network, tmp_path, autojump_clock
):
    """A's log, witnessed by B over HTTP: the note satisfies A's own policy, alone and with B in it."""
    folder = tmp_path / "b"
    (folder / "keys").mkdir(parents=True)
    database = Database.open(folder / "db")
    watched = WatchedLog(network.genesis.origin, tuple(network.vkeys()), 2)
    settings = WitnessSection(logs=(str(watched),))
    own = open_witnessing(folder / "keys", settings, database, clock=lambda: 1_800_000_000.0, notices=[])
    toy = ToyNode(folder)
    face = Witnesses(own, Network.outside(network), origin="b.example", conflicts=lambda: ())
    app = build_app(
        guard=Guard(control_token=TOKEN), supply=of_log(toy), log_view=toy, admin=toy, witnessing=face
    )
    outside = network.outside(
        Asked(own.verifier, "http://localhost/witness"),
        client=lambda: httpx.AsyncClient(transport=httpx.ASGITransport(app=app)),
    )
    hash_ = origin_hash(network.genesis.origin)

    async def test():
        await until(lambda: outside.checkpoint(hash_) is not None, 100)
        assert len(SignedNote.parse(network.archive.checkpoint()).lines) == 7
        network.grow(3)
        await until(lambda: outside.status()[0].size == len(network.world.leaves), 100)

    await running(outside, test, 300)
    served = SignedNote.parse(network.archive.checkpoint())
    with_b = network.policy(str(own.verifier))
    assert with_b.check(served, verify).cosigned["outside-1"] == 1_800_000_000
    assert network.policy().check(served, verify).checkpoint.size == len(network.world.leaves)
    with pytest.raises(ProofInvalid):
        with_b.check(network.note(), verify)
    # The note stays what our own verifiers take, and B shows the same head with the lines it asked for.
    validators = [(one.log, one.cosign) for one in network.genesis.validators]
    trusted = checkpoint.quorum(
        served, checkpoint.validator_keys(network.genesis.origin, validators), needed(len(validators)), verify
    )
    shown = SignedNote.parse(face.checkpoint(hash_))
    assert shown.text == trusted.checkpoint.text()
    assert len(note.verify_note(shown, [*network.vkeys(), own.verifier], verify)) == 3
    database.close()


# -- what is sent --


async def test_only_the_log_s_own_lines_are_sent_with_the_proof_that_was_asked_for(network, autojump_clock):
    client, seen = saying([answer(409, b"2\n", "text/x.tlog.size"), cosigns])
    outside = network.outside(Asked(KEY, "https://w.example/prefix"), client=client)
    await running(outside, lambda: until(lambda: outside.status()[0].size > 0), 100)
    assert {str(request.url) for request in seen} == {"https://w.example/prefix/add-checkpoint"}
    first, second = (request.content for request in seen[:2])
    assert first.startswith(b"old 0\n\n")
    assert second.startswith(b"old 2\n")
    sent = SignedNote.parse(second.partition(b"\n\n")[2])
    assert [line.name for line in sent.lines] == [network.genesis.origin] * 3
    assert [one.key.kind for one in note.verify_note(sent, network.vkeys(), verify)] == [1, 1, 1]
    assert len(second) < 16_384


async def test_a_log_at_rest_is_not_asked_for_again_and_a_silent_witness_is_left_alone(
    network, autojump_clock
):
    client, seen = saying([cosigns])
    quiet, silent = Asked(KEY, "https://w.example"), keys.KeyPair(b"s" * 32)
    dead = Asked(VerifierKey("dead.example", COSIGNATURE, silent.public), "https://dead.example")
    gone, tried = saying([httpx.ConnectError("refused")])

    async def test():
        await trio.sleep(299)

    await running(network.outside(quiet, client=client), test, 1000)
    assert len(seen) == 1
    down = network.outside(dead, client=gone)
    await running(down, test, 1000)
    assert 5 <= len(tried) <= 7  # after 0, 5, 15, 35, 75, 155 seconds
    assert down.status()[0].trouble == "does not answer: ConnectError"
    assert network.notices == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "the witness witness.example/1 does not watch our log"),
        (403, "the witness witness.example/1 does not know a key that signed our checkpoint"),
        (
            422,
            "ALARM: the witness witness.example/1 says that our log does not continue what it cosigned",
        ),
    ],
)
async def test_a_no_that_stays_is_told_once(network, autojump_clock, status, words):
    client, seen = saying([answer(status)])
    outside = network.outside(Asked(KEY, "https://w.example"), client=client)

    async def test():
        await trio.sleep(2_000)

    await running(outside, test, 10_000)
    assert len(seen) > 3
    assert network.notices == [words]
    assert outside.checkpoint(origin_hash(network.genesis.origin)) is None


# httpx leaves its own generators to the collector when an answer is dropped before its end.
@pytest.mark.filterwarnings("ignore:.*Async generator:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_hostile_witness_changes_nothing_and_holds_nobody(network, autojump_clock):
    before = network.archive.checkpoint()

    answers = [
        answer(200, b"\xff" * 1_000),
        answer(200, lambda: Endless(1_000)),
        answer(200, lambda: Endless(1, 5)),
        answer(200),
        answer(301, location="https://evil.example/"),
        answer(409, b"x" * 1_000, "text/x.tlog.size"),
        httpx.RemoteProtocolError("nonsense"),
    ]
    client, seen = saying(answers)
    outside = network.outside(Asked(KEY, "https://w.example"), client=client)

    async def test():
        await until(lambda: len(seen) > len(answers), 3_600)

    await running(outside, test, 10_000)
    assert network.archive.checkpoint() == before
    assert {request.url.host for request in seen} == {"w.example"}
    assert outside.status()[0].size == -1


# -- what is served --


def given(outside, text, time_s=5):
    """As if the witness had signed `text`."""
    head = Checkpoint.parse(text)
    line = note.cosign_line(text, KEY.name, OWN.sign, OWN.public, time_s)
    for _, feed in outside._feeds:
        assert feed.on_answer(0.0, head, 200, "", line.encode()) is not None


async def test_a_line_stands_on_the_head_that_it_signed_and_on_no_other(network):
    outside = network.outside(Asked(KEY, "https://w.example"))
    first = network.note()
    given(outside, first.text)
    assert len(SignedNote.parse(outside.decorated(first.encode())).lines) == 7
    later = network.note(time_s=200).encode()  # the same head, signed anew by the validators
    assert len(SignedNote.parse(outside.decorated(later)).lines) == 7
    once = outside.decorated(first.encode())
    assert outside.decorated(once) == once
    network.grow()
    assert outside.decorated(network.note().encode()) == network.note().encode()


async def test_a_note_that_would_grow_too_large_is_served_without(network):
    outside = network.outside(Asked(KEY, "https://w.example"))
    full = network.note()
    many = tuple(note.SignatureLine(f"n{i}", b"abcd", bytes(64)) for i in range(250))
    given(outside, full.text)
    crowded = SignedNote(full.text, (*full.lines, *many)).encode()
    assert len(SignedNote.parse(crowded).lines) == 256
    assert outside.decorated(crowded) == crowded


async def test_a_damaged_kept_checkpoint_stops_nothing(network, autojump_clock):
    client, seen = saying([cosigns])
    network.archive.keep_checkpoint(b"damage")
    outside = network.outside(Asked(KEY, "https://w.example"), client=client)

    async def test():
        await trio.sleep(5)
        assert seen == []
        network.sign()
        await until(lambda: seen)

    await running(outside, test, 100)


# -- the configuration --


def test_a_configuration_that_names_no_witness_is_refused_with_its_key(network):
    with pytest.raises(Refusal, match=r"witness\.outside") as caught:
        open_outside(
            WitnessSection(outside=("junk",)),
            origin=network.genesis.origin,
            archive=network.archive,
            database=network.database,
            notices=[],
        )
    assert caught.value.code == "config-invalid"
