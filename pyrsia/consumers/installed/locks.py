"""A lock: whether what it allows to be installed is proven. Nothing is installed or downloaded.

Read are requirements with hashes (pip), `uv.lock`, `pylock.toml` and `conan.lock`. A package is accepted when a hash
that the lock allows for it is proven to be that package in that version: through a node only such files come. One
whose hashes are all unknown to the log has no proof.

Source: pip's "Hash-checking mode"; uv's lock file; PEP 751; Conan 2, "Lockfiles".
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement

from pyrsia.builds.conan import names
from pyrsia.consumers.installed import walking
from pyrsia.consumers.installed.prover import Prover
from pyrsia.consumers.installed.rows import ACCEPTED, NO_PROOF, REFUSED, SKIPPED, Row
from pyrsia.consumers.installed.sources import Source
from pyrsia.errors import Malformed, Refusal
from pyrsia.policy import dotted
from pyrsia.units import Limit
from pyrsia.wire.purl import Purl, pypi_name
from pyrsia.wire.text import safe

MAX_LOCKED = Limit(20_000, "packages of one lock; a monorepo's has some thousand")
MAX_HASHES = Limit(2_000, "hashes of one package: the wheels of every Python and platform")
MAX_FILES = Limit(100, "files of requirements that lead to each other; a large project has ten")
_REQUIRES: Final = ("requires", "build_requires", "python_requires", "config_requires")
# An option on a line of its own (pip, "Supported options"): what it leads to, what it installs, or neither.
_OPTION: Final = re.compile(
    r"(?:-r|--requirement(?:=|\s))\s*(?P<more>\S.*)|(?:-e|--editable(?:=|\s))\s*(?P<edit>\S.*)"
    r"|(?:-[icf]|--(?:index-url|extra-index-url|find-links|trusted-host|constraint|no-binary|only-binary|use-feature)\b).*"
    r"|--(?:no-index|pre|prefer-binary|require-hashes)"
)
_HASH: Final = re.compile(r"sha256[:=]([0-9a-f]{64})")
_REVISION: Final = re.compile(r"(?P<ref>[^#%]+)#(?P<rrev>[0-9a-f]{32})(?:%[0-9.]+)?")
Tick = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock. `own`: it is the project itself, or lies beside it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    own: bool = False
    why: str = ""  # nothing can be said of it


def check(path: Path, prover: Prover, source: Source, *, tick: Tick) -> list[Row]:
    """A row for each package of a lock.

    Raises:
        Refusal: `bad-request` for what is no lock; `not-found`.
    """
    data = walking.text(path)
    if data is None:
        raise Refusal("not-found", what=f"{path} cannot be read, or is too long", who="your command",
                      do="name a lock: requirements with hashes, uv.lock, pylock.toml or conan.lock")  # fmt: skip
    if path.suffix == ".xml":
        raise Refusal("bad-request", what="a pom.xml names no digests", who="how Maven works",
                      do="check what it resolved: pyrsia verify --m2 ~/.m2")  # fmt: skip
    try:
        told = data.decode("utf-8")
        if path.name == "conan.lock":
            return list(_conan(json.loads(told), prover, source, tick))
        rows = list(
            _toml(dotted.read(told), path) if path.suffix in (".lock", ".toml") else _requirements(told, path)
        )
    except (ValueError, RecursionError, Malformed) as error:
        raise Refusal("bad-request", what=f"{path} is no lock that is known here: {str(error)[:200]}", who="the file",
                      do="name requirements with hashes, uv.lock, pylock.toml or conan.lock") from None  # fmt: skip
    made = []
    for number, one in enumerate(rows):
        tick(number, len(rows), one.name)
        made.append(_pip(one, prover))
    return made


def _pip(one: Locked, prover: Prover) -> Row:
    what = f"{one.name}=={one.version}" if one.version else one.name
    purl = f"pkg:pypi/{pypi_name(one.name)}@{one.version}" if one.version else ""
    if one.own:
        return Row(what, purl, SKIPPED, why="the project's own")
    if one.why:
        return Row(what, purl, NO_PROOF, why=one.why, do="lock packages by version and hash")
    if not one.hashes:
        return Row(what, purl, NO_PROOF, why="the lock has no SHA-256 for it", do="lock it with hashes")
    first: Row | None = None
    for sha256 in one.hashes[: MAX_HASHES.value]:
        row = prover.row(what, sha256, purl)
        if row.outcome == ACCEPTED and not row.package.startswith(f"pkg:pypi/{pypi_name(one.name)}@"):
            row = Row(
                what, row.package, REFUSED, sha256, why=f"these bytes are {row.package}", do="lock it anew"
            )
        if row.outcome == ACCEPTED:
            return row
        if first is None or (row.outcome == REFUSED and first.outcome != REFUSED):
            first = row
    if first is not None and first.outcome == REFUSED:
        return first
    return Row(what, purl, NO_PROOF, why="none of its hashes is in the log",
               do="ask for it with `pyrsia build request NAME==VERSION`")  # fmt: skip


# -- Python ---------------------------------------------------------------------------------------


def _requirements(text: str, path: Path) -> Iterator[Locked]:
    """pip's lines, and those of the files that they lead to; options that install nothing are passed over."""
    waiting, seen = [(text, path)], {path.absolute()}
    while waiting:
        told, here = waiting.pop()
        lines = list(_logical(told))
        if len(lines) > MAX_LOCKED.value:
            raise Malformed("it has too many lines")
        for line in lines:
            option = _OPTION.fullmatch(line)
            if option is None:
                yield _required(line)
            elif option["more"] is not None:
                other = here.parent / option["more"]
                if other.absolute() in seen:
                    continue
                seen.add(other.absolute())
                data = walking.text(other) if len(seen) <= MAX_FILES.value else None
                if data is None:
                    yield Locked(safe(line[:80]), "", (), why="the file that it leads to cannot be read")
                else:
                    waiting.append((data.decode("utf-8"), other))
            elif option["edit"] is not None:
                beside = "://" not in option["edit"] and not re.match(r"(git|hg|svn|bzr)\+", option["edit"])
                why = "" if beside else "it is fetched from an address, and no hash says what that gives"
                yield Locked(safe(line[:80]), "", (), own=beside, why=why)


