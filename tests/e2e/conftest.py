"""A network of real processes, shared by the tests that kill and damage its nodes; environments for real builds.

What a node said last before it ended by itself stands in the report of the test that failed meanwhile.
"""

import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterator

import pytest

from pyrsia.demo import roots
from pyrsia.demo.network import DemoFailed, Network

HANGS_S = 180.0
RUNNING: list[Network] = []
ENDED: deque[str] = deque(maxlen=5)  # last words of nodes whose network is gone


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        words = list(filter(None, (*ENDED, *map(last_words, RUNNING))))
        if words:
            report.sections.append(("a node that ended by itself", "\n".join(words)))
    if report.when == "teardown":
        ENDED.clear()
    return report


def last_words(network: Network) -> str:
    """Of the first node that ended by itself; "" while all run that were not stopped."""
    try:
        network.check_alive()
    except DemoFailed as failed:
        return str(failed)
    return ""


@pytest.fixture(scope="session", autouse=True)
def listening() -> Iterator[None]:
    """Know the networks that run, and ask those that are about to be stopped."""
    start, stop = Network.start_all, Network.stop_all

    def start_all(network: Network) -> None:
        RUNNING.append(network)
        start(network)

    def stop_all(network: Network) -> None:
        RUNNING[:] = [one for one in RUNNING if one is not network]
        ENDED.append(last_words(network))
        stop(network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "start_all", start_all)
        patch.setattr(Network, "stop_all", stop_all)
        yield


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
