"""Requirements with hashes: `pip install --require-hashes -r FILE` takes these bytes or none.

Every allowed file of a version is listed, so that each platform finds its own. pip wants everything that is installed
in the file, also what is only needed by others: what goes in is a list that a resolver made (`pip freeze`,
`pip-compile`, `uv pip compile`), or packages that need nothing. Nothing is resolved here.

Source: pip's documentation, "Secure installs"; PEP 508; PEP 440.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version as PipVersion

from pyrsia.consumers.exports.choosing import Version
from pyrsia.errors import Refusal
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

_OPTION: Final = re.compile(r"\s--(?:hash|config-settings|global-option)\b")


@dataclass(frozen=True, slots=True)
class Want:
    """One project; `extras` and `marker` are carried over."""

    name: str
    specifier: SpecifierSet
    extras: tuple[str, ...] = ()
    marker: str = ""

    @property
    def asked(self) -> Purl:
        return Purl("pypi", "", purls.pypi_name(self.name), "")

    def fits(self, version: Version) -> bool:
        return self.specifier.contains(version.purl.version, prereleases=True)

    def newest(self, found: Sequence[Version]) -> Version | None:
        """The highest version that fits; a pre-release only where nothing else does (PEP 440)."""
        numbered = {PipVersion(one.purl.version): one for one in found}
        fits = list(self.specifier.filter(numbered))
        return numbered[max(fits)] if fits else None


def read(text: str, where: str) -> tuple[list[Want], list[str]]:
    """What a requirements file asks for; and the lines that are left out, each with the reason.

    Raises:
        Refusal: `usage` for a line that is no requirement.
    """
    wants: list[Want] = []
    skipped: list[str] = []
    for number, line in _lines(text):
        at = f"{where}: line {number}"
        if line.startswith("-"):
            skipped.append(f"{at}: the option {line.split()[0]} is pip's own business")
            continue
        want = one(_OPTION.split(line)[0].strip(), at)
        if want is None:
            skipped.append(f"{at}: it comes from an address and from no index")
        else:
            wants.append(want)
    return wants, skipped


def one(text: str, where: str) -> Want | None:
    """A requirement, or None for one with an address of its own; raises as `read`."""
    try:
        found = Requirement(text)
        if not re.fullmatch(r"[A-Za-z0-9._-]+", found.name):
            raise InvalidRequirement(found.name)
    except InvalidRequirement:
        raise Refusal(
            "usage", what=f"{where}: no requirement: {text[:80]!r}", who="your list", do="correct it"
        ) from None
    if found.url:
        return None
    marker = "" if found.marker is None else str(found.marker)
    return Want(found.name, found.specifier, tuple(sorted(found.extras)), marker)


def of_purl(purl: Purl) -> Want:
    return Want(purl.name, SpecifierSet(f"=={purl.version}" if purl.version else ""))


def render(rows: Sequence[tuple[Want, Version]]) -> str:
    """The file, sorted by name; each hash once."""
    blocks = []
    for want, version in sorted(rows, key=lambda row: (row[1].purl.name, row[0].marker)):
        extras = f"[{','.join(want.extras)}]" if want.extras else ""
        marker = f" ; {want.marker}" if want.marker else ""
        hashes = sorted({each.sha256 for each in version.files})
        head = f"{version.purl.name}{extras}=={version.purl.version}{marker}"
        blocks.append(" \\\n".join([head, *(f"    --hash=sha256:{each}" for each in hashes)]))
    return "".join(f"{block}\n" for block in dict.fromkeys(blocks))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of each logical line, without comments and continuations."""
    begun, parts = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        begun = begun or number
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if line.endswith("\\"):
            parts += line.removesuffix("\\") + " "
            continue
        if whole := (parts + line).strip():
            yield begun, whole
        begun, parts = 0, ""
    if whole := parts.strip():
        yield begun, whole