def _logical(text: str) -> Iterator[str]:
    """Lines as pip joins them: a backslash goes on, but not behind a comment."""
    joined = ""
    for line in text.splitlines():
        comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not comment:
            joined += line.strip("\\")
            continue
        bare = re.sub(r"(^|\s)#.*$", "", f"{joined} {line}" if comment else joined + line).strip()
        joined = ""
        if bare:
            yield bare
    if bare := re.sub(r"(^|\s)#.*$", "", joined).strip():
        yield bare


def _required(line: str) -> Locked:
    if line.startswith("-"):
        raise Malformed(f"{line[:80]!a} is no option that is known here")
    first = re.split(r"\s--", line, maxsplit=1)[0].strip()
    try:
        wanted = Requirement(first)
    except InvalidRequirement as error:
        raise Malformed(f"{first[:80]!r}: {error}") from None
    pins = [one.version for one in wanted.specifier if one.operator in ("==", "===")]
    return Locked(wanted.name, pins[0] if len(pins) == 1 else "", tuple(_HASH.findall(line)))


def _toml(found: dict[str, Any], path: Path) -> Iterator[Locked]:
    """uv.lock and pylock.toml, which differ in a letter and in how a hash is written."""
    key = "package" if path.suffix == ".lock" else "packages"
    rows = found.get(key)
    if not isinstance(rows, list) or len(rows) > MAX_LOCKED.value or {"package", "packages"} <= found.keys():
        raise Malformed("it names no packages, or too many, or twice")
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            raise Malformed("a package has no name")
        origin = row.get("source", {})
        own = (
            isinstance(origin, dict)
            and bool(origin)
            and origin.keys() <= {"editable", "virtual", "directory"}
        )
        own = own or ("directory" in row and "vcs" not in row)
        # What installers take first (PEP 751): a repository, a folder, an archive, and only then wheels and sdist.
        files = [row["archive"]] if "archive" in row else [row.get("sdist"), *_list(row.get("wheels"))]
        hashes = () if "vcs" in row else tuple(found for one in files for found in _hash(one))
        yield Locked(row["name"], str(row.get("version", "")), hashes, own)


def _hash(file: object) -> Iterator[str]:
    if not isinstance(file, dict):
        return
    hashes = file.get("hashes")
    told = f"sha256:{hashes.get('sha256')}" if isinstance(hashes, dict) else str(file.get("hash", ""))
    found = _HASH.fullmatch(told)
    if found:
        yield found[1]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


# -- Conan ----------------------------------------------------------------------------------------


def _conan(found: object, prover: Prover, source: Source, tick: Tick) -> Iterator[Row]:
    if not isinstance(found, dict):
        raise Malformed("it is no object")
    lines = [one for key in _REQUIRES for one in _list(found.get(key))]
    if len(lines) > MAX_LOCKED.value:
        raise Malformed("it has too many lines")
    for number, line in enumerate(lines):
        tick(number, len(lines), str(line))
        yield _recipe(str(line), prover, source)


def _recipe(line: str, prover: Prover, source: Source) -> Row:
    """A recipe revision is a hash of Conan's own making; the proven names of its files say it."""
    told = _REVISION.fullmatch(line)
    if told is None:
        return Row(
            line, "", NO_PROOF, why="the lock has no recipe revision for it", do="lock it with revisions"
        )
    ref = names.parse(told["ref"])
    purl = Purl("conan", ref.namespace, ref.name, ref.version)
    start = f"{told['rrev']}~"
    files = [one for one in source.files(str(purl.versionless)) if one.file.startswith(start)]
    rows = [prover.row(line, one.sha256, str(purl)) for one in files if one.file.count("~") == 1]
    bad = [
        row
        for row in rows
        if row.outcome != ACCEPTED or not prover.prove(row.sha256, str(purl)).finding.file.startswith(start)
    ]
    if rows and not bad:
        return rows[0]
    if bad:
        return bad[0]
    return Row(line, str(purl), NO_PROOF, why="the log holds no such recipe revision",
               do="ask for it with `pyrsia build request`")  # fmt: skip
