"""A Python environment: every installed file compared with what the log says the wheel held.

An installer unpacks a wheel and forgets it; its RECORD is no proof, since whoever changes a file can change that too.
So the wheel is found by name and version among those that the network publishes, and the list of members that its
builders agreed on is what every file is compared with. RECORD only says whose an unknown file is.

Told apart: what installers make themselves. Compiled files are compared with what their checked source compiles to
(`compiled`), scripts with what installers write for an entry point (`scripts`); notes such as RECORD are listed as
generated and compared with nothing. A compiled file without its source, a link, and whatever no wheel holds is a
finding. What stands beside the packages, in bin and pyvenv.cfg, is `beside`'s.

Source: the binary distribution format and "Recording installed projects" of the Python packaging specifications.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from packaging.version import InvalidVersion, Version

from pyrsia.builds.members import Member, is_record
from pyrsia.consumers.installed import beside, records, scripts, walking
from pyrsia.consumers.installed.compiled import Said, compare
from pyrsia.consumers.installed.prover import Prover
from pyrsia.consumers.installed.rows import ACCEPTED, GENERATED, NO_PROOF, REFUSED, SKIPPED, Row, of_refusal
from pyrsia.consumers.installed.sites import sites
from pyrsia.consumers.installed.sources import Listed, Source
from pyrsia.consumers.installed.walking import Found
from pyrsia.errors import Refusal
from pyrsia.units import Limit
from pyrsia.wire.purl import pypi_name
from pyrsia.wire.text import safe

MAX_SCRIPT_BYTES = Limit(
    4 << 20, "a script that a wheel brings; larger ones are programs, and are not rewritten"
)
_BY_INSTALLER: Final = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}
)
_COMPILED: Final = re.compile(
    r"(?P<folder>(?:.*/)?)__pycache__/(?P<stem>[^/]+?)\.(?P<tag>[A-Za-z0-9_-]+)(?:\.opt-(?P<opt>[12]))?\.pyc"
)
_SCRIPT: Final = re.compile(r"[^/]+\.data/scripts/")
# What Python runs at each start, whatever is imported: a package that nobody checks may not bring it unsaid.
_AT_START: Final = re.compile(r"[^/]+\.pth|(?:site|user)customize(?:\.py|/.*)")
Tick = Callable[[int, int, str], None]


@dataclass(slots=True)
class Dist:
    """One installed distribution: the folder `name-version.dist-info`, and what its RECORD claims."""

    folder: str
    name: str
    version: str
    claims: frozenset[str] = frozenset()
    scripts: frozenset[str] = frozenset()  # in the environment's bin
    left_out: bool = False  # it has one row for all of its files

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{pypi_name(self.name)}@{self.version}"


@dataclass(slots=True)
class Site:
    """One site-packages: its files by path below it, and what is known of each already."""

    root: Path  # of the environment
    folder: Path
    found: dict[str, Found]
    dists: list[Dist]
    told: dict[str, Row] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()  # files that the command names

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def up(self) -> str:
        """From site-packages to the environment; "" where packages were installed into a folder (`--target`)."""
        return "" if self.folder == self.root else "../../../"

    def shown(self, rel: str) -> str:
        return str(self.folder / rel)


@dataclass(frozen=True, slots=True)
class Compared:
    """One wheel held against what is installed; `bad` counts what does not fit."""

    rows: dict[str, Row]
    outside: tuple[Row, ...]
    bad: int


def check(root: Path, prover: Prover, source: Source, *, skip: Sequence[str] = (), tick: Tick) -> list[Row]:
    """A row for each file of an environment or of a folder that packages were installed into.

    Args:
        skip: package names that are not checked; said in their rows.

    Raises:
        Refusal: `not-found` where there is no such environment; `too-large`.
    """
    rows: list[Row] = []
    claimed: set[str] = set()
    for folder in sites(root):
        if folder != root and any(one.is_symlink() for one in (folder, folder.parent)):
            rows.append(
                Row(str(folder), "", REFUSED, why="a symbolic link, where a folder belongs", do=_LOOK)
            )
            continue
        site = _read(root, folder)
        site.skip = frozenset(skip)
        for number, dist in enumerate(site.dists):
            tick(number, len(site.dists), dist.name)
            rows += _dist(site, dist, prover, source, skip)
            claimed |= {one.removeprefix(f"{site.up}bin/") for one in dist.scripts if dist.left_out}
        _claims_held_back(site)
        rows += _unclaimed(site)
        rows += site.told.values()
    if (root / "pyvenv.cfg").exists() or sites(root) != [root]:
        rows += beside.check(root, {row.what for row in rows}, claimed | set(skip))
    return rows


def _read(root: Path, folder: Path) -> Site:
    found = {one.rel: one for one in walking.walk(folder)}
    names = sorted({rel.partition("/")[0] for rel in found if rel.partition("/")[0].endswith(".dist-info")})
    dists = []
    for one in names:
        name, _, version = one.removesuffix(".dist-info").rpartition("-")
        dist = Dist(one, name or version, version if name else "")
        claims = frozenset(records.claims(folder / one / "RECORD"))
        dist.claims = frozenset(one for one in claims if not one.startswith("../"))
        dist.scripts = claims - dist.claims
        dists.append(dist)
    return Site(root, folder, found, dists)


# -- one distribution --------------------------------------------------------------------------------


def _dist(site: Site, dist: Dist, prover: Prover, source: Source, skip: Sequence[str]) -> list[Row]:
    """Rows about a distribution that are not about a file below site-packages; those go to `site.told`."""
    where = site.shown(dist.folder)
    if pypi_name(dist.name) in {pypi_name(one) for one in skip}:
        _claim(site, dist)
        return [Row(where, dist.purl, SKIPPED, why="left out by --skip")]
    wheels = [one for one in source.files(f"pkg:pypi/{pypi_name(dist.name)}") if _is(one, dist.version)]
    best: Compared | None = None
    refusal: Refusal | None = None
    for wheel in wheels:
        try:
            made = _compare(site, dist, prover, wheel)
        except Refusal as error:
            if error.code == "not-running":
                raise
            refusal = refusal or error
            continue
        if best is None or made.bad < best.bad:
            best = made
    if best is not None:
        _tell(site, best.rows)
        return list(best.outside)
    _claim(site, dist)
    return [of_refusal(where, dist.purl, refusal) if refusal else _no_wheel(where, dist)]


def _tell(site: Site, rows: dict[str, Row]) -> None:
    """Of two wheels that both hold a file, what speaks against it counts."""
    for rel, row in rows.items():
        if rel not in site.told or row.outcome == REFUSED:
            site.told[rel] = row


def _no_wheel(where: str, dist: Dist) -> Row:
    return Row(
        where,
        dist.purl,
        NO_PROOF,
        why=f"no wheel of {dist.name} {dist.version} is offered: the log has none, or the node's policy refuses it",
        do="leave it out with --skip NAME; see `pyrsia policy check pkg:pypi/NAME@VERSION`, or if it is public and the "
        "log has none ask for it: `pyrsia build request NAME==VERSION`",
    )


def _claim(site: Site, dist: Dist) -> None:
    """The files of a distribution that has one row for all: they are not told as nobody's."""
    dist.left_out = True
    for rel in site.found:
        if rel in dist.claims or rel.startswith(f"{dist.folder}/"):
            site.told.setdefault(rel, Row(site.shown(rel), dist.purl, SKIPPED, why="see its package"))


