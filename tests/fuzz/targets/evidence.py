"""The evidence in a proof file, and what `verify` makes of it.

Four ways in, by the first byte: the file as it is; its `extra` line alone, in a sound file; that line with every
signature and inclusion taken for good, so that entries which no honest log holds reach the judge; and a leaf with
its proof, as `pyrsia log prove` writes it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

from pyrsia.errors import Refusal
from pyrsia.keys import verify
from pyrsia.log import tree
from pyrsia.log.prooffile import TlogProof
from pyrsia.verify import evidence
from pyrsia.verify.artifact import judge_by
from tests.reference.reigns import Reigns, three_epochs
from tests.reference.story import NOW_MS, WHEEL, Story

MAX_BYTES = 65_536
JSON = True

FILE, EXTRA, BELIEVED, LEAF = b"f", b"e", b"b", b"l"
CODES = {"proof-invalid", "no-proof", "not-pinned", "too-old", "not-found"}


def check(data: bytes) -> bool:
    way, body = data[:1], data[1:]
    story, file = _story()
    if way == FILE:
        return _judged(body, story, file)
    if way == LEAF:
        return _leaf(body, story)
    proof = _around(body, story)
    if way == EXTRA:
        return _judged(proof, story, file)
    with _believing():
        return _judged(proof, story, file, believed=True)


def _leaf(body: bytes, story: Story) -> bool:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return False
    refusal = None
    try:
        found = evidence.check_leaf(fields, [story.pin], verify=verify)
    except Refusal as error:
        refusal = error
    if refusal is not None:
        assert refusal.code in CODES | {"bad-request"}
        return False
    assert found["ok"]
    assert story.world.leaves[found["index"]] == fields["entry"].encode()
    return True


def _judged(proof: bytes, story: Story, file: Path, believed: bool = False) -> bool:
    check_signature = (lambda *_: True) if believed else verify
    refusal = None
    try:
        found = evidence.read(proof, [story.pin], check_signature)
        finding = judge_by(file, found, now_ms=NOW_MS, expected=None, verify=check_signature)
    except Refusal as error:
        refusal = error
    if refusal is not None:
        assert refusal.code in CODES
        assert all((refusal.what, refusal.who, refusal.do))
        return False
    assert believed or finding.sha256 == story.sha256
    return True


@contextmanager
def _believing() -> Iterator[None]:
    with mock.patch.object(tree, "verify_inclusion", return_value=None):
        yield


def _around(extra: bytes, story: Story) -> bytes:
    true = TlogProof.parse(story.proof_file)
    try:
        return TlogProof(extra, true.index, true.hashes, true.note).encode()
    except ValueError:  # longer than a proof file may be
        return b""


class _Story(Story):
    proof_file: bytes


@cache
def _story() -> tuple[_Story, Path]:
    story = _Story(world=three_epochs(Reigns(count=6)), dissenter=True)
    story.proof_file = story.proof(note=story.note(signers=3))
    folder = Path(mkdtemp(prefix="pyrsia-fuzz-"))
    file = folder / WHEEL
    file.write_bytes(story.data)
    return story, file


def _leaf_file(story: Story) -> bytes:
    index = story.artifact.leaf
    proof = TlogProof.parse(story.proof(extra=b"x"))
    bare = (
        TlogProof(evidence.pack_steps(story.world.steps), proof.index, proof.hashes, proof.note)
        .encode()
        .decode()
    )
    fields = {"entry": story.world.leaves[index].decode(), "index": index, "proof": bare}
    return json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def seeds() -> dict[str, bytes]:
    story, _ = _story()
    proof = story.proof_file
    extra = TlogProof.parse(proof).extra or b""
    return {
        "file": FILE + proof,
        "extra": EXTRA + extra,
        "believed": BELIEVED + extra,
        "leaf": LEAF + _leaf_file(story),
        "no-leaves": EXTRA + b'{"epochs":{"first":0,"steps":[]},"leaves":[],"now":{},"v":1}',
        "late": EXTRA + extra.replace(b'"first":0', b'"first":1'),
        "one-leaf": BELIEVED + evidence.pack([story.row(story.artifact.leaf, story.size)], story.now()),
    }
