"""The process that appends: for each block a blob, a vote, the block, one sync; then it says what it did.

`python -m tests.e2e.crash.appender HANDLE`: a parent of many such processes. For each request on the socket
HANDLE it forks one, so that imports and the ledger's execution are paid for once. An appender opens its data
directory as a node does and writes what a node writes; each line that it sends was acknowledged before.
"""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import trio

from pyrsia.errors import Refusal, Unavailable
from pyrsia.node.house import GENESIS
from pyrsia.node.opening import Facts, open_facts
from pyrsia.store.blobs import Blobs
from tests.e2e.crash import operations
from tests.e2e.crash.script import BLOCKS_BEFORE, Script, Step

DONE, NO, REFUSED, BUG = (
    0,
    3,
    4,
    70,
)  # exit codes: all appended; the disk said no; damaged, in use; anything else


def blob(height: int) -> bytes:
    return b"blob %d " % height * 400


def vote(height: int) -> bytes:
    return b"\x01vote %d " % height * 20


def empty(script: Script, data: Path) -> None:
    """A data directory as `pyrsia init` leaves it, as far as an append reads it."""
    data.mkdir()
    (data / GENESIS).write_bytes(script.genesis.raw)


def before(script: Script, data: Path) -> None:
    """The log that is there when an append begins."""
    empty(script, data)

    async def fill() -> None:
        await _append(script, data, script.steps[: BLOCKS_BEFORE + 1], lambda line: None)

    trio.run(fill)


def opened(script: Script, data: Path) -> Facts:
    """As the validator opens it whose keys the script has."""
    return open_facts(data, script.genesis, script.keys)


async def _append(script: Script, data: Path, steps: list[Step], say) -> None:  # type: ignore[no-untyped-def]
    facts = opened(script, data)
    try:
        if not facts.ballots.give(script.keys.vote.public):
            raise Refusal("data-damaged", what=str(facts.notices), who="nobody", do="look")
        blobs = Blobs(data / "blobs", facts.database)
        for step in steps:
            height = step.commit.height
            with suppress(Unavailable):  # a blob fails alone
                say(f"blob {(await blobs.put_bytes(blob(height), pin='test')).hex()}")
            await facts.ballots.append([vote(height)])
            say(f"vote {height}")
            facts.archive.write(step.commit, step.block, None)
            await facts.database.sync()
            say(f"size {step.size}")
            facts.archive.keep_checkpoint(step.note)  # as a node does: durable with the next sync
        await facts.ballots.trim(lambda record: record != vote(0))
        say("trimmed")
    finally:
        facts.close()


def append(script: Script, data: Path, link: socket.socket) -> int:
    """In a process of its own: append what lacks; the exit code."""
    first = BLOCKS_BEFORE + 1 if (data / "db").exists() else 0
    listener = operations.watch_me()
    socket.send_fds(link, [b"listener"], [listener])
    os.close(listener)
    try:
        trio.run(_append, script, data, script.steps[first:], lambda line: link.send(line.encode()))
    except Unavailable:
        return NO
    except Refusal as refusal:
        link.send(f"refused {refusal}".encode())
        return REFUSED
    return DONE


def main() -> None:
    asked = socket.socket(fileno=int(sys.argv[1]))
    script = Script()
    while True:
        folder, handles, _, _ = socket.recv_fds(asked, 4_096, 1)
        if not folder:
            return
        child = os.fork()
        if child == 0:
            _be_one(script, Path(os.fsdecode(folder)), socket.socket(fileno=handles[0]), asked)
        os.close(handles[0])
        asked.send(str(child).encode())
        _, status = os.waitpid(child, 0)
        asked.send(str(os.waitstatus_to_exitcode(status)).encode())


def _be_one(script: Script, data: Path, link: socket.socket, asked: socket.socket) -> None:
    """Never returns."""
    code = BUG
    try:
        asked.close()
        code = append(script, data, link)
    except BaseException as error:  # noqa: BLE001 (the parent reads it as a failure of the test)
        with suppress(OSError):
            link.send(f"bug {error!r}"[:2_000].encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
