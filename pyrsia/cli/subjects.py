"""What a command line names: purls, files, digests, and files that list packages; as questions for a node."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from packaging.version import InvalidVersion, Version

from pyrsia.cli.builds import files
from pyrsia.cli.builds.files import Item
from pyrsia.errors import Malformed, Refusal
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

_DIGEST: Final = re.compile("(?:sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Subject:
    """One package or one file.

    Attributes:
        said: as the person wrote it, or as the file that lists it does.
        purl, sha256: one of them.
    """

    said: str
    purl: str = ""
    sha256: str = ""

    @property
    def query(self) -> str:
        return urlencode({"purl": self.purl} if self.purl else {"sha256": self.sha256})


def read(arguments: Iterable[str], lists: Sequence[Path] = ()) -> tuple[list[Subject], list[str]]:
    """What is named, each once; and what the lists name besides, each with the reason why it is left out.

    Raises:
        Refusal: `usage`: nothing is named, or something that is none of these.
    """
    found, skipped = [_subject(one) for one in arguments], []
    for path in lists:
        listed = files.read(path)
        found += [of_item(one) for one in listed.items]
        skipped += [f"{path.name}: {one}" for one in listed.skipped]
    if not found:
        raise Refusal(
            "usage",
            what="nothing is named",
            who="your command",
            do="name a purl (pkg:pypi/idna@3.10), a file or its sha256:, or a list with -r FILE",
        )
    return list(dict.fromkeys(found)), skipped


def _subject(text: str) -> Subject:
    digest = _DIGEST.fullmatch(text)
    if digest is not None:
        return Subject(text, sha256=digest[1])
    if text.startswith("pkg:"):
        try:
            return Subject(text, purl=str(purls.parse(text)))
        except Malformed as error:
            raise _no(f"{text[:80]!r} is no purl: {error}") from None
    try:
        with Path(text).open("rb") as opened:
            return Subject(text, sha256=hashlib.file_digest(opened, "sha256").hexdigest())
    except OSError as error:
        raise _no(f"{text[:80]!r} is no purl, and as a file: {error.strerror}") from None


def of_item(item: Item) -> Subject:
    """What a list names, as a purl.

    Raises:
        Refusal: `usage`: there is no purl for it.
    """
    said = f"{item.name} {item.version}".strip()
    try:
        return Subject(said, purl=str(purls.parse(str(_purl(item)))))
    except (Malformed, InvalidVersion) as error:
        raise _no(f"{said[:80]!r} has no purl: {error}") from None


def _purl(item: Item) -> Purl:
    if item.ecosystem == "pip":
        version = str(Version(item.version)) if item.version else ""
        return Purl("pypi", "", purls.pypi_name(item.name), version)
    if item.ecosystem == "maven":
        group, _, artifact = item.name.partition(":")
        return Purl("maven", group, artifact, item.version)
    above, _, name = item.name.rpartition("/")
    return Purl(item.ecosystem, above, name, item.version)


def _no(what: str) -> Refusal:
    return Refusal(
        "usage",
        what=what,
        who="your command",
        do="name a purl such as pkg:pypi/idna@3.10, a file, or sha256: with its digest",
    )
