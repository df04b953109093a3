"""What a person is told when an index does not give what it should."""

from typing import Final

from pyrsia.builds.outbound.addresses import shown
from pyrsia.builds.outbound.settings import Blame
from pyrsia.builds.pip.simple import IndexFile
from pyrsia.errors import Refusal


BLAME: Final = Blame(
    code="index-unreachable",
    who="the package index of your pip configuration",
    do="check the network and `pip config list`, then try again",
)
unreachable, too_large = BLAME.unreachable, BLAME.too_large


def mismatch(file: IndexFile, got: str, url: str) -> Refusal:
    return Refusal(
        "digest-mismatch",
        what=f"{file.filename} has the SHA-256 {got}, but {file.sha256 or 'one'} was promised",
        who=shown(url) if url else "the package index",
        do="do not use this file; ask the index's operator what happened",
    )
