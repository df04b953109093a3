"""Checkpoint texts, against the format's grammar as one regular expression."""

import base64
import re

from pyrsia.log.checkpoint import Checkpoint
from pyrsia.log.tree import EMPTY_ROOT
from tests.fuzz import laws
from tests.fuzz.targets import samples

MAX_BYTES = 512

_TEXT = re.compile(
    "(?P<origin>[^\\s+\x00-\x1f\x7f\x85]+)\n(?P<size>0|[1-9][0-9]*)\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
)


def check(data: bytes) -> bool:
    found = laws.one_form(data, Checkpoint.parse, Checkpoint.text)
    assert (found is not None) == _is_checkpoint(data), "the two readers disagree"
    return found is not None


def _is_checkpoint(data: bytes) -> bool:
    try:
        found = _TEXT.fullmatch(data.decode())
    except UnicodeDecodeError:
        return False
    if found is None or len(found["origin"].encode()) > 255 or int(found["size"][:20]) >= 1 << 53:
        return False
    root = base64.b64decode(found["root"])
    if base64.b64encode(root).decode() != found["root"]:
        return False
    return found["size"] != "0" or root == EMPTY_ROOT


def seeds() -> dict[str, bytes]:
    text = samples.HEAD.text()
    origin, _, root, _ = text.split(b"\n")
    sizes = (
        b"0",
        b"07",
        b"+5",
        b"5 ",
        b"-1",
        b"9007199254740991",
        b"9007199254740992",
        b"9223372036854775808",
    )
    made = {f"size-{size.decode()}": b"%s\n%s\n%s\n" % (origin, size, root) for size in sizes}
    empty = base64.b64encode(EMPTY_ROOT)
    return {
        "plain": text,
        "empty-log": b"%s\n0\n%s\n" % (origin, empty),
        "extension": text + b"more\n",
        "bits-left-over": text.replace(b"=\n", b"=\n").replace(root, root[:-2] + b"B="),
        "no-line-end": text[:-1],
        **made,
    }
