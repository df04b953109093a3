"""A plug-in whose builds take no time: what is left is what the network adds to the slowest build."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyrsia.builds.model import (
    Built,
    Inputs,
    NamedFile,
    Output,
    Packed,
    Planned,
    Progress,
    Want,
    file_out,
    keep,
)
from pyrsia.builds.shop import Shop
from pyrsia.errors import Refusal

DIGEST = hashlib.sha256(b"instant").hexdigest()


class Instant:
    """Everything that it is asked for is built at once, from nothing, the same everywhere."""

    name = "pip"

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    async def plan(self, want: Want, now_ms: int, progress: Progress) -> tuple[Planned, ...]:
        return (
            Planned(
                purl=f"pkg:pypi/{want.name}@{want.version}",
                coordinates={"name": want.name, "version": str(want.version)},
                source={"file": f"{want.name}.tar.gz", "sha256": DIGEST, "size": 7},
                recipe={
                    "backend": "pip/wheel@1",
                    "cutoff_ms": 1_700_000_000_000,
                    "environment": self._shop.admitted()[0],
                    "isolation": "pure",
                    "normaliser": "wheel@1",
                    "sde": 1_700_000_000,
                    "v": 1,
                },
                lock=b"pyrsia lock pip v1\n",
                target={"arch": "x86_64", "libc": "glibc-2.36", "os": "linux", "python": "3.11.7"},
                ecosystem=self.name,
            ),
        )

    async def relock(self, request: Mapping[str, Any]) -> bytes:
        return b"pyrsia lock pip v1\n"

    async def prefetch(self, request: Mapping[str, Any], locked: bytes) -> Inputs:
        return Inputs(NamedFile("x", Path("x")), (), {}, hashlib.sha256(locked).hexdigest())

    async def build(
        self, request: Mapping[str, Any], inputs: Inputs, progress: Progress, vary: bool = False
    ) -> Built:
        folder = self._shop.results / f"instant-{request['coordinates']['name']}"
        folder.mkdir(parents=True, exist_ok=True)
        packed = Packed(keep(folder, "wheel", request["purl"].encode()), keep(folder, "members", b"[]"))
        name = f"{request['coordinates']['name'].replace('-', '_')}-1-py3-none-any.whl"
        output = Output(name, packed, packed, DIGEST, None, "none", "full", ())
        return Built(
            outcome="built",
            phase="",
            lock_sha256=inputs.lock_sha256,
            source="registry",
            outputs=(output,),
            environment=request["recipe"]["environment"],
            isolation="namespace",
            log=file_out(packed.members.path),
            folder=folder,
        )

    async def failed(self, error: Refusal, lock_sha256: str, phase: str = "prefetch") -> Built:
        raise error


def instant(shop: Shop, _: object) -> Sequence[Instant]:
    return (Instant(shop),)
