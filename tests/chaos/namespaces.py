"""Machines on one machine: network namespaces behind a bridge, with bandwidth (tbf) and loss (nft). Needs root.

netem is not in every kernel; a token bucket and a rule that drops by chance are. Latency is left to `proxy`.
"""

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

_SUBNET = "10.213.7"


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace and its address."""

    name: str
    address: str

    def command(self, *command: str) -> list[str]:
        """`command`, run on this machine."""
        return ["ip", "netns", "exec", self.name, *command]

    def shape(self, mbit: int) -> None:
        """Let out no more than this many Mbit/s."""
        bucket = ("tbf", "rate", f"{mbit}mbit", "burst", "128kb", "latency", "50ms")
        _run(*self.command("tc", "qdisc", "replace", "dev", "eth0", "root", *bucket))

    def lose(self, percent: int) -> None:
        """Drop so many of a hundred packets that come in."""
        rules = (
            "flush ruleset; add table inet chaos; "
            "add chain inet chaos in { type filter hook input priority 0; }; "
            f"add rule inet chaos in iifname eth0 numgen random mod 100 < {percent} drop"
        )
        _run(*self.command("nft", rules))

    def dropped(self) -> bool:
        """Whether a rule that loses packets stands."""
        return "drop" in _run(*self.command("nft", "list", "ruleset"))


@functools.cache
def lacks() -> str:
    """Why there are none on this machine; empty if there are."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "tc", "nft"):
        if not shutil.which(program):
            return f"{program} is not installed; apt-get install iproute2 nftables"
    try:
        with _machines(1) as (machine,):
            machine.shape(100)
            machine.lose(1)
    except subprocess.CalledProcessError as error:
        return f"this machine makes no network namespaces: {error.stderr.strip()[:200]}"
    return ""


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many machines that reach each other; the test is skipped where there are none."""
    if why := lacks():
        pytest.skip(why)
    with _machines(count) as made:
        yield made


@contextlib.contextmanager
def _machines(count: int) -> Iterator[list[Machine]]:
    mark = f"px{os.getpid() % 100_000}"
    with contextlib.ExitStack() as stack:
        _run("ip", "link", "add", mark, "type", "bridge")
        stack.callback(_quietly, "ip", "link", "del", mark)
        _run("ip", "link", "set", mark, "up")
        made = []
        for number in range(1, count + 1):
            machine = Machine(f"{mark}-{number}", f"{_SUBNET}.{number}")
            _run("ip", "netns", "add", machine.name)
            stack.callback(_quietly, "ip", "netns", "del", machine.name)
            _plug(machine, f"{mark}v{number}", mark)
            made.append(machine)
        yield made


def _plug(machine: Machine, cable: str, bridge: str) -> None:
    _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
    _run("ip", "link", "set", cable, "master", bridge, "up")
    _run("ip", "-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _run("ip", "-n", machine.name, "link", "set", device, "up")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


def _quietly(*command: str) -> None:
    subprocess.run(command, check=False, capture_output=True, timeout=20)