def _claims_held_back(site: Site) -> None:
    """What a package that nobody checked may not claim: what runs at each start, and files inside a checked package."""
    roots = {rel.removesuffix("__init__.py") for rel, row in site.told.items()
             if row.outcome == ACCEPTED and rel.endswith("/__init__.py")}  # fmt: skip
    for rel, row in site.told.items():
        if row.outcome != SKIPPED or rel in site.skip:
            continue
        if _AT_START.fullmatch(rel):
            why = "Python runs it at each start, and nobody checked the package that claims it"
        elif any(rel.startswith(one) for one in roots):
            why = "additional: it lies in a checked package, whose wheel does not hold it"
        else:
            continue
        site.told[rel] = Row(
            row.what, row.package, REFUSED, why=why, do=f"look at it, then delete it or: --skip {safe(rel)}"
        )


def _is(listed: Listed, version: str) -> bool:
    if not listed.file.endswith(".whl"):
        return False
    try:
        return Version(listed.version) == Version(version)
    except InvalidVersion:
        return listed.version == version


def _compare(site: Site, dist: Dist, prover: Prover, wheel: Listed) -> Compared:
    """Hold the members of one published wheel against what is installed.

    Raises:
        Refusal: the wheel is not proven, is another package's, or nobody says what it holds.
    """
    finding = prover.prove(wheel.sha256).finding
    if not finding.purl.startswith(f"pkg:pypi/{pypi_name(dist.name)}@"):
        raise Refusal("proof-invalid", what=f"these bytes are {finding.purl}", who="the node",
                      do="ask another node, and do not trust this one")  # fmt: skip
    held = prover.held(wheel)
    rows: dict[str, Row] = {}
    outside: list[Row] = []
    for one in held:
        if is_record(one.path):
            continue
        rel = _installed(one.path, dist, site.up)
        row = _member(site, rel, one, finding.purl, finding.verdict, finding.builders)
        if rel in site.found or not rel.startswith("../"):
            rows[rel] = row
        else:
            outside.append(row)
    outside += _generated(site, dist, finding.purl, rows)
    outside += _scripts(site, dist, finding.purl, rows)
    bad = sum(1 for row in (*rows.values(), *outside) if row.outcome == REFUSED)
    return Compared(rows, tuple(outside), bad)


