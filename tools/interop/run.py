"""Our notes, proofs, policy and witness before other people's programs; one line for each thing that holds.

    PYTHONPATH=. python tools/interop/run.py        Go and its module proxy are needed

A log of ours (archive, server, feeder of a node) is cosigned by omniwitness, and what is then served is read by Go's
own libraries, also after each of a number of changes, which they must refuse. A Tessera log is cosigned by us.
"""

import base64
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import trio

from pyrsia import keys
from pyrsia.config import WitnessSection
from pyrsia.log import note
from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.feed import Asked
from pyrsia.log.note import COSIGNATURE, ED25519, SignedNote, VerifierKey
from pyrsia.log.policy import of_network
from pyrsia.log.witness import WatchedLog, origin_hash
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.witness.outside import Outside
from pyrsia.node.witness.witnesses import Witnesses
from pyrsia.node.witness.witnessing import open_witnessing
from pyrsia.serve.app import build_app
from pyrsia.serve.guard import Guard
from pyrsia.units import TreeSize
from tests.reference import merkle
from tests.reference.ledger import key
from tests.reference.parts import Kept, until
from tests.reference.story import signature_lines
from tests.unit.serve.toy import ToyNode, serving

HERE = Path(__file__).parent
OMNIWITNESS = "github.com/transparency-dev/witness/cmd/omniwitness@v0.0.0-20260720115447-2e1c6971d19e"
BUILD_S = 600
STEP_S = 90


def secret(name: str, pair: keys.KeyPair) -> str:
    """A signing key in the form of Go's note package."""
    id_ = note.key_id(name, ED25519, pair.public).hex()
    return f"PRIVATE+KEY+{name}+{id_}+{base64.b64encode(bytes([ED25519]) + pair.seed).decode()}"


class Ours:
    """A log of four validators on disk, three of whom sign each checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.world = Kept(folder)
        self.genesis, self.archive = self.world.genesis, self.world.archive
        self.grow(3)

    def grow(self, count: int) -> None:
        for at in range(count):
            self.world.block(self.world.fact(f"fact {len(self.world.leaves)} {at}"))
        leaves = [merkle.leaf_hash(leaf) for leaf in self.world.leaves]
        head = Checkpoint(self.genesis.origin, TreeSize(len(leaves)), merkle.root(leaves))
        lines = [
            line
            for number in range(3)
            for line in signature_lines(head, key(number, "log"), key(number, "cosign"), int(time.time()))
        ]
        self.archive.keep_checkpoint(SignedNote(head.text(), tuple(lines)).encode())

    @property
    def first_log_key(self) -> VerifierKey:
        return VerifierKey(self.genesis.origin, ED25519, key(0, "log").public)

    def policy(self, outside: str) -> bytes:
        rows = [(one.name, one.log, one.cosign) for one in self.genesis.validators]
        return of_network(self.genesis.origin, rows, self.genesis.q, outside=[outside], need=1).text()


@asynccontextmanager
async def omniwitness(folder: Path, ours: Ours, program: Path) -> AsyncIterator[tuple[VerifierKey, str]]:
    """Another people's witness as a process, which watches our log: (its key, its address)."""
    pair, name = keys.KeyPair.generate(), "omniwitness.example"
    (folder / "key").write_text(secret(name, pair))
    logs = f"Logs:\n  - Origin: {ours.genesis.origin}\n    PublicKey: {ours.first_log_key}\n    URL: http://localhost/\n"
    (folder / "logs.yaml").write_text(logs + "    Feeder: none\n")
    with trio.socket.socket() as found:
        await found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    arguments = [
        str(program),
        f"--listen=127.0.0.1:{port}",
        "--metrics_listen=127.0.0.1:0",
        f"--private_key_path={folder / 'key'}",
        f"--db_file={folder / 'omni.db'}",
        f"--additional_logs={folder / 'logs.yaml'}",
    ]
    async with trio.open_nursery() as nursery:
        with (folder / "omni.log").open("wb") as log:
            running = partial(trio.run_process, arguments, stdout=log, stderr=log, check=False)
            process = await nursery.start(running)
            yield VerifierKey(name, COSIGNATURE, pair.public), f"http://127.0.0.1:{port}"
            process.terminate()


