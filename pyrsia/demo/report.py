"""The demo's report: JSON, written once, by rename, when the story has ended."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyrsia.errors import Refusal
from pyrsia.files import write_whole


@dataclass(slots=True)
class Report:
    """What happened; `seconds` is wall time per step. Paths are absolute.

    Attributes:
        history: the file that proves that a package's history is complete, its subject and how many leaves it has.
        explained: why the two results of the altered build differ, in sentences.
        fsck: how many entries of the follower's log were checked and found true.
    """

    nodes: list[dict[str, Any]] = field(default_factory=list)
    isolation: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)
    wheel: str = ""
    proof: str = ""
    trust: str = ""
    log: dict[str, Any] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=dict)
    fsck: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    written: bool = False

    @staticmethod
    def check(path: Path) -> None:
        """Find out now, and not after the story, whether `path` can be written.

        Raises:
            Refusal: `usage`.
        """
        temporary = path.with_name(path.name + ".new")
        try:
            temporary.touch()
            temporary.unlink()
        except OSError as error:
            raise Refusal(
                "usage",
                what=f"the report cannot be written to {path}: {error.strerror}",
                who="your command",
                do="name a file in a folder that you may write to",
            ) from None

    def write(self, path: Path, *, error: str | None) -> None:
        """Write it whole or not at all, and only once."""
        if self.written:
            return
        body: dict[str, Any] = {
            "ok": error is None,
            "nodes": self.nodes,
            "isolation": self.isolation,
            "requests": self.requests,
            "explained": self.explained,
            "wheel": self.wheel,
            "proof": self.proof,
            "trust": self.trust,
            "log": self.log,
            "history": self.history,
            "fsck": self.fsck,
            "seconds": {step: round(took, 3) for step, took in self.seconds.items()},
        }
        if error is not None:
            body["error"] = error
        write_whole(path, f"{json.dumps(body, indent=1, ensure_ascii=False)}\n".encode())
        self.written = True
