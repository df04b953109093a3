"""What stands against one version, and what VEX says of it. No decisions: whose word counts is a policy's business.

A fact is about a whole package (with ranges, versions, or neither: every version), one version, or one file. Against
a version speaks whoever may mean it. In its favour (VEX: not affected, fixed) speaks only what surely and exactly
means it. What a node has under its own name is a copy of the package that this is of, as far as anybody knows: what
speaks against that one speaks against the copy, as a policy's denial does; nothing speaks in its favour.

Source: docs/knowledge.md, "Which versions are meant".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pyrsia.errors import Malformed
from pyrsia.knowledge import severities, versions
from pyrsia.knowledge.known import Advisory
from pyrsia.knowledge.said import ADVISORY, VEX, Said
from pyrsia.knowledge.versions import NO, Hit
from pyrsia.ledger.bodies.facts import DIGEST
from pyrsia.units import Limit
from pyrsia.wire import purl

SUBJECTS_KNOWN = Limit(16_384, "a large audit's packages and the versions that facts name, 4 MB")

LIFTING: Final = frozenset(("fixed", "not-affected"))  # VEX outcomes that speak for a version
_THIS_FILE: Final = Hit(True, True, "this file")
_NOT_ASKED: Final = Hit(True, False, versions.UNNAMED)


@dataclass(frozen=True, slots=True)
class Asked:
    """One version, or one file of it.

    Attributes:
        kind: type of its purl, by whose rules versions compare: of what stands under a node's name, the type there.
        packages: its purl without the version, in every spelling by which facts may name it, its own first.
        copied: the same of the package that it is a node's own copy of; none where it is no copy.
        version: "" where the whole package is asked about.
        sha256: of the file in hex; "" where no file is. An image's version may be one.
    """

    kind: str
    packages: tuple[str, ...]
    version: str
    sha256: str = ""
    copied: tuple[str, ...] = ()

    @property
    def histories(self) -> tuple[str, ...]:
        """Versionless purls in whose histories facts about it stand."""
        return (*self.packages, *self.copied)


def asked(text: str, sha256: str = "") -> Asked:
    """
    Raises:
        Malformed: `text` is no canonical purl.
    """
    kind, packages, version, copied = _parts(text)
    if not sha256 and version.startswith(DIGEST):
        sha256 = version[len(DIGEST) :]
    return Asked(kind, packages, version, sha256, copied)


@lru_cache(SUBJECTS_KNOWN.value)
def _parts(text: str) -> tuple[str, tuple[str, ...], str, tuple[str, ...]]:
    parsed = purl.parse(text)
    of = parsed.package
    copied = _spelled(of) if of is not parsed else ()
    return of.type, _spelled(parsed), parsed.version, copied


def _spelled(parsed: purl.Purl) -> tuple[str, ...]:
    return tuple(map(str, purl.spellings(parsed.versionless)))


def means(one: Said, at: Asked, *, exactly: bool = False) -> Hit:
    """Whether a fact means this version or file.

    Args:
        exactly: whether it would speak in favour: then nothing counts that only may mean it.
    """
    subject = one.subject
    if subject in at.packages or (subject in at.copied and not exactly):
        hit = versions.meets(
            at.kind,
            at.version,
            one.body.get("range", ()),
            one.body.get("versions", ()),
            exactly=exactly,
        )
    elif subject.startswith(DIGEST):
        return _THIS_FILE if at.sha256 and subject[len(DIGEST) :] == at.sha256 else NO
    else:
        hit = _means_version(subject, at, exactly)
    return NO if exactly and not hit.sure else hit


def is_copied(one: Said, at: Asked) -> bool:
    """Whether a fact is about the package that this is a node's own copy of, or about a version of that."""
    return bool(at.copied) and one.subject.partition("@")[0] in at.copied


def _means_version(subject: str, at: Asked, exactly: bool) -> Hit:
    try:
        _, packages, version, _ = _parts(subject)
    except Malformed:  # not from the log, which holds only canonical ones
        return NO
    means = packages[0] in at.packages or (packages[0] in at.copied and not exactly)
    if not means or not version:
        return NO
    if not at.version:
        return _NOT_ASKED
    if at.sha256 and version == DIGEST + at.sha256:
        return _THIS_FILE
    equal = versions.named(at.kind, at.version, version, exactly=exactly)
    if equal is None:
        return Hit(True, False, f"{at.version} cannot be compared with {version}")
    return Hit(True, True, f"{version} is named") if equal else NO


def advisories(standing: Sequence[Said], at: Asked) -> tuple[Advisory, ...]:
    """Each standing advisory that means this version, in log order; what several issuers say stays several."""
    vex = [one for one in standing if one.kind == VEX and _speaks(one, at)]
    return tuple(
        _advisory(one, hit, vex)
        for one in standing
        if one.kind == ADVISORY and (hit := means(one, at)).affected
    )


def _speaks(one: Said, at: Asked) -> bool:
    return means(one, at, exactly=one.body["outcome"] in LIFTING).affected


def _advisory(one: Said, hit: Hit, vex: Sequence[Said]) -> Advisory:
    body = one.body
    names = (body["advisory"], *body.get("aliases", ()))
    cvss = body.get("cvss", "")
    return Advisory(
        id=body["advisory"],
        aliases=names[1:],
        severity=severities.severity(body["severity"], cvss),
        cvss=cvss,
        why=hit.why,
        sure=hit.sure,
        fixed=hit.fixed,
        issuer=one.author,
        leaf=one.leaf,
        text=body["text"],
        vex=tuple((it.author, it.body["outcome"], it.leaf) for it in vex if it.body["advisory"] in names),
    )
