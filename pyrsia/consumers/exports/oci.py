"""Image references with digests: whoever runs `name:tag@sha256:...` gets these bytes or none, from any registry.

Also in the files that name images (`image_files`).

Source: OCI distribution-spec, digests.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyrsia.builds.oci.names import MANIFEST
from pyrsia.consumers.exports.choosing import Version
from pyrsia.consumers.exports.image_files import scan
from pyrsia.errors import Malformed, Refusal
from pyrsia.serve.oci import names
from pyrsia.serve.oci.errors import Problem
from pyrsia.wire import purl as purls
from pyrsia.wire.purl import Purl


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
    """The references in a Containerfile or compose file that can be pinned, each once.

    Raises:
        Refusal: `bad-request`; a line names an image in a form that is not read here.
    """
    found: dict[str, None] = {}

    def note(said: str) -> str:
        found[said] = None
        return said

    unread = scan(text, form, note).unread
    if unread:
        raise Refusal("bad-request", what=f"images are named where they cannot be pinned: {'; '.join(unread[:5])}",
                      who="how the file is written, or this command, which reads plain lines only",
                      do="write FROM NAME or image: NAME on one line of its own")  # fmt: skip
    return list(found)


def rewritten(text: str, form: str, digests: dict[str, str]) -> tuple[str, list[str]]:
    """The file with every reference of `digests` pinned, an older digest giving way; and lines that stay unpinned."""

    def change(said: str) -> str:
        return pinned(said.partition("@")[0], digests[said]) if said in digests else said

    found = scan(text, form, change)
    return found.text, found.told
