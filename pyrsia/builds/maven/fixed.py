"""What a build is told in place of an answer that would move: the version of the plug-in that packs sources.

A project whose parents leave that version open would get the newest of the day. A repository is laid out with a list
that knows one version only, so that all builders take that.

It runs inside the sandbox as well and imports only the standard library.
"""

from pathlib import Path
from typing import Final

GROUP: Final = "org.apache.maven.plugins"
NAME: Final = "maven-source-plugin"
VERSION: Final = "3.2.1"  # packs reproducibly, and does not mind a project that packs its sources as well
_TEXT: Final = (
    f"<metadata><groupId>{GROUP}</groupId><artifactId>{NAME}</artifactId><versioning><latest>{VERSION}</latest>"
    f"<release>{VERSION}</release><versions><version>{VERSION}</version></versions></versioning></metadata>\n"
)


def lay(repository: Path) -> None:
    """Put the list where Maven looks for the answer of its one remote, `central`; everybody may read it."""
    folder = repository / GROUP.replace(".", "/") / NAME
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "maven-metadata-central.xml"
    path.write_text(_TEXT)
    path.chmod(0o644)  # the sandbox reads it as another uid
