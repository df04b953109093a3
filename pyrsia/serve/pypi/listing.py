"""What stands on a project's page, by who owns the name.

Decides which files are listed and as what. A local name shows what was pushed here and nothing else. A name of the
network shows the log's files; those that nobody may be given are yanked with the reason, unless all are: then the
project is quarantined and they stand there unyanked, so that a client comes for one and is told why it does not get it.
What is withdrawn and given by digest is yanked in any case: a pin gets it, with the reason, and a range never does.
Where the mode is `proxy`, upstream adds versions that the network does not hold, marked, and only files whose digest
its page gives, since nothing else could be checked.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from pyrsia.builds.pip.simple import IndexFile, Project
from pyrsia.errors import Refusal
from pyrsia.policy.facts import LOCAL, NETWORK, PROXIED
from pyrsia.serve.bringing import PROOF_SUFFIX
from pyrsia.serve.desks.supply import LocalRow
from pyrsia.serve.desks.views import ProjectFile, Refused
from pyrsia.serve.pypi.names import release
from pyrsia.serve.pypi.pages import ACTIVE, QUARANTINED, Item, Page
from pyrsia.status import in_words
from pyrsia.wire.purl import Purl, pypi_version
from pyrsia.wire.text import safe

BUNDLE_SUFFIX: Final = ".intoto.jsonl"
FILES: Final = "files/"  # start of the keys of pushed files, before the file's name
METADATA: Final = "metadata/"

# The packages that purls of the type pypi name are those of this index: the purl specification, "pypi".
_TRACKED: Final = "https://pypi.org/simple/"


def of_network(
    name: str, files: Sequence[ProjectFile], refused: Sequence[Refused], theirs: Project | None
) -> Page:
    """The page of a name that the log holds. `theirs`: upstream's page, where it may add something."""
    added = _added(name, theirs, {one.version for one in files} | {one.file.version for one in refused})
    usable = bool(files or added)
    given = usable or any(one.by_digest for one in refused)
    upstream = {(one.filename, one.sha256): one for one in theirs.files} if theirs is not None else {}
    items = [_published(one, upstream.get((one.filename, one.sha256))) for one in files]
    # Were one withdrawn file not yanked beside others that are, a pin would lead to it and to none of them.
    for one in refused:
        gone = one.by_digest or (given and one.refusal.code == "withdrawn")
        items.append(_refused(one, yanked=usable or gone))
    items.sort(key=lambda item: int(item.private["log-index"]))
    first = refused[0].refusal if refused else None
    return Page(
        name,
        (*items, *added),
        "no" if added else "yes",
        (f"{_TRACKED}{name}/",),
        ACTIVE if given or first is None else QUARANTINED,
        "" if given or first is None else safe(first.what),
    )


def of_node(name: str, files: Sequence[ProjectFile]) -> Page:
    """What a node built under its own name: no other index has such a project."""
    return Page(name, tuple(_published(one, None) for one in files), "yes")


def of_upstream(name: str, theirs: Project) -> Page:
    """The page of a name that only upstream has."""
    return Page(name, tuple(_added(name, theirs, frozenset())), "no", (f"{_TRACKED}{name}/",))


def of_shelf(name: str, rows: Sequence[LocalRow], said: Sequence[Refusal | None]) -> Page:
    """The page of a name that was pushed to this node. It extends nothing: PEP 708's `tracks` stays empty.

    Args:
        said: why policy is against each of them, if it is.
    """
    usable = any(one is None for one in said)
    items = [_pushed(name, row, one, yanked=usable) for row, one in zip(rows, said, strict=True)]
    first = None if usable else next(filter(None, said), None)
    return Page(
        name,
        tuple(items),
        "local",
        status=ACTIVE if first is None else QUARANTINED,
        reason="" if first is None else safe(first.what),
    )


def version_of(row: LocalRow) -> str:
    """Of a pushed file; it was checked when it came."""
    return row.more.get("version", "")


