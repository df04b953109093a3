"""History files, as they are; and with every signature, inclusion and path taken for good."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import trio

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.ledger import prefixtree
from pyrsia.log import tree
from pyrsia.node.log.proofs import Proofs
from pyrsia.verify import history
from pyrsia.verify.history import Subject
from pyrsia.verify.pins import Pin
from tests.reference.reigns import KeptReigns, three_epochs
from tests.reference.story import Story

MAX_BYTES = 32_768
JSON = True

FILE, BELIEVED = b"f", b"b"
CODES = {"proof-invalid", "no-proof", "not-pinned"}


def check(data: bytes) -> bool:
    way, body = data[:1], data[1:]
    pin, _ = _made()
    refusal = None
    try:
        if way == BELIEVED:
            with _believing():
                found = history.read(body, [pin], lambda *_: True)
        else:
            found = history.read(body, [pin], verify)
    except Refusal as error:
        refusal = error
    if refusal is not None:
        assert refusal.code in CODES
        return False
    indices = [index for index, _ in found.leaves]
    assert indices == sorted(set(indices))
    assert Subject.parse(found.subject.text) == found.subject
    return True


@contextmanager
def _believing() -> Iterator[None]:
    with ExitStack() as stack:
        for module, name in (
            (tree, "verify_inclusion"),
            (prefixtree, "verify_present"),
            (prefixtree, "verify_absent"),
        ):
            stack.enter_context(mock.patch.object(module, name, return_value=None))
        yield


@cache
def _made() -> tuple[Pin, dict[str, bytes]]:
    """The pinned network, and histories out of its archive."""
    with TemporaryDirectory(prefix="pyrsia-fuzz-") as folder:
        world = three_epochs(KeptReigns(Path(folder)))
        try:
            story = Story(world=world, dissenter=True)
            world.block(world.fact("about idna"))
            world.archive.keep_checkpoint(story.note())
            proofs = Proofs(world.archive)
            subjects = ("pkg:pypi/idna", "pkg:pypi/nobody", f"sha256:{story.sha256}")
            files = {text: trio.run(proofs.of_history, Subject.parse(text)) for text in subjects}
            return story.pin, files
        finally:
            world.close()


def seeds() -> dict[str, bytes]:
    package, nobody, digest = _made()[1].values()
    lines = package.split(b"\n")
    return {
        "package": FILE + package,
        "absent": FILE + nobody,
        "digest": FILE + digest,
        "believed": BELIEVED + digest,
        "believed-absent": BELIEVED + nobody,
        "line-left-out": FILE + b"\n".join(lines[:2] + lines[3:]),
        "late": FILE + package.replace(b'"first":0', b'"first":1'),
        "cut": FILE + package[:-1],
    }
