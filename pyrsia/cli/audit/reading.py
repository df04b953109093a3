"""What `audit` is given, read into components: a purl, a file by its content, an image by its name. No answers."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pyrsia.client import Client
from pyrsia.consumers.auditing import kinds
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.documents.purls import canonical
from pyrsia.errors import Refusal
from pyrsia.wire.text import safe

_DIGEST: Final = re.compile(r"sha256:[0-9a-fA-F]{64}")
_DO = "name a requirements*.txt, uv.lock, pom.xml, conan.lock, an SBOM, a purl, an image NAME:TAG, or --venv DIR"


def read(
    named: Sequence[str], venvs: Sequence[Path], node: Client, into: Gathered
) -> dict[str, tuple[str, ...]]:
    """Read all of it; the images among it, each with the purls that it is asked about by.

    Raises:
        Refusal: `usage` for what cannot be read; `not-running` where an image needs the node.
    """
    from pyrsia.consumers.auditing import environment, images

    found: dict[str, tuple[str, ...]] = {}
    try:
        for text in named:
            if text.startswith("pkg:"):
                _purl(text, into)
            elif os.path.isdir(text):  # as Path's, but a name that no system takes is merely absent
                raise _no(f"{safe(text)} is a folder", "for a Python environment write --venv before it")
            elif os.path.exists(text):
                kinds.read(Path(text), text, into)
            elif _DIGEST.fullmatch(text):
                raise _no(
                    f"{text[:19]}... is a file, and what is audited are versions of packages",
                    f"name its version as pkg:TYPE/NAME@VERSION (`pyrsia policy check {text}` tells it); "
                    f"an image is NAME@{text[:13]}...; what is said of the file: pyrsia facts show {text}",
                )
            elif images.is_name(text):
                found[text] = images.read(text, node, into)
            else:
                raise _no(f"{safe(text)[:200]} is no file here, no purl and no image with a tag", _DO)
        for root in venvs:
            environment.read(root, str(root), into)
    except Refusal as refusal:
        raise _as_usage(refusal) from None
    return found


def _purl(text: str, into: Gathered) -> None:
    purl = canonical(text)
    if not purl:
        raise _no(f"{safe(text)[:200]} is no purl", "write it as pkg:pypi/idna@3.10")
    if "@" in purl:
        into.add(purl, Place(""))
    else:
        into.leave(purl, "no version", Place(""))


def _as_usage(refusal: Refusal) -> Refusal:
    """Exit code 1 means that something was found: what cannot be read is another thing."""
    if refusal.answer.exit == 2 or refusal.code in ("not-running", "unavailable"):
        return refusal
    return Refusal("usage", what=refusal.what, who=refusal.who, do=refusal.do)


def _no(what: str, do: str) -> Refusal:
    return Refusal("usage", what=what, who="your command", do=do)
