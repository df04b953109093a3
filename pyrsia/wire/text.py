"""Text forms: base32 names of keys, and strangers' text made harmless before anybody sees it.

`safe` is the one function that neutralises text from others for terminals, logs and pages;
HTML escaping is the page's own business. No Unicode table of the interpreter takes part: what is
hidden is listed here.
"""

import base64
import re
from functools import lru_cache
from typing import Final

from pyrsia.errors import Malformed

# Controls (C0, DEL, C1), soft hyphen, Arabic letter mark, Mongolian and zero-width marks, direction
# marks, embeddings and isolates, line separators, invisible operators, surrogates, byte-order mark,
# annotation marks, noncharacters and tags.
_HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\uffff\U000e0000-\U000e0fff]"
)
NODE_ID: Final = re.compile("[a-z2-7]{52}")  # the form of a node id's text; `unb32` tells whether it is one
_BASE32: Final = re.compile("[a-z2-7]+")


# The names of members stand in every entry and message; a stranger's name only pushes another out.
_NAMES: Final = 4_096


@lru_cache(_NAMES)
def b32(data: bytes) -> str:
    """Lower-case base32 without padding: 52 characters for a 32-byte key."""
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


@lru_cache(_NAMES)
def unb32(text: str, size: int = 32) -> bytes:
    """The `size` bytes that `text` names.

    Raises:
        Malformed: another alphabet, another length, or bits left over that are not zero.
    """
    if len(text) != (size * 8 + 4) // 5 or _BASE32.fullmatch(text) is None:
        raise Malformed(f"not the base32 text of {size} bytes")
    data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    if b32(data) != text:
        raise Malformed("base32 text with bits left over")
    return data


def safe(text: str) -> str:
    """`text` with everything that moves, hides or reorders output written out, on one line."""
    return _HIDDEN.sub(lambda found: _written_out(ord(found.group())), text)


def _written_out(point: int) -> str:
    if point <= 0xFF:
        return f"\\x{point:02x}"
    if point <= 0xFFFF:
        return f"\\u{point:04x}"
    return f"\\U{point:08x}"
