"""Signatures over a verdict: made by who agreed, gathered on asking, kept, and never taken from who did not sign."""

import json

import pytest
import trio

from pyrsia import keys
from pyrsia.builds import dsse, vouch
from pyrsia.errors import Malformed, Refusal, Unavailable
from pyrsia.node.builds.vouching import Vouching
from pyrsia.node.kinds import Method
from pyrsia.node.pulse import Pulse
from pyrsia.store.rocks import Database
from pyrsia.wire.text import b32, unb32
from tests.reference.ledger import key
from tests.reference.parts import Kept
from tests.reference.story import Story


class Net:
    """Nodes that follow one log; `lies` answers in a node's place, `gone` answers nobody."""

    def __init__(self, folder, story):
        self.story, self.folder, self.gone, self.lies, self.asked = story, folder, set(), {}, []
        self.nodes = {text: self._node(text, number) for text, number in story.numbers.items()}

    def _node(self, text, number):
        return Vouching(
            node_id=unb32(text),
            network=self.story.genesis.net,
            reads=self.story.world.archive.state,
            database=Database.open(self.folder / f"of-{number}"),
            attests=lambda: key(number, "build"),
            ask=self.ask,
            verify=keys.verify,
            pulse=Pulse(),
        )

    async def ask(self, node, method, payload, _):
        text = b32(node)
        self.asked.append(text)
        if text in self.gone:
            raise Unavailable("there is no link to the peer")
        if text in self.lies:
            return self.lies[text]
        return await self.nodes[text].methods[method](node, payload)

    @property
    def agreeing(self):
        return self.story.artifact.body["agreeing"]

    @property
    def follower(self):
        return self.nodes[b32(self.story.world.follower.public)]

    def key(self, builder):
        return key(self.story.numbers[builder], "build").public

    def close(self):
        for node in self.nodes.values():
            node._database.close()


@pytest.fixture
def net(tmp_path):
    story = Story(world=Kept(tmp_path), dissenter=True)
    made = Net(tmp_path, story)
    yield made
    made.close()
    story.world.close()


def kinds(bundle):
    """predicate type -> envelope text, of every line; provenance comes once a builder."""
    found = []
    for line in bundle.decode().splitlines():
        payload = dsse._unbase64(json.loads(line)["payload"])
        found.append((json.loads(payload)["predicateType"], line))
    return found


async def test_a_follower_s_bundle_has_each_agreeing_builder_s_provenance_and_one_summary_of_all(net):
    bundle = kinds(await net.follower.bundle(net.story.sha256))
    assert [kind for kind, _ in bundle] == ["https://slsa.dev/provenance/v1"] * 2 + [vouch.VSA_TYPE]
    trusted = [net.key(one) for one in net.agreeing]
    payload, signers = dsse.opened(bundle[-1][1], trusted, keys.verify, least=2)
    assert set(signers) == set(trusted)
    assert json.loads(payload)["subject"][0]["digest"]["sha256"] == net.story.sha256


async def test_what_was_gathered_is_kept_when_the_builders_are_gone(net):
    first = await net.follower.bundle(net.story.sha256)
    net.gone = set(net.nodes)
    net.asked.clear()
    assert await net.follower.bundle(net.story.sha256) == first
    assert net.asked == []


async def test_one_builder_that_has_gathered_is_enough_for_everybody(net):
    one, other = net.agreeing
    net.nodes[one]._pulse.beat()
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(net.nodes[one].run)
            while net.asked != [other]:
                await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    net.gone = {other}
    assert kinds(await net.follower.bundle(net.story.sha256))[-1][0] == vouch.VSA_TYPE


async def test_too_few_signatures_make_no_summary_but_provenance_stays(net):
    net.gone = {net.agreeing[0]}
    assert [kind for kind, _ in kinds(await net.follower.bundle(net.story.sha256))] == [
        "https://slsa.dev/provenance/v1"
    ] * 2


async def test_who_dissented_or_only_follows_signs_nothing(net):
    judged = net.follower._judged(net.story.sha256)
    for text, node in net.nodes.items():
        held = await node._held(judged)
        assert (text in held["vsa"]) == (text in net.agreeing)


def answers(net):
    """What a liar may answer in the place of an agreeing builder."""
    one, other = net.agreeing
    judged = net.follower._judged(net.story.sha256)
    text = dsse.signed_text(vouch.vsa(judged))
    stranger = keys.KeyPair(b"\x09" * 32).sign(text).hex()
    dissenter = next(node for node in net.nodes if node not in net.agreeing)
    true = key(net.story.numbers[one], "build").sign(text).hex()
    return {
        "another key's signature": {"vsa": [[other, stranger]]},
        "a fellow's signature as its own": {"vsa": [[other, true]]},
        "a dissenter's signature": {
            "vsa": [[dissenter, key(net.story.numbers[dissenter], "build").sign(text).hex()]]
        },
        "a kind that is none": {"praise": [[other, true]]},
        "no list": {"vsa": 7},
        "no hex": {"vsa": [[other, "zz"]]},
        "deep": None,
        "long": {"vsa": [[other, "00" * 30_000]]},
    }


@pytest.mark.parametrize(
    "name",
    [
        "another key's signature", "a fellow's signature as its own", "a dissenter's signature",
        "a kind that is none", "no list", "no hex", "deep", "long",
    ],
)  # fmt: skip
async def test_the_lie_of_a_peer_is_no_signature(net, name):
    told = answers(net)[name]
    raw = b"[" * 20_000 if told is None else json.dumps(told).encode()
    net.lies = {net.agreeing[1]: raw}
    bundle = kinds(await net.follower.bundle(net.story.sha256))
    assert [kind for kind, _ in bundle] == ["https://slsa.dev/provenance/v1"] * 2
    assert all(net.agreeing[1] not in rows for rows in (await net.follower._held(
        net.follower._judged(net.story.sha256))).values())  # fmt: skip


async def test_a_question_about_nothing_is_refused(net):
    answer = net.follower.methods[Method.VOUCH]
    with pytest.raises(Refusal) as caught:
        await answer(unb32(net.agreeing[0]), bytes(32))
    assert caught.value.code == "not-found"
    for payload in (b"", b"short", bytes(33)):
        with pytest.raises(Malformed):
            await answer(unb32(net.agreeing[0]), payload)
    assert await net.follower.bundle("0" * 64) is None


async def test_a_key_that_was_taken_away_signs_nothing_that_counts(net, monkeypatch):
    one = net.agreeing[0]
    rotated = keys.KeyPair(b"\x05" * 32)
    monkeypatch.setattr(net.nodes[one], "_attests", lambda: rotated)
    judged = net.follower._judged(net.story.sha256)
    assert one not in (await net.nodes[one]._held(judged))["vsa"]
    with pytest.raises(Malformed):
        dsse.opened(
            dsse.envelope(vouch.vsa(judged), [("", rotated.sign(b"other"))]), [net.key(one)], keys.verify
        )
