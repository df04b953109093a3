"""What a person is told when an index does not give what it should."""

from collections.abc import Sequence
from typing import Final

from pyrsia.builds.model import Unbuildable
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


def version_unknown(name: str, version: str, index: str) -> Refusal:
    return Refusal(
        "version-unknown",
        what=f"{name} has no {version} that suits this Python",
        who=f"the index {index}",
        do="look at the versions that the index has, or leave the version out",
    )


def no_sdist(
    bare: Sequence[tuple[str, str]], index: str, closure: Sequence[tuple[str, str]] = ()
) -> Unbuildable:
    names = ", ".join(f"{name} {version}" for name, version in bare)
    return Unbuildable(
        "no-sdist",
        what=f"no source archive: {names}",
        who=f"the index {index}",
        do="ask for a version that has one, or ask its authors to publish the source",
        packages=bare,
        closure=closure,
    )


def needs_compiler(
    compiled: Sequence[tuple[str, str]], index: str, closure: Sequence[tuple[str, str]]
) -> Unbuildable:
    names = ", ".join(f"{name} {version}" for name, version in compiled)
    return Unbuildable(
        "build-failed",
        what=f"{names} {'has' if len(compiled) == 1 else 'have'} compiled wheels only, and no environment with a "
        "compiler is admitted and here; pure Python packages are built here",
        who=f"the index {index}",
        do="ask for a package whose run-time closure is pure Python, or see `pyrsia build environment list`",
        packages=compiled,
        closure=closure,
    )


def other_digest(name: str, index: str, mine: str, theirs: str) -> Refusal:
    return Refusal(
        "digest-mismatch",
        what=f"{name} has the SHA-256 {mine} here, and {theirs} in the request",
        who=f"the index {index} or the request",
        do="do not use this file; compare both indexes",
    )


def another_package(file: str, found: str, wanted: str) -> Refusal:
    return Refusal(
        "bad-request",
        what=f"{file} is {found}, and {wanted} was asked for",
        who="the source that was given along",
        do="give the source of what you ask for, or leave name and version out",
    )
