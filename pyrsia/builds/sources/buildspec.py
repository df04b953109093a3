"""What others wrote down about a package's source, read as data: never sourced, never run, never fetched.

Two forms: Reproducible Central's `.buildspec` (shell variables, of which only plain `KEY=VALUE` lines are taken, with
`${groupId}`, `${artifactId}` and `${version}` in them; the original Pyrsia's own keys too), and the original's mapping
(JSON). What comes out are the fields of a `mapping.set` motion, and a sentence for each thing that was left out.

Source: docs/sources.md, "Mappings"; Reproducible Central, BUILDSPEC.md.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pyrsia.errors import Malformed
from pyrsia.units import MAX_BUILDSPEC_BYTES
from pyrsia.wire.purl import Purl, parse

# Taken, or without a meaning for a build of ours.
_TAKEN: Final = (
    "groupId",
    "artifactId",
    "version",
    "gitRepo",
    "gitTag",
    "repoType",
    "repoUrl",
    "repoTag",
    "command",
)
_SILENT: Final = (
    "referenceRepo",
    "display",
    "buildinfo",
    "diffoscope",
    "issue",
    "os",
    "arch",
    "workdir",
    "tool",
)
_TOLD: Final = {
    "tool": "projects are built with Maven, of the build environment's version",
    "jdk": "the JDK is that of the build environment; choose one with recipe.environment",
    "toolchains": "the JDK is that of the build environment",
    "newline": "files are taken as they stand in the repository, with the newlines that they have there",
    "umask": "every build runs under umask 022",
    "timezone": "every build runs in UTC",
    "locale": "every build runs in C.UTF-8",
    "MAVEN_OPTS": "options of the virtual machine are fixed",
    "execBefore": "nothing is run before a build",
    "execAfter": "nothing is run after a build",
    "sourceDistribution": "a source archive in a registry needs no mapping",
    "sourcePath": "a source archive in a registry needs no mapping",
    "sourceRmFiles": "no file is taken out of a source",
}
_LINE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?=)(.*)")
_VARIABLE: Final = re.compile(r"\$\{(groupId|artifactId|version)\}")
_VERSION: Final = "{version}"
# Goals and switches that say nothing about what is built; what is left is a profile or a property.
_QUIET: Final = re.compile(
    r"mvn|\./mvnw|clean|package|verify|install|deploy|-B|-q|-o|-e|-ntp|-V|--batch-mode|-T\S+"
    r"|-D(?:skipTests|maven\.test\.skip|gpg\.skip|maven\.javadoc\.skip|maven\.deploy\.skip)(?:=true)?"
)
_PROPERTY: Final = re.compile(r"-D([A-Za-z][A-Za-z0-9._-]*=[A-Za-z0-9._:/+,-]*)")
_PROFILE: Final = re.compile(r"-P(!?[A-Za-z0-9._-]+(?:,!?[A-Za-z0-9._-]+)*)")


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a file says of a package.

    Attributes:
        purl: without a version. tag: with `{version}` in it once.
        parameters: of the recipe. left_out: a sentence for each line that was not used.
    """

    purl: str
    repository: str
    tag: str
    parameters: dict[str, str]
    left_out: tuple[str, ...]

    def recipe(self) -> dict[str, Any]:
        """The recipe's defaults as a motion writes them."""
        if not self.parameters:
            return {}
        return {"parameters": [[name, value] for name, value in sorted(self.parameters.items())]}


def parse_buildspec(data: bytes) -> Mapped:
    """Read a `.buildspec`.

    Raises:
        Malformed: with the number of the line that is not taken, and why.
    """
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    left_out = []
    for number, key, value in _lines(_text(data)):
        if key in _TOLD:
            left_out.append(f"line {number}, {key}: {_TOLD[key]}")
        elif key not in _TAKEN and key not in _SILENT:
            raise Malformed(f"line {number}: {key} is no variable of a .buildspec")
        if key in values:
            raise Malformed(f"line {number}: {key} stands twice, also in line {lines[key]}")
        values[key], lines[key] = value, number
    for key in ("groupId", "artifactId", "version"):
        if not values.get(key):
            raise Malformed(f"there is no line {key}=...")
    if values.get("repoType", "git") != "git":
        raise Malformed(f"line {lines['repoType']}: only repositories of git are fetched")
    repository = _named(values, "gitRepo", "repoUrl")
    tag = _pattern(_named(values, "gitTag", "repoTag"), values)
    parameters, unused = _of_command(values.get("command", ""))
    left_out += [f"line {lines['command']}, command: {word} is not used" for word in unused]
    purl = _maven(values["groupId"], values["artifactId"])
    return Mapped(purl, repository, tag, parameters, tuple(left_out))


