"""What a person is told when an index does not give what it should."""

from pyrsia.builds.outbound.addresses import shown
from pyrsia.builds.pip.simple import IndexFile
from pyrsia.errors import Refusal


def unreachable(url: str, why: str) -> Refusal:
    return Refusal(
        "index-unreachable",
        what=f"{shown(url)} gave no usable answer: {why}",
        who="the package index of your pip configuration",
        do="check the network and `pip config list`, then try again",
    )


def too_large(url: str, limit: int) -> Refusal:
    return Refusal(
        "too-large",
        what=f"{shown(url)} is larger than {limit} bytes",
        who="the package index",
        do="this file cannot be used",
    )


def mismatch(file: IndexFile, got: str, url: str) -> Refusal:
    return Refusal(
        "digest-mismatch",
        what=f"{file.filename} has the SHA-256 {got}, but {file.sha256 or 'one'} was promised",
        who=shown(url) if url else "the package index",
        do="do not use this file; ask the index's operator what happened",
    )
