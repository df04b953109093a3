"""A node without any link says so, unless it has just started or is the only one."""

import pytest

from pyrsia.node.mesh.alone import STARTING_S, alone
from pyrsia.units import NodeId

BOB = NodeId(b"b" * 32)


@pytest.mark.parametrize(
    ("linked", "others", "up_s", "says"),
    [
        ([], 3, STARTING_S.value, True),
        ([], 3, STARTING_S.value - 1, False),
        ([], 0, 3_600, False),
        ([BOB], 3, 3_600, False),
    ],
)
def test_a_node_that_nobody_is_linked_with_says_so(linked, others, up_s, says):
    told = alone(lambda: linked, lambda: others, lambda: up_s)
    assert bool(told) == says
    assert not says or ("no link with any node" in told and "3 other members" in told and "net.peers" in told)