def _named(values: dict[str, str], *keys: str) -> str:
    for key in keys:
        if values.get(key):
            return (
                _VARIABLE.sub(lambda found: values[found[1]], values[key])
                if key.endswith("Repo")
                else values[key]
            )
    raise Malformed(f"there is no line {keys[0]}=...: name the repository and its tags yourself")


def _pattern(tag: str, values: dict[str, str]) -> str:
    """The tag with `{version}` where the version stands."""
    pattern = _VARIABLE.sub(lambda found: _VERSION if found[1] == "version" else values[found[1]], tag)
    if _VERSION not in pattern:
        pattern = pattern.replace(values["version"], _VERSION)
    if pattern.count(_VERSION) != 1:
        raise Malformed(
            f"the tag {tag[:80]!a} does not have the version in it once, so the next release's cannot be told from it"
        )
    return pattern


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    """(number of the line, key, value) of each assignment."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _LINE.fullmatch(stripped.removeprefix("export "))
        if found is None:
            raise Malformed(f"line {number} is no KEY=VALUE")
        key, sign, value = found.groups()
        if sign == "+=":
            raise Malformed(f"line {number}: nothing is added to a value")
        yield number, key, _value(value, number)


def _value(text: str, number: int) -> str:
    """One value: bare, or whole in one kind of quotes, with a comment behind it at most."""
    if text.startswith("("):
        raise Malformed(f"line {number}: arrays are not taken")
    quote = text[:1]
    if quote in ("'", '"') and text:
        value, closed, rest = text[1:].partition(quote)
        if not closed:
            raise Malformed(f"line {number}: a value ends on its own line")
    else:
        found = re.fullmatch(r"(\S*)(.*)", text)
        assert found is not None  # noqa: S101 - it matches everything
        value, rest = found.groups()
    if rest.strip() and not rest.lstrip().startswith("#"):
        raise Malformed(f"line {number}: something stands behind the value")
    plain = value if quote == "'" else _VARIABLE.sub("", value)
    if "`" in plain or "$(" in plain:
        raise Malformed(f"line {number}: no command is run to make a value")
    if "$" in plain and quote != "'":
        raise Malformed(f"line {number}: only ${{groupId}}, ${{artifactId}} and ${{version}} are filled in")
    if "\\" in plain or any(not char.isprintable() for char in plain):
        raise Malformed(f"line {number}: a backslash or a control character")
    if quote not in ("'", '"') and any(char in ";&|<>()\"'" for char in plain):
        raise Malformed(f"line {number}: a character that means something to a shell")
    return value


def _of_command(command: str) -> tuple[dict[str, str], list[str]]:
    """Parameters of a Maven recipe, and the words of the command that give none."""
    profiles, properties, unused = [], [], []
    for word in command.split():
        if _QUIET.fullmatch(word):
            continue
        if profile := _PROFILE.fullmatch(word):
            profiles.append(profile[1])
        elif given := _PROPERTY.fullmatch(word):
            properties.append(given[1])
        else:
            unused.append(ascii(word[:60]))
    parameters = {"define": " ".join(properties), "profiles": ",".join(profiles)}
    return {name: value for name, value in parameters.items() if value}, unused


def parse_mapping(data: bytes) -> Mapped:
    """Read a mapping of the original Pyrsia.

    Raises:
        Malformed: it is none, or one that names no repository of git.
    """
    try:
        told = json.loads(_text(data))
        kind, name = told["package_type"], told["package_specific_id"]
        git = told["source_repository"]["Git"]
        repository, tag = git["url"], git["tag"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(
            "not a mapping of the original: {package_type, package_specific_id, source_repository: {Git: {url, tag}}}"
        ) from error
    if kind != "Maven2" or not all(isinstance(one, str) for one in (name, repository, tag)):
        raise Malformed("only mappings of Maven2 packages name a source")
    parts = name.split(":")
    if len(parts) != 3:
        raise Malformed("package_specific_id is group:artifact:version")
    values = {"groupId": parts[0], "artifactId": parts[1], "version": parts[2]}
    left_out = ("build_spec_url: nothing is fetched to be run",) if told.get("build_spec_url") else ()
    return Mapped(_maven(parts[0], parts[1]), repository, _pattern(tag, values), {}, left_out)


def _maven(group: str, artifact: str) -> str:
    return str(parse(str(Purl("maven", group, artifact, ""))))  # read back: the names are a stranger's


def _text(data: bytes) -> str:
    if len(data) > MAX_BUILDSPEC_BYTES.value:
        raise Malformed(f"more than {MAX_BUILDSPEC_BYTES.value} bytes")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise Malformed("it is not UTF-8") from None
