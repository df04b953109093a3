"""All that is known of one version at a moment: the one door to this package.

Source: docs/knowledge.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyrsia.knowledge.advisories import Asked, advisories, asked, is_copied, means
from pyrsia.knowledge.known import Known, Licence, Sbom
from pyrsia.knowledge.said import LICENCE, SBOM, Said
from pyrsia.knowledge.standing import every, next_change


def about(facts: Iterable[Said], purl: str, sha256: str, now_ms: int, size: int, whole: bool) -> Known:
    """What stands about a version among the first `size` leaves.

    Args:
        facts: of the package, and of the file by its digest if one is asked about; in any order, each once. Facts of
            other packages and facts at or above `size` count for nothing.
        purl: canonical. Without a version every fact about the package is told, as one that may mean it.
        sha256: of the file in hex; "" where none is asked about.
        now_ms: Unix time of the moment: of the block where a past size is asked about.
        size: leaves of the log.
        whole: whether every fact below `size` is among `facts`.

    Raises:
        Malformed: `purl` is no canonical purl.
    """
    at = asked(purl, sha256)
    told = every((one for one in facts if one.leaf < size), now_ms)
    standing = [one.said for one in told if one.stands]
    return Known(
        size,
        whole,
        advisories(standing, at),
        _licences(standing, at),
        _sboms(standing, at),
        next_change(told, now_ms),
    )


def _licences(standing: Sequence[Said], at: Asked) -> tuple[Licence, ...]:
    """Of a fact that only may mean this version the expression is left out: it permits nothing, and is shown."""
    return tuple(
        Licence(
            one.body.get("expression", "") if hit.sure else "",
            one.author,
            one.leaf,
            copied=is_copied(one, at),
        )
        for one in standing
        if one.kind == LICENCE and (hit := means(one, at)).affected
    )


def _sboms(standing: Sequence[Said], at: Asked) -> tuple[Sbom, ...]:
    """Only those of this very version or file: a list of what is inside is never one of a whole package."""
    return tuple(
        Sbom(one.body["format"], one.author, one.leaf, one.body["blob"]["sha256"])
        for one in standing
        if one.kind == SBOM
        and lists(one.body)
        and one.subject not in at.packages
        and means(one, at, exactly=True).affected
    )


def lists(body: Mapping[str, Any]) -> bool:
    """Whether an SBOM fact lists anything: it names a document, and in which form that is.

    The log takes one without, as it takes any word of its form. But a rule that asks for a list is not answered by
    somebody's word that there is one: any member may give it, about anything.
    """
    return "blob" in body and "format" in body
