"""Two signed checkpoints that no honest log has both given, kept for whoever must be convinced.

One JSON file a pair: both notes word for word, so that anybody with the keys can verify them again.
"""

import hashlib
import json
from pathlib import Path
from typing import Final, Literal

from pyrsia.files import write_whole
from pyrsia.units import Limit

FOLDER: Final = "evidence"
MAX_FILES = Limit(1_000, "pairs; a log that lies more often than this is believed by nobody any more")

Why = Literal["shrunk", "forked", "inconsistent"]


def keep(folder: Path, why: Why, *, kept: bytes, offered: bytes, source: str) -> Path:
    """Write the pair below `folder` and say where; the same pair is the same file.

    Args:
        why: `shrunk` (a smaller size than was seen), `forked` (another root at one size), `inconsistent` (a
            larger size whose tree does not begin with the smaller one).
        kept: the note that was believed until now.
        offered: the note that contradicts it; its signatures hold as well.

    Raises:
        OSError: as the system says it.
    """
    where = folder / FOLDER
    where.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(kept + b"\0" + offered).hexdigest()[:16]
    path = where / f"{why}-{digest}.json"
    if not path.exists() and len(list(where.iterdir())) < MAX_FILES.value:
        fields = {"kept": kept.decode(), "offered": offered.decode(), "source": source, "why": why}
        write_whole(path, json.dumps(fields, sort_keys=True, indent=1).encode() + b"\n")
    return path
