"""A network of real processes, shared by the tests that kill and damage its nodes; environments for real builds."""

import shutil
from collections.abc import Callable, Iterator

import pytest

from pyrsia.demo import roots
from pyrsia.demo.network import Network

HANGS_S = 180.0


@pytest.fixture(scope="module", autouse=True)
def unhurried() -> Iterator[None]:
    """Whatever a test waits for in a network, its bound says no more than that it hangs.

    A machine that does much else takes many times what an idle one does, on which smaller bounds were measured.
    """
    plain = Network.wait

    def wait(network: Network, condition: Callable[[], bool], patience_s: float, what: str) -> None:
        plain(network, condition, max(patience_s, HANGS_S), what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "wait", wait)
        yield


@pytest.fixture
def network() -> Iterator[Network]:
    """Four validators and a follower that run; all gone at the end."""
    net = Network.create(isolation="namespace", environment="host:" + "0" * 64)
    try:
        net.start_all()
        yield net
    finally:
        net.stop_all()
        net.remove()


@pytest.fixture(scope="session")
def made_roots() -> roots.Roots:
    """Environments `c` and `jvm`, in this order, made once on this machine (a minute) and found made after that."""
    if shutil.which("apt-get") is None:
        pytest.skip("build environments are made of Debian's packages, and there is no apt-get")
    return roots.made(("c", "jvm"), roots.folder(), lambda _: None)
