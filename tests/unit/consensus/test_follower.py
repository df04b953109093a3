"""A follower believes proofs, not senders."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pyrsia.consensus import catchup
from pyrsia.consensus.effects import Act, Deliver, Fault, Halt, Now, Post
from pyrsia.consensus.epochs import Epochs
from pyrsia.consensus.sync import SYNC_NODES, SYNC_STRIKES, Sync
from pyrsia.units import MAX_SYNC_BLOCKS
from pyrsia.wire.blocks import Block, Blocks, Body, FinalityProof, GetBlocks, encode_message
from tests.unit.consensus.parts import CHAIN_ID, ORIGIN, App, Net, node_of, verify


def _made() -> Net:
    """A chain of eight blocks that five nodes hold."""
    net = Net()
    net.start()
    for height in range(1, 9):
        net.submit(b"entry %d" % height)
        assert net.run(lambda height=height: min(net.heights()) >= height)
    return net


NET = _made()
NODE = NET[0]
NOW = Now(1.0, 1_800_000_000_000)


def at(seconds: float) -> Now:
    return Now(seconds, 1_800_000_000_000)


def follower() -> Epochs:
    made = Epochs(
        App(NET.seats), CHAIN_ID, ORIGIN, node=b"watcher" * 4,
        sign=lambda _: None, verify=verify, reveal=lambda _, __: None,
    )  # fmt: skip
    made.on_start(at(0.0))
    return made


def asked(acts: list[Act]) -> list[tuple[bytes, GetBlocks]]:
    """Questions by height, and to whom."""
    return [
        (act.to[0], act.message)
        for act in acts
        if isinstance(act, Post) and act.to is not None and isinstance(act.message, GetBlocks)
    ]


def tell(watcher: Epochs, seconds: float, lie: Callable[[Blocks], Blocks] = lambda a: a) -> list[Act]:
    """Let it ask on, and answer what it asks, at most three blocks at a time."""
    out: list[Act] = []
    for node, ask in asked(watcher.on_timer(at(seconds))):
        answer = answered(ask.first, min(ask.last, ask.first + 2))
        out += watcher.on_message(at(seconds), node, lie(answer))
    return out


def answered(first: int, last: int) -> Blocks:
    made = catchup.serve(first, min(last, max(NODE.blocks)), NODE.blocks.get, NODE.proofs.get)
    assert made is not None
    return made


def test_a_follower_executes_the_whole_chain_in_pieces() -> None:
    watcher, top = follower(), max(NODE.blocks)
    delivered = 0
    seconds = 0.0
    while watcher.final.height < top and seconds < 2 * top:
        seconds += 1.0
        delivered += sum(len(e.blocks) for e in tell(watcher, seconds) if isinstance(e, Deliver))

    assert delivered == top >= 5
    assert watcher.final.tree_root == NODE.app.final.tree_root


def test_what_nobody_asked_for_is_not_looked_at() -> None:
    """S1."""
    watcher = follower()

    assert not any(isinstance(e, Deliver) for e in watcher.on_message(NOW, b"stranger" * 4, answered(1, 4)))


def test_the_same_blocks_again_change_nothing() -> None:
    watcher = follower()
    first = tell(watcher, 1.0)
    height = watcher.final.height
    again = watcher.on_message(at(1.1), node_of(1), answered(1, 3))

    assert any(isinstance(e, Deliver) for e in first)
    assert not any(isinstance(e, Deliver) for e in again)
    assert watcher.final.height == height == 3


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
    """S2: nothing unverified is kept, so no lie stops a follower (ava-labs/Simplex 544)."""
    watcher = follower()
    out = tell(watcher, 1.0, LIES[lie])

    assert not any(isinstance(e, Deliver | Halt) for e in out)
    assert watcher.final.height == 0
    assert any(isinstance(e, Fault) for e in out) == (lie != "blocks from above")  # (proven, and of no help)
    assert any(isinstance(e, Deliver) for e in tell(watcher, 2.0))


def test_another_final_chain_raises_the_alarm() -> None:
    watcher = follower()
    tell(watcher, 1.0)
    tree = watcher._core.tree
    tree.final = replace(tree.final, hash=b"z" * 32)
    out = tell(watcher, 2.0)

    assert any(isinstance(e, Halt) for e in out)
    assert watcher.halted
    assert watcher.on_timer(at(99.0)) == []


def test_a_silent_member_is_passed_over() -> None:
    watcher = follower()
    polled = [node for s in range(1, 6) for node, _ in asked(watcher.on_timer(at(float(s))))]

    assert len(set(polled)) == 4
    assert polled[0] == polled[4]


def test_ranges_are_asked_of_several_nodes_at_once_and_what_comes_early_waits() -> None:
    """S3: beyond one answer's length each node is asked for another range."""
    watcher = follower()
    far = 3 * MAX_SYNC_BLOCKS.value
    for member in range(3):
        watcher._sync.claim(node_of(member), far)
    asks = asked(watcher.on_timer(at(1.0)))

    assert sorted(ask.first for _, ask in asks) == [1, 129, 257]
    assert len({node for node, _ in asks}) == 3