def _installed(path: str, dist: Dist, up: str) -> str:
    """Where an installer puts a member, relative to site-packages; `up` leads from there to the environment."""
    first, _, rest = path.partition("/")
    if not first.endswith(".data") or "/" not in rest:
        return path
    kind, _, inner = rest.partition("/")
    match kind:
        case "purelib" | "platlib":
            return inner
        case "scripts":
            return f"{up}bin/{inner}"
        case "headers":
            return f"{up}include/site/{dist.name}/{inner}"
        case _:
            return f"{up}{inner}"


def _member(site: Site, rel: str, member: Member, purl: str, verdict: str, builders: tuple[str, ...]) -> Row:
    path = site.folder / PurePosixPath(rel)
    shown = posixpath.normpath(str(path))
    if rel in site.found and site.found[rel].odd:
        return Row(
            shown, purl, REFUSED, why=f"{site.found[rel].odd}, where the wheel holds a file", do=_AGAIN
        )
    # A folder on the way may be a link too, and lead to anywhere.
    if not rel.startswith("../") and rel not in site.found:
        return Row(shown, purl, REFUSED, why="missing: the wheel holds it", do=_AGAIN)
    found = walking.digest(path)
    if not found:
        return Row(shown, purl, REFUSED, why="missing, or no plain file: the wheel holds it", do=_AGAIN)
    if found == member.sha256 or (_SCRIPT.match(member.path) and _rewritten(site, path, member.sha256)):
        return Row(shown, purl, ACCEPTED, found, verdict, builders)
    return Row(shown, purl, REFUSED, found, why="changed: it is not what the wheel holds", do=_AGAIN)


_AGAIN: Final = "install the package again into a new environment: pip install --force-reinstall"


def _rewritten(site: Site, path: Path, sha256: str) -> bool:
    data = walking.text(path, MAX_SCRIPT_BYTES.value)
    return data is not None and scripts.is_rewritten(data, sha256, site.bin)


