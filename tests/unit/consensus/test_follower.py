"""A follower believes proofs, not senders."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pyrsia.consensus import catchup
from pyrsia.consensus.effects import Deliver, Halt, Now, Send
from pyrsia.consensus.follower import Follower
from pyrsia.wire.blocks import Block, Blocks, Body, FinalityProof, GetBlocks, encode_message
from tests.sim.toy import Toy
from tests.sim.world import Plan, World, fake_verify

WORLD = World(5, Plan(entries=20)).run()
NODE = WORLD.honest[0]
NOW = Now(1.0, 1_800_000_000_000)


def follower() -> tuple[Follower, Toy]:
    app = Toy()
    return Follower(WORLD.committee, app, verify=fake_verify), app


def answer(first: int, last: int) -> Blocks:
    made = catchup.serve(first, last, NODE.blocks.get, NODE.proofs.get)
    assert made is not None
    return made


def test_a_follower_executes_the_whole_chain_in_pieces() -> None:
    watcher, _ = follower()
    top = max(NODE.blocks)
    assert isinstance(watcher.on_start(NOW)[0], Send)
    delivered = 0
    for first in range(1, top + 1, 3):
        out = watcher.on_message(NOW, 0, answer(first, min(first + 2, top)))
        delivered += sum(len(e.blocks) for e in out if isinstance(e, Deliver))

    assert delivered == top
    assert watcher.final.tree_root == WORLD.roots[top][1]
    assert top >= 5


def test_the_same_blocks_again_change_nothing() -> None:
    watcher, _ = follower()
    watcher.on_message(NOW, 0, answer(1, 4))

    assert watcher.on_message(NOW, 1, answer(1, 4)) == []


LIES: dict[str, Callable[[Blocks], Blocks]] = {
    "a signature": lambda a: replace(
        a, proof=replace(a.proof, cert=replace(a.proof.cert, sigs=(b"x" * 64, *a.proof.cert.sigs[1:])))
    ),
    "too few signatures": lambda a: replace(
        a,
        proof=replace(
            a.proof, cert=replace(a.proof.cert, signers=a.proof.cert.signers[:2], sigs=a.proof.cert.sigs[:2])
        ),
    ),
    "the text": lambda a: replace(
        a, proof=replace(a.proof, cert=replace(a.proof.cert, said=a.proof.cert.said._replace(tree_size=1)))
    ),
    "a body": lambda a: replace(
        a, blocks=(Block(a.blocks[0].header, Body((b"!",), a.blocks[0].body.justification)), *a.blocks[1:])
    ),
    "a hole": lambda a: replace(a, blocks=(a.blocks[0], *a.blocks[2:])),
    "a header between": lambda a: replace(
        a, proof=FinalityProof(a.proof.cert, (a.proof.headers[0], *a.proof.headers))
    ),
    "blocks from above": lambda a: replace(a, blocks=a.blocks[1:]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_costs_time_and_never_truth(lie: str) -> None:
    """Nothing unverified is kept, so no lie stops a follower (ava-labs #544)."""
    watcher, _ = follower()
    out = watcher.on_message(NOW, 0, LIES[lie](answer(1, 4)))

    assert not any(isinstance(e, Deliver | Halt) for e in out)
    assert watcher.final.height == 0
    assert any(isinstance(e, Deliver) for e in watcher.on_message(NOW, 1, answer(1, 4)))


def test_another_final_chain_raises_the_alarm() -> None:
    watcher, _ = follower()
    watcher.on_message(NOW, 0, answer(1, 4))
    watcher.tree.final = replace(watcher.tree.final, hash=b"z" * 32)
    out = watcher.on_message(NOW, 0, answer(5, 5))

    assert any(isinstance(e, Halt) for e in out)
    assert watcher.on_timer(Now(99.0, 0)) == []


def test_a_silent_member_is_passed_over() -> None:
    watcher, _ = follower()
    watcher.on_start(NOW)
    asked = [
        e.to
        for s in range(2, 12, 2)
        for e in watcher.on_timer(Now(float(s), 0))
        if isinstance(e, Send) and isinstance(e.message, GetBlocks)
    ]

    assert asked == [1, 2, 3, 0, 1]


def test_an_answer_fits_one_message_and_proves_its_last_block() -> None:
    top = max(NODE.blocks)
    for first in range(1, top + 1):
        made = answer(first, top)
        assert len(encode_message(made)) <= 1 << 20
        assert made.proof.headers[-1].hash() == made.blocks[-1].hash
    assert catchup.serve(top + 1, top + 9, NODE.blocks.get, NODE.proofs.get) is None
