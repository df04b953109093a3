"""Names of Conan: references, revisions, and the one file name that carries a place within them.

A file of a recipe is published as `<recipe revision>~<file>`, one of a package as `<recipe revision>~<package
id>~<package revision>~<file>`: the last part is the name that the Conan 2 server API knows. `~` stands in no Conan
name, so every published name reads back in one way.

It runs inside the sandbox too and imports only the standard library.

Source: docs/builds-conan.md; Conan 2, `conan/api/model/refs.py`.
"""

import re
from dataclasses import dataclass
from typing import Final

from pyrsia.errors import Malformed

PURL: Final = "pkg:conan/"
CONANFILE: Final = "conanfile.py"
MANIFEST: Final = "conanmanifest.txt"
EXPORT: Final = "conan_export.tgz"
SOURCES: Final = "conan_sources.tgz"
INFO: Final = "conaninfo.txt"
PACKAGE: Final = "conan_package.tgz"
RECIPE_FILES: Final = (CONANFILE, MANIFEST, EXPORT, SOURCES)
PACKAGE_FILES: Final = (INFO, MANIFEST, PACKAGE)
NONE: Final = "_"  # how the API and purls write a user or channel that is not there

_NAME: Final = re.compile(r"[a-z0-9_][a-z0-9_+.-]{1,100}")
_VERSION: Final = re.compile(r"[a-z0-9_][a-z0-9_+.-]{0,99}")
_REVISION: Final = re.compile(r"[0-9a-f]{32}")
_PACKAGE_ID: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One version of a package: `name/version[@user[/channel]]`. `user` and `channel` are `_` where absent."""

    name: str
    version: str
    user: str = NONE
    channel: str = NONE

    def __str__(self) -> str:
        base = f"{self.name}/{self.version}"
        if self.user == NONE:
            return base
        return f"{base}@{self.user}" + ("" if self.channel == NONE else f"/{self.channel}")

    @property
    def title(self) -> str:
        """The package without its version, as a want and a lock's line name it: `zlib`, `zlib@team/stable`."""
        _, _, home = str(self).partition("@")
        return f"{self.name}@{home}" if home else self.name

    @property
    def namespace(self) -> str:
        """The namespace of its purl: "", `user` or `user/channel`."""
        return "/".join(part for part in (self.user, self.channel) if part != NONE)


def ref(name: str, version: str, user: str = NONE, channel: str = NONE) -> Ref:
    """A reference out of strangers' words.

    Raises:
        Malformed: Conan would not take one of them.
    """
    if _NAME.fullmatch(name) is None:
        raise Malformed(f"not a name of a Conan package: {name[:80]!r}")
    if _VERSION.fullmatch(version) is None:
        raise Malformed(f"not a version of a Conan package: {version[:80]!r}")
    for part in (user, channel):
        if part != NONE and _NAME.fullmatch(part) is None:
            raise Malformed(f"not a user or channel of Conan: {part[:80]!r}")
    if user == NONE and channel != NONE:
        raise Malformed("a channel without a user")
    return Ref(name, version, user, channel)


def parse(text: str) -> Ref:
    """`name/version[@user[/channel]]`.

    Raises:
        Malformed: it is none.
    """
    base, at, home = text.partition("@")
    name, slash, version = base.partition("/")
    user, _, channel = home.partition("/")
    if not slash or (at and not user):
        raise Malformed(f"not a reference of Conan: {text[:80]!r}")
    return ref(name, version, user or NONE, channel or NONE)


def titled(title: str, version: str) -> Ref:
    """The reference of a `Ref.title` and a version; raises `Malformed`."""
    name, at, home = title.partition("@")
    return parse(f"{name}/{version}{at}{home}")


def from_namespace(namespace: str, name: str, version: str) -> Ref:
    """The reference of a purl's parts; raises `Malformed`."""
    if not namespace:
        return ref(name, version)
    user, _, channel = namespace.partition("/")
    return ref(name, version, user, channel or NONE)


def is_revision(text: str) -> bool:
    """Whether `text` is the MD5 that Conan names a recipe's or a package's revision by."""
    return _REVISION.fullmatch(text) is not None


def is_package_id(text: str) -> bool:
    return _PACKAGE_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One file of a recipe revision, or of a package revision below it (`package_id` and `prev` are "" for none)."""

    rrev: str
    file: str
    package_id: str = ""
    prev: str = ""

    def __str__(self) -> str:
        parts = (self.rrev, self.package_id, self.prev, self.file)
        return "~".join(part for part in parts if part)


def place(text: str) -> Place:
    """Read a published file name.

    Raises:
        Malformed: it is none that `str(Place)` writes.
    """
    parts = text.split("~")
    match parts:
        case [rrev, file] if is_revision(rrev) and file in RECIPE_FILES:
            return Place(rrev, file)
        case [rrev, package_id, prev, file] if (
            is_revision(rrev) and is_package_id(package_id) and is_revision(prev) and file in PACKAGE_FILES
        ):
            return Place(rrev, file, package_id, prev)
    raise Malformed(f"not a file of a Conan package: {text[:120]!r}")