def _generated(site: Site, dist: Dist, purl: str, rows: dict[str, Row]) -> Iterator[Row]:
    """What the installer made for this distribution: beside its metadata, and compiled from its sources."""
    for name in _BY_INSTALLER:
        rel = f"{dist.folder}/{name}"
        if rel in site.found and rel not in rows and not site.found[rel].odd:
            rows[rel] = Row(site.shown(rel), purl, GENERATED)
    unknown = set()
    for rel, found in site.found.items():
        compiled = _COMPILED.fullmatch(rel)
        source = f"{compiled['folder']}{compiled['stem']}.py" if compiled is not None else ""
        if compiled is None or found.odd or rel in rows or source not in rows:
            continue
        of, said = rows[source], Said.UNKNOWN
        data, text = walking.text(found.path), walking.text(site.folder / source)
        if of.outcome == ACCEPTED and data is not None and text is not None:
            said = compare(compiled["tag"], int(compiled["opt"] or 0), data, text)
        if said is Said.OTHER:
            rows[rel] = Row(site.shown(rel), purl, REFUSED, do=_DELETE,
                            why="changed: its code is not what its source compiles to")  # fmt: skip
            continue
        rows[rel] = Row(
            site.shown(rel), purl, ACCEPTED if said is Said.SAME else GENERATED, "", of.verdict, of.builders
        )
        if said is Said.UNKNOWN and of.outcome == ACCEPTED:
            unknown.add(compiled["tag"])
    if unknown:
        tags = ", ".join(sorted(unknown))
        yield Row(site.shown(dist.folder), purl, NO_PROOF, do=_DELETE,
                  why=f"compiled by another Python ({tags}) and compared with nothing")  # fmt: skip


_DELETE: Final = (
    "delete the folders __pycache__: Python makes them anew; or check with the Python that made them"
)
_LOOK: Final = "look at it and delete it, or name it or its package with --skip"


def _scripts(site: Site, dist: Dist, purl: str, rows: dict[str, Row]) -> Iterator[Row]:
    """Scripts in the environment's bin that stand for entry points which the checked metadata names."""
    rel = f"{dist.folder}/entry_points.txt"
    if rel not in rows or rows[rel].outcome != ACCEPTED:
        return
    of = rows[rel]
    points = scripts.entry_points((walking.text(site.folder / rel) or b"").decode("utf-8", "replace"))
    for name, (module, call) in points.items():
        path = site.bin / name
        if "/" in name or not os.path.lexists(path):
            continue
        data = walking.text(path, MAX_SCRIPT_BYTES.value)
        if data is not None and scripts.is_entry(data, module, call, site.bin):
            row = Row(str(path), purl, ACCEPTED, walking.digest(path), of.verdict, of.builders)
        else:
            row = Row(
                str(path),
                purl,
                REFUSED,
                why=f"changed: it is no script that calls {module}:{call} here",
                do=_AGAIN,
            )
        if site.up:
            yield row
        else:
            rows[f"bin/{name}"] = row


def _unclaimed(site: Site) -> Iterator[Row]:
    """Files that no checked wheel holds: whoever can write here can make Python run them."""
    for rel, found in site.found.items():
        if rel in site.told or rel in site.skip:
            continue
        owner = next(
            (one for one in site.dists if rel in one.claims or rel.startswith(f"{one.folder}/")), None
        )
        if _COMPILED.fullmatch(rel) and _stem(rel) in site.told and site.told[_stem(rel)].outcome == SKIPPED:
            continue  # of a package that has one row for all
        if _COMPILED.fullmatch(rel):
            why = "additional: a compiled file whose source no wheel holds"
        elif found.odd:
            why = f"additional: {found.odd} that no wheel holds"
        else:
            why = "additional: the wheel does not hold it" if owner else "additional: no package owns it"
        yield Row(found.path.as_posix(), owner.purl if owner else "", REFUSED, why=why,
                  do=_LOOK)  # fmt: skip


def _stem(rel: str) -> str:
    found = _COMPILED.fullmatch(rel)
    return f"{found['folder']}{found['stem']}.py" if found else rel
