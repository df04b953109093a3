"""Who owns a package and what is there under its name, remembered until the log or the shelf changes.

What the log publishes stands under (version, file name); the first file of a name stays. Files that policy refuses are
known as such: their version is held, so nobody else may fill it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pyrsia.policy.facts import LOCAL, NETWORK, PROXIED
from pyrsia.serve.desks.supply import LocalRow, Supply
from pyrsia.serve.desks.views import ProjectFile, Refused
from pyrsia.serve.maven.lists import Plugin, prefix_of
from pyrsia.units import Limit

MAVEN: Final = "pkg:maven/"
PLUGIN_KEY: Final = (
    "plugin"  # of the row that remembers a local plug-in's prefix; no file has it, as it has no slash
)
_KNOWN: Final = Limit(
    2_048, "packages of which the files are known, 5 KB each; a large build has half as many"
)
_GROUPS: Final = Limit(20_000, "groups in one list of prefixes: a megabyte; Maven's central has as many")

Place = tuple[str, str]  # version, file name


@dataclass(frozen=True, slots=True)
class Known:
    """One package.

    Attributes:
        owner: LOCAL, NETWORK or PROXIED (of whom nothing is known here).
        versions: that the log holds, refused or not.
        torn: those of which a file is kept back: nobody is to choose them by what is left.
    """

    purl: str
    owner: str
    files: Mapping[Place, ProjectFile] = field(default_factory=dict)
    refused: Mapping[Place, Refused] = field(default_factory=dict)
    versions: frozenset[str] = frozenset()
    torn: frozenset[str] = frozenset()


class Names:
    """What one application knows of packages."""

    def __init__(self, supply: Supply) -> None:
        self._supply = supply
        self._revision: tuple[int, int] | None = None
        self._known: dict[str, Known] = {}
        self._plugins: dict[str, list[str]] | None = None  # group -> artifacts named like plug-ins

    @property
    def revision(self) -> tuple[int, int]:
        """Changes whenever anything of this may have."""
        return self._supply.network.revision(), self._supply.local.revision()

    async def look(self, purl: str) -> Known:
        """`known`; a package that has many files is looked at in turns with others."""
        if not self._supply.local.owns(purl):
            await self._supply.network.prepare(purl)
        return self.known(purl)

    def known(self, purl: str) -> Known:
        self._renew()
        found = self._known.get(purl)
        if found is None:
            found = self._found(purl)
            if len(self._known) >= _KNOWN.value:
                del self._known[next(iter(self._known))]
            self._known[purl] = found
        return found

    def rows(self, purl: str, version: str = "") -> Sequence[LocalRow]:
        """Files of a local package, or of one version of it."""
        found = self._supply.local.rows(purl, f"{version}/" if version else "")
        return [row for row in found if "/" in row.key]

    def plugins(self, group: str) -> Sequence[Plugin]:
        """A group's plug-ins, local ones first; of the log also those that policy refuses, so that it can say why."""
        self._renew()
        if self._plugins is None:
            self._plugins = {}
            for purl in self._supply.network.packages(MAVEN):
                of_group, _, artifact = purl.removeprefix(MAVEN).rpartition("/")
                if prefix_of(artifact):
                    self._plugins.setdefault(of_group, []).append(artifact)
        local = []
        for purl in self._supply.local.packages(f"{MAVEN}{group}/"):
            row = self._supply.local.row(purl, PLUGIN_KEY)
            if row is not None:
                local.append(Plugin(row.more["prefix"], purl.rpartition("/")[2], row.more.get("name", "")))
        return (*local, *(Plugin(prefix_of(one), one) for one in self._plugins.get(group, ())))

    def groups(self) -> Sequence[str] | None:
        """Every group that has a package, sorted; None where there are too many to tell."""
        purls_of_all = (*self._supply.network.packages(MAVEN), *self._supply.local.packages(MAVEN))
        found = sorted({purl.removeprefix(MAVEN).rpartition("/")[0] for purl in purls_of_all})
        return found if len(found) <= _GROUPS.value else None

    def _renew(self) -> None:
        if self.revision != self._revision:
            self._known.clear()
            self._plugins = None
            self._revision = self.revision

    def _found(self, purl: str) -> Known:
        if self._supply.local.owns(purl):
            return Known(purl, LOCAL)
        files: dict[Place, ProjectFile] = {}
        refused: dict[Place, Refused] = {}
        for file in self._supply.network.files(purl):
            files.setdefault((file.version, file.filename), file)
        for one in self._supply.network.refused(purl):
            refused.setdefault((one.file.version, one.file.filename), one)
        held = frozenset(version for version, _ in (*files, *refused))
        # Of what is denied or disputed, a later file of a name that is given says nothing of that one.
        torn = (at[0] for at, one in refused.items() if at not in files or one.refusal.code == "withdrawn")
        return Known(purl, NETWORK if held else PROXIED, files, refused, held, frozenset(torn))
