"""Manifests, property files and build notes in one form, without what only says who built when and with what.

Each function takes a member's bytes and gives them in the form that is compared, and how many lines or attributes
went. A text that cannot be read as what it should be comes back as it is: then it is compared byte for byte.

It runs inside the sandbox and imports only the standard library.

Source: docs/builds-maven.md, "Normalising, `jar@1`"; the JAR file specification, section "Name-Value pairs".
"""

import re
from typing import Final

_WIDTH: Final = 72  # bytes of one line of a manifest, its end left out
# Attributes that tell of the build and not of what was built, in lower case.
BUILD_ATTRIBUTES: Final = frozenset(
    """
    ant-version archiver-version bnd-lastmodified branch build-branch build-date build-date-utc build-host build-id
    build-ip build-java-version build-jdk build-jdk-spec build-job build-number build-os build-revision build-tag
    build-time build-timestamp build-tool build-url build-user build-vendor builder built-at built-by built-date
    built-host built-jdk built-on built-os built-status buildhost buildtime change created-by
    eclipse-sourcereferences git-branch git-build-time git-commit git-commit-date git-commit-id git-commit-id-abbrev
    git-commit-id-describe git-describe git-dirty git-head git-remote git-revision git-sha git-url hudson-build-number
    hudson-project hudson-version implementation-build implementation-build-date implementation-build-id
    implementation-build-java-vendor implementation-build-java-version implementation-build-number
    implementation-build-time jenkins-build-number jenkins-project jenkins-version module-origin originally-created-by
    os-arch os-name os-version scm-branch scm-commit scm-git-branch scm-git-commit-dirty scm-git-commit-id
    scm-git-commit-id-describe scm-revision scm-tag scm-url source-date-epoch tool x-build-date x-build-time
    x-compile-source-jdk x-compile-target-jdk
    """.split()  # noqa: SIM905 - a table for readers
)
# Attributes whose value is a list without an order; some tools write it in the order of a hash table.
_LISTS: Final = frozenset(
    ("export-package", "import-package", "include-resource", "private-package", "provide-capability")
)
_GIT_KEYS: Final = re.compile(
    r"git\.(?:build\.(?:host|time|user\.\w+|number\S*)|branch|dirty|local\.branch\.\w+|remote\.origin\.url"
    r"|total\.commit\.count|tags?|closest\.tag\S*|commit\.id\.describe\S*)"
)

Attribute = tuple[str, str]


def manifest(data: bytes, *, signed: bool) -> tuple[bytes, int]:
    """A manifest: sections sorted, attributes sorted, build attributes gone; (bytes, attributes that went).

    Args:
        signed: the archive's signatures go, so the digests that they vouch for go too.
    """
    sections = read_manifest(data)
    if sections is None:
        return data, 0
    main, *rest = sections
    kept = [one for one in main if one[0].lower() not in BUILD_ATTRIBUTES]
    gone = len(main) - len(kept)
    written = [_section(kept, "Manifest-Version")]
    for section in sorted(rest):
        left = [one for one in section if not (signed and one[0].lower().endswith("-digest"))]
        gone += len(section) - len(left)
        if len(left) > 1 or not signed:
            written.append(_section(left, "Name"))
    return b"".join(written), gone


def read_manifest(data: bytes) -> list[list[Attribute]] | None:
    """The sections of a manifest, the main one first; None for what is no manifest."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    lines: list[str] = []
    for line in re.split(r"\r\n|\n|\r", text):
        if line.startswith(" "):
            if not lines or not lines[-1]:
                return None
            lines[-1] += line[1:]
        else:
            lines.append(line)
    sections: list[list[Attribute]] = [[]]
    for line in lines:
        if not line:
            if sections[-1]:
                sections.append([])
            continue
        name, colon, value = line.partition(": ")
        if not colon and line.endswith(":"):  # an empty value whose blank was trimmed
            name, value = line[:-1], ""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,69}", name):
            return None
        if name.lower() in {known.lower() for known, _ in sections[-1]}:
            return None  # which of two counts, readers disagree
        sections[-1].append((name, value))
    if len(sections) > 1 and not sections[-1]:
        sections.pop()
    return sections if sections[0] and all(section[0][0] == "Name" for section in sections[1:]) else None


def _section(attributes: list[Attribute], first: str) -> bytes:
    lines = []
    for name, value in sorted(attributes, key=lambda one: (one[0] != first, one[0].lower())):
        if name.lower() in _LISTS:
            value = ",".join(sorted(_clauses(value)))
        lines.append(_folded(f"{name}: {value}"))
    return b"".join(lines) + b"\r\n"


def _clauses(value: str) -> list[str]:
    """The parts between commas that stand outside quotes."""
    found, start, quoted = [], 0, False
    for at, char in enumerate(value):
        quoted ^= char == '"'
        if char == "," and not quoted:
            found.append(value[start:at])
            start = at + 1
    return [*found, value[start:]]


def _folded(line: str) -> bytes:
    """One attribute as lines of at most 72 bytes, characters kept whole."""
    out, room = bytearray(), _WIDTH
    for char in line:
        raw = char.encode("utf-8")
        if len(raw) > room:
            out += b"\r\n "
            room = _WIDTH - 1
        out += raw
        room -= len(raw)
    return bytes(out) + b"\r\n"


def pom_properties(data: bytes) -> tuple[bytes, int]:
    """`pom.properties` as Maven's archiver writes it: without its comments (who, when), lines sorted."""
    return _properties(data, re.compile(r"#.*"))


def git_properties(data: bytes) -> tuple[bytes, int]:
    """`git.properties`: the commit stays, what is said of the machine and of the hour goes."""
    return _properties(data, re.compile(rf"#.*|{_GIT_KEYS.pattern}\s*[=:].*"))


def _properties(data: bytes, dropped: re.Pattern[str]) -> tuple[bytes, int]:
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return data, 0
    if any(line.endswith("\\") for line in lines):
        return data, 0  # a value over two lines: sorting would tear it apart
    kept = sorted(line for line in lines if line and not dropped.fullmatch(line))
    return "".join(f"{line}\n" for line in kept).encode(), sum(bool(line) for line in lines) - len(kept)
