"""The operator's Maven settings, read as data: which repositories are asked, in which order, with which credentials.

Read as `mvn` reads them: the user's file over the machine's, a mirror in place of what it mirrors, repositories of
active profiles before central. Left out, each told in one sentence: encrypted passwords, layouts other than the usual
one, and everything that would shape a build (properties, local repository): one machine must not shape what all
agree on.

Source: docs/builds-maven.md, "Where the source comes from"; the settings reference of Maven.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from pyrsia.builds.maven.poms import Element, read_xml
from pyrsia.errors import Malformed, Refusal
from pyrsia.units import MAX_SETTINGS_BYTES

CENTRAL: Final = "https://repo.maven.apache.org/maven2"  # of Maven's own super POM
_LOCAL: Final = ("localhost", "127.0.0.1")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z0-9._-]{1,80})\}")


@dataclass(frozen=True, slots=True)
class Repository:
    """One base URL (http, https or file:), and the name and password that the settings give for it."""

    url: str
    user: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class MavenSettings:
    """What our own client needs to know.

    Attributes:
        repositories: in the order in which they are asked; never empty.
        proxy: URL of the proxy that the settings name, None for what the environment says.
        unused: one sentence for each thing that is set and not used.
    """

    repositories: tuple[Repository, ...] = (Repository(CENTRAL),)
    proxy: str | None = None
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Mirror:
    id: str
    of: str
    url: str
    blocked: bool


def files(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """The files that `mvn` would read, the user's first; not all of them need exist."""
    homes = [env[name] for name in ("MAVEN_HOME", "M2_HOME") if env.get(name)] or ["/usr/share/maven"]
    return (home / ".m2" / "settings.xml", *(Path(one) / "conf" / "settings.xml" for one in homes))


def load(env: Mapping[str, str] | None = None) -> MavenSettings:
    """The settings of the user who runs this process.

    Raises:
        Refusal: `config-invalid`.
    """
    env = os.environ if env is None else env
    home = Path(env.get("HOME") or Path.home())
    texts = []
    for path in files(env, home):
        try:
            if path.stat().st_size > MAX_SETTINGS_BYTES.value:
                raise _invalid(str(path), "it is too large for settings")
            texts.append((str(path), path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
    return parse(texts, dict(env) | {"HOME": str(home)})


def parse(texts: Sequence[tuple[str, bytes]], env: Mapping[str, str]) -> MavenSettings:
    """Fold settings files, the stronger first, into one answer.

    Raises:
        Refusal: `config-invalid` for a file that Maven would refuse too.
    """
    roots = []
    for name, data in texts:
        try:
            root = read_xml(_filled(data, env))
        except Malformed as error:
            raise _invalid(name, str(error)) from error
        if root.name != "settings":
            raise _invalid(name, "it is no settings file")
        roots.append(root)
    unused: list[str] = []
    mirrors, servers = _mirrors(roots), _servers(roots, unused)
    urls: dict[str, str] = {}
    for id, url in [*_profiled(roots), ("central", CENTRAL)]:
        urls.setdefault(id, url)
    found = []
    for id, url in urls.items():
        mirror = _mirror_of(id, url, mirrors)
        if mirror is not None and mirror.blocked:
            unused.append(f"the repository {id} is blocked by Maven's settings and is not used")
            continue
        name, base = (mirror.id, mirror.url) if mirror is not None else (id, url)
        if urlsplit(base).scheme not in ("http", "https", "file"):
            raise _invalid("Maven's settings", f"the repository {id} is no http, https or file: URL")
        found.append(Repository(base.rstrip("/"), *servers.get(name, ("", ""))))
    if not found:
        raise _invalid("Maven's settings", "every repository is blocked")
    return MavenSettings(tuple(dict.fromkeys(found)), _proxy(roots), tuple(unused))


def _filled(data: bytes, env: Mapping[str, str]) -> bytes:
    """The text with `${env.NAME}` and `${user.home}` in place, as text of an element; others stay as they are."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        known = env.get("HOME") if name == "user.home" else None
        known = env.get(name[4:]) if name.startswith("env.") else known
        if known is None:
            return match[0]
        return known.replace("&", "&amp;").replace("<", "&lt;")

    return _VARIABLE.sub(value, data.decode("utf-8", "replace")).encode("utf-8")


def _mirrors(roots: Sequence[Element]) -> list[_Mirror]:
    found: dict[str, _Mirror] = {}
    for root in roots:
        for one in root.all("mirrors/mirror"):
            blocked = one.get("blocked") == "true"
            mirror = _Mirror(one.get("id"), one.get("mirrorOf"), one.get("url"), blocked)
            found.setdefault(mirror.id, mirror)
    return list(found.values())


def _servers(roots: Sequence[Element], unused: list[str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for root in roots:
        for one in root.all("servers/server"):
            user, password = one.get("username"), one.get("password")
            if re.fullmatch(r"\{.+\}", password):
                unused.append(f"the encrypted password of the server {one.get('id')} is not used")
            elif user:
                found.setdefault(one.get("id"), (user, password))
    return found


def _profiled(roots: Sequence[Element]) -> list[tuple[str, str]]:
    """(id, URL) of the repositories of active profiles."""
    active = {one.text.strip() for root in roots for one in root.all("activeProfiles/activeProfile")}
    found = []
    for root in roots:
        for profile in root.all("profiles/profile"):
            if profile.get("id") in active or profile.get("activation/activeByDefault") == "true":
                for kind in ("repositories/repository", "pluginRepositories/pluginRepository"):
                    found += [
                        (one.get("id"), one.get("url"))
                        for one in profile.all(kind)
                        if one.get("releases/enabled") != "false"
                    ]
    return found


def _mirror_of(id: str, url: str, mirrors: Sequence[_Mirror]) -> _Mirror | None:
    """The mirror that stands for a repository: one that names it alone before one whose pattern fits."""
    named = (one for one in mirrors if one.of == id)
    fitting = (one for one in mirrors if _matches(one.of, id, url))
    return next(named, None) or next(fitting, None)


def _matches(pattern: str, id: str, url: str) -> bool:
    parts = urlsplit(url)
    external = parts.scheme != "file" and parts.hostname not in _LOCAL
    words = {"*": True, "external:*": external, "external:http:*": external and parts.scheme == "http"}
    found = False
    for word in (piece.strip() for piece in pattern.split(",")):
        if word == f"!{id}":
            return False
        found = found or word == id or words.get(word, False)
    return found


def _proxy(roots: Sequence[Element]) -> str | None:
    for root in roots:
        for one in root.all("proxies/proxy"):
            if one.get("active") != "false" and one.get("host"):
                user = quote(one.get("username"), safe="")
                secret = f"{user}:{quote(one.get('password'), safe='')}@" if user else ""
                return f"http://{secret}{one.get('host')}:{one.get('port') or '8080'}"
    return None


def _invalid(where: str, why: str) -> Refusal:
    return Refusal(
        "config-invalid", what=why, who=where, do="correct it; `mvn help:effective-settings` shows it"
    )
