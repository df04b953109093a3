"""Transfers over bad lines: machines with little bandwidth that lose packets."""

import contextlib
import os

from tests.chaos.namespaces import machines
from tests.chaos.peer import manifest_of
from tests.chaos.peers import at, peer, write_manifest

SIZE = 12 << 20


def test_two_slow_givers_that_lose_packets_are_used_together(tmp_path):
    """Each may send 40 Mbit/s and the taker loses 2 packets of 100: what comes is right, and comes from both."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(os.urandom(SIZE))
    manifest = write_manifest(manifest_of(source), tmp_path / "manifest")
    with machines(3) as (ann, bob, carl), contextlib.ExitStack() as stack:
        for giver in (ann, bob):
            giver.shape(40)
        carl.lose(2)
        assert carl.dropped()
        givers = [
            stack.enter_context(
                peer("give", number, f"tcp://{one.address}", source, prefix=tuple(one.command()))
            )
            for number, one in enumerate((ann, bob), start=1)
        ]
        told = [one.line() for one in givers]
        taker = stack.enter_context(
            peer("take", 9, manifest, copy, *map(at, told), prefix=tuple(carl.command()))
        )
        assert taker.line() == {"half": True}
        result = taker.line()
    assert copy.read_bytes() == source.read_bytes()
    assert min(result["given"].get(one["node"], 0) for one in told) >= SIZE // 10
    assert result["liars"] == {}
    assert result["duplicates"] <= result["chunks"] // 20
