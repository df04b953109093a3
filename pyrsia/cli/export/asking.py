"""What an export is asked for, in the words of each ecosystem, and what the node says of it.

Decides nothing about a file: that is the policy's, by `consumers.exports.choosing`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyrsia.client import Client, typed
from pyrsia.errors import Refusal, usage
from pyrsia.units import Limit

if TYPE_CHECKING:  # imported when a command runs, not for --help
    from pyrsia.consumers.exports import oci, pip
    from pyrsia.consumers.exports.choosing import Version
    from pyrsia.policy.rules import Policy
    from pyrsia.wire.purl import Purl

MAX_LIST_BYTES = Limit(8 << 20, "a requirements file of a thousand packages with all their hashes is 2 MB")
MAX_PACKAGES = Limit(50_000, "packages of one ecosystem; an answer for each takes a millisecond")


def wants_of(packages: Sequence[str], lists: Sequence[Path]) -> "tuple[list[pip.Want], list[str]]":
    from pyrsia.consumers.exports import pip

    wants: list[pip.Want] = []
    skipped: list[str] = []
    for text in packages:
        purl = purl_of(text, "pypi") if text.startswith("pkg:") else None
        want = pip.of_purl(purl) if purl is not None else pip.one(text, "your command")
        if want is None:
            raise usage(f"{text[:80]!r} comes from an address and from no index", "name it as an index does")
        wants.append(want)
    for path in lists:
        more, left_out = pip.read(text_of(path), path.name)
        wants += more
        skipped += left_out
    if not wants:
        raise usage("no package is named", "name packages, or a list with -r FILE")
    return wants, skipped


def purls_of(
    texts: Sequence[str],
    kind: str,
    spelled: "Callable[[str], Purl | None]",
    example: str,
    *,
    none: bool = True,
) -> "list[Purl]":
    found = []
    for text in texts:
        purl = purl_of(text, kind) if text.startswith("pkg:") else spelled(text)
        if purl is None:
            raise usage(f"{text[:80]!r} is no name of that ecosystem", f"write it as {example}, or as a purl")
        found.append(purl)
    if not found and not none:
        raise usage("no package is named", f"name one: {example}")
    return found


def purl_of(text: str, kind: str) -> "Purl":
    from pyrsia.errors import Malformed
    from pyrsia.wire import purl as purls

    try:
        found = purls.parse(text)
    except Malformed as error:
        raise usage(f"{text[:80]!r} is no purl: {error}", f"write it as pkg:{kind}/NAME@VERSION") from None
    if found.type != kind:
        raise usage(f"{text[:80]!r} is of another ecosystem", f"name a pkg:{kind}/...")
    return found


def named(node: Client, asked: "Sequence[Purl]", start: str, every: bool) -> "list[Purl]":
    """What is asked for, or all that the log holds under `start`."""
    from pyrsia.errors import Malformed
    from pyrsia.serve.desks.judging import PackagesAnswer
    from pyrsia.wire import purl as purls

    if not every:
        if not asked:
            raise usage("no package is named", "name packages, or take all with --all")
        return list(asked)
    found: dict[Purl, None] = dict.fromkeys(asked)
    after, told = "", 0
    while told < MAX_PACKAGES.value:
        page = typed(node.get("/api/v1/policy/names", start=start, after=after), PackagesAnswer)
        try:
            found |= dict.fromkeys(purls.parse(one).versionless for one in page.packages)
        except Malformed as error:
            raise Refusal(
                "unavailable",
                what=f"the node names a package as no node does: {error}",
                who="whatever listens at that address",
                do="ask a node that you trust",
            ) from None
        told += len(page.packages)
        if page.next <= after or not page.packages:
            return list(found)
        after = page.next
    raise Refusal("too-large", what=f"the log holds more than {MAX_PACKAGES.value} of them", who="your command",
                  do="name those that you use")  # fmt: skip


def references_of(images: Sequence[str], open_: bool) -> "list[oci.Reference]":
    from pyrsia.consumers.exports import oci

    found = []
    for text in dict.fromkeys(images):
        one = oci.of_purl(purl_of(text, "docker")) if text.startswith("pkg:") else oci.reference(text)
        if one is None:
            raise usage(f"{text[:80]!r} is no image", "write it as alpine:3.20, or as a purl")
        found.append(one)
    if not found and not open_:
        raise usage("no image is named", "name images, a file with --rewrite, or take all with --all")
    return list({one.said: one for one in found}.values())


def image(node: Client, rules: "Policy", asked: "oci.Reference") -> "Version | str":
    """The image that a reference leads to, or why there is none; every file of it must be allowed."""
    from pyrsia.consumers.exports import choosing, oci

    told = ""
    for purl in asked.spellings:
        there = versions_of(node, rules, purl)
        found = choosing.chosen(purl, there, choosing.by_time, whole=True)
        if isinstance(found, str):
            told = found if there or not told else told
        elif oci.digest(found):
            return found
        else:
            told = f"{purl}: the log has no manifest of this tag"
    return told


def tags(node: Client, rules: "Policy") -> "list[Purl]":
    """Every tag that may be exported as a whole."""
    from pyrsia.consumers.exports import oci

    return [
        one.purl
        for name in named(node, (), "pkg:docker/", every=True)
        for one in versions_of(node, rules, name)
        if one.files and not one.refused and oci.digest(one)
    ]


def versions_of(node: Client, rules: "Policy", purl: "Purl") -> "list[Version]":
    from pyrsia.cli.policy.command import facts_about
    from pyrsia.cli.subjects import Subject
    from pyrsia.consumers.exports.choosing import Known, versions

    found = facts_about(node, Subject(str(purl), purl=str(purl)))
    return versions(Known(found.files, rules, found.now_ms, found.head_age_ms))


def form_of(path: Path) -> str:
    name = path.name.lower()
    return "compose" if name.endswith((".yml", ".yaml")) else "containerfile"


def text_of(path: Path) -> str:
    with path.open("rb") as opened:
        data = opened.read(MAX_LIST_BYTES.value + 1)
    if len(data) > MAX_LIST_BYTES.value:
        raise usage(f"{path.name} is larger than {MAX_LIST_BYTES.value} bytes", "split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise usage(f"{path.name} is not UTF-8", "convert it") from None