def proxied(name: str, theirs: Project, held: Iterable[str]) -> list[IndexFile]:
    """Files of upstream's that this node passes on: of versions that nobody here holds, with a digest."""
    versions = frozenset(map(pypi_version, held))
    found = []
    for file in theirs.files:
        known = release(file.filename)
        if known is None or known[0] != name or not file.sha256:
            continue
        if pypi_version(known[1]) not in versions:
            found.append(file)
    return found


def _added(name: str, theirs: Project | None, held: Iterable[str]) -> list[Item]:
    if theirs is None:
        return []
    return [_proxied(name, file) for file in proxied(name, theirs, held)]


def _published(file: ProjectFile, theirs: IndexFile | None) -> Item:
    """A file of the log. `theirs`: the file of the same name and digest on upstream's page."""
    url = f"../../files/{file.sha256}/{quote(file.filename, safe='')}"
    words = in_words(file.verdict, len(file.agreeing))
    return Item(
        filename=file.filename,
        url=url,
        sha256=file.sha256,
        version=file.version,
        words=words,
        size=file.size,
        upload_ms=file.upload_time_ms,
        requires_python=file.requires_python,
        yanked=file.yanked,
        metadata_sha256=file.metadata_sha256 or None,
        # Upstream's provenance is about upstream's bytes: these are the same, by its page's digest and by the log's.
        provenance=theirs.provenance if theirs is not None else "",
        private=_private(file, words, url),
    )


def _private(file: ProjectFile, words: str, url: str) -> dict[str, Any]:
    return {
        "origin": NETWORK,
        "log-index": file.log_index,
        "verdict": file.verdict,
        "verdict-in-words": words,
        "purl": file.purl,
        "upstream": file.upstream,
        "agreeing": list(file.agreeing),
        "dissenting": list(file.dissenting),
        "proof": url + PROOF_SUFFIX,
        "attestations": url + BUNDLE_SUFFIX,
    }


def _refused(one: Refused, *, yanked: bool) -> Item:
    file, refusal = one.file, one.refusal
    url = f"../../files/{file.sha256}/{quote(file.filename, safe='')}"
    words = in_words(file.verdict, len(file.agreeing))
    reason = safe(refusal.what)
    return Item(
        filename=file.filename,
        url=url,
        sha256=file.sha256,
        version=file.version,
        words=reason,
        size=file.size,
        upload_ms=file.upload_time_ms,
        requires_python=file.requires_python,
        yanked=reason if yanked else "",
        # A client that asks for the metadata is told why before it asks for the file.
        metadata_sha256=file.metadata_sha256 or None,
        private={**_private(file, words, url), "refused": refusal.as_dict(), "by-digest": one.by_digest},
    )


def _proxied(name: str, file: IndexFile) -> Item:
    known = release(file.filename)
    return Item(
        filename=file.filename,
        url=f"../../proxied/{name}/{file.sha256}/{quote(file.filename, safe='')}",
        sha256=file.sha256,
        version=known[1] if known is not None else "",
        words="unverified",
        size=file.size,
        upload_ms=file.upload_ms,
        requires_python=file.requires_python,
        yanked="yanked upstream" if file.yanked else "",
        metadata_sha256=file.metadata_sha256,
        provenance=file.provenance,
        private={"origin": PROXIED, "verdict": "", "verdict-in-words": "unverified"},
    )


def _pushed(name: str, row: LocalRow, refusal: Refusal | None, *, yanked: bool) -> Item:
    filename = row.key.removeprefix(FILES)
    reason = safe(refusal.what) if refusal is not None else ""
    return Item(
        filename=filename,
        url=f"../../local/{name}/{row.sha256}/{quote(filename, safe='')}",
        sha256=row.sha256,
        version=version_of(row),
        words=reason or "pushed to this node",
        size=row.size,
        upload_ms=row.time_ms,
        requires_python=row.more.get("requires-python", ""),
        yanked=reason if yanked else "",
        metadata_sha256=row.more.get("metadata") or None,
        private={
            "origin": LOCAL,
            "verdict": "",
            "verdict-in-words": "pushed to this node",
            "purl": str(Purl("pypi", "", name, version_of(row))),
            **({"refused": refusal.as_dict()} if refusal is not None else {}),
        },
    )
