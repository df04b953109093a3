"""The shell runs real cores: four nodes whose tasks, links and disks are trio's, under a clock that jumps.

A smoke test: what the simulator found right must also be right behind `node.consensus.agreement`, which turns effects
into sends, syncs and alarms. Faults are the simulator's business.
"""

import trio
import trio.testing

from pyrsia.consensus import catchup
from pyrsia.consensus.effects import Deliver
from pyrsia.consensus.epochs import Epochs
from pyrsia.node.consensus.agreement import Agreement, Hands
from tests.reference.waiting import bounded, until
from tests.sim import toy
from tests.sim.plan import TIMING
from tests.sim.world import CHAIN_ID, ORIGIN, fake_sign, fake_verify

SYNC_S = 0.001
DELAY_S = 0.002


class Peer:
    """One node: its core, its shell, and a disk that takes a millisecond."""

    def __init__(self, number: int, n: int) -> None:
        self.number, self.node = number, toy.node_of(number)
        self.app = toy.Toy(n, number)
        self.blocks: dict[int, bytes] = {}
        self.proofs: dict[int, bytes] = {}
        self.unsynced = self.synced = 0
        self.others: dict[bytes, Peer] = {}
        self.nursery: trio.Nursery | None = None
        core = Epochs(
            self.app,
            CHAIN_ID,
            ORIGIN,
            node=self.node,
            sign=lambda vote: (
                (lambda text: fake_sign(vote, text)) if vote.startswith(b"%016d" % number) else None
            ),
            verify=fake_verify,
            reveal=lambda one, position: (toy.reveal_of(one, position), bytes(32)),
            timing=TIMING,
        )
        self.core = core
        self.shell = Agreement(
            core,
            Hands(
                send=self.send,
                linked=lambda: list(self.others),
                persist=self.persist,
                deliver=self.deliver,
                serve=lambda first, last: catchup.serve(first, last, self.blocks.get, self.proofs.get),
                blame=lambda effect: self.broken(f"blames {effect}"),
                fault=lambda node, why: self.broken(f"finds fault with {node!r}: {why}"),
                halt=self.broken,
                mute=lambda reason, lost: self.broken(f"votes no more: {reason} ({lost})"),
            ),
        )

    def broken(self, what: str) -> None:
        raise AssertionError(f"node {self.number}: {what}")

    def send(self, node: bytes, kind: int, data: bytes) -> bool:
        assert self.nursery is not None
        self.nursery.start_soon(self._travel, self.others[node], data)
        return True

    async def _travel(self, to: "Peer", data: bytes) -> None:
        await trio.sleep(DELAY_S)
        to.shell.receive(self.node, data)  # type: ignore[arg-type]

    async def persist(self, records: object) -> None:
        await trio.sleep(SYNC_S)
        self.synced += 1

    def deliver(self, effect: Deliver) -> None:
        for block in effect.blocks:
            self.app.finalize(block)
            self.blocks[block.header.height] = block.encode()
        self.proofs[effect.blocks[-1].header.height] = effect.proof.encode()

    def submit(self, entry: bytes) -> None:
        self.app.submit(entry)
        self.shell.work()


def test_four_shells_agree_change_their_keys_and_go_on() -> None:
    entries = [b"first", b"seats ~ 1 1", b"second"]

    async def scenario() -> list[Peer]:
        peers = [Peer(number, 4) for number in range(4)]
        for peer in peers:
            peer.others = {other.node: other for other in peers if other is not peer}
        with bounded(60):
            async with trio.open_nursery() as nursery:
                for peer in peers:
                    peer.nursery = nursery
                    await nursery.start(peer.shell.run)
                for entry in entries:
                    for peer in peers:
                        peer.submit(entry)
                    await until(lambda entry=entry: all(entry in peer.app.done for peer in peers), 60)
                nursery.cancel_scope.cancel()
        return peers

    peers = trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))

    low = min(peer.app.final.height for peer in peers)
    assert low >= 3
    assert all(len({peer.blocks[height] for peer in peers}) == 1 for height in range(1, low + 1))
    assert {peer.core.committee.epoch for peer in peers} == {1}
    assert all(peer.synced > 3 for peer in peers)
