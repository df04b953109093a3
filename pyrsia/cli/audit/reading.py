"""What `audit` is given, read into components: a purl, a file by its content, an image by its name. No answers."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pyrsia.client import Client
from pyrsia.consumers.auditing import kinds
from pyrsia.consumers.auditing.components import Gathered, Place
from pyrsia.consumers.documents.purls import canonical
from pyrsia.errors import Refusal, usage
from pyrsia.units import MAX_DOCUMENT_BYTES
from pyrsia.wire.text import safe

_DIGEST: Final = re.compile(r"sha256:[0-9a-fA-F]{64}")
_FILE: Final = re.compile(
    r"\.(?:txt|in|lock|lockfile|toml|json|xml|pom|spdx|ya?ml|tar|cdx)$|^(?:~|\.{1,2})?/"
)
_PINNED: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,100})(?:==|@)([0-9][A-Za-z0-9.!+_-]{0,60})")
_MAVEN: Final = re.compile(r"([A-Za-z0-9._-]{1,100}):([A-Za-z0-9._-]{1,100}):([A-Za-z0-9._-]{1,60})")
# Versions as people of an ecosystem write them.
_WRITTEN: Final = {
    _PINNED: "pypi",
    _MAVEN: "maven",
    re.compile(r"([a-z0-9_][a-z0-9_+.-]{1,100})/([0-9][A-Za-z0-9_+.-]{0,60})"): "conan",
}
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_DO = "name a file that lists packages or an SBOM, a purl, an image NAME:TAG, `-` for standard input, or --venv DIR"
_STANDARD_INPUT = "-"


def read(
    named: Sequence[str], venvs: Sequence[Path], node: Client, into: Gathered, *, kind: str = ""
) -> dict[str, tuple[str, ...]]:
    """Read all of it; the images among it, each with the purls that it is asked about by.

    Args:
        kind: what every file of it is, and standard input; "" where their content tells it.

    Raises:
        Refusal: `usage` for what cannot be read; `not-running` where an image needs the node.
    """
    from pyrsia.consumers.auditing import environment, images

    found: dict[str, tuple[str, ...]] = {}
    text = ""
    if named.count(_STANDARD_INPUT) > 1:
        raise usage("`-` is there twice", "standard input can be read once: name it once")
    try:
        for text in named:
            if text == _STANDARD_INPUT:
                kinds.read(Path(kinds.STANDARD_INPUT), kinds.STANDARD_INPUT, into, kind=kind, data=_input())
            elif text.startswith("pkg:"):
                _purl(text, into)
            elif os.path.isdir(text):  # as Path's, but a name that no system takes is merely absent
                raise usage(f"{safe(text)} is a folder", "for a Python environment write --venv before it")
            elif os.path.exists(text):
                kinds.read(Path(text), text, into, kind=kind)
            elif _DIGEST.fullmatch(text):
                raise usage(
                    f"{text[:19]}... is a file, and what is audited are versions of packages",
                    f"name its version as pkg:TYPE/NAME@VERSION (`pyrsia policy check {text}` tells it); "
                    f"an image is NAME@{text[:13]}...; what is said of the file: pyrsia facts show {text}",
                )
            elif images.is_name(text) and not _MAVEN.fullmatch(text):
                found[text] = images.read(text, node, into)
            else:
                raise _nothing(text)
        for root in venvs:
            text = str(root)
            environment.read(root, text, into)
    except Refusal as refusal:
        raise _as_usage(refusal) from None
    except (MemoryError, RecursionError):  # a reader that lacks a bound: told is what it read
        raise exhausted(safe(text)[:200]) from None
    return found


def exhausted(what: str) -> Refusal:
    """For what takes more than this process may have."""
    return Refusal("unavailable", what=f"{what} is larger, or deeper, than this process has memory for",
                   who="this machine", do="audit it in parts, or with more memory")  # fmt: skip


def _input() -> bytes:
    """All of standard input.

    Raises:
        Refusal: `too-large`; `usage` where there is none.
    """
    if sys.stdin is None:  # it was closed before this began
        raise usage("there is no standard input", "write `pip freeze | pyrsia audit -`")
    data = sys.stdin.buffer.read(MAX_DOCUMENT_BYTES.value + 1)
    if len(data) > MAX_DOCUMENT_BYTES.value:
        raise usage(
            f"standard input has more than {MAX_DOCUMENT_BYTES.value:,} bytes", "split what is written to it"
        )
    return data


def _purl(text: str, into: Gathered) -> None:
    purl = canonical(text)
    if not purl:
        raise usage(f"{safe(text)[:200]} is no purl", "write it as pkg:pypi/idna@3.10")
    if "@" in purl:
        into.add(purl, Place(""))
    else:
        into.leave(purl, f"no version: all that is said of it tells `pyrsia facts show {purl}`", Place(""))


def _nothing(text: str) -> Refusal:
    """Nothing that is read has this name: said by what it looks like."""
    name = safe(text)[:200]
    if _FILE.search(text):
        return usage(f"there is no file {name} here", "check its name; `-` is standard input")
    for written, kind in _WRITTEN.items():
        found = written.fullmatch(text)
        purl = canonical(f"pkg:{kind}/{'/'.join(found.groups()[:-1])}@{found.groups()[-1]}") if found else ""
        if purl:
            return usage(f"{name} names a version, but no ecosystem", f"write it as a purl: {purl}")
    if _WORD.fullmatch(text):
        return usage(
            f"{name} is no file here, and says neither a version nor a tag",
            f"a package is a purl (pkg:pypi/{name}@VERSION), an image has a tag ({name}:TAG)",
        )
    return usage(f"{name} is no file here, no purl and no image with a tag", _DO)


def _as_usage(refusal: Refusal) -> Refusal:
    """Exit code 1 means that something was found: what cannot be read is another thing."""
    if refusal.answer.exit == 2 or refusal.code in ("not-running", "unavailable"):
        return refusal
    return Refusal("usage", what=refusal.what, who=refusal.who, do=refusal.do)
