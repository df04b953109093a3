"""The environments of this node: what a build runs in, each by its digest.

`host:<64 hex>` is this machine's own interpreter and C library, for pure outputs only. `rootfs:<64 hex>` is a file
system by the SHA-256 of its archive: the same tools on every builder, whatever machine it has. Decides which
environments are here and what each offers; which of them a network admits, its genesis and motions say.

Source: docs/environments.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pyrsia.errors import Refusal

HOST: Final = "host:"
ROOTFS: Final = "rootfs:"


@dataclass(frozen=True, slots=True)
class Environment:
    """One that is here and can be used now.

    Attributes:
        id: `host:` or `rootfs:` and 64 hex digits.
        root: folder that is shown as the file system inside, read-only; None for the host's own.
        facts: what it offers: `arch`, `libc`, `os` always; `python`, `jdk`, `maven`, `compiler`, `cmake`, `conan`
            with their versions where it has them.
        archive: the archive that it was unpacked from, where it is kept.
    """

    id: str
    root: Path | None
    facts: Mapping[str, str]
    archive: Path | None = None

    @property
    def pure_only(self) -> bool:
        return self.root is None

    def offers(self, *tools: str) -> bool:
        return all(self.facts.get(tool) for tool in tools)


class Environments(Protocol):
    """Where plug-ins get environments from."""

    def here(self) -> Sequence[Environment]:
        """Those that can be used now, the host's own first."""
        ...

    def chosen(self, admitted: Sequence[str], *tools: str, pure: bool = False) -> Environment:
        """The first admitted one that is here and offers `tools`; the host's own only where `pure`.

        Raises:
            Refusal: `no-environment`, which were looked at, and the command that makes or fetches one.
        """
        ...

    async def get(self, id: str) -> Environment:
        """The environment that a recipe names, fetched from peers where it is an artifact that is not here yet.

        Raises:
            Refusal: `no-environment`.
        """
        ...


class HostOnly:
    """The environments of a node without any file system of its own."""

    def __init__(self, id: str, facts: Mapping[str, str]) -> None:
        self._own = Environment(id, None, facts)

    def here(self) -> Sequence[Environment]:
        return (self._own,)

    def chosen(self, admitted: Sequence[str], *tools: str, pure: bool = False) -> Environment:
        return choose(self.here(), admitted, tools, pure=pure)

    async def get(self, id: str) -> Environment:
        return find(self.here(), id)


def choose(
    here: Sequence[Environment], admitted: Sequence[str], tools: Sequence[str], *, pure: bool
) -> Environment:
    """The first of `admitted`, in the network's order, that is here and suits; see `Environments.chosen`."""
    known = {one.id: one for one in here}
    for name in admitted:
        one = known.get(name)
        if one is not None and one.offers(*tools) and (pure or not one.pure_only):
            return one
    raise Refusal(
        "no-environment",
        what=f"no admitted build environment with {', '.join(tools) or 'these tools'} is on this machine",
        who=f"the {len(admitted)} environments that the network admits",
        do="see `pyrsia build environment list`; make one or fetch one",
    )


def find(here: Sequence[Environment], id: str) -> Environment:
    """The one called `id`; raises `no-environment`."""
    for one in here:
        if one.id == id:
            return one
    raise Refusal(
        "no-environment",
        what=f"the build environment {id[:24]} is not on this machine",
        who="this node",
        do="see `pyrsia build environment list`; make it, or fetch it from the network",
    )
