"""What was asked of upstream, and what came of it, since the start."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """
    Attributes:
        asked: questions that went out. copied: answers from copies that were here and good.
        stale: answers from copies since upstream gave none. absent: upstream had nothing.
        failed: questions that got no usable answer. refused: files of another length or digest, cut short.
        bytes: of files and pages that came in.
    """

    asked: int = 0
    copied: int = 0
    stale: int = 0
    absent: int = 0
    failed: int = 0
    refused: int = 0
    bytes: int = 0