async def go(*arguments: str) -> tuple[int, str]:
    """(exit code, what it said); what it logs besides is shown where it fails."""
    done = await trio.run_process(arguments, check=False, capture_stdout=True, capture_stderr=True)
    said = done.stdout if done.returncode == 0 else done.stdout + done.stderr
    return done.returncode, said.decode(errors="replace")


def must(good: bool, what: str) -> None:
    if not good:
        sys.exit(f"interop: {what}")


async def read_by_go(interop: Path, folder: Path, files: dict[str, bytes]) -> None:
    """Go reads what we wrote, and refuses every change of it."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    code, told = await go(str(interop), "verify", str(folder))
    print(told, end="")
    must(code == 0, "Go refuses what we wrote")
    changes = {
        "a digit of the size": ("checkpoint", lambda data: data.replace(b"\n", b"\n1", 1)),
        "a cosignature": ("checkpoint", lambda data: data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]),
        "half of the signatures": ("checkpoint", lambda data: b"".join(data.splitlines(True)[:7])),
        "the leaf": ("leaf", lambda data: data + b" "),
        "the index": ("proof.tlog-proof", lambda data: data.replace(b"index ", b"index 1", 1)),
    }
    for what, (name, change) in changes.items():
        (folder / name).write_bytes(change(files[name]))
        code, told = await go(str(interop), "verify", str(folder))
        must(code == 1, f"Go accepts a change of {what}: {told}")
        (folder / name).write_bytes(files[name])
        print(f"ok  go refuses it after a change of {what}")


async def main(folder: Path, interop: Path, omni: Path) -> None:
    """Everything, in order."""
    ours, toy = Ours(folder / "ours"), ToyNode(folder)
    tessera_log, name = keys.KeyPair.generate(), "tessera.example/log"
    (folder / "log.key").write_text(secret(name, tessera_log))
    watched = WatchedLog(name, (VerifierKey(name, ED25519, tessera_log.public),))
    (folder / "keys").mkdir()
    own = open_witnessing(
        folder / "keys",
        WitnessSection(logs=(str(watched),)),
        ours.world.database,
        clock=time.time,
        notices=[],
    )
    async with omniwitness(folder, ours, omni) as (vkey, url):
        outside = Outside(
            [Asked(vkey, url)],
            origin=ours.genesis.origin,
            archive=ours.archive,
            database=ours.world.database,
            notices=[],
        )
        face = Witnesses(own, outside, origin=ours.genesis.origin, conflicts=lambda: ())
        guard = Guard(control_token="interop")  # noqa: S106 (nothing here asks for it)
        app = build_app(guard=guard, catalog=toy, log_view=ours.archive, admin=toy, witnessing=face)
        async with serving(app) as server, httpx.AsyncClient(base_url=server.url) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outside.run)
                for count in (1, 300):
                    ours.grow(count)
                    size = len(ours.world.leaves)
                    await until(lambda size=size: outside.status()[0].size == size, STEP_S)
                    print(f"ok  omniwitness cosigned our log at size {size}")
                nursery.cancel_scope.cancel()
            index = len(ours.world.leaves) // 2
            files = {
                "checkpoint": (await client.get("/log/checkpoint")).content,
                "policy": ours.policy(str(vkey)),
                "proof.tlog-proof": Proofs(ours.archive).of_leaf(index) or b"",
                "leaf": ours.world.leaves[index],
            }
            await read_by_go(interop, folder, files)
            code, told = await go(
                str(interop), "tessera", f"{server.url}/witness", str(own.verifier), str(folder)
            )
            print(told, end="")
            must(code == 0, "Tessera got no cosignature that it takes")
            kept = (await client.get(f"/witness/{origin_hash(name)}/checkpoint")).content
            found = note.verify_note(SignedNote.parse(kept), [*watched.keys, own.verifier], keys.verify)
            must(len(found) == 2, "what we keep of Tessera's log is not signed by both")
            print(f"ok  our witness keeps Tessera's head at size {own.watched()[0].size}")
    ours.world.close()


def build(folder: Path) -> tuple[Path, Path]:
    """Compile our reader, and fetch and compile omniwitness."""
    environ = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=readonly"}
    subprocess.run(["go", "build", "-o", str(folder / "interop"), "."], cwd=HERE, check=True, timeout=BUILD_S)
    subprocess.run(["go", "install", OMNIWITNESS], env=environ, cwd=folder, check=True, timeout=BUILD_S)
    return folder / "interop", folder / "omniwitness"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        trio.run(main, place, *build(place))