def test_who_does_not_answer_or_lies_is_asked_later_than_others() -> None:
    """S4."""
    watcher = follower()
    liar, silent, honest = (node_of(i) for i in range(3))
    for node in (liar, silent, honest):
        watcher._sync.claim(node, 8)
    order: list[bytes] = []
    seconds = 1.0
    while watcher.final.height < 8 and seconds < 60:
        for node, ask in asked(watcher.on_timer(at(seconds))):
            order.append(node)
            answer = answered(ask.first, min(ask.last, ask.first + 1))
            if node == liar:
                watcher.on_message(at(seconds), node, LIES["a signature"](answer))
            elif node == honest:
                for other, more in asked(watcher.on_message(at(seconds), node, answer)):
                    order.append(other)
                    assert other == honest or more.first > 1
        seconds += 0.25

    assert watcher.final.height == 8
    assert order.count(liar) <= 3
    assert order.count(silent) <= 3
    assert watcher._sync._strikes.get(honest) is None


def test_a_guess_that_is_not_answered_is_no_fault_and_is_not_repeated() -> None:
    """S4: of a block that may not exist everybody is silent; whoever said that it has it is not."""
    sync = Sync(patience_s=2.0)
    nodes = [node_of(i) for i in range(3)]
    seconds, questions = 0.0, 0
    for _ in range(100):
        for node in nodes:
            sync.guess(node, 11)
        questions += len(sync.ask(seconds, 10))
        seconds += 2.0
    for _ in range(3):  # each guess is tried once more at most
        questions += len(sync.ask(seconds, 10))
        seconds += 2.0
    assert sync.ask(seconds, 10) == []
    assert 50 <= questions <= 103

    for node in nodes:
        sync.claim(node, 20)
    [(first, _)] = sync.ask(seconds, 10)
    [(second, _)] = sync.ask(seconds + 2.0, 10)
    assert {first, second} < set(nodes)
    assert first != second  # it had said that it has them
    assert first in sync._strikes


def test_an_answer_fits_one_message_and_proves_its_last_block() -> None:
    top = max(NODE.blocks)
    for first in range(1, top + 1):
        made = answered(first, top)
        assert len(encode_message(made)) <= 1 << 20
        assert made.proof.headers[-1].hash() == made.blocks[-1].hash
    assert catchup.serve(top + 1, top + 9, NODE.blocks.get, NODE.proofs.get) is None


def test_claims_that_never_come_true_shut_out_nobody_and_end() -> None:
    """S6: ids cost nothing; whoever has them may fill the table, and has gained nothing by it."""
    sync, honest = Sync(patience_s=1.0), node_of(1)
    for number in range(SYNC_NODES.value + 50):
        sync.claim(b"evil%028d" % number, 1 << 50)
    sync.claim(honest, 1_000)
    seconds, first_s, asked_of = 0.0, -1.0, 0
    while seconds < 4_000:
        for node, _ in sync.ask(seconds, 0):
            asked_of += 1
            if node == honest and first_s < 0:
                first_s = seconds
        seconds += 0.5
    assert 0 <= first_s < 200
    assert sync._claims == {}
    assert asked_of <= (SYNC_NODES.value + 1) * SYNC_STRIKES.value


def test_validators_claims_are_not_pushed_out_and_are_asked_before_others() -> None:
    """S6."""
    sync, honest = Sync(patience_s=1.0), node_of(1)
    sync.trusted = frozenset((honest,))
    sync.claim(honest, 1_000)
    for number in range(3 * SYNC_NODES.value):
        sync.claim(b"evil%028d" % number, 1 << 50)
    assert len(sync._claims) == SYNC_NODES.value
    assert honest in [node for node, _ in sync.ask(0.0, 0)]


def test_a_node_that_is_told_lies_of_heights_asks_those_who_know_all_the_same() -> None:
    """S6: polls go on while claims keep it busy and no block comes."""
    watcher = follower()
    liars = [node_of(number) for number in range(50, 60)]
    for node in liars:
        watcher._sync.claim(node, 1 << 40)
    seconds, asked_of = 1.0, set()
    while seconds < 30:
        for node, _ in asked(watcher.on_timer(at(seconds))):
            asked_of.add(node)
        seconds += 0.25
    assert asked_of & {node_of(number) for number in range(4)}
