"""Two signed checkpoints that no honest log has both given, kept for whoever must be convinced.

One JSON file a pair, in one form for whoever finds it (mirror, tail, monitor): both notes word for word, so that
anybody with the keys can verify them again.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pyrsia.files import write_whole
from pyrsia.units import Limit

FOLDER: Final = "evidence"
MAX_FILES = Limit(1_000, "pairs; a log that lies more often than this is believed by nobody any more")

Why = Literal["shrunk", "forked", "inconsistent"]


@dataclass(frozen=True, slots=True)
class Pair:
    """What contradicts what.

    Attributes:
        why: `shrunk` (a smaller size than was seen), `forked` (another root at one size), `inconsistent` (a
            larger size whose tree does not begin with the smaller one).
        kept: the note that was believed until now.
        offered: the note that contradicts it; its signatures hold as well.
        said: the same in a sentence.
        source: where the offered one was read.
    """

    why: Why
    kept: bytes
    offered: bytes
    said: str
    source: str

    @property
    def name(self) -> str:
        """Of its file; the same two notes have the same one."""
        digest = hashlib.sha256(self.kept + b"\0" + self.offered).hexdigest()[:16]
        return f"{self.why}-{digest}.json"

    def encode(self) -> bytes:
        fields = {
            "kept": self.kept.decode("utf-8"),
            "offered": self.offered.decode("utf-8"),
            "said": self.said,
            "source": self.source,
            "why": self.why,
        }
        return json.dumps(fields, sort_keys=True, indent=1).encode() + b"\n"


def keep(folder: Path, pair: Pair) -> Path:
    """Write the pair into `folder`, if it is not there and has room, and say where.

    Raises:
        OSError: as the system says it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / pair.name
    if not path.exists() and len(list(folder.iterdir())) < MAX_FILES.value:
        write_whole(path, pair.encode())
    return path


def keep_as(path: Path, pair: Pair) -> None:
    """Write the pair to this very file, in place of what was there.

    Raises:
        OSError: as the system says it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, pair.encode())
