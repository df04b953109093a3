"""What an operator is told of a node that nobody is linked with. No decisions.

A node without links serves what it has and says that all is well; only its log stands still. It may be what its
configuration says of others, or its network.
"""

from collections.abc import Callable, Sequence

from pyrsia.units import Limit, NodeId

STARTING_S = Limit(15, "a node that starts has its first links within seconds; before, it is no news")


def alone(
    linked: Callable[[], Sequence[NodeId]], others: Callable[[], int], up_s: Callable[[], float]
) -> str:
    """The sentence, or "".

    Args:
        linked: who there is a link with. others: how many other members the log has.
        up_s: since this node started.
    """
    if linked() or not others() or up_s() < STARTING_S.value:
        return ""
    return (
        f"no link with any node, and the log has {others()} other members: nothing comes and nobody is reached;"
        " see `pyrsia peers`, and net.peers, net.bootstrap, net.dns or net.lan in the configuration"
    )
