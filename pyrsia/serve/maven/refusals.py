"""What a policy's no says to Maven: 403, with the whole reason in the status line.

Maven prints a status line's phrase and no body. It takes 404 and 410 for "not here" and remembers that for a day, so
whatever the reason is, the status is 403. A build stops at the first plug-in that it does not get, so the answer about
that one names all plug-ins of the log that stand as it does.
"""

import re
from collections.abc import Iterator
from typing import Final

from pyrsia.errors import Refusal
from pyrsia.ledger.standing import WITNESSED
from pyrsia.serve.desks.supply import Supply
from pyrsia.serve.desks.views import Refused
from pyrsia.serve.maven.lists import prefix_of
from pyrsia.serve.maven.names import MAVEN, Names
from pyrsia.units import Limit
from pyrsia.wire import purl as purls

_NAMED: Final = Limit(
    40, "plug-ins that one status line names, about 2 KB; a build of Maven's own needs twelve"
)
_ASKED: Final = Limit(500, "plug-ins of the log that are looked at for one listing: a tenth of a second")
_EXTENSION: Final = re.compile(r".+-extensions?|wagon-.+|os-maven-plugin")
_MODE: Final = 'mode = "verified+witnessed" in [maven] of the node\'s policy.toml'
_MAVENS: Final = "org.apache.maven.plugins:"


class Refusals:
    """Says why, and remembers the list of plug-ins until something changes."""

    def __init__(self, supply: Supply, names: Names) -> None:
        self._supply = supply
        self._names = names
        self._revision: tuple[int, int] | None = None
        self._plugins: list[Refused] = []

    def told(self, refused: Refused) -> Refusal:
        """The refusal of one file, in Maven's form."""
        why = refused.refusal
        what = why.what
        if is_plugin(refused.file.purl):
            others = self._beside(refused)
            if others:
                what += f"; the same holds for {len(others)} more plug-ins of the log: "
                what += ", ".join(others[: _NAMED.value])
                if len(others) > _NAMED.value:
                    what += f" and {len(others) - _NAMED.value} more"
            if refused.file.verdict == WITNESSED:
                what += f"; {_MODE} takes them"
        return Refusal("denied", what=what, who=why.who, do=why.do)

    def _beside(self, refused: Refused) -> list[str]:
        """The other plug-ins that are refused as this one is, with their versions: `group:artifact:1 2`."""
        if self._revision != self._names.revision:
            self._revision = self._names.revision
            self._plugins = list(self._all())
        mine = refused.file.purl
        found: dict[str, dict[str, None]] = {}
        for one in self._plugins:
            alike = one.refusal.code == refused.refusal.code and one.file.verdict == refused.file.verdict
            if alike and one.file.purl != mine:
                found.setdefault(_versionless(one.file.purl), {})[one.file.version] = None
        return [_named(purl, " ".join(versions)) for purl, versions in found.items()]

    def _all(self) -> Iterator[Refused]:
        plugins = [purl for purl in self._supply.network.packages(MAVEN) if is_plugin(purl)]
        for purl in plugins[: _ASKED.value]:
            # Parents of plug-ins are named like them, and are only a pom.
            for (_, name), one in self._names.known(purl).refused.items():
                if name.endswith(".jar"):
                    yield one


def is_plugin(purl: str) -> bool:
    """Whether Maven itself loads it, as far as its name tells."""
    artifact = _versionless(purl).rpartition("/")[2]
    return bool(prefix_of(artifact) or _EXTENSION.fullmatch(artifact))


def _versionless(purl: str) -> str:
    return purl.partition("@")[0]


def _named(purl: str, versions: str) -> str:
    package = purls.parse(purl).package
    return f"{package.namespace}:{package.name}:{versions}".removeprefix(_MAVENS)
