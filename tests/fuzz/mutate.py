"""Changes of canonical JSON that stay canonical: a flipped byte rarely gets past the first check."""

import json
import random
from copy import deepcopy
from typing import Any

WORDS = [
    0, 1, 2, 255, 256, 65_535, 1 << 31, (1 << 53) - 1, 1 << 53, -1, True, False, "", "a", "0" * 64, "f" * 64, "\u00e9",
    "\U0001f600", "a" * 52, "pkg:pypi/a@1", "built", "failed", "none", [], {}, [[]], [{}],
]  # fmt: skip


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """At most `most` bytes made from `data`: three times in four one value in it is changed, else a few bytes.

    What stands before the first brace is kept: some targets have a byte of their own there.
    """
    draw = random.Random(seed)
    at = data.find(b"{")
    if at >= 0 and draw.random() < 0.75:
        try:
            value = json.loads(data[at:])
            for _ in range(draw.choice((1, 1, 1, 2, 3))):
                value = _changed(value, draw)
            made = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
            if at + len(made) <= most:
                return data[:at] + made
        except (ValueError, RecursionError):  # bytes of an earlier change, or text that UTF-8 cannot write
            pass
    return _bytes_changed(data, draw)[:most]


def _bytes_changed(data: bytes, draw: random.Random) -> bytes:
    """One to four places flipped, cut, doubled or overwritten."""
    made = bytearray(data or b"{}")
    for _ in range(draw.randint(1, 4)):
        at, size = draw.randrange(len(made) + 1), draw.randint(1, 8)
        action = draw.randrange(4)
        if action == 0 and at < len(made):
            made[at] ^= 1 << draw.randrange(8)
        elif action == 1:
            del made[at : at + size]
        elif action == 2:
            made[at:at] = made[at : at + size]
        else:
            made[at : at + size] = draw.randbytes(size)
    return bytes(made)


def _changed(value: Any, draw: random.Random) -> Any:
    """`value` with one thing in it changed, at a random depth."""
    inside = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    if not inside or draw.random() < 0.15:
        return _other(value, draw)
    place = draw.choice(inside)
    action = draw.random()
    if action < 0.06:
        del value[place]
    elif action < 0.12 and isinstance(value, list):
        value.insert(draw.randrange(len(value) + 1), deepcopy(draw.choice(value)))
    elif action < 0.16 and isinstance(value, dict):
        value[draw.choice(["a", "requires_python", "upstream", "next_chain", place + "x"])] = draw.choice(
            WORDS
        )
    elif action < 0.2 and isinstance(value, list):
        draw.shuffle(value)
    else:
        value[place] = _changed(value[place], draw)
    return value


def _other(value: Any, draw: random.Random) -> Any:
    """Another value instead of a leaf, or the same with a small change."""
    if isinstance(value, str) and value and draw.random() < 0.6:
        inner = _inner_json(value, draw)
        if inner is not None:
            return inner
        at = draw.randrange(len(value))
        return value[:at] + draw.choice([chr(draw.randrange(1, 128)), "", value[at] * 2]) + value[at + 1 :]
    if isinstance(value, int) and not isinstance(value, bool) and draw.random() < 0.6:
        return max(0, value + draw.choice([-1, 1, 1_000, -1_000]))
    return deepcopy(draw.choice(WORDS))


def _inner_json(text: str, draw: random.Random) -> str | None:
    """JSON inside a text (a leaf inside a proof, an envelope inside a leaf), changed."""
    if not text.startswith("{"):
        return None
    try:
        changed = _changed(json.loads(text), draw)
        return json.dumps(changed, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None
