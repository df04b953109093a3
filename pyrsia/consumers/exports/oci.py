"""Image references with digests: whoever runs `name:tag@sha256:...` gets these bytes or none, from any registry.

Also in the files that name images: `FROM` of a Containerfile, `image:` of a compose file. Stages of the file itself,
`scratch` and names with variables stay as they are, and are told.

Source: Dockerfile reference, FROM; Compose specification, services; OCI distribution-spec, digests.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pyrsia.builds.oci.names import MANIFEST
from pyrsia.consumers.exports.choosing import Version
from pyrsia.errors import Malformed
from pyrsia.serve.oci import names
from pyrsia.serve.oci.errors import Problem
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl

FORMATS: Final = ("lines", "containerfile", "compose")
_FROM: Final = re.compile(r"(?i)(\s*FROM\s+(?:--platform=\S+\s+)?)(\S+)((?:\s+AS\s+(\S+))?\s*(?:#.*)?)")
_IMAGE: Final = re.compile(r"""(\s*(?:-\s+)?image:\s*)(["']?)([^\s"'#]+)(\2\s*(?:\#.*)?)""")


@dataclass(frozen=True, slots=True)
class Reference:
    """An image as a person writes it: `name:tag`, and the purls under which the log may hold it."""

    said: str
    tag: str
    spellings: tuple[Purl, ...]


def reference(text: str) -> Reference | None:
    """`[host/]name[:tag][@digest]`; without a tag, `latest`. None for what is none.

    A host with a port, or `localhost`, is the node itself or another mirror, and no part of the name.
    """
    said = text.partition("@")[0]
    name, colon, tag = said.rpartition(":")
    if not colon or "/" in tag:
        name, tag = said, "latest"
    host, slash, rest = name.partition("/")
    if slash and (":" in host or host == "localhost"):
        name = rest
    try:
        found = names.read(name)
        spellings = tuple(purls.parse(f"{one}@{tag}") for one in found.spellings)
    except (Problem, Malformed):
        return None
    return Reference(said, tag, spellings)


def of_purl(purl: Purl) -> Reference:
    """As clients write it, which call Docker Hub's images by their short names."""
    tag = purl.version or "latest"
    asked = Purl(purl.type, purl.namespace, purl.name, tag)
    return Reference(f"{names.shown(str(asked.versionless))}:{tag}", tag, (asked,))


def digest(version: Version) -> str:
    """What the tag leads to: its own manifest or index; "" where that is not allowed."""
    named = f"{MANIFEST}{version.purl.version}"
    found = sorted((one for one in version.files if one.file == named), key=lambda one: one.published_ms)
    return f"sha256:{found[0].sha256}" if found else ""


def pinned(said: str, of: str) -> str:
    return f"{said}@{of}"


def render(rows: Sequence[tuple[str, str]], form: str) -> str:
    """(reference, digest) of each image, as lines of their own, or as a Containerfile or compose file has them."""
    lines = sorted({pinned(*row) for row in rows})
    start = {"lines": "", "containerfile": "FROM ", "compose": "image: "}[form]
    return "".join(f"{start}{line}\n" for line in lines)


def named_in(text: str, form: str) -> list[str]:
    """The references in a Containerfile or compose file that can be pinned, each once."""
    found: dict[str, None] = {}

    def note(said: str) -> str:
        found[said] = None
        return said

    _each(text, form, note)
    return list(found)


def rewritten(text: str, form: str, digests: dict[str, str]) -> str:
    """The same file with every reference of `digests` pinned; an older digest gives way."""
    return _each(
        text, form, lambda said: pinned(said.partition("@")[0], digests[said]) if said in digests else said
    )


def _each(text: str, form: str, change: Callable[[str], str]) -> str:
    stages: set[str] = set()
    lines = []
    for line in text.split("\n"):
        found = (_FROM if form == "containerfile" else _IMAGE).fullmatch(line.removesuffix("\r"))
        if found is None:
            lines.append(line)
            continue
        if form == "containerfile":
            start, said, end = found[1], found[2], found[3]
            fixed = said.lower() in stages or said == "scratch" or "$" in said
            stages |= {found[4].lower()} if found[4] else set()
        else:
            start, said, end = found[1] + found[2], found[3], found[4]
            fixed = "$" in said
        tail = "\r" if line.endswith("\r") else ""
        lines.append(line if fixed else f"{start}{change(said)}{end}{tail}")
    return "\n".join(lines)
